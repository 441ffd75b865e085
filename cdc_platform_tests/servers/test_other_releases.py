"""Servers that only tests start: they come up as capture needs them, beside each other, and go."""

from __future__ import annotations

from cdc_platform.config.settings import Settings
from cdc_platform.servers.embedded import running, status
from cdc_platform.servers.postgres15 import Postgres15
from cdc_platform.servers.process import find
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.conftest import share_software
from cdc_platform_tests.servers.conftest import Ask


def test_postgres_15_is_set_for_capture(postgres15: ServerState, ask: Ask) -> None:
    ((version, level, prepared),) = ask(
        postgres15,
        "select current_setting('server_version_num')::int / 10000, current_setting('wal_level'), "
        "current_setting('max_prepared_transactions')::int",
    )
    assert (version, level) == (15, "logical")
    assert prepared > 0


def test_it_is_stopped_at_the_end_and_comes_back_with_its_data(
    home: Settings, postgres15: ServerState, ask: Ask
) -> None:
    del postgres15  # it can be had
    server = Postgres15(home.home / "servers" / "postgres")
    assert share_software(server, home.home) is None
    with running(server, home) as state:
        ask(state, "create table kept (id int)")
    assert find(server.mark) is None
    assert status(home)["postgres"].pid is None
    with running(server, home) as state:
        assert ask(state, "select count(*) from kept") == [(0,)]
