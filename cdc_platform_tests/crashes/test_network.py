"""The network fails in the middle of a run: the run ends in bounded time and says so, and the next one goes on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from cdc_platform.servers.state import ServerState
from cdc_platform.sources.mysql.connection import MySQLConnection, connect, raw_socket
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform_tests.crashes.conftest import SEED
from cdc_platform_tests.crashes.forks import IMPATIENT_SECONDS, Forks
from cdc_platform_tests.crashes.ground import Ground, ground
from cdc_platform_tests.crashes.proxy import Fault, Proxy, proxied
from cdc_platform_tests.world import World

_BOUND_SECONDS = 60


# A Postgres server that is silent on a connection that lives may be thinking: it is waited for.
_CUTS = [("postgres", fault) for fault in ("refused", "reset", "half")]
_CUTS += [("mysql", fault) for fault in ("refused", "reset", "half", "silent")]


@pytest.fixture
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


@pytest.mark.parametrize(("cut", "fault"), _CUTS, indirect=["cut"])
def test_cut(cut: tuple[Ground, Proxy], fault: Fault) -> None:
    stand, proxy = cut
    stand.work()
    stand.keep()
    proxy.mend()
    assert stand.cdc().code == 0
    whole = proxy.passed
    stand.put_back("kept")
    for tenths in (0,) if fault == "refused" else (2, 7):
        proxy.fail(fault, whole * tenths // 10)
        began = time.monotonic()
        ended = stand.cdc()
        assert time.monotonic() - began < _BOUND_SECONDS + IMPATIENT_SECONDS
        assert ended.code == 3, f"cut at {tenths} tenths: exit code {ended.code}: {ended.words}"
        proxy.mend()
    assert stand.cdc().code == 0
    stand.assert_whole()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux's names")
def test_the_system_watches_whether_the_other_end_is_there(postgres: ServerState, mysql: ServerState) -> None:
    """Where packets vanish (a firewall that forgot, a cable), no one closes anything: after a minute it is over."""
    wanted = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 60_000}
    ours = PostgresConnection(postgres.host, postgres.port, postgres.database, postgres.user, postgres.password)
    theirs = MySQLConnection(mysql.host, mysql.port, mysql.database, mysql.user, mysql.password)
    with closing(ours.control()) as one, closing(connect(theirs)) as other:
        for descriptor in (one.fileno(), raw_socket(other).fileno()):
            with socket.socket(fileno=os.dup(descriptor)) as watched:
                assert watched.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                found = {name: watched.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in wanted}
                assert found == wanted
