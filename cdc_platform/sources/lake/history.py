"""A history as a source: a table whose rows are changes, as this platform's own append destinations are. Pure.

    _cdc_operation             what the change was
    _cdc_source_lsn            the order of a key's changes: this, or
    _cdc_binlog_file, _position

A commit's rows of one key may lie in several files (partitions), so their places there do not order them: rows of keys
that are there once keep their row's number, the others come after all of them, in their own order. What the table holds
is the last row of each key, unless that is a DELETE. Memory holds key and order of each row. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import polars as pl

from cdc_platform.errors import ConfigError, NotUnderstood
from cdc_platform.model.change import DELETE, INSERT, OPERATION, UPDATE
from cdc_platform.sources.lake.plan import AFTER, BEFORE, ORDINAL
from cdc_platform.sources.lake.rows import ROW

CHANGE: Final = "_cdc_operation"
_ORDERS: Final = (("_cdc_source_lsn",), ("_cdc_binlog_file", "_cdc_binlog_position"))


def columns_of(columns: Collection[str], key: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns that make a table a history: the operation, and what orders a key's changes. Raises ConfigError."""
    order = next((names for names in _ORDERS if set(names) <= set(columns)), None)
    if order is None or CHANGE not in columns:
        raise ConfigError(
            f"{where} is no history: it lacks {CHANGE}, or {' or '.join(', '.join(names) for names in _ORDERS)}; take "
            "'history: true' away, and its rows are the source's rows"
        )
    if not key:
        raise ConfigError(f"{where}: a history needs the primary_key of the rows that it tells of")
    return (CHANGE, *order)


def changes(index: pl.DataFrame, key: Sequence[str], own: Sequence[str], where: str) -> pl.DataFrame:
    """The plan (plan.py) of one commit: `index` has `ROW`, key and `own` (`columns_of`). An UPDATE has no row before
    it here."""
    strange = index.filter(~pl.col(CHANGE).is_in([INSERT, UPDATE, DELETE]))
    if strange.height or index[CHANGE].has_nulls():
        raise NotUnderstood(f"{where}: {CHANGE} is something else than INSERT, UPDATE or DELETE")
    names = list(key)
    several = index.select(pl.struct(names).is_duplicated()).to_series()
    first = int(index[ROW].max() or 0) + 1 if index.height else 0  # type: ignore[arg-type]
    ordered = index.filter(several).sort(*own[1:], (pl.col(CHANGE) != DELETE), ROW)
    whole = pl.concat(
        [
            index.filter(~several).with_columns(pl.col(ROW).alias(ORDINAL)),
            ordered.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias(ORDINAL)),
        ]
    )
    gone = pl.col(CHANGE) == DELETE
    return whole.select(
        pl.col(CHANGE).cast(OPERATION).alias("operation"),
        pl.when(gone).then(ROW).alias(BEFORE),
        pl.when(~gone).then(ROW).alias(AFTER),
        ORDINAL,
    )


def state(index: pl.DataFrame, key: Sequence[str], own: Sequence[str]) -> pl.Series:
    """The numbers of the rows that are there now, ascending."""
    last = index.sort(*own[1:], (pl.col(CHANGE) != DELETE), ROW).unique(list(key), keep="last")
    return last.filter(pl.col(CHANGE) != DELETE)[ROW].sort()
