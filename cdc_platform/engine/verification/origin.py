"""What the source holds in a snapshot, in the destination's columns: digests by part, and marks of rows.

Digests are the database's own where it can compute them; else rows are read and digested here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from cdc_platform.engine.verification.marks import ROWS, VALUES, Marking, added, sums
from cdc_platform.engine.verification.parts import PART
from cdc_platform.model.canonical import WORDS
from cdc_platform.model.projection import Projection
from cdc_platform.model.schema import TableName
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.source import Snapshot


@dataclass(slots=True)
class Origin:
    """`plan` is the projection of the snapshot's shape. Rows of the keys `aside` are left out. `rows_read` counts what
    came from the source, `rows_digested` what it digested itself."""

    snapshot: Snapshot
    table: TableName
    plan: Projection
    marking: Marking
    aside: pl.DataFrame
    rows_read: int = 0
    rows_digested: int = 0

    def digests(self, parts: Sequence[int]) -> pl.DataFrame:
        """`PART`, rows and the sums of `VALUES` of these parts."""
        empty = pl.DataFrame(schema={PART: pl.UInt32, "rows": pl.Int64, **dict.fromkeys(VALUES, pl.UInt64)})
        if self.marking.canonical and self.aside.is_empty() and parts:
            return self._computed(parts)
        found = [sums(marks, VALUES) for marks in self.marks(parts)]
        return added(pl.concat([empty, *found]), VALUES)

    def _computed(self, parts: Sequence[int]) -> pl.DataFrame:
        columns = [self.plan.source_of(name) for name in self.marking.mapped]
        ranges = [self.marking.parts.ranges[part] for part in parts]
        found = self.snapshot.digests(self.table, columns, ranges)
        self.rows_digested += int(found[ROWS].sum())
        place = pl.Series(PART, parts, dtype=pl.UInt32).gather(found["range"])
        words = (found[word].alias(name) for word, name in zip(WORDS, VALUES, strict=True))
        return pl.DataFrame([place, found[ROWS], *words])

    def marks(self, parts: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Marks of the rows of these parts, in frames."""
        wanted = pl.Series(parts, dtype=pl.UInt32).implode()
        for rows in self._rows(parts):
            self.rows_read += rows.height
            if self.aside.height:
                rows = rows.join(self.aside, on=self.aside.columns, how="anti", nulls_equal=True, maintain_order="left")
            marks = self.marking.values(self.plan.plain(rows).cast(self._types()))
            yield marks.filter(pl.col(PART).is_in(wanted))

    def without_aside(self, marks: pl.DataFrame) -> pl.DataFrame:
        """Marks of other keys than those left out."""
        if self.aside.is_empty():
            return marks
        keys = self.plan.plain(self.aside)
        return marks.join(keys, on=keys.columns, how="anti", nulls_equal=True, maintain_order="left")

    def _rows(self, parts: Sequence[int]) -> Iterator[pl.DataFrame]:
        columns = [self.plan.source_of(name) for name in self.marking.mapped]
        ranges = self.marking.parts.ranges
        if not parts:
            return
        # Many ranges one by one take longer than all at once.
        for within in [ranges[part] for part in parts] if 2 * len(parts) < len(ranges) else [None]:
            for batch in ahead(self.snapshot.read(self.table, columns, within)):
                yield batch.frame["after"].struct.unnest()

    def _types(self) -> pl.Schema:
        return pl.Schema({name: self.marking.types[name] for name in self.marking.mapped})
