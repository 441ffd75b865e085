"""The snapshot of a source that has none to take: the topic's own first rows come as changes. Layer: sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from cdc_platform.errors import NeedsPerson
from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.key_range import WHOLE, KeyRange
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema


@dataclass(frozen=True, slots=True)
class EmptySnapshot:
    """No row, at the first message that is kept. Implements `Snapshot`."""

    position: Position
    shapes: Mapping[TableName, TableSchema]
    readers: int = 1

    def resume(self, table: TableName) -> str | None:
        """None: from the first message on, the position says all."""
        return None

    def schema(self, table: TableName) -> TableSchema:
        return self.shapes[table]

    def count(self, table: TableName) -> int:
        return 0

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        return iter(())

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        return [within or WHOLE]

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        raise NeedsPerson(f"{table}: the database behind the topics is not ours to read")
