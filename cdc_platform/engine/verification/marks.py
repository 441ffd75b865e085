"""What is compared of a row: its key, its part, and two digests of two hashes each. Pure.

`VALUES` are the hashes of the columns that come from the source's present ones, `ALL` those of every column, the
`_cdc_*` ones included. Rows are frames of the destination's columns in its types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.engine.verification.parts import PART, Parts
from cdc_platform.model.canonical import alike, row_words
from cdc_platform.model.digest import row_hashes
from cdc_platform.model.projection import Projection, polars_type

VALUES: Final = ("\x1fvalue0", "\x1fvalue1")
ALL: Final = ("\x1fall0", "\x1fall1")
COUNT: Final = "\x1fcount"
ROWS: Final = "rows"
HELD: Final = "\x1fheld"
"""Rows that the destination should hold: `ROWS` and those of keys of which an event is in quarantine."""


@dataclass(frozen=True, slots=True)
class Marking:
    """How rows of one destination are marked. `key` may be empty: then rows are told apart by their values."""

    key: tuple[str, ...]
    mapped: tuple[str, ...]
    names: tuple[str, ...]
    types: pl.Schema
    parts: Parts
    canonical: bool = False

    @classmethod
    def of(cls, plan: Projection, parts: Parts, in_database: bool = False) -> Marking:
        fields = plan.target.fields
        types = pl.Schema({field.name: polars_type(field.type) for field in fields})
        mapped = tuple(field.name for _, field in plan.pairs)
        # The database says the same of ranges of its own columns, where the destination has their values as they are.
        canonical = (
            in_database and bool(parts.ranges) and all(alike(column.type, field.type) for column, field in plan.pairs)
        )
        return cls(plan.target.key, mapped, tuple(f.name for f in fields), types, parts, canonical)

    @property
    def identity(self) -> list[str]:
        """The columns of marks that tell rows apart."""
        return list(self.key or VALUES)

    def values(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Key, `PART`, `VALUES` of rows of (at least) the mapped columns."""
        return pl.DataFrame([*(rows[name] for name in self.key), self.parts.of(rows), *self._values(rows)])

    def whole(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Key, `PART`, `ALL` of rows of all columns."""
        return pl.DataFrame([*(rows[name] for name in self.key), self.parts.of(rows), *self._all(rows)])

    def both(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Key, `PART`, `VALUES`, `ALL` of rows of all columns."""
        return self.whole(rows).with_columns(self._values(rows))

    def _values(self, rows: pl.DataFrame) -> list[pl.Series]:
        """As the database digests rows where it can (canonical.py), else by Polars' hashes, which are faster."""
        cells = rows.select(self.mapped)
        hashes = row_words(cells).get_columns() if self.canonical else row_hashes(cells)
        return [series.alias(name) for series, name in zip(hashes, VALUES, strict=True)]

    def _all(self, rows: pl.DataFrame) -> list[pl.Series]:
        hashes = row_hashes(rows.select(self.names))
        return [series.alias(name) for series, name in zip(hashes, ALL, strict=True)]


def sums(marks: pl.DataFrame, hashes: Sequence[str], by: Sequence[str] = (PART,)) -> pl.DataFrame:
    """`by`, `ROWS` and the sums of `hashes` modulo 2**64."""
    return marks.group_by(list(by)).agg(pl.len().cast(pl.Int64).alias(ROWS), *(pl.col(name).sum() for name in hashes))


def added(parts: pl.DataFrame, hashes: Sequence[str], by: Sequence[str] = (PART,)) -> pl.DataFrame:
    """The sums of sums."""
    return parts.group_by(list(by)).agg(pl.col(ROWS).sum(), *(pl.col(name).sum() for name in hashes))


def differing(one: pl.DataFrame, other: pl.DataFrame, hashes: Sequence[str]) -> list[int]:
    """The parts whose digests (as `sums` gives them) differ; a part that one of them lacks is one without rows."""
    both = one.join(other, on=PART, how="full", coalesce=True, suffix=":other")
    equal = [pl.col(n).fill_null(0) == pl.col(f"{n}:other").fill_null(0) for n in (ROWS, *hashes)]
    return both.filter(~pl.all_horizontal(equal))[PART].sort().to_list()
