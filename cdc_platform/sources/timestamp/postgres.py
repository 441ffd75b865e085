"""Postgres for the timestamp-based source: the native source's catalogue and decoders, a snapshot that needs no slot.

    sessions lock the tables ──> another begins, tells its time, exports its snapshot ──> they read in it

Exporting a snapshot needs no right at all, and reading locks no right but SELECT. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import Notation
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.postgres import preflight
from cdc_platform.sources.postgres.catalogue import AsText, CatalogueTable, Session, read_tables
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier
from cdc_platform.sources.postgres.locks import locked
from cdc_platform.sources.postgres.ranges import bound
from cdc_platform.sources.postgres.readers import Readers
from cdc_platform.sources.postgres.slot import Export
from cdc_platform.sources.postgres.snapshot import PostgresSnapshot
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform.sources.timestamp.server import Numbered

TIME: Final = Notation("time")
_NO_PUBLICATION: Final = "cdc_none"  # what is published says nothing of what can be read
_LOCK_SECONDS: Final = 10.0

_INDEXED = """
select exists (
  select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
  where i.indrelid = %s::bigint::oid and i.indisvalid and i.indpred is null and a.attname = %s)
"""


@dataclass(frozen=True, slots=True)
class PostgresView(PostgresSnapshot):
    """Implements `server.View`."""

    @property
    def taken(self) -> datetime:
        return datetime.fromtimestamp(self.taken_at / 1_000_000, UTC)

    def since(self, table: TableName, column: str, value: int | None) -> Iterator[pl.DataFrame]:
        shape, name = self._shape(table), identifier(column)
        least = "is not null" if value is None else f">= {bound(shape, shape.schema.column(column), value)}"
        yield from self.select(table, f" where {name} {least} order by {', '.join([name, *_key(shape)])}")

    def without(self, table: TableName, column: str) -> Iterator[pl.DataFrame]:
        order = f" order by {', '.join(key)}" if (key := _key(self._shape(table))) else ""
        yield from self.select(table, f" where {identifier(column)} is null{order}")

    def highest(self, table: TableName, column: str, below: int) -> pl.Series:
        shape, name = self._shape(table), identifier(column)
        most = bound(shape, shape.schema.column(column), below)
        finite = f"{name} > '-infinity' and {name} <= {most}"
        frames = list(self.select(table, f" where {finite} order by {name} desc limit 1", [column]))
        return frames[0][column] if frames else pl.Series(column, [], pl.Datetime("us"))


class PostgresServer:
    """Implements `server.Server`."""

    def __init__(self, connection: PostgresConnection, as_text: AsText) -> None:
        self._connection, self._as_text = connection, as_text
        self._catalogue = PostgresSource(connection, _NO_PUBLICATION, as_text=as_text)
        self._control: Session | None = None

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        return self._catalogue.schemas(tables)

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        return self._catalogue.fingerprints(tables)

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        return self._catalogue.rewritten_by(before, now)

    def identity(self) -> str:
        return self._catalogue.identity()

    def extent(self, table: TableName) -> Extent:
        return self._catalogue.extent(table)

    def check(self, tables: Sequence[TableName]) -> None:
        with self._connection.errors("looking at tables"):
            preflight.check_readable(self._session(), self._tables(tables))

    def indexed(self, table: TableName, column: str) -> bool:
        with self._connection.errors("looking for an index"), self._session().cursor() as cursor:
            cursor.execute(_INDEXED, [self._tables([table])[table].oid, column])
            return bool((cursor.fetchone() or (False,))[0])

    def now(self) -> datetime:
        with self._connection.errors("asking for the time"), self._session().cursor() as cursor:
            cursor.execute("select clock_timestamp()")
            (time,) = cursor.fetchone() or (None,)
        assert isinstance(time, datetime)
        return time.astimezone(UTC)

    @contextmanager
    def view(self, tables: Sequence[TableName], readers: int, place: Numbered) -> Iterator[PostgresView]:
        connection = self._connection
        with (
            locked(connection, self._session(), tables, _NO_PUBLICATION, self._as_text, _LOCK_SECONDS) as kept,
            closing(Readers(connection, list(kept.shapes.values()), _LOCK_SECONDS, readers)) as sessions,
            closing(connection.control()) as exporting,
        ):
            with connection.errors("exporting a snapshot"), exporting.cursor() as cursor:
                cursor.execute("begin transaction isolation level repeatable read read only")
                # The time is that of BEGIN; the snapshot is taken after it, by this statement.
                cursor.execute("select (extract(epoch from now()) * 1000000)::bigint, pg_export_snapshot()")
                taken, name = cursor.fetchone() or (0, "")
            sessions.adopt(name)
            at = place(taken)
            yield PostgresView(connection, Export(name, at, at), taken, kept, sessions, readers, TIME)

    def close(self) -> None:
        self._catalogue.close()
        if self._control is not None:
            self._control.close()
            self._control = None

    def _session(self) -> Session:
        if self._control is None or self._control.closed:
            self._control = self._connection.control()
        return self._control

    def _tables(self, tables: Sequence[TableName]) -> Mapping[TableName, CatalogueTable]:
        return read_tables(self._session(), tables, _NO_PUBLICATION, self._as_text)


def _key(shape: CatalogueTable) -> list[str]:
    return [identifier(name) for name in shape.schema.primary_key]
