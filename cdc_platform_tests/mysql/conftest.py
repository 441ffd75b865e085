"""A database of one test and the source that captures it.

With CDC_TESTS_MYSQL=mysql://user:password@host:port/database in the environment, the tests of this folder run on that
server instead of the embedded one: this is how another release, or MySQL instead of MariaDB, is tried (with `-n 0`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pymysql
import pytest

from cdc_platform.model.change import Captured, Entry, Followed
from cdc_platform.model.evolution import carried
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.mysql.connection import MySQLConnection
from cdc_platform.sources.mysql.source import STRETCH_BYTES, MySQLSource


@dataclass
class Database:
    """A test's own database: statements go in by `run`, changes come out by `changes`."""

    state: ServerState
    connection: pymysql.connections.Connection[Any]
    _sources: list[MySQLSource] = field(default_factory=list)

    def run(self, *statements: str, rows: Sequence[Sequence[Any]] = ()) -> None:
        """Statements in order; `rows` are the parameters of the last one, once each."""
        with self.connection.cursor() as cursor:
            for statement in statements[: None if not rows else -1]:
                cursor.execute(statement)
            for row in rows:
                cursor.execute(statements[-1], tuple(row))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    @property
    def mariadb(self) -> bool:
        ((version,),) = self.query("select version()")
        return "MariaDB" in version

    @property
    def target(self) -> MySQLConnection:
        return MySQLConnection(
            self.state.host, self.state.port, self.state.database, self.state.user, self.state.password
        )

    def source(self, stretch_bytes: int = STRETCH_BYTES) -> MySQLSource:
        source = MySQLSource(self.target, stretch_bytes=stretch_bytes)
        self._sources.append(source)
        return source

    def table(self, name: str) -> TableName:
        return TableName(self.state.database, name)

    def followed(self, *names: str, start: Position) -> dict[TableName, Followed]:
        """Each table as it is now, with ids, to be followed from `start` on."""
        tables = self.source().schemas([self.table(name) for name in names])
        return {table: Followed(carried(None, schema), start) for table, schema in tables.items()}

    def changes(
        self, *names: str, start: Position, until: Position | None = None, stretch_bytes: int = STRETCH_BYTES
    ) -> list[Captured]:
        return self.follow(self.followed(*names, start=start), start=start, until=until, stretch_bytes=stretch_bytes)

    def follow(
        self,
        followed: Mapping[TableName, Followed],
        *,
        start: Position,
        until: Position | None = None,
        stretch_bytes: int = STRETCH_BYTES,
    ) -> list[Captured]:
        source = self.source(stretch_bytes)
        return list(source.changes(followed, start, until or source.head()))

    def close(self) -> None:
        for source in self._sources:
            source.close()
        self.connection.close()


def events(captured: Sequence[Captured], table: TableName) -> pl.DataFrame:
    """All changes of one table; its schema must be the same in all batches."""
    frames = [batch.frame for one in captured for batch in one.batches if batch.schema.table == table]
    return pl.concat(frames) if frames else pl.DataFrame()


def entries(captured: Sequence[Captured], table: TableName) -> list[Entry]:
    """All that is said of one table, which must not fail."""
    assert not any(one.failures.get(table) for one in captured), [one.failures for one in captured]
    return [entry for one in captured for entry in one.entries if entry.table == table]


def connect(state: ServerState) -> pymysql.connections.Connection[Any]:
    return pymysql.connect(
        host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
        autocommit=True, charset="utf8mb4",
    )  # fmt: skip


@pytest.fixture
def database(mysql_database: ServerState) -> Iterator[Database]:
    opened = Database(mysql_database, connect(mysql_database))
    try:
        yield opened
    finally:
        opened.close()
