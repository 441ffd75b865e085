"""What a source's log says of one table, put into its change log: changes, other shapes, and what took rows unseen.

    changes ──────────> (holes filled, places put in order) ──> events, one commit for what has one shape
    another shape ────> a commit that records it, at its place among the changes
    TRUNCATE ─────────> a DELETE for each row that the log says was there
    rows unlogged ────> a mark: the table is to be compared with its source (reconcile.py)
    rows that are seen > the changes that make the log's rows what they are (seen.py)

Each commit moves the log's position to its own place, so what is delivered again after a crash goes on from there.
While the table's snapshot is unfinished, only the keys that are in are anything to the log (done_keys.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl

from cdc_platform.change_log.chunks import Chunk
from cdc_platform.change_log.files import commits
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import events_at, live_rows
from cdc_platform.engine.done_keys import BeginAgain, of_done_keys, same_key
from cdc_platform.engine.fill import filled
from cdc_platform.engine.former import with_former
from cdc_platform.engine.seen import changes_of
from cdc_platform.engine.takeover import in_order
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import (
    DELETE,
    OPERATION,
    TIMESTAMP_UTC,
    ChangeBatch,
    Entry,
    Place,
    Reshaped,
    Seen,
    Truncated,
    Unlogged,
)
from cdc_platform.model.event import events
from cdc_platform.model.evolution import differences
from cdc_platform.model.position import Position
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import TableSchema


def record(
    log: ChangeLog,
    entries: Sequence[Entry],
    position: Position,
    upto: Position,
    captured: datetime,
    resume: str | None = None,
) -> tuple[int, Position]:
    """Add what the log, which stands at `position`, lacks of a stretch that reaches `upto`.

    Returns how many changes that were, and where the log stands now: at `upto` if it ended with changes. `resume` goes
    into the commit that reaches `upto`.
    """
    recorder = _Recorder(log, position, captured, log.unfinished() if entries else None)
    for entry in entries:
        recorder.take(entry)
    recorder.flush(upto, resume)
    return recorder.changes, recorder.position


def evolve(log: ChangeLog, schema: TableSchema, place: Position, position: Position) -> None:
    """Record another shape; nothing happened between `position`, where the log stands, and `place`."""
    words = [str(difference) for difference in differences(log.schema(), schema)]
    log.evolve(schema, words, place, position)


@dataclass(slots=True)
class _Recorder:
    log: ChangeLog
    position: Position
    captured: datetime
    chunk: Chunk | None
    changes: int = 0
    _pending: list[ChangeBatch] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        if isinstance(entry, ChangeBatch):
            batch = _since(entry, self.position)
            if len(batch):
                self._take_changes(batch)
        elif isinstance(entry, Seen):
            self._take_seen(Seen(_since(entry.batch, self.position)))
        elif entry.start >= self.position:
            self.flush(entry.start)
            match entry:
                case Reshaped():
                    self._shape(entry.schema, entry.start)
                case Truncated():
                    self._truncate(entry.place)
                case Unlogged():
                    self._doubt(entry)

    def flush(self, upto: Position, resume: str | None = None) -> None:
        """Commit the changes taken so far; the log is at `upto` then."""
        if not self._pending:
            return
        batches, self._pending = self._pending, []
        origin, version = self.log.origin(), self.log.shapes()[-1].number
        frames = (events(b, origin, version, self.captured, snapshot=b.snapshot) for b in batches)
        self.log.append(frames, upto, self.position, resume=resume)
        self.changes += sum(map(len, batches))
        self.position = upto

    def _take_seen(self, seen: Seen) -> None:
        """The log is asked, so it must have all that came before, in the same shape."""
        batch = seen.batch
        if len(batch):
            self.flush(batch.start)
            self._shape(batch.schema, batch.start)
            if self.chunk is not None and self.chunk.below is not None:
                batch = of_done_keys(batch, self.chunk.below)
        changes = changes_of(Seen(batch), self.log)
        if len(changes):
            self._pending.append(changes)

    def _take_changes(self, batch: ChangeBatch) -> None:
        known = self._pending[-1].schema if self._pending else self.log.schema()
        if batch.schema != known and differences(known, batch.schema):
            self.flush(batch.start)
            self._shape(batch.schema, batch.start)
        if self.chunk is not None and self.chunk.below is not None:
            batch = of_done_keys(batch, self.chunk.below)
            if not len(batch):
                return
        if batch.holes:
            self.flush(batch.start)
            batch = filled(batch, self.log)
        if batch.bare:
            self.flush(batch.start)
            batch = with_former(batch, self.log)
        if batch.schema.primary_key and self.log.notation().kind == "lsn":
            batch = in_order(batch, self._pending, self.log, self.position)
        self._pending.append(batch)

    def _shape(self, schema: TableSchema, place: Position) -> None:
        if self.chunk is not None and not same_key(self.log.schema(), schema):
            raise BeginAgain(f"{schema.table}: its key changed while its snapshot was taken; that begins again")
        if differences(self.log.schema(), schema):
            evolve(self.log, schema, place, self.position)
            self.position = place

    def _doubt(self, entry: Unlogged) -> None:
        # Delivered again after a crash behind its mark, it says nothing new.
        if entry.start > self.position or self.log.unlogged() is None:
            self.log.mark_unlogged(entry.reason, entry.start, self.position)
            self.position = entry.start

    def _truncate(self, place: Place) -> None:
        """In commits of bounded size. Until the last one the log stands at the TRUNCATE: cut short, it goes on there
        with the rows that are left, and their numbers with those of the rows that went."""
        here, behind = Position(place.at, place.ordinal), Position(place.at, place.ordinal + 1)
        for frames in commits(self._deletes(place, events_at(self.log, here))):
            self.log.append(frames, here, self.position)
            self.position = here
            failpoint("record.truncated")
        self.log.advance(behind, self.position)  # it is not here yet where no row was left
        self.position = behind

    def _deletes(self, place: Place, first: int) -> Iterator[pl.DataFrame]:
        """A DELETE for each row that is there; the first has the number `first` among those of the TRUNCATE."""
        schema, origin, version = self.log.schema(), self.log.origin(), self.log.shapes()[-1].number
        done = first
        for rows in live_rows(self.log):
            batch = ChangeBatch(schema, deletes(rows["row"], place, schema))
            yield events(batch, origin, version, self.captured, snapshot=False, first_part=first)
            first += len(batch)
        self.changes += first - done


def deletes(rows: pl.Series, place: Place, schema: TableSchema) -> pl.DataFrame:
    """DELETEs of these rows (structs), all at one place: the frame of a `ChangeBatch`."""
    images = polars_type(schema.row_type)
    return rows.to_frame("before").select(
        pl.lit(DELETE, OPERATION).alias("operation"),
        pl.lit(place.at, pl.Int64).alias("at"),
        pl.lit(place.ordinal, pl.Int64).alias("ordinal"),
        pl.lit(place.lsn).alias("lsn"),
        pl.lit(place.transaction_id, pl.String).alias("transaction_id"),
        pl.lit(place.source_ts, TIMESTAMP_UTC).alias("source_ts"),
        pl.col("before"),
        pl.lit(None, images).alias("after"),
    )


def _since(batch: ChangeBatch, position: Position) -> ChangeBatch:
    """The changes at or after a position."""
    if not len(batch) or batch.start >= position:
        return batch
    at, ordinal = pl.col("at"), pl.col("ordinal")
    behind = (at > position.at) | ((at == position.at) & (ordinal >= position.ordinal))
    kept = batch.frame.select(behind).to_series()
    holes = {name: rows for name, series in batch.holes.items() if (rows := series.filter(kept)).any()}
    return replace(batch, frame=batch.frame.filter(kept), holes=holes)
