"""The place of a change that takes a key over from a row which went while the change waited: put behind that row's end.

Postgres writes a new row's record before it looks whether the row's key is free. So where a session inserts a row and
waits at another unique index, and meanwhile a second one deletes the row that holds the key, the log says

    record 90: INSERT key 1 (waits)    record 100: DELETE key 1    commit of the DELETE    commit of the INSERT

The events stand in the order of commits, which is right, but a reader who goes by `lsn` would end with the DELETE. The
INSERT's `lsn` becomes that of the DELETE plus one (records begin at multiples of eight): behind it, and before whatever
the key sees next, since that came after the INSERT's commit. The same for an UPDATE that moves a row to another key.

Columns, not rows; and nothing is looked up where changes came in the order of their records. Layer: engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import LSN, departures
from cdc_platform.model.change import DELETE, INSERT, ChangeBatch
from cdc_platform.model.position import Position, format_lsn, lsn_numbers, lsn_text

_ORDER: Final = "\x1forder"
_LAST: Final = "\x1flast"


def in_order(batch: ChangeBatch, pending: Sequence[ChangeBatch], log: ChangeLog, position: Position) -> ChangeBatch:
    """The batch with an `lsn` that orders the changes of each key; `log` up to `position` and `pending` are before it.

    Of a Postgres table with a key.
    """
    if _by_records(batch, pending, position):
        return batch
    key = list(batch.schema.primary_key)
    earlier = [_moves(one, key).with_columns(pl.lit(-1, pl.Int64).alias(_ORDER)) for one in pending]
    while True:
        moves = _moves(batch, key)
        late = _late(moves, earlier, position)
        if late.is_empty():
            return batch
        keys = late.select(_new(name) for name in key).unique()
        since = int(late[LSN].to_numpy().min())
        gone = [_left(one, key) for one in (*earlier, moves)]
        logged = departures(log, keys, since).with_columns(pl.lit(-1, pl.Int64).alias(_ORDER))
        gone.append(logged.select(*key, pl.col(LSN).alias(_LAST), pl.col(_ORDER).alias("gone")))
        overtaken = (
            late.lazy()
            .select(_ORDER, LSN, *(_new(name) for name in key))
            .join(pl.concat(gone).lazy(), on=key, how="inner")
            .filter((pl.col("gone") < pl.col(_ORDER)) & (pl.col(_LAST) >= pl.col(LSN)))
            .group_by(_ORDER)
            .agg(pl.col(_LAST).max() + 1)
            .collect()
        )
        if overtaken.is_empty():
            return batch
        batch = _placed(batch, overtaken)


def _by_records(batch: ChangeBatch, pending: Sequence[ChangeBatch], position: Position) -> bool:
    """Whether all changes stand in the order of their records: then none was overtaken, and no number is looked at."""
    lsn = batch.frame["lsn"]
    last = max([format_lsn(max(position.at - 1, 0)), *(str(one.frame["lsn"].max()) for one in pending)])
    return lsn.is_sorted() and lsn[0] > last


def _moves(batch: ChangeBatch, key: Sequence[str]) -> pl.DataFrame:
    """The changes after which a key is held by another row than before, or by none: `_ORDER`, `LSN`, whether a key is
    `left` and one is `taken`, `old:` and `new:` key."""
    before, after = pl.col("before").struct, pl.col("after").struct
    moved = pl.any_horizontal(before.field(name).ne_missing(after.field(name)) for name in key)
    moved = pl.col("before").is_not_null() & pl.col("after").is_not_null() & moved
    operation = pl.col("operation").cast(pl.String)
    return batch.frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias(_ORDER),
        (moved | (operation == DELETE)).alias("left"),
        (moved | (operation == INSERT)).alias("taken"),
        lsn_numbers(batch.frame["lsn"]).alias(LSN),
        *(before.field(name).alias(f"old:{name}") for name in key),
        *(after.field(name).alias(f"new:{name}") for name in key),
    ).filter(pl.col("left") | pl.col("taken"))


def _late(moves: pl.DataFrame, earlier: Sequence[pl.DataFrame], position: Position) -> pl.DataFrame:
    """Changes that take a key, and whose record is before that of a change which stands before them."""
    left = pl.when("left").then(LSN).otherwise(0)
    highest = max([position.at - 1, *(int(one.select(left.max()).item() or 0) for one in earlier)])
    before = left.cum_max().shift(1).fill_null(0)
    return moves.filter(pl.col("taken") & (pl.col(LSN) <= pl.max_horizontal(before, pl.lit(highest))))


def _new(name: str) -> pl.Expr:
    return pl.col(f"new:{name}").alias(name)


def _left(moves: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Keys that rows gave up, at `_LAST`, in the order `gone`."""
    return moves.filter("left").select(
        *(pl.col(f"old:{name}").alias(name) for name in key), pl.col(LSN).alias(_LAST), pl.col(_ORDER).alias("gone")
    )


def _placed(batch: ChangeBatch, places: pl.DataFrame) -> ChangeBatch:
    numbers = places.sort(_ORDER)
    lsn = batch.frame["lsn"].scatter(numbers[_ORDER], lsn_text(numbers[_LAST].to_numpy()))
    return replace(batch, frame=batch.frame.with_columns(lsn.alias("lsn")))
