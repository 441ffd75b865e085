"""Servers that only tests start: they come up as capture needs them, beside each other, and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.config.settings import Settings
from cdc_platform.servers.embedded import running, status
from cdc_platform.servers.mysql import MySQL
from cdc_platform.servers.postgres15 import Postgres15
from cdc_platform.servers.process import find
from cdc_platform.servers.state import ServerState
from cdc_platform_tests import conftest
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


@pytest.mark.parametrize("kind", [Postgres15, MySQL])
def test_where_it_cannot_be_fetched_the_reason_is_given(
    kind: type[Postgres15 | MySQL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it, tests that need the server are skipped; nothing is left for a later run to trip over."""
    monkeypatch.setattr(conftest, "PACKAGE", tmp_path / "project" / "cdc_platform")
    monkeypatch.setenv("PATH", str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    server = kind(home / "servers" / kind.name)
    refused = share_software(server, home)
    assert "there is no apt on this machine" in str(refused)
    assert not server.tree.exists()
    assert not server.tree.is_symlink()
