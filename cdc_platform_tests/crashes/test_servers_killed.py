"""The database is killed in the middle of a run, and comes back: the run says so, the next one goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.settings import Settings
from cdc_platform.servers.embedded import status, up
from cdc_platform_tests.conftest import temporary_home
from cdc_platform_tests.crashes.conftest import SEED
from cdc_platform_tests.crashes.forks import Forks
from cdc_platform_tests.crashes.ground import ground
from cdc_platform_tests.world import World


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Settings]:
    """To be killed: not those that other tests use."""
    with temporary_home() as settings:
        up(settings, environ={})
        yield settings


def kill(settings: Settings, system: str) -> None:
    pid = status(settings)[system].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_killed_in_the_middle(own_servers: Settings, forking: Forks, tmp_path: Path, system: str) -> None:
    states = up(own_servers, environ={})
    world = World(tmp_path / "home", states["postgres"], states["mysql"])
    with ground(system, world, forking, SEED) as stand:
        for place in ("capture.snapshot.read", "log.files.written", "capture.fetched", "reconcile.comparing"):
            with stand.stopped_at(place) as run:
                kill(own_servers, system)
            ended = stand.ended(run)
            assert ended.code in (0, 3), ended.words
            ended = stand.cdc()
            assert ended.code == 3, f"while it is down: {ended.code}: {ended.words}"
            assert up(own_servers, environ={})[system].port == states[system].port
            stand.reconnect()
            ended = stand.cdc()
            assert ended.code == 0, ended.words
            stand.assert_whole()
            stand.work()
