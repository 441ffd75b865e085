"""`kill -9` at any moment of a run while the table changes its shape: nothing lost, nothing twice."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from cdc_platform.engine import follow
from cdc_platform_tests.engine.changing_table import (
    assert_exact,
    assert_histories_are_the_log,
    changing_table,
    statements,
)
from cdc_platform_tests.engine.test_checks import GREEN, small_world, statuses
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


def test_death_before_a_shape_that_the_catalogue_alone_tells_is_recorded(
    empty_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that its default gave a value are compared all the same."""

    class Died(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Died

    world = small_world(empty_world, tmp_path, "")
    world.run()
    world.postgres_do("alter table things add column more int default 7")
    with monkeypatch.context() as patch:
        patch.setattr(follow, "evolve", die)
        with pytest.raises(Died):
            world.run()
    (result,) = world.run()
    assert result.application.events["UPDATE"] == 1
    assert statuses(world, "one") == GREEN
