"""A consistent read of the database, bound to a place in its log.

A temporary logical slot exports the snapshot: the server guarantees that it holds exactly the transactions whose commit
record starts before the slot's consistent point C, so the snapshot's position is `Position(C, 0)` and nothing is lost
or doubled between it and the stream. Tables are read in a session that imports it (`readers`); an error in one does not
spoil the others. Rows come as a binary COPY in Arrow record batches; memory holds a few of them.

The tables are locked against ALTER, TRUNCATE and the like before the export and until the end (`locks`), so each has
one shape: whoever changed it before had committed by then, and so lies before C. A rewrite between the export and the
read would make rows vanish from the snapshot; should it happen all the same (the session that holds the locks was
ended), the table's files tell, and the read stops. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError, InvalidRow, Unavailable
from cdc_platform.model import canonical
from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.key_range import WHOLE, Bound, KeyRange, bounds_of, cut, runs
from cdc_platform.model.position import LSN, Notation, Position
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.cells import BadCell
from cdc_platform.sources.postgres.batches import snapshot_batch
from cdc_platform.sources.postgres.catalogue import CatalogueTable
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier, read_ahead
from cdc_platform.sources.postgres.digests import statement as digest_statement
from cdc_platform.sources.postgres.locks import Locked, own_rows
from cdc_platform.sources.postgres.ranges import ranged, step, where
from cdc_platform.sources.postgres.readers import Readers
from cdc_platform.sources.postgres.slot import Export
from cdc_platform.sources.postgres.types import from_arrow, way_out

_ROWS, _MAX_ROWS = 65_536, 262_144  # of one batch; wide rows give fewer
_BYTES = 32 << 20

# A table's file as the snapshot sees it against the one it has now, for the table and all its partitions.
_REWRITTEN = """
select count(*) from pg_partition_tree({oid}::oid::regclass) p right join pg_class c on c.oid = p.relid
where (p.relid is not null or c.oid = {oid}::oid) and c.relkind = 'r'
  and c.relfilenode <> 0 and c.relfilenode is distinct from pg_relation_filenode(c.oid)
"""


@dataclass(frozen=True, slots=True)
class PostgresSnapshot:
    """Implements `sources.source.Snapshot`. `taken_at` is the server's time in us since 1970; `export` is in terms of
    the `notation`."""

    connection: PostgresConnection
    export: Export
    taken_at: int
    tables: Locked
    sessions: Readers
    readers: int
    notation: Notation = LSN

    @property
    def position(self) -> Position:
        return Position(self.export.consistent)

    def schema(self, table: TableName) -> TableSchema:
        return self._shape(table).schema

    def count(self, table: TableName) -> int:
        with self._reading(table) as (cursor, shape), self.connection.errors(f"counting {table}"):
            cursor.execute(f"select count(*) from {own_rows(shape)}")
            row = cursor.fetchone()
        assert row is not None
        return int(row[0])

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        shape = self._shape(table)
        schema = shape.schema if columns is None else _narrowed(shape.schema, columns)
        lsn, first = self.notation.format(Position(self.export.restart)), 0
        for rows in self.select(table, where(shape, within), columns):
            yield snapshot_batch(rows, schema, self.position, first, lsn, self.taken_at)
            first += rows.height

    def select(self, table: TableName, rest: str, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """Bare rows that `rest`, the SQL behind FROM, picks and orders; with `columns`, only those."""
        with self._reading(table) as (cursor, shape):
            schema = shape.schema if columns is None else _narrowed(shape.schema, columns)
            selected = ", ".join(f"{shape.types[name].select(name)} as {identifier(name)}" for name in schema.names)
            for batch in self._record_batches(cursor, f"select {selected} from {own_rows(shape)}{rest}", table):
                yield self._rows(batch, schema)

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        column = ranged(self._shape(table))
        if column is None:
            return [within or WHOLE]
        high = within.high[0] if within and within.high else None
        with self._reading(table) as (cursor, shape):

            def key(low: Bound | None, beyond: bool) -> Bound | None:
                with self.connection.errors(f"splitting {table}"):
                    cursor.execute(step(shape, column, low, high, beyond=beyond, rows=rows))
                    found = cursor.fetch_arrow_table()[0].combine_chunks()
                return bounds_of(from_arrow(found, column.type))[0] if len(found) else None

            return cut(column.name, within or WHOLE, key)

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        _narrowed(self._shape(table).schema, columns)
        rows, first, second = ([0] * len(ranges) for _ in range(3))
        for start, after, whole in runs(ranges):
            with self._reading(table) as (cursor, shape), self.connection.errors(f"digesting {table}"):
                cursor.execute("select pg_catalog.current_setting('server_version_num')::int")
                (version,) = cursor.fetchone() or (0,)
                cursor.execute(digest_statement(shape, columns, ranges[start:after], whole, version))
                for bucket, count, *sums in cursor.fetchall():
                    place = start + bucket
                    rows[place], first[place], second[place] = count, *(int(number) % 2**64 for number in sums)
        return canonical.frame_of(rows, first, second)

    def resume(self, table: TableName) -> str | None:
        """None: the position says all."""
        return None

    def _shape(self, table: TableName) -> CatalogueTable:
        if table in self.tables.failures:
            raise self.tables.failures[table]
        if table not in self.tables.shapes:
            raise ConfigError(f"{table} is none of the tables that the snapshot was taken of")
        return self.tables.shapes[table]

    @contextmanager
    def _reading(self, table: TableName) -> Iterator[tuple[Any, CatalogueTable]]:
        shape = self._shape(table)
        with self.sessions.reading(shape) as cursor:
            with self.connection.errors(f"reading {table}"):
                cursor.execute(_REWRITTEN.format(oid=shape.oid))
                if cursor.fetchone() != (0,):
                    raise Unavailable(f"{table} was rewritten while the snapshot was taken; run again")
            yield cursor, shape

    def _record_batches(self, cursor: Any, statement: str, table: TableName) -> Iterator[pa.RecordBatch]:
        """Batches of _ROWS to _MAX_ROWS rows, or of about _BYTES; none at all for an empty table."""
        with self.connection.errors(f"reading {table}"):
            cursor.execute(statement)
            batches = read_ahead(cursor)
        held: list[pa.RecordBatch] = []
        with closing(batches):
            while True:
                with self.connection.errors(f"reading {table}"):
                    batch = next(batches, None)
                if batch is not None and batch.num_rows:
                    held.append(batch)
                full = sum(b.num_rows for b in held) >= _ROWS or sum(b.nbytes for b in held) >= _BYTES
                if held and (batch is None or full):
                    merged = held[0] if len(held) == 1 else pa.concat_batches(held)
                    yield from (merged.slice(start, _MAX_ROWS) for start in range(0, merged.num_rows, _MAX_ROWS))
                    held = []
                if batch is None:
                    return

    def _rows(self, batch: pa.RecordBatch, schema: TableSchema) -> pl.DataFrame:
        columns = []
        for column, array in zip(schema.columns, batch.columns, strict=True):
            try:
                columns.append(from_arrow(array, column.type).alias(column.name))
            except BadCell as bad:
                where = f"{schema.table}: column '{column.name}' of a row in the snapshot at"
                place = self.notation.format(self.position)
                raise InvalidRow(f"{where} {place} {bad.reason}; {way_out(column.name)}") from None
        return pl.DataFrame(columns)


def _narrowed(schema: TableSchema, columns: Sequence[str]) -> TableSchema:
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise ConfigError(f"{schema.table} has no column '{unknown[0]}'; it has {', '.join(schema.names)}")
    key = schema.primary_key if set(schema.primary_key) <= set(columns) else ()
    return replace(schema, columns=tuple(schema.column(name) for name in columns), primary_key=key)
