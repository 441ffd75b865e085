"""The parts of a table that are compared one by one: ranges of its key where source and lake agree on the order of
keys, else buckets by a hash of the key. Every row is in exactly one part, whatever its values. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import polars as pl

from cdc_platform.model.digest import row_hashes
from cdc_platform.model.key_range import KeyRange, places
from cdc_platform.model.projection import Projection, polars_type
from cdc_platform.model.schema import TableSchema

PART: Final = "\x1fpart"
ROWS_A_PART: Final = 20_000


@dataclass(frozen=True, slots=True)
class Parts:
    """`columns` are destination columns: the leading one of the key with its `ranges`, or those whose hash gives one of
    `buckets`."""

    columns: tuple[str, ...]
    ranges: tuple[KeyRange, ...]
    buckets: int

    @property
    def count(self) -> int:
        return len(self.ranges) or self.buckets

    def of(self, rows: pl.DataFrame) -> pl.Series:
        """The part of each row (of destination columns, in their types): UInt32 named `PART`, never null."""
        if self.ranges:
            found = places(rows[self.columns[0]], self.ranges).fill_null(len(self.ranges) - 1)
        else:
            found = (row_hashes(rows.select(self.columns))[0] % self.buckets).cast(pl.UInt32)
        return found.alias(PART)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Parts:
        held = json.loads(text)
        ranges = (KeyRange(tuple(r["columns"]), _bound(r["low"]), _bound(r["high"])) for r in held["ranges"])
        return cls(tuple(held["columns"]), tuple(ranges), held["buckets"])


def parts_for(
    plan: Projection, shape: TableSchema, ranges: Sequence[KeyRange], rows: int, part_rows: int = ROWS_A_PART
) -> Parts:
    """The parts of a table of so many rows, of which its source gives these `ranges`.

    Ranges serve where they are of the destination's own key, and its column holds the source's values as they are.
    """
    key, mapped = plan.target.key, [field.name for _, field in plan.pairs]
    if len(ranges) > 1 and key and set(ranges[0].columns) == {plan.source_of(key[0])}:
        column, field = next((c, f) for c, f in plan.pairs if f.name == key[0])
        same = polars_type(column.type).to_python() is polars_type(field.type).to_python()
        scaled = polars_type(column.type).is_decimal() and column.type != field.type
        if shape.primary_key[:1] == (column.name,) and same and not scaled:
            return Parts((field.name,), tuple(ranges), 0)
    return Parts(tuple(key or mapped), (), 1 + rows // part_rows)


def _bound(held: list[int | str] | None) -> tuple[int | str, ...] | None:
    return None if held is None else tuple(held)
