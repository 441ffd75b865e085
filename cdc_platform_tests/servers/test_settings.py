"""The servers offer what capture relies on, and nothing to strangers."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg2
import pymysql
import pytest

from cdc_platform.servers.embedded import status
from cdc_platform.servers.state import ServerState, read_state, write_state
from cdc_platform_tests.conftest import Servers
from cdc_platform_tests.servers.conftest import Ask


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("wal_level", "logical"),
        ("max_replication_slots", "64"),
        ("max_wal_senders", "64"),
        ("max_slot_wal_keep_size", "-1"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
    ],
)
def test_postgres_setting(postgres: ServerState, ask: Ask, setting: str, value: str) -> None:
    assert ask(postgres, f"show {setting}") == [(value,)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("log_bin", 1),
        ("server_id", 1),
        ("binlog_format", "ROW"),
        ("binlog_row_image", "FULL"),
        ("binlog_row_metadata", "FULL"),
        ("log_bin_compress", 0),
        ("sync_binlog", 1),
        ("innodb_flush_log_at_trx_commit", 1),
        ("character_set_server", "utf8mb4"),
        ("time_zone", "+00:00"),
        ("bind_address", "127.0.0.1"),
        ("socket", ""),
        ("local_infile", 1),
    ],
)
def test_mysql_setting(mysql: ServerState, ask: Ask, setting: str, value: object) -> None:
    assert ask(mysql, f"select @@{setting}") == [(value,)]


def test_versions(postgres: ServerState, mysql: ServerState, ask: Ask) -> None:
    assert ask(postgres, "select current_setting('server_version_num')::int / 10000") == [(18,)]
    ((version,),) = ask(mysql, "select version()")
    assert tuple(int(part) for part in version.split("-")[0].split(".")[:2]) >= (10, 6)
    assert "MariaDB" in version


def test_the_user_may_replicate(postgres_database: ServerState, mysql: ServerState, ask: Ask) -> None:
    query = "select slot_name from pg_create_logical_replication_slot('servers_test', 'pgoutput')"
    assert ask(postgres_database, query) == [("servers_test",)]
    assert ask(mysql, "show master status")[0][0].startswith("binlog.")


def test_nobody_without_a_password(postgres: ServerState, mysql: ServerState) -> None:
    for user in ("postgres", "nobody", postgres.user):
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(replace(postgres, user=user, password="wrong").dsn())
    for user in ("root", "", mysql.user):
        with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
            pymysql.connect(host=mysql.host, port=mysql.port, user=user, password="")


def test_only_the_account_and_the_demo_database_are_there(mysql: ServerState, ask: Ask) -> None:
    accounts = ask(mysql, "select user, host from mysql.user where user <> 'mariadb.sys'")
    assert accounts == [(mysql.user, "127.0.0.1")]
    databases = {name for (name,) in ask(mysql, "show databases")}
    assert "demo_db" in databases
    assert "test" not in databases


def test_the_password_is_shown_only_when_asked_for(servers: Servers) -> None:
    running = status(servers.settings)
    processes = subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True, check=True).stdout
    logs = "".join(file.read_text() for file in (servers.settings.home / "logs").iterdir())
    for state in (servers.postgres, servers.mysql):
        assert len(state.password) >= 24
        assert state.password in state.dsn()
        for shown in (repr(state), repr(running), processes, logs):
            assert state.password not in shown
    assert str(servers.settings.home) in processes  # the list did show the servers
    for found in running.values():
        environment = Path(f"/proc/{found.pid}/environ").read_text() if os.geteuid() == 0 else ""
        assert servers.postgres.password not in environment


def test_the_record_is_private_and_what_the_configuration_reads(servers: Servers) -> None:
    for name, state in (("postgres", servers.postgres), ("mysql", servers.mysql)):
        file = servers.settings.server_file(name)
        assert file.stat().st_mode & 0o777 == 0o600
        assert set(json.loads(file.read_text())) == {"host", "port", "database", "user", "password"}
        prefix = name.upper()
        environment = servers.settings.environment({})
        assert environment[f"{prefix}_PORT"] == str(state.port)
        assert environment[f"{prefix}_PASSWORD"] == state.password


def test_an_empty_or_foreign_record_counts_as_none(tmp_path: Path) -> None:
    file = tmp_path / "postgres.json"
    assert read_state(file, "postgresql") is None
    for content in ("", "{", "[]", '{"host": "127.0.0.1"}', '{"host": 1, "port": "x"}'):
        file.write_text(content)
        assert read_state(file, "postgresql") is None
    state = ServerState.generate("postgresql", 5432)
    write_state(file, state)
    assert read_state(file, "postgresql") == state
    assert [found.name for found in tmp_path.iterdir()] == ["postgres.json"]


def test_a_password_of_any_characters_makes_a_valid_address() -> None:
    state = ServerState("mysql", "127.0.0.1", 3306, "db", "a@b", "p:/?#[]@!%ä")
    assert state.dsn() == "mysql://a%40b:p%3A%2F%3F%23%5B%5D%40%21%25%C3%A4@127.0.0.1:3306/db"
