"""Marks of two sides brought together: which keys differ and how, and of equal rows how many are too many. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from cdc_platform.engine.images import as_json
from cdc_platform.engine.verification.lake import PLACE
from cdc_platform.engine.verification.marks import ALL, COUNT, VALUES

KIND: Final = "\x1fkind"
MISSING, UNEXPECTED, DIFFERENT = "missing", "unexpected", "different"
KINDS: Final = (MISSING, UNEXPECTED, DIFFERENT)
SAMPLE: Final = 100


@dataclass(slots=True)
class KeyDifferences:
    """Differing keys with their kind, each key once, as it was first found; without a key, numbers of rows alone."""

    key: tuple[str, ...]
    frames: list[pl.DataFrame] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def add(self, found: pl.DataFrame) -> None:
        """`found` has the key's columns and `KIND`."""
        if found.height:
            self.frames.append(found.select(*self.key, KIND))

    def count(self, kind: str, rows: int) -> None:
        self.counts[kind] += rows

    @property
    def any(self) -> bool:
        return bool(self.frames) or any(self.counts.values())

    def settled(self) -> tuple[dict[str, int], list[dict[str, Any]]]:
        """How many keys by kind, and the first of them with their values fit for JSON."""
        counts = dict(self.counts)
        if not self.frames:
            return counts, []
        found = pl.concat(self.frames).unique(subset=list(self.key), keep="first", maintain_order=True)
        for kind, number in found[KIND].value_counts().iter_rows():
            counts[kind] += number
        sample = as_json(found.head(SAMPLE).select(self.key).to_struct("key"))
        return counts, [json.loads(text) for text in sample]


@dataclass(frozen=True, slots=True)
class Surplus:
    """What makes the rows of a destination those that are expected: `lacking` has `ALL` and `COUNT` of rows to put in,
    `extra` the numbers of rows to take out, by file."""

    parts: Sequence[int]
    lacking: pl.DataFrame
    extra: dict[Path, pl.Series]


def state_differences(theirs: pl.DataFrame, ours: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Keys (with `KIND`) of the source's marks and the log's: missing in the log, unexpected there, or different."""
    both = theirs.select(*key, *VALUES).join(
        ours.select(*key, *VALUES), on=list(key), how="full", coalesce=True, nulls_equal=True, suffix=":log"
    )
    here, there = pl.col(VALUES[0]).is_not_null(), pl.col(f"{VALUES[0]}:log").is_not_null()
    equal = pl.all_horizontal(pl.col(name) == pl.col(f"{name}:log") for name in VALUES)
    kind = (
        pl.when(here & ~there).then(pl.lit(MISSING)).when(~here).then(pl.lit(UNEXPECTED)).otherwise(pl.lit(DIFFERENT))
    )
    return both.filter(~(here & there & equal)).select(*key, kind.alias(KIND))


def row_differences(theirs: pl.DataFrame, ours: pl.DataFrame) -> tuple[int, int]:
    """Of rows without a key: how many more the source has, and how many more the log."""
    counted = (
        theirs.group_by(VALUES)
        .len("here")
        .join(ours.select(*VALUES, COUNT), on=list(VALUES), how="full", coalesce=True)
    )
    more = counted.select(pl.col("here").fill_null(0).cast(pl.Int64) - pl.col(COUNT).fill_null(0)).to_series()
    return int(more.clip(lower_bound=0).sum()), int((-more).clip(lower_bound=0).sum())


def surplus(
    parts: Sequence[int], expected: pl.DataFrame, held: Iterable[tuple[Path, pl.DataFrame]], key: Sequence[str]
) -> tuple[Surplus, pl.DataFrame, tuple[int, int]]:
    """Marks of the rows that a destination should hold, and of those that it holds, file by file with `PLACE`.

    Gives what to do, the differing keys with `KIND`, and how many rows are lacking and too many.
    """
    wanted = expected.group_by(ALL).agg(pl.len().cast(pl.Int64).alias(COUNT))
    extra: dict[Path, pl.Series] = {}
    keys: list[pl.DataFrame] = []
    surplus_rows = 0
    for path, marks in held:
        ranked = marks.with_columns(pl.int_range(pl.len()).over(ALL).alias("\x1frank"))
        matched = ranked.join(wanted, on=list(ALL), how="left", maintain_order="left")
        over = matched.filter(pl.col("\x1frank") >= pl.col(COUNT).fill_null(0))
        if over.height:
            extra[path] = over[PLACE]
            keys.append(over.select(*key))
            surplus_rows += over.height
        wanted = _less(wanted, marks)
    lacking = wanted.filter(pl.col(COUNT) > 0)
    absent = expected.join(lacking, on=list(ALL), how="semi").select(*key)
    if key:
        came = pl.concat([absent.clear(), *keys]).unique()
        went = absent.unique()
        found = pl.concat(
            [
                went.join(came, on=list(key), how="anti", nulls_equal=True).with_columns(pl.lit(MISSING).alias(KIND)),
                came.join(went, on=list(key), how="anti", nulls_equal=True).with_columns(
                    pl.lit(UNEXPECTED).alias(KIND)
                ),
                came.join(went, on=list(key), how="semi", nulls_equal=True).with_columns(pl.lit(DIFFERENT).alias(KIND)),
            ]
        )
    else:
        found = pl.DataFrame(schema={KIND: pl.String})
    return Surplus(parts, lacking, extra), found, (int(lacking[COUNT].sum()), surplus_rows)


def taken(rows: pl.DataFrame, marks: pl.DataFrame, lacking: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Those of `rows` (their marks beside them) that are lacking, as many as are, and what is lacking then."""
    ranked = marks.select(*ALL, pl.int_range(pl.len()).over(ALL).alias("\x1frank"))
    numbered = ranked.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(PLACE))
    found = numbered.join(lacking, on=list(ALL), how="inner", maintain_order="left")
    found = found.filter(pl.col("\x1frank") < pl.col(COUNT))
    return rows[found[PLACE]], _less(lacking, found).filter(pl.col(COUNT) > 0)


def _less(wanted: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    here = marks.group_by(ALL).agg(pl.len().cast(pl.Int64).alias("\x1fhere"))
    left = wanted.join(here, on=list(ALL), how="left", maintain_order="left")
    count = pl.max_horizontal(pl.lit(0, pl.Int64), pl.col(COUNT) - pl.col("\x1fhere").fill_null(0))
    return left.select(*ALL, count.alias(COUNT))
