"""What a commit changed, told from the rows that it took and brought. Pure.

    rows gone ──> key, hashes, number ─┐  full join on the key ──> DELETE  of a row that is gone
    rows come ──> key, hashes, number ─┘                           INSERT  of a row that came
                                                                   UPDATE  of both, nothing where they are equal
    without a key: equal rows on both sides are nothing; what is left is DELETE and INSERT

A change's ordinal is the number of the row that came, or of the one that is gone: the same at each reading. Memory
holds a key and two hashes a row, never the rows. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from cdc_platform.errors import InvalidRow
from cdc_platform.model.change import DELETE, INSERT, OPERATION, UPDATE
from cdc_platform.sources.lake.rows import ROW, SIDE_GONE

HASHES: Final = ("\x1fhash0", "\x1fhash1")
BEFORE: Final = "\x1fbefore"
AFTER: Final = "\x1fafter"
ORDINAL: Final = "ordinal"

SCHEMA: Final = {"operation": OPERATION, BEFORE: pl.Int64(), AFTER: pl.Int64(), ORDINAL: pl.Int64()}
"""A plan: a row a change in the order of `ordinal`; the numbers of the rows before and after it, null where none is."""


def changes(index: pl.DataFrame, key: Sequence[str], told: bool, where: str) -> pl.DataFrame:
    """The plan of a commit. `index` has `ROW` and `SIDE_GONE`, the key's columns, and `HASHES` unless the commit itself
    `told` of its updates (then one that changed nothing is one, too). `where` begins an error's message."""
    gone = index.filter(pl.col(SIDE_GONE)).drop(SIDE_GONE)
    came = index.filter(~pl.col(SIDE_GONE)).drop(SIDE_GONE)
    if not key:
        return _multiset(gone, came)
    names = list(key)
    for side in (gone, came):
        if side.select(names).is_duplicated().any():
            raise InvalidRow(
                f"{where}: several rows have the same {', '.join(names)}, which are named as its primary_key; name "
                "columns that tell all rows apart"
            )
    both = (
        came.lazy().join(gone.lazy(), on=names, how="full", suffix=":gone", coalesce=True, nulls_equal=True).collect()
    )
    here, there = pl.col(ROW).is_not_null(), pl.col(f"{ROW}:gone").is_not_null()
    if not told:
        equal = pl.all_horizontal((pl.col(name) == pl.col(f"{name}:gone")).fill_null(False) for name in HASHES)
        both = both.filter(~equal)
    return both.select(
        pl.when(here & there)
        .then(pl.lit(UPDATE))
        .when(here)
        .then(pl.lit(INSERT))
        .otherwise(pl.lit(DELETE))
        .cast(OPERATION)
        .alias("operation"),
        pl.col(f"{ROW}:gone").alias(BEFORE),
        pl.col(ROW).alias(AFTER),
        pl.coalesce(ROW, f"{ROW}:gone").alias(ORDINAL),
    ).sort(ORDINAL)


def _multiset(gone: pl.DataFrame, came: pl.DataFrame) -> pl.DataFrame:
    """Of equal rows, as many as are on both sides are nothing."""
    number = "\x1fnumber"
    gone, came = (side.with_columns(pl.int_range(pl.len()).over(HASHES).alias(number)) for side in (gone, came))
    on = [*HASHES, number]
    parts = []
    for side, other, operation in ((gone, came, DELETE), (came, gone, INSERT)):
        left = side.join(other, on=on, how="anti")
        place = pl.col(ROW)
        nothing = pl.lit(None, pl.Int64)
        before, after = (place, nothing) if operation == DELETE else (nothing, place)
        parts.append(
            left.select(
                pl.lit(operation, OPERATION).alias("operation"),
                before.alias(BEFORE),
                after.alias(AFTER),
                place.alias(ORDINAL),
            )
        )
    return pl.concat(parts).sort(ORDINAL)
