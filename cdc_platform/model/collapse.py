"""From events to rows: every change as a row (history), or the last change of each key (current state).

Both give frames with `operation`, `process_ts`, `lsn`, `ordinal` and `row`, the struct that the destination stores: the
row after the change, or for a DELETE the one before it. `ordinal` is among changes that share an `lsn`: 0 in a
snapshot, and in a comparison 0 for what goes and 1 for what comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from cdc_platform.model.change import DELETE, UPDATE
from cdc_platform.model.event import COMPARED

_DELETED = pl.col("operation") == DELETE
_ORDINAL = (
    pl.when("_snapshot")
    .then(0)
    .when(pl.col("_ordinal") >= COMPARED)
    .then(pl.when(_DELETED).then(0).otherwise(1))
    .otherwise("_ordinal")
    .alias("ordinal")
)


def history(events: pl.DataFrame) -> pl.DataFrame:
    """One row an event, in the events' order."""
    return events.select(
        "operation",
        pl.col("timestamp").struct.field("process_ts"),
        pl.col("metadata").struct.field("lsn"),
        _ORDINAL,
        pl.when(_DELETED).then("before").otherwise("after").alias("row"),
    )


def last_changes(events: Iterable[pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """The last change of each key by log position over all frames: at most one row a key.

    Each frame is collapsed by itself first, so that what is held is one image a key and frame.
    """
    last = _last(pl.concat([_last(_by_key(frame, key), key) for frame in events]), key)
    return last.select("operation", "process_ts", "lsn", "ordinal", "row")


def _by_key(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Changes with their keys and places.

    At one place a key goes before it comes: an event log's DELETE and INSERT of a changed primary key, and, where a
    pipeline names a key of its own, an UPDATE that changes that one.
    """
    moved = pl.any_horizontal(
        [pl.col("before").struct.field(k).ne_missing(pl.col("after").struct.field(k)) for k in key]
    )
    left = events.filter((pl.col("operation") == UPDATE) & pl.col("before").is_not_null() & moved)
    left = left.with_columns(pl.lit(DELETE).alias("operation"), pl.lit(0, pl.Int8).alias("step"))
    step = pl.when(_DELETED).then(1).otherwise(2).cast(pl.Int8).alias("step")
    changes = pl.concat([events.with_columns(step), left])
    row = pl.when(_DELETED).then("before").otherwise("after")
    return changes.select(
        "operation",
        pl.col("timestamp").struct.field("process_ts"),
        pl.col("metadata").struct.field("lsn"),
        _ORDINAL,
        row.alias("row"),
        "_at",
        "_ordinal",
        "step",
        *(row.struct.field(k).alias(f"key:{k}") for k in key),
    )


def _last(changes: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    ordered = changes.sort("_at", "_ordinal", "step")
    return ordered.unique(subset=[f"key:{k}" for k in key], keep="last", maintain_order=False)
