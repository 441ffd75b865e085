"""The changes of a table whose snapshot is unfinished: those of the keys that are in are logged, the others are not.

Rows beyond the bound come with a later chunk, which holds whatever becomes of them until then. A row that changes its
key across the bound goes (DELETE) or comes (INSERT) as far as the log can see. Columns, not rows. Layer: engine.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from cdc_platform.errors import Unavailable
from cdc_platform.model.change import DELETE, INSERT, OPERATION, ChangeBatch
from cdc_platform.model.key_range import Bound, KeyRange, places
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import TableSchema


class BeginAgain(Unavailable):
    """What is in of an unfinished snapshot cannot be brought on; nobody has read it, so it is taken again, as a whole.

    Caught where snapshots are taken. Elsewhere it says that the next run will do so.
    """


def same_key(before: TableSchema, now: TableSchema) -> bool:
    """Whether bounds on the key of one shape mean the same in the other."""
    keys = [[(s.column(name).source_id, s.column(name).type) for name in s.primary_key] for s in (before, now)]
    return keys[0] == keys[1]


def of_done_keys(batch: ChangeBatch, below: Bound) -> ChangeBatch:
    """The changes of rows whose leading key is less than `below`, in the batch's order and places.

    A row that comes over the bound and lacks cells, which only the log could give, is BeginAgain: it is not there.
    """
    name = batch.schema.primary_key[0]
    done = [KeyRange((name,), None, (below,))]
    before, after = pl.col("before").struct.field(name), pl.col("after").struct.field(name)
    old = batch.frame.select(pl.coalesce(before, after)).to_series()
    new = batch.frame.select(pl.when(pl.col("operation") == DELETE).then(before).otherwise(after)).to_series()
    was, is_now = (places(keys, done).is_not_null() for keys in (old, new))
    leaves, enters, kept = was & ~is_now, is_now & ~was, was | is_now
    for mask in batch.holes.values():
        if (mask & enters).any():
            place = batch.frame.filter(mask & enters)["lsn"][0]
            raise BeginAgain(
                f"{batch.table}: the change at {place} moves a row over the bound of its unfinished snapshot, and "
                "leaves unchanged values out; the snapshot begins again as a whole"
            )
    if kept.all() and not leaves.any() and not enters.any():
        return batch
    image = polars_type(batch.schema.row_type)
    frame = batch.frame.with_columns(leaves.alias("leaves"), enters.alias("enters")).with_columns(
        pl.when("leaves")
        .then(pl.lit(DELETE, OPERATION))
        .when("enters")
        .then(pl.lit(INSERT, OPERATION))
        .otherwise("operation")
        .alias("operation"),
        pl.when("enters").then(pl.lit(None, image)).otherwise("before").alias("before"),
        pl.when("leaves").then(pl.lit(None, image)).otherwise("after").alias("after"),
    )
    holes = {column: rows for column, mask in batch.holes.items() if (rows := (mask & ~leaves).filter(kept)).any()}
    return replace(batch, frame=frame.drop("leaves", "enters").filter(kept), holes=holes)
