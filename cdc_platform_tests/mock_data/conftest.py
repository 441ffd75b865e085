"""A pair of databases, seeded once, for the tests that only look."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import pytest
from psycopg2 import sql

from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.mock_data.rules import open_mysql, open_postgres

SIZES = Sizes(customers=3_000, orders=6_000, products=2_000, inventory=4_000, evolution=200)
NOW = datetime(2026, 3, 1)


@dataclass(frozen=True, slots=True)
class Seeded:
    postgres: ServerState
    mysql: ServerState
    rows: dict[str, int]


@pytest.fixture(scope="session")
def seeded(postgres: ServerState, mysql: ServerState) -> Iterator[Seeded]:
    """Look, or change and roll back; do not commit."""
    name = f"seeded_{secrets.token_hex(4)}"
    with open_postgres(postgres) as shop, open_mysql(mysql) as warehouse:
        shop.autocommit = True
        with shop.cursor() as cursor, warehouse.cursor() as lines:
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
            lines.execute(f"create database `{name}` character set utf8mb4")
            try:
                at = replace(postgres, database=name), replace(mysql, database=name)
                yield Seeded(*at, seed(*at, SIZES, seed=7, now=NOW))
            finally:
                cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
                lines.execute(f"drop database `{name}`")
