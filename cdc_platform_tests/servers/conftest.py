"""A CDC_HOME of the test's own, and short ways to ask its servers something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pymysql
import pytest

from cdc_platform.config.settings import Settings
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.conftest import temporary_home

Ask = Callable[[ServerState, str], list[tuple[Any, ...]]]


@pytest.fixture
def home() -> Iterator[Settings]:
    """Nothing runs there yet; whatever the test starts is stopped at its end."""
    with temporary_home() as settings:
        yield settings


@pytest.fixture(scope="module")
def used_home() -> Iterator[Settings]:
    """Shared by the tests of one module, which start and stop its servers as they like. Its name is no easy one."""
    with temporary_home("cdc tests' $x ü " + "long" * 40) as settings:
        yield settings


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Run one statement on a server; its rows, committed."""

    def run(state: ServerState, query: str) -> list[tuple[Any, ...]]:
        connection = (
            psycopg2.connect(state.dsn())
            if state.scheme == "postgresql"
            else pymysql.connect(
                host=state.host, port=state.port, user=state.user, password=state.password, database=state.database
            )
        )
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(query)
            rows = list(cursor.fetchall()) if cursor.description else []
            connection.commit()
            return rows

    return run
