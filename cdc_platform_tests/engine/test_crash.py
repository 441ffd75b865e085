"""`kill -9` at any moment of a run, then `cdc run`: nothing lost, nothing twice."""

from __future__ import annotations

import random
import subprocess
import time

from cdc_platform.change_log.log import ChangeLog
from cdc_platform_tests.engine.test_end_to_end import assert_lake_is_source, workload
from cdc_platform_tests.world import World

ROUNDS = 8


def test_killed_at_random_moments(world: World) -> None:
    chance = random.Random(20)
    began = time.monotonic()
    world.cdc_apart("status")
    # What a command takes here that only looks; a run takes longer, so that most kills fall into its steps.
    look = time.monotonic() - began
    killed = 0
    for number in range(ROUNDS):
        if number:
            workload(world, seconds=0.5, rate=400, seed=number)
        process = world.start("run")
        try:
            process.wait(timeout=look * chance.uniform(0.6, 1.3))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
    assert killed >= ROUNDS // 4
    world.run()
    assert_lake_is_source(world)
    assert_logs_hold_each_change_once(world)
    assert all(v.status == "PASS" for v in world.check())


def assert_logs_hold_each_change_once(world: World) -> None:
    for path in (world.home / "change_log").glob("*/*"):
        frames = [f for part in ChangeLog(path).read(0) for f in part.frames(["event_id", "_at", "_ordinal"])]
        assert frames, path
        ids = [i for frame in frames for i in frame["event_id"].to_list()]
        assert len(ids) == len(set(ids)), path
