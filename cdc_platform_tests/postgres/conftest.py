"""A database of its own for each test, and what tests do there: run SQL, open sources, collect changes as rows.

With CDC_TESTS_POSTGRES=postgresql://user:password@host:port/database in the environment, the tests of this folder run
on that server instead of the embedded one: this is how another release is tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
import psycopg2.extensions
import pytest

from cdc_platform.model.change import Captured, ChangeBatch, Entry, Followed, Unlogged
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform.sources.postgres.source import Patience, PostgresSource
from cdc_platform.sources.postgres.stream import Pace

END = Position(2**62)


@dataclass
class Database:
    """One test's database. Sources opened here are closed with it."""

    state: ServerState
    session: psycopg2.extensions.connection
    slot: str
    sources: list[PostgresSource] = field(default_factory=list)

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.session.cursor() as cursor:
            cursor.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def connection(self, **changed: Any) -> PostgresConnection:
        state = self.state
        address = {"host": state.host, "port": state.port, "database": state.database}
        return PostgresConnection(**{**address, "user": state.user, "password": state.password, **changed})

    def source(self, pace: Pace | None = None, wait: float = 20.0, **changed: Any) -> PostgresSource:
        source = PostgresSource(self.connection(**changed), self.slot, pace, Patience(wait))
        self.sources.append(source)
        return source

    def other_session(self) -> psycopg2.extensions.connection:
        return psycopg2.connect(self.state.dsn())


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> ServerState:
    url = os.environ.get("CDC_TESTS_POSTGRES")
    if not url:
        servers: Any = request.getfixturevalue("servers")
        state: ServerState = servers.postgres
        return state
    parts = urlsplit(url)
    return ServerState(
        "postgresql", parts.hostname or "", parts.port or 5432, parts.path.strip("/"),
        unquote(parts.username or ""), unquote(parts.password or ""),
    )  # fmt: skip


@pytest.fixture
def database(postgres_database: ServerState) -> Iterator[Database]:
    with closing(psycopg2.connect(postgres_database.dsn())) as session:
        session.autocommit = True
        made = Database(postgres_database, session, f"slot_{postgres_database.database}")
        try:
            yield made
        finally:
            for source in made.sources:
                source.close()


def table(name: str, schema: str = "public") -> TableName:
    return TableName(schema, name)


def rows_of(captured: Sequence[Captured], name: TableName | None = None) -> list[dict[str, Any]]:
    """The changes of one table, or of all, in the order delivered."""
    batches = [b for c in captured for b in c.batches if name is None or b.schema.table == name]
    return [row for batch in batches for row in batch.frame.to_dicts()]


def images(captured: Sequence[Captured], name: TableName | None = None) -> list[tuple[str, Any, Any]]:
    return [(row["operation"], row["before"], row["after"]) for row in rows_of(captured, name)]


def following(source: PostgresSource, tables: Sequence[TableName], start: Position) -> dict[TableName, Followed]:
    """The tables as they are now, from `start` on."""
    return {name: Followed(schema, start) for name, schema in source.schemas(tables).items()}


def follow(
    source: PostgresSource,
    tables: Sequence[TableName] | Mapping[TableName, Followed],
    start: Position,
    until: Position | None = None,
) -> list[Captured]:
    """All of [start, until) without acknowledging; `until` is the head when None. Checks what holds of any reading.

    Names alone are followed from `start` in the shape that the tables have now.
    """
    until = until or source.head()
    followed = tables if isinstance(tables, Mapping) else following(source, tables, start)
    captured = list(source.changes(followed, start, until))
    assert not captured if start == until else captured[-1].upto == until
    low = start
    seen: dict[TableName, list[Position]] = {name: [] for name in tables}
    said: list[tuple[TableName, Position]] = []
    for stretch in captured:
        for entry in stretch.entries:
            places = [entry.start]
            if isinstance(entry, ChangeBatch):
                places = [Position(*place) for place in entry.frame.select("at", "ordinal").iter_rows()]
                assert all(len(hole) == len(entry) and hole.any() for hole in entry.holes.values())
            assert all(low <= place < stretch.upto for place in places)
            assert all(place >= followed[entry.table].position for place in places)
            if isinstance(entry, Unlogged):
                said.append((entry.table, entry.start))
            else:
                seen[entry.table] += places
        assert low <= stretch.upto
        low = stretch.upto
    for own in seen.values():
        assert own == sorted(set(own))
    assert all(place in seen[name] for name, place in said)
    return captured


def entries_of(captured: Sequence[Captured], name: TableName) -> list[Entry]:
    """What the log says of one table, pieces of one kind and shape put together as they come."""
    return [entry for c in captured for entry in c.entries if entry.table == name]
