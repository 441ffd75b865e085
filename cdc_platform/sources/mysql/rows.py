"""Row images of row events, all at once: the k-th row of every event in step k.

    event 1   | head | row | row | row |          step 0 finds the end of the first image of each event,
    event 2   | head | row | row |                step 1 that of the second, ...; afterwards each column is
    event 3   | head | row | row | row | row |    walked once for all images.

An image is null bits and then the cells that are not null, some of fixed width, some behind their length
(https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Rows__event.html). To find
an image's end only the lengths are read: the fixed widths between two of them are a matrix product of the null bits.
An UPDATE event's images alternate, before and after. What cells mean is `values.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cdc_platform.sources.cells import Bytes, Cells, Ints, Mask
from cdc_platform.sources.mysql.binlog import BadEvent, little, records
from cdc_platform.sources.mysql.types import Physical


@dataclass(frozen=True, slots=True)
class RowEvents:
    """Row events of one table in one shape: their images are `buffer[firsts[i] : stops[i]]`.

    `begins` are the events' offsets in the file, for errors.
    """

    buffer: Bytes
    firsts: Ints
    stops: Ints
    begins: Ints


@dataclass(frozen=True, slots=True)
class Images:
    """Where the images lie: `starts` in log order, `counts` of each event."""

    starts: Ints
    counts: Ints


class _Layout:
    """What an image's length depends on."""

    def __init__(self, columns: Sequence[Physical]) -> None:
        self.count = len(columns)
        self.null_bytes = (self.count + 7) // 8
        self.variable = [(place, column.prefix) for place, column in enumerate(columns) if column.prefix]
        run = 0
        # weights[c, r] = the width of column c if it is a fixed one before the r-th length, else 0
        self.weights = np.zeros((self.count, len(self.variable) + 1), np.float32)
        for place, column in enumerate(columns):
            if column.prefix:
                run += 1
            self.weights[place, run] = column.width


def _lengths(buffer: Bytes, prefix: int, at: Ints) -> Ints:
    """The lengths of `prefix` bytes at these places."""
    if prefix == 1:
        return buffer[at].astype(np.int64)
    if prefix == 2:
        return little(buffer, "<u2")[at].astype(np.int64)
    words = little(buffer, "<u4")[at].astype(np.int64)
    return words & 0xFFFFFF if prefix == 3 else words


def present_bits(buffer: Bytes, starts: Ints, count: int) -> npt.NDArray[np.uint8]:
    """(images, columns): 1 where the cell is there, 0 where it is null."""
    nulls = records(buffer, starts, (count + 7) // 8)
    return np.unpackbits(~nulls, axis=1, count=count, bitorder="little")


def find_images(events: RowEvents, columns: Sequence[Physical], others: Sequence[Physical] | None = None) -> Images:
    """Walk all events in lockstep; BadEvent for one whose images do not end where it ends.

    With `others`, every second image has those columns.
    """
    layouts = [_Layout(columns)] if others is None else [_Layout(columns), _Layout(others)]
    active = np.flatnonzero(events.firsts < events.stops)
    if len(active) and not any(layout.count for layout in layouts):
        raise BadEvent(
            int(events.begins[active[0]]), "its rows have no columns, and yet there is something behind them"
        )
    cursor, stop = events.firsts[active], events.stops[active]
    steps: list[tuple[Ints, Ints]] = []
    while len(active):
        steps.append((active, cursor))
        after = _skip(events.buffer, cursor, layouts[(len(steps) - 1) % len(layouts)])
        if after is None or (after > stop).any():
            broken = 0 if after is None else int((after > stop).argmax())
            raise BadEvent(int(events.begins[active[broken]]), "a row does not end where its event does")
        cursor = after
        more = cursor < stop
        if not more.all():
            active, cursor, stop = active[more], cursor[more], stop[more]
    return _in_log_order(steps, len(events.firsts))


def _skip(buffer: Bytes, cursor: Ints, layout: _Layout) -> Ints | None:
    """Where the images at `cursor` end, or None if that is outside the buffer."""
    try:
        present = present_bits(buffer, cursor, layout.count)
        runs = (present.astype(np.float32) @ layout.weights).astype(np.int64)
        place = cursor + layout.null_bytes
        for run, (column, prefix) in enumerate(layout.variable):
            place = place + runs[:, run]
            place = place + (_lengths(buffer, prefix, place) + prefix) * present[:, column]
    except IndexError:
        return None
    return place + runs[:, -1]


def _in_log_order(steps: list[tuple[Ints, Ints]], events: int) -> Images:
    """From step by step to event by event."""
    if not steps:
        return Images(np.empty(0, np.int64), np.zeros(events, np.int64))
    owners = np.concatenate([active for active, _ in steps])
    step = np.repeat(np.arange(len(steps)), [len(active) for active, _ in steps])
    counts = np.bincount(owners, minlength=events)
    firsts = np.cumsum(counts) - counts
    starts = np.empty(len(owners), np.int64)
    starts[firsts[owners] + step] = np.concatenate([cursor for _, cursor in steps])
    return Images(starts, counts)


def walk_columns(buffer: Bytes, starts: Ints, columns: Sequence[Physical]) -> Iterator[Cells]:
    """The cells of each column in turn, for the images that begin at `starts`."""
    present = present_bits(buffer, starts, len(columns))
    cursor = starts + (len(columns) + 7) // 8
    for place, column in enumerate(columns):
        valid: Mask = present[:, place].astype(np.bool_)
        full = bool(valid.all())
        if column.prefix:
            lengths = _lengths(buffer, column.prefix, cursor)
            lengths = lengths if full else lengths * valid
            cells = Cells(buffer, cursor + column.prefix, lengths, valid)
            cursor = cursor + lengths + (column.prefix if full else column.prefix * valid)
        else:
            width = np.full(len(starts), column.width) if full else column.width * valid
            cells = Cells(buffer, cursor, width, valid)
            cursor = cursor + width
        yield cells
