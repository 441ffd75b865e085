"""The network fails in the middle of a run: the run ends in bounded time and says so, and the next one goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cdc_platform_tests.crashes.conftest import SEED
from cdc_platform_tests.crashes.forks import IMPATIENT_SECONDS, Forks
from cdc_platform_tests.crashes.ground import Ground, ground
from cdc_platform_tests.crashes.proxy import Fault, Proxy, proxied
from cdc_platform_tests.world import World

_BOUND_SECONDS = 60


@pytest.fixture(params=["postgres", "mysql"])
def cut(request: pytest.FixtureRequest, empty_world: World, forking: Forks) -> Iterator[tuple[Ground, Proxy]]:
    """Behind the snapshot; the platform reaches its source through the proxy, the workload does not."""
    state = empty_world.postgres if request.param == "postgres" else empty_world.mysql
    with proxied(state.host, state.port) as proxy, ground(request.param, empty_world, forking, SEED) as made:
        through = replace(state, port=proxy.port)
        if request.param == "postgres":
            made.world.postgres = through
        else:
            made.world.mysql = through
        assert made.cdc().code == 0
        yield made, proxy


@pytest.mark.parametrize("fault", ["refused", "reset", "half", "silent"])
def test_cut(cut: tuple[Ground, Proxy], fault: Fault) -> None:
    stand, proxy = cut
    if fault == "silent" and stand.system == "postgres":
        pytest.skip("libpq waits as long as the other end of the connection is alive; see test_a_peer_that_is_gone")
    stand.work()
    stand.keep()
    proxy.mend()
    assert stand.cdc().code == 0
    whole = proxy.passed
    stand.put_back("kept")
    for tenths in (0,) if fault == "refused" else (1, 4, 7, 9):
        proxy.fail(fault, whole * tenths // 10)
        began = time.monotonic()
        ended = stand.cdc()
        assert time.monotonic() - began < _BOUND_SECONDS + IMPATIENT_SECONDS
        assert ended.code == 3, f"cut at {tenths} tenths: exit code {ended.code}: {ended.words}"
        proxy.mend()
    assert stand.cdc().code == 0
    stand.assert_whole()
