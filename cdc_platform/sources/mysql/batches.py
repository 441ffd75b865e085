"""Row events of one table become a ChangeBatch. Layer: sources; pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from cdc_platform.errors import InvalidRow, NotUnderstood
from cdc_platform.model.change import DELETE, INSERT, OPERATION, TIMESTAMP_UTC, UPDATE, ChangeBatch
from cdc_platform.model.position import Position, binlog_text, format_binlog
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.cells import BadCell, Bytes, Ints, Mask, polars_type
from cdc_platform.sources.mysql.binlog import records
from cdc_platform.sources.mysql.rows import RowEvents, find_images, walk_columns
from cdc_platform.sources.mysql.shapes import Shape
from cdc_platform.sources.mysql.transactions import Transactions
from cdc_platform.sources.mysql.values import value_column

OPERATIONS = (INSERT, UPDATE, DELETE)
_UPDATE, _DELETE = 1, 2


@dataclass(frozen=True, slots=True)
class TableRows:
    """Row events of one table in one shape, in log order, as arrays of one length.

    `operations` index `OPERATIONS`, `at` is the place in the log, `transactions` the number in `Transactions`;
    an event's body after the table's number and flags is `buffer[bodies[i] : stops[i]]`.
    """

    buffer: Bytes
    operations: Ints
    at: Ints
    transactions: Ints
    bodies: Ints
    stops: Ints
    offsets: Ints


@dataclass(frozen=True, slots=True)
class Bounds:
    """[start, until) in the log whose files are named `base`."""

    base: str
    start: Position
    until: Position

    def events(self, at: Ints) -> Mask:
        """Events that begin, or have rows, inside."""
        inside: Mask = (at < self.until.at) | ((at == self.until.at) & (self.until.ordinal > 0))
        inside &= at >= self.start.at
        return inside

    def rows(self, at: Ints, ordinals: Ints) -> Mask:
        early = (at == self.start.at) & (ordinals < self.start.ordinal)
        late = (at == self.until.at) & (ordinals >= self.until.ordinal)
        inside: Mask = ~(early | late)
        return inside


@dataclass(frozen=True, slots=True)
class _Rows:
    """Changes in log order: their event, their number in it, and the numbers of their images (-1 for none)."""

    events: Ints
    ordinals: Ints
    before: Ints
    after: Ints


def batch_of(rows: TableRows, shape: Shape, transactions: Transactions, bounds: Bounds) -> ChangeBatch:
    """The changes in `rows` that lie within bounds.

    Raises NotUnderstood for images that are not whole, InvalidRow for a value that its column's type cannot hold.
    """
    firsts = _images_begin(rows, len(shape.physical), shape.schema)
    images = find_images(RowEvents(rows.buffer, firsts, rows.stops, rows.offsets), shape.physical)
    changes, starts = _changes(rows, images.starts, images.counts, bounds)
    frame = _images_frame(rows, starts, changes, shape, bounds.base)
    operations = rows.operations[changes.events]
    numbers = rows.transactions[changes.events]
    return ChangeBatch(
        shape.schema,
        pl.DataFrame(
            [
                pl.Series("operation", operations.astype(np.uint8)).cat.to(OPERATION),
                pl.Series("at", rows.at[changes.events]),
                pl.Series("ordinal", changes.ordinals),
                binlog_text(bounds.base, rows.at).gather(changes.events).alias("lsn"),
                transactions.names.gather(numbers).alias("transaction_id"),
                pl.Series("source_ts", transactions.micros[numbers]).cast(TIMESTAMP_UTC),
                _images_series("before", frame, changes.before),
                _images_series("after", frame, changes.after),
            ]
        ),
    )


def _images_begin(rows: TableRows, columns: int, schema: TableSchema) -> Ints:
    """Where the images begin: after the column count and one bit a column, twice for updates. All bits must be set."""
    width = (columns + 7) // 8
    count_bytes = 1 if columns < 251 else 3
    counts = rows.buffer[rows.bodies].astype(np.int64)
    if count_bytes == 3:
        counts = rows.buffer[rows.bodies + 1] | rows.buffer[rows.bodies + 2].astype(np.int64) << 8
    if (counts != columns).any():
        raise NotUnderstood(f"{schema.table}: a row event has another number of columns than its table map")
    bitmaps = rows.bodies + count_bytes
    full = np.packbits(np.ones(columns, np.uint8), bitorder="little")
    is_update = rows.operations == _UPDATE
    for place in (bitmaps, np.where(is_update, bitmaps + width, bitmaps)):
        present = records(rows.buffer, place, width)
        if ((present & full) != full).any():
            raise NotUnderstood(
                f"{schema.table}: the binlog holds only part of a row's columns;"
                " set binlog_row_image=FULL on the server, in every session, and begin its pipeline anew"
            )
    return bitmaps + width + np.where(is_update, width, 0)


def _changes(rows: TableRows, starts: Ints, counts: Ints, bounds: Bounds) -> tuple[_Rows, Ints]:
    """Pair images up to changes, and leave out what is out of bounds. -> the changes, starts of their images."""
    is_update = rows.operations == _UPDATE
    if (counts[is_update] % 2).any():
        raise NotUnderstood("an update event's last row has no second image")
    per_change = np.where(is_update, 2, 1)
    events = np.repeat(np.arange(len(counts)), counts // per_change)
    ordinals = np.arange(len(events)) - np.repeat(
        np.cumsum(counts // per_change) - counts // per_change, counts // per_change
    )
    kept = bounds.rows(rows.at[events], ordinals)
    if not kept.all():
        starts = starts[np.repeat(kept, per_change[events])]
        events, ordinals = events[kept], ordinals[kept]
    sizes = per_change[events]
    first = np.cumsum(sizes) - sizes
    operations = rows.operations[events]
    before = np.where(operations == 0, -1, first)
    after = np.where(operations == _DELETE, -1, first + sizes - 1)
    return _Rows(events, ordinals, before, after), starts


def _images_frame(rows: TableRows, starts: Ints, changes: _Rows, shape: Shape, base: str) -> pl.DataFrame:
    """All images, a row each."""
    columns = []
    cells_by_column = walk_columns(rows.buffer, starts, shape.physical)
    for place, cells in enumerate(cells_by_column):
        column = shape.schema.columns[place]
        try:
            series = value_column(cells, shape.types[place], shape.codepages[place])
        except BadCell as error:
            change = int(np.flatnonzero((changes.before == error.row) | (changes.after == error.row))[0])
            position = format_binlog(base, int(rows.at[changes.events[change]]))
            raise InvalidRow(
                f"{shape.schema.table}, column {column.name} at {position}, row {int(changes.ordinals[change])}"
                f" of the event: the value {error.reason}; correct it at the source and begin its pipeline anew"
            ) from error
        columns.append(series.alias(column.name))
    return pl.DataFrame(columns)


def _images_series(name: str, frame: pl.DataFrame, which: Ints) -> pl.Series:
    """The images of these numbers as structs, null for -1."""
    images = frame.to_struct(name)
    absent = which < 0
    if absent.all():
        return pl.repeat(None, len(which), dtype=images.dtype, eager=True).alias(name)
    if len(which) == len(images) and not absent.any():
        return images
    numbers = pl.Series(np.where(absent, 0, which).astype(np.uint32))
    if absent.any():
        numbers = pl.select(pl.when(pl.Series(values=~absent)).then(numbers)).to_series()
    return images.gather(numbers)


def struct_type(schema: TableSchema) -> pl.Struct:
    return pl.Struct({column.name: polars_type(column.type) for column in schema.columns})
