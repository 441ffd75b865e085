"""Columns of places or of a snapshot become `ChangeBatch`es. Pure. Layer: sources.

Why the text of `lsn` orders the changes of one key, snapshot rows included. A streamed change carries the place of its
own record, not of its commit. Two changes of one row are made under its lock, so the later one's record comes later in
the log; a row that takes over the key of one which goes meanwhile is put behind it (engine/takeover.py). A snapshot row
carries the restart LSN of the slot that exported the snapshot: decoding of everything that the snapshot does not hold
begins there, so every change streamed later has its own record at or after it. (The snapshot's position would not do:
a transaction that was open at it may have written its records before.)
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from cdc_platform.errors import InvalidRow
from cdc_platform.model.change import OPERATION, TIMESTAMP_UTC, ChangeBatch, Place
from cdc_platform.model.position import Position, format_lsn, lsn_text
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.cells import BadCell, Ints
from cdc_platform.sources.postgres.pgoutput import Rows, Truncation
from cdc_platform.sources.postgres.tuples import DELETE, INSERT, UPDATE, Image
from cdc_platform.sources.postgres.types import from_text, way_out

_OPERATION_CODES = np.zeros(256, np.uint8)
_OPERATION_CODES[[INSERT, UPDATE, DELETE]] = 0, 1, 2  # the order of OPERATION's categories


def stream_batch(rows: Rows, schema: TableSchema) -> tuple[ChangeBatch, InvalidRow | None]:
    """The changes as one batch, up to the first that cannot be read; and the error about that one."""
    try:
        before = _struct("before", rows.before, len(rows), schema)
        after = _struct("after", rows.after, len(rows), schema)
    except _BadRow as bad:
        where = f"{schema.table}: column '{bad.column}' of the change at {format_lsn(int(rows.lsn[bad.row]))}"
        batch, earlier = stream_batch(rows.head(bad.row), schema)
        return batch, earlier or InvalidRow(f"{where} {bad.reason}; {way_out(bad.column)}")
    columns = [
        pl.Series("operation", _OPERATION_CODES[rows.kind]).cat.to(OPERATION),
        pl.Series("at", rows.at),
        pl.Series("ordinal", rows.ordinal),
        lsn_text(rows.lsn).alias("lsn"),
        pl.Series("transaction_id", rows.xid).cast(pl.String),
        pl.Series("source_ts", rows.time).cast(TIMESTAMP_UTC),
        before,
        after,
    ]
    holes = {schema.columns[place].name: pl.Series(mask) for place, mask in rows.holes.items()}
    return ChangeBatch(schema, pl.DataFrame(columns), holes), None


def place_of(change: Truncation) -> Place:
    """Where in the log it is, as `ChangeBatch.frame` would tell it."""
    time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=change.time)
    return Place(change.at, change.ordinal, format_lsn(change.lsn), str(change.xid), time)


def first_place(batch: ChangeBatch) -> Place:
    """Where the batch's first change is."""
    return Place(*batch.frame.select("at", "ordinal", "lsn", "transaction_id", "source_ts").row(0))


def snapshot_batch(
    rows: pl.DataFrame, schema: TableSchema, position: Position, first: int, lsn: str, source_ts: int
) -> ChangeBatch:
    """Rows of a snapshot (columns as in `schema`) as inserts with ordinals from `first` on; `source_ts` in us."""
    count = rows.height
    columns = [
        pl.repeat("INSERT", count, dtype=OPERATION, eager=True).alias("operation"),
        pl.repeat(position.at - 1, count, dtype=pl.Int64, eager=True).alias("at"),
        pl.int_range(first, first + count, dtype=pl.Int64, eager=True).alias("ordinal"),
        pl.repeat(lsn, count, dtype=pl.String, eager=True).alias("lsn"),
        pl.repeat(None, count, dtype=pl.String, eager=True).alias("transaction_id"),
        pl.repeat(source_ts, count, dtype=pl.Int64, eager=True).cast(TIMESTAMP_UTC).alias("source_ts"),
        pl.repeat(None, count, dtype=rows.to_struct().dtype, eager=True).alias("before"),
        rows.to_struct("after"),
    ]
    return ChangeBatch(schema, pl.DataFrame(columns))


class _BadRow(Exception):
    def __init__(self, row: int, column: str, reason: str) -> None:
        super().__init__(row, column)
        self.row, self.column, self.reason = row, column, reason


def _struct(name: str, image: Image, count: int, schema: TableSchema) -> pl.Series:
    """The image as a struct series of `count` rows, null where a change has no such image."""
    columns = []
    for shape, cells in zip(schema.columns, image.cells, strict=True):
        try:
            columns.append(from_text(cells, shape.type).alias(shape.name))
        except BadCell as bad:
            raise _BadRow(int(image.rows[bad.row]), shape.name, bad.reason) from None
    struct = pl.DataFrame(columns).to_struct(name)
    return struct if len(image.rows) == count else _spread(struct, image.rows, count)


def _spread(struct: pl.Series, rows: Ints, count: int) -> pl.Series:
    if not len(rows):
        return pl.repeat(None, count, dtype=struct.dtype, eager=True).alias(struct.name)
    places, present = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    places[rows], present[rows] = np.arange(len(rows)), True
    spread = struct.gather(pl.Series(places))
    return pl.select(pl.when(pl.Series(present)).then(spread).alias(struct.name)).to_series()
