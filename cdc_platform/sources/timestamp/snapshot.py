"""A snapshot whose position is a time; it also tells from where on the column is to be followed behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.key_range import KeyRange
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.timestamp.column import Column, keyed
from cdc_platform.sources.timestamp.server import View
from cdc_platform.sources.timestamp.watermark import Watermark


@dataclass(frozen=True, slots=True)
class TimestampSnapshot:
    """Implements `sources.source.Snapshot` by a server's view, with the keys that the pipelines name."""

    view: View
    columns: Mapping[TableName, Column]

    @property
    def position(self) -> Position:
        return self.view.position

    @property
    def readers(self) -> int:
        return self.view.readers

    def schema(self, table: TableName) -> TableSchema:
        return keyed(self.view.schema(table), self.columns[table])

    def count(self, table: TableName) -> int:
        return self.view.count(table)

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        whole = self.schema(table)
        for batch in self.view.read(table, columns, within):
            key = whole.primary_key if set(whole.primary_key) <= set(batch.schema.names) else ()
            yield replace(batch, schema=replace(batch.schema, primary_key=key))

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        return self.view.split(table, rows, within)

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        return self.view.digests(table, columns, ranges)

    def resume(self, table: TableName) -> str | None:
        """The highest value of the column in the snapshot: what comes later is behind it or in its window."""
        column = self.columns[table]
        now = column.clock(self.view.schema(table)).shows(self.view.taken)
        return Watermark().raised(self.view.highest(table, column.name, now), now).text
