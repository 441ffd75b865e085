"""MySQL and MariaDB for the timestamp-based source: the native source's catalogue and decoders, and a snapshot that
needs no place in a binlog.

    begin ──> touch each table, without its rows ──> the time ──> the first row read makes the view

Touching a table takes its metadata lock, which an ALTER waits for; a statement that reads no row makes no view yet. So
the shapes are fixed before the rows are. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from cdc_platform.errors import Unavailable
from cdc_platform.model.evolution import differences
from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.mysql import preflight
from cdc_platform.sources.mysql.catalogue import Catalogue, quoted
from cdc_platform.sources.mysql.connection import MySQLConnection, Session, TableChanged, connect, quote, session
from cdc_platform.sources.mysql.ranges import bound
from cdc_platform.sources.mysql.server import Server, describe, extent
from cdc_platform.sources.mysql.snapshot import MySQLSnapshot, prepare_reading
from cdc_platform.sources.timestamp.server import Numbered

TIME: Final = Notation("time")
_ATTEMPTS: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class MySQLView(MySQLSnapshot):
    """Implements `server.View`."""

    def since(self, table: TableName, column: str, value: int | None) -> Iterator[pl.DataFrame]:
        shape = self.catalogue.tables([table])[table]
        least = "is not null" if value is None else f">= {bound(shape, column, value)}"
        order = ", ".join(quote(name) for name in (column, *shape.schema.primary_key))
        yield from self.select(table, f" where {quote(column)} {least} order by {order}")

    def without(self, table: TableName, column: str) -> Iterator[pl.DataFrame]:
        key = [quote(name) for name in self.catalogue.tables([table])[table].schema.primary_key]
        order = f" order by {', '.join(key)}" if key else ""
        yield from self.select(table, f" where {quote(column)} is null{order}")

    def highest(self, table: TableName, column: str, below: int) -> pl.Series:
        shape, name = self.catalogue.tables([table])[table], quote(column)
        rest = f" where {name} <= {bound(shape, column, below)} order by {name} desc limit 1"
        frames = list(self.select(table, rest, [column]))
        return frames[0][column] if frames else pl.Series(column, [], pl.Datetime("us"))


class MySQLServer:
    """Implements `server.Server`."""

    def __init__(self, connection: MySQLConnection, as_text: Mapping[TableName, Collection[str]]) -> None:
        self._target, self._as_text = connection, as_text
        self._session: Session | None = None
        self._server: Server | None = None
        self._catalogue = Catalogue(self._opened, as_text)

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        self._catalogue.forget(tables)
        return {name: table.schema for name, table in self._catalogue.tables(tables).items()}

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        """When the table was made or rebuilt, which ALTERs that write all rows anew are, and on MySQL TRUNCATE too."""
        found = {}
        for table in self._catalogue.existing(tables):
            rows = self._opened().rows(
                "select create_time from information_schema.tables where table_schema = %s and table_name = %s",
                (table.schema, table.name),
            )
            found[table] = Fingerprint("", str(rows[0][0]) if rows else "")
        return found

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        """Nothing tells what a column that is new was filled with, or whether it is one that was renamed."""
        changes = [d for d in differences(before, now) if d.kind in ("add_column", "change_type", "change_key")]
        return str(changes[0]) if changes else None

    def identity(self) -> str:
        """MySQL's server_uuid. MariaDB has none: its server_id and data folder stand for it."""
        if not self._described().mariadb:
            ((uuid,),) = self._opened().rows("select @@global.server_uuid")
            return f"mysql/{uuid}"
        ((number, folder),) = self._opened().rows("select @@global.server_id, @@global.datadir")
        return f"mariadb/{number}/{str(folder).rstrip('/')}"

    def extent(self, table: TableName) -> Extent:
        return extent(self._opened(), table)

    def check(self, tables: Sequence[TableName]) -> None:
        self._catalogue.forget(tables)
        preflight.check_tables(self._opened(), self._catalogue, self._catalogue.tables(tables).values())

    def indexed(self, table: TableName, column: str) -> bool:
        rows = self._opened().rows(
            "select 1 from information_schema.statistics where table_schema = %s and table_name = %s"
            " and column_name = %s and seq_in_index = 1",
            (table.schema, table.name, column),
        )
        return bool(rows)

    def now(self) -> datetime:
        return _time(self._opened())

    @contextmanager
    def view(self, tables: Sequence[TableName], readers: int, place: Numbered) -> Iterator[MySQLView]:
        """There is one reader, whatever is asked for: no other session can be let into a snapshot."""
        with session(self._target) as opened:
            yield self._begun(opened, tables, place)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _begun(self, opened: Session, tables: Sequence[TableName], place: Numbered) -> MySQLView:
        prepare_reading(opened, self._described())
        for _ in range(_ATTEMPTS):
            try:
                opened.run("start transaction read only")
                for table in tables:
                    opened.run(f"select 1 from {quoted(table)} limit 0")
                taken = _time(opened)
                for table in tables:
                    opened.run(f"select 1 from {quoted(table)} limit 1")
            except TableChanged:
                opened.run("rollback")
                continue
            ((number,),) = opened.rows("select connection_id()")
            at = place((taken - _EPOCH) // timedelta(microseconds=1))
            catalogue = Catalogue(lambda: opened, self._as_text)
            return MySQLView(self._target, opened, TIME, Position(at), taken, int(number), catalogue)
        raise Unavailable("a table was altered each time that a snapshot began; run again when its ALTERs are over")

    def _opened(self) -> Session:
        """The session for questions; made anew when the server closed it."""
        if self._session is None or not self._session.alive():
            self.close()
            self._session = Session(self._target, connect(self._target))
        return self._session

    def _described(self) -> Server:
        if self._server is None:
            self._server = describe(self._opened())
        return self._server


def _time(opened: Session) -> datetime:
    ((time,),) = opened.rows("select utc_timestamp(6)")
    assert isinstance(time, datetime)
    return time.replace(tzinfo=UTC)
