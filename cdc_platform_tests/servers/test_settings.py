"""The servers offer what capture relies on, and nothing to strangers."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pymysql
import pytest

from cdc_platform.servers.state import ServerState


def _postgres(state: ServerState, query: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(state.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def _mysql(state: ServerState, query: str) -> list[tuple[object, ...]]:
    with (
        closing(
            pymysql.connect(
                host=state.host, port=state.port, user=state.user, password=state.password, database=state.database
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return list(cursor.fetchall())


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("wal_level", "logical"),
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
def test_postgres_setting(postgres_database: ServerState, setting: str, value: str) -> None:
    assert _postgres(postgres_database, f"show {setting}") == [(value,)]


def test_mysql(mysql_database: ServerState) -> None:
    assert _mysql(mysql_database, "select @@wait_timeout > 0, database()") == [(1, mysql_database.database)]
