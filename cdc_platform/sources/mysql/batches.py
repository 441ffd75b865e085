"""Row events of one table become a ChangeBatch. Layer: sources; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from cdc_platform.errors import InvalidRow, NotUnderstood
from cdc_platform.model.change import DELETE, INSERT, OPERATION, TIMESTAMP_UTC, UPDATE, ChangeBatch
from cdc_platform.model.position import Position, binlog_text, format_binlog
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.cells import BadCell, Bytes, Ints, Mask, polars_type
from cdc_platform.sources.mysql.binlog import records
from cdc_platform.sources.mysql.partial import DELETES, INSERTS, UPDATES, Kept, Known, Sides, completed, kept_groups
from cdc_platform.sources.mysql.rows import RowEvents, find_images, walk_columns
from cdc_platform.sources.mysql.shapes import Shape
from cdc_platform.sources.mysql.transactions import Transactions
from cdc_platform.sources.mysql.values import value_column

OPERATIONS = (INSERT, UPDATE, DELETE)

KnownOf = Callable[[], Known]
"""What helps where images lack columns; asked for when one does."""


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

    def take(self, which: Ints) -> TableRows:
        """These of the events."""
        return TableRows(
            self.buffer, self.operations[which], self.at[which], self.transactions[which], self.bodies[which],
            self.stops[which], self.offsets[which],
        )  # fmt: skip


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

    def holds(self, position: Position) -> bool:
        return self.start <= position < self.until

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


@dataclass(frozen=True, slots=True)
class Decoded:
    """The changes of some row events. `doubts` are reasons why they are not certain, each with the number of the last
    event that it is said of; `lacking` says whether any image lacked a column.
    """

    batch: ChangeBatch
    doubts: Mapping[str, int] = field(default_factory=dict)
    lacking: bool = False


def batch_of(
    rows: TableRows, shape: Shape, schema: TableSchema, transactions: Transactions, bounds: Bounds, known: KnownOf
) -> Decoded:
    """The changes in `rows` that lie within bounds, as `schema`: the shape's own, with ids.

    Raises NotUnderstood for images that lack what nobody can fill in, InvalidRow for a value that its column's type
    cannot hold.
    """
    firsts, first, second = images_begin(rows, len(shape.physical), schema.table)
    if first is None or second is None:
        images = find_images(RowEvents(rows.buffer, firsts, rows.stops, rows.offsets), shape.physical)
        changes, starts = _changes(rows, images.starts, images.counts, bounds)
        place = _Placed(rows, changes, bounds.base)
        frame = pl.DataFrame(_decoded(starts, shape, range(len(shape.physical)), place))
        sides = _images_series("before", frame, changes.before), _images_series("after", frame, changes.after)
        return Decoded(ChangeBatch(schema, _frame(rows, changes, sides, transactions, bounds.base)))
    return _partial(rows, shape, schema, transactions, bounds, _Partial(firsts, first, second, known()))


def _frame(
    rows: TableRows, changes: _Rows, sides: tuple[pl.Series, pl.Series], transactions: Transactions, base: str
) -> pl.DataFrame:
    numbers = rows.transactions[changes.events]
    return pl.DataFrame(
        [
            pl.Series("operation", rows.operations[changes.events].astype(np.uint8)).cat.to(OPERATION),
            pl.Series("at", rows.at[changes.events]),
            pl.Series("ordinal", changes.ordinals),
            binlog_text(base, rows.at).gather(changes.events).alias("lsn"),
            transactions.names.gather(numbers).alias("transaction_id"),
            pl.Series("source_ts", transactions.micros[numbers]).cast(TIMESTAMP_UTC),
            *sides,
        ]
    )


def images_begin(rows: TableRows, columns: int, table: TableName) -> tuple[Ints, Bytes | None, Bytes | None]:
    """Where the images begin: after the column count and one bit a column, twice for updates.

    The bit fields come with it, (events, bytes) each, unless all bits of all of them are set.
    """
    width = (columns + 7) // 8
    count_bytes = 1 if columns < 251 else 3
    counts = rows.buffer[rows.bodies].astype(np.int64)
    if count_bytes == 3:
        counts = rows.buffer[rows.bodies + 1] | rows.buffer[rows.bodies + 2].astype(np.int64) << 8
    if (counts != columns).any():
        raise NotUnderstood(f"{table}: a row event has another number of columns than its table map")
    bitmaps = rows.bodies + count_bytes
    full = np.packbits(np.ones(columns, np.uint8), bitorder="little")
    is_update = rows.operations == UPDATES
    first = records(rows.buffer, bitmaps, width) & full
    second = records(rows.buffer, np.where(is_update, bitmaps + width, bitmaps), width) & full
    begin = bitmaps + width + np.where(is_update, width, 0)
    whole = bool((first == full).all() and (second == full).all())
    return (begin, None, None) if whole else (begin, first, second)


@dataclass(frozen=True, slots=True)
class _Partial:
    """Where images begin that lack columns, their bit fields, and what is known of what they lack."""

    firsts: Ints
    first: Bytes
    second: Bytes
    known: Known


def _partial(
    rows: TableRows, shape: Shape, schema: TableSchema, transactions: Transactions, bounds: Bounds, images: _Partial
) -> Decoded:
    """Group by group of what the images hold (see `partial.py`), then all changes in log order."""
    groups = kept_groups(rows.operations, images.first, images.second, images.known.plain, len(shape.physical))
    parts = [_group(rows, kept, images, shape, bounds) for kept in groups]
    events = np.concatenate([kept.events[changes.events] for kept, (changes, _) in zip(groups, parts, strict=True)])
    ordinals = np.concatenate([changes.ordinals for changes, _ in parts])
    order = np.lexsort((ordinals, events))
    group = np.repeat(np.arange(len(parts)), [len(changes.events) for changes, _ in parts])[order]
    operations = rows.operations[events[order]]
    each = np.arange(len(order))
    changes = _Rows(
        events[order],
        ordinals[order],
        np.where(operations == INSERTS, -1, each),
        np.where(operations == DELETES, -1, each),
    )
    sides = [part for _, part in parts]
    series = (
        _images_series("before", pl.concat([side.before for side in sides])[order], changes.before),
        _images_series("after", pl.concat([side.after for side in sides])[order], changes.after),
    )
    frame = _frame(rows, changes, series, transactions, bounds.base)
    return Decoded(
        ChangeBatch(schema, frame, _holes(schema, sides, group)), _doubts(groups, sides, changes, group), True
    )


def _group(rows: TableRows, kept: Kept, images: _Partial, shape: Shape, bounds: Bounds) -> tuple[_Rows, Sides]:
    """The changes of one group within bounds, their events counted in the group."""
    part = rows.take(kept.events)
    update = kept.operation == UPDATES
    sides = [np.flatnonzero(side).tolist() for side in (kept.before, kept.after)]
    physical = [[shape.physical[place] for place in side] for side in sides]
    events = RowEvents(rows.buffer, images.firsts[kept.events], part.stops, part.offsets)
    found = find_images(events, physical[0], physical[1] if update else None)
    changes, starts = _changes(part, found.starts, found.counts, bounds)
    place = _Placed(part, changes, bounds.base)
    before = _decoded(starts[0 :: 2 if update else 1], shape, sides[0], place) if kept.operation != INSERTS else []
    after = _decoded(starts[1::2] if update else starts, shape, sides[1], place) if kept.operation != DELETES else []
    return changes, completed(kept, len(changes.events), before, after, shape, images.known.rules)


def _holes(schema: TableSchema, sides: Sequence[Sides], group: Ints) -> dict[str, pl.Series]:
    """By column where it has any, of each row whether it is one; `group` is each row's number in `sides`."""
    found = {}
    for name in schema.names:
        lacking = np.array([name in side.holes for side in sides])[group]
        if lacking.any():
            found[name] = pl.Series(name, lacking)
    return found


def _doubts(groups: Sequence[Kept], sides: Sequence[Sides], changes: _Rows, group: Ints) -> dict[str, int]:
    """Each doubt, and the last event of which it is said."""
    found: dict[str, int] = {}
    for number, (kept, side) in enumerate(zip(groups, sides, strict=True)):
        rows = np.flatnonzero(group == number)
        last = int(changes.events[rows[-1]]) if len(rows) else -1
        if kept.operation == INSERTS and not kept.after.any():
            last = int(kept.events[-1])
        for reason in side.doubts if last >= 0 else ():
            found[reason] = max(found.get(reason, -1), last)
    return found


def _changes(rows: TableRows, starts: Ints, counts: Ints, bounds: Bounds) -> tuple[_Rows, Ints]:
    """Pair images up to changes, and leave out what is out of bounds. -> the changes, starts of their images."""
    is_update = rows.operations == UPDATES
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
    before = np.where(operations == INSERTS, -1, first)
    after = np.where(operations == DELETES, -1, first + sizes - 1)
    return _Rows(events, ordinals, before, after), starts


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where changes stand, for errors."""

    rows: TableRows
    changes: _Rows
    base: str

    def of(self, change: int) -> str:
        position = format_binlog(self.base, int(self.rows.at[self.changes.events[change]]))
        return f"{position}, row {int(self.changes.ordinals[change])} of the event"

    def of_image(self, image: int, per_change: bool) -> str:
        """`per_change`: there is one image of each change, in their order."""
        if per_change:
            return self.of(image)
        return self.of(int(np.flatnonzero((self.changes.before == image) | (self.changes.after == image))[0]))


def _decoded(starts: Ints, shape: Shape, which: Sequence[int], place: _Placed) -> list[pl.Series]:
    """The columns numbered `which`, which are those that the images at `starts` hold."""
    columns = []
    cells_by_column = walk_columns(place.rows.buffer, starts, [shape.physical[number] for number in which])
    for number, cells in zip(which, cells_by_column, strict=True):
        column = shape.schema.columns[number]
        try:
            series = value_column(cells, shape.types[number], shape.codepages[number])
        except BadCell as error:
            where = place.of_image(error.row, len(starts) == len(place.changes.events))
            raise InvalidRow(
                f"{shape.schema.table}, column {column.name} at {where}:"
                f" the value {error.reason}; correct it at the source and begin its pipeline anew"
            ) from error
        columns.append(series.alias(column.name))
    return columns


def _images_series(name: str, frame: pl.DataFrame, which: Ints) -> pl.Series:
    """The images of these numbers, which rise, as structs; null for -1."""
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
