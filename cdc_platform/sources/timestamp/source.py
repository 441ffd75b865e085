"""The timestamp-based method as a `Source`: no log is read, the tables are, by a column that says when a row changed.

    known ─── resume: the highest value read so far
    poll      one consistent snapshot: rows from (highest - window) on, in the order of (column, key), page by page;
              then those without a value
          ──> Seen pages ──> the engine drops what the log has, and tells INSERT from UPDATE (engine/seen.py)
          ──> each page's highest value travels in the commit of its changes

A position is a time by the server's clock, lifted where that was set back: a poll that reaches P has all that was
committed before P, and its changes stand at P - 1. So positions order, and say when a row was looked at; from where on
the next poll reads is no position but a value of the column, whose clock may be another (watermark.py).

Why nothing is lost that the column tells of: a page's value is recorded with or after its rows, and a poll starts a
window before it. Why nothing is doubled: rows are compared with the log's. A poll that was cut short is made anew by
the next, from its last page on (and the window before). Layer: sources.

What a column cannot tell: rows that went, changes that left the column as it was, values that came and went between two
polls, and rows committed later than the window. The first and the last are found by comparing keys and column with the
log (engine/settle.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from cdc_platform.errors import CdcError
from cdc_platform.model.change import (
    INSERT,
    OPERATION,
    Captured,
    ChangeBatch,
    Entry,
    Followed,
    Place,
    Reshaped,
    Seen,
    Unlogged,
)
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.timestamp.column import Column, check_new, keyed
from cdc_platform.sources.timestamp.server import Server, View
from cdc_platform.sources.timestamp.snapshot import TimestampSnapshot
from cdc_platform.sources.timestamp.watermark import Watermark

TIME: Final = Notation("time")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class TimestampSource:
    """One database, polled. Implements `Source`. `window` is in seconds, `page_rows` how many rows are resolved at
    once.

    An open snapshot is what `changes` reads where it is asked up to the snapshot's own position: both see the same
    rows.
    """

    def __init__(self, server: Server, columns: Mapping[TableName, Column], window: float, page_rows: int) -> None:
        self._server, self._columns = server, columns
        self._window, self._page_rows = round(window * 1_000_000), page_rows
        self._last = 0  # the highest place that was seen or given out
        self._open: View | None = None

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        return {table: keyed(schema, self._columns[table]) for table, schema in self._server.schemas(tables).items()}

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        return self._server.fingerprints(tables)

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        return self._server.rewritten_by(before, now)

    def prepare(self, tables: Sequence[TableName]) -> None:
        """Check tables and columns. Nothing is made at the server."""
        for table, schema in self._server.schemas(tables).items():
            check_new(schema, self._columns[table])
        self._server.check(tables)

    def check_resumable(self, start: Position) -> None:
        """A poll goes on from anywhere. The place is noted: later ones lie behind it, whatever the clock shows."""
        self._last = max(self._last, start.at)

    def available(self) -> Position:
        return self.head()

    def reopen(self, tables: Sequence[TableName]) -> None:
        self.prepare(tables)

    def keeping(self, position: Position) -> Keeping:
        """The server keeps nothing; what costs it is a poll of a column without an index."""
        return Keeping(notes=tuple(self._unindexed()))

    def extent(self, table: TableName) -> Extent:
        return self._server.extent(table)

    def identity(self) -> str:
        return self._server.identity()

    def head(self) -> Position:
        """The server's time: what is committed by now has its place below it."""
        return Position(self._place((self._server.now() - _EPOCH) // _MICROSECOND))

    @contextmanager
    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> Iterator[TimestampSnapshot]:
        with self._server.view(tables, readers, self._place) as view:
            outer, self._open = self._open, view
            try:
                yield TimestampSnapshot(view, self._columns)
            finally:
                self._open = outer

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        """One poll of each table that is short of `until`, as `Seen` rows at the place just before it."""
        for table, known in followed.items():
            self._last = max(self._last, known.position.at)
            if known.position < until:
                yield from self._polled(table, known, until)
        yield Captured((), until)

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        """None: nothing is made at the server."""
        return []

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        """None: nothing is made at the server."""
        return {}

    def remove(self, name: str) -> None:
        """Nothing is there to remove."""

    def acknowledge(self, position: Position) -> None:
        """Nothing: the server keeps its rows, whoever reads them."""

    def notation(self) -> Notation:
        return TIME

    def format(self, position: Position) -> str:
        return TIME.format(position)

    def close(self) -> None:
        self._server.close()

    def _place(self, time: int) -> int:
        """A place that nothing has yet, and neither the one before it, where a poll's changes stand."""
        self._last = max(time, self._last + 2)
        return self._last

    def _polled(self, table: TableName, known: Followed, until: Position) -> Iterator[Captured]:
        column = self._columns[table]
        with self._viewing(table, until) as view:
            try:
                schema = keyed(carried(known.schema, view.schema(table)), column)
                clock = column.clock(schema)
            except CdcError as error:
                yield Captured((), known.position, {table: error})
                return
            at, taken = until.at - 1, view.taken
            now, mark = clock.shows(taken), Watermark.parse(known.resume)
            entries: list[Entry] = self._reshaped(known.schema, schema, at, taken)
            first = 0
            for rows, last in _marked_last(self._pages(view, table, column.name, mark.since(now, self._window))):
                times = clock.moments(rows[column.name], taken)
                batch = ChangeBatch(schema, _frame(rows, schema, at, first, times))
                mark = mark.raised(rows[column.name], now)
                first += rows.height
                reached = until if last else Position(at, first)
                resume = {table: mark.text} if mark.text is not None else {}
                yield Captured((*entries, Seen(batch)), reached, resume=resume)
                entries = []
            if entries:
                yield Captured(tuple(entries), until)

    def _pages(self, view: View, table: TableName, column: str, since: int | None) -> Iterator[pl.DataFrame]:
        for frames in (view.since(table, column, since), view.without(table, column)):
            for frame in frames:
                yield from frame.iter_slices(self._page_rows)

    @contextmanager
    def _viewing(self, table: TableName, until: Position) -> Iterator[View]:
        if self._open is not None and self._open.position == until:
            yield self._open
            return
        with self._server.view([table], 1, lambda _: until.at) as view:
            yield view

    def _reshaped(self, before: TableSchema, now: TableSchema, at: int, taken: datetime) -> list[Entry]:
        if not differences(before, now):
            return []
        place = Place(at, 0, TIME.format(Position(at)), None, taken)
        reason = self._server.rewritten_by(before, now)
        return [*([Unlogged(now.table, place, reason)] if reason else []), Reshaped(now, place)]

    def _unindexed(self) -> Iterator[str]:
        for table, column in self._columns.items():
            if not self._server.indexed(table, column.name):
                yield f"{table}: no index begins with '{column.name}', so each poll reads the whole table; make one"


def _frame(rows: pl.DataFrame, schema: TableSchema, at: int, first: int, times: pl.Series) -> pl.DataFrame:
    """Rows as INSERTs at one place, numbered from `first` on."""
    ordinal = pl.int_range(first, first + rows.height, dtype=pl.Int64, eager=True).alias("ordinal")
    images = polars_type(schema.row_type)
    count = rows.height
    lsn = ordinal.cast(pl.String).str.zfill(10)
    return pl.DataFrame(
        [
            pl.repeat(INSERT, count, dtype=OPERATION, eager=True).alias("operation"),
            pl.repeat(at, count, dtype=pl.Int64, eager=True).alias("at"),
            ordinal,
            (TIME.format(Position(at)) + "#" + lsn).alias("lsn"),
            pl.repeat(None, count, dtype=pl.String, eager=True).alias("transaction_id"),
            times.alias("source_ts"),
            pl.repeat(None, count, dtype=images, eager=True).alias("before"),
            rows.to_struct("after"),
        ]
    )


def _marked_last(pages: Iterator[pl.DataFrame]) -> Iterator[tuple[pl.DataFrame, bool]]:
    """Each page, and whether it is the last."""
    held = next(pages, None)
    while held is not None:
        following = next(pages, None)
        yield held, following is None
        held = following
