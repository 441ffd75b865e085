"""One version of a lake table, read whole: of a history, the last row of each key. Layer: sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from cdc_platform.errors import ConfigError
from cdc_platform.model import canonical
from cdc_platform.model.change import INSERT, ChangeBatch
from cdc_platform.model.key_range import WHOLE, KeyRange, places
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.lake import history
from cdc_platform.sources.lake.batches import BATCH_ROWS, NOTATION, indexed, of_one_kind
from cdc_platform.sources.lake.reading import still_there
from cdc_platform.sources.lake.rows import ROW, Rows


@dataclass(slots=True)
class LakeSnapshot:
    """See `sources.source.Snapshot`. `own` are a history's columns (`history.columns_of`), none for other tables."""

    name: str
    position: Position
    schemas: Mapping[TableName, TableSchema]
    rows: Rows
    own: Sequence[str]
    taken: datetime
    readers: int = 1
    _there: pl.Series | None = field(default=None)

    def resume(self, table: TableName) -> str | None:
        """None: the version is all that it takes to go on."""
        return None

    def schema(self, table: TableName) -> TableSchema:
        return self.schemas[table]

    def count(self, table: TableName) -> int:
        if not self.own:
            return len(self.rows)
        with still_there(self.name):
            return len(self._state(table))

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        schema = _narrowed(self.schemas[table], columns)
        ranged = within if within is not None and within.columns else None
        wanted = list(dict.fromkeys([*schema.names, *(ranged.columns if ranged else ())]))
        done = 0
        for frame in self._frames(table, wanted):
            if ranged is not None:
                frame = frame.filter(places(frame[ranged.columns[0]], [ranged]).is_not_null())
            numbers = pl.int_range(done, done + frame.height, dtype=pl.Int64, eager=True).alias(ROW)
            done += frame.height
            rows = iter([frame.select(schema.names).with_columns(numbers)])
            for batch in of_one_kind(rows, INSERT, schema, self.position.at - 1, self.taken):
                yield replace(
                    batch, frame=batch.frame.with_columns(self._lsn(), pl.lit(None, pl.String).alias("transaction_id"))
                )

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        """One range: a file holds keys of all of them."""
        return [within or WHOLE]

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        wanted = list(dict.fromkeys([*columns, *(ranges[0].columns if ranges else ())]))
        return canonical.digests(self._frames(table, wanted), columns, ranges)

    def _lsn(self) -> pl.Expr:
        """Behind all changes of the version, before those of the next."""
        return pl.lit(NOTATION.lsn(self.position)).alias("lsn")

    def _frames(self, table: TableName, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        with still_there(self.name):
            if not self.own:
                yield from self.rows.frames(names)
                return
            there = self._state(table)
            for first in range(0, len(there), BATCH_ROWS):
                yield self.rows.take(there.slice(first, BATCH_ROWS), names)

    def _state(self, table: TableName) -> pl.Series:
        """Of a history: the numbers of the rows that are there."""
        if self._there is None:
            key = self.schemas[table].primary_key
            empty = pl.Series(ROW, [], pl.Int64)
            self._there = (
                history.state(indexed(self.rows, key, (), self.own), key, self.own) if len(self.rows) else empty
            )
        return self._there


def _narrowed(schema: TableSchema, columns: Sequence[str] | None) -> TableSchema:
    if columns is None:
        return schema
    if unknown := [name for name in columns if name not in schema.names]:
        raise ConfigError(f"{schema.table} has no column '{unknown[0]}'; it has {', '.join(schema.names)}")
    kept = tuple(column for column in schema.columns if column.name in columns)
    key = schema.primary_key if set(schema.primary_key) <= set(columns) else ()
    return TableSchema(schema.table, kept, key, schema.last_id)
