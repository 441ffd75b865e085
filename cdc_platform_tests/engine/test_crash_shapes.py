"""`kill -9` at any moment of a run while the table changes its shape: nothing lost, nothing twice."""

from __future__ import annotations

import random
import subprocess
import time

import pytest

from cdc_platform_tests.engine.changing_table import (
    assert_exact,
    assert_histories_are_the_log,
    changing_table,
    statements,
)
from cdc_platform_tests.world import World


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_killed_at_random_moments(empty_world: World, system: str) -> None:
    chance = random.Random(7)
    with changing_table(empty_world, system) as pipelines:
        empty_world.run()
        began = time.monotonic()
        empty_world.cdc("status")
        # What a command takes here that only looks; a run takes longer, so that most kills fall into its steps.
        look = time.monotonic() - began
        killed = 0
        waiting = statements(system)
        while waiting:
            for _ in range(chance.randint(2, 5)):
                if waiting:
                    pipelines.origin.run("writer", waiting.pop(0))
            process = empty_world.start("run")
            try:
                process.wait(timeout=look * chance.uniform(0.6, 1.4))
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
            process.communicate()
        assert killed > 0
        empty_world.run()
        assert_exact(pipelines)
        assert_histories_are_the_log(pipelines)
