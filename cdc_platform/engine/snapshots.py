"""The first state of tables, in chunks by key range, while the source's log is followed for all tables.

    snapshot at P1 ── rows with keys [ -, a) ──> one commit at P1 ┐
    the log [P1, P2) ── changes of keys < a ───> commits          │ one change log
    snapshot at P2 ── rows with keys [a, b) ───> one commit at P2 │
    the log [P2, P3) ── changes of keys < b ───> commits          │
    snapshot at P3 ── rows with keys [b, - ) ──> one commit at P3 ┘ the snapshot is whole

Why the log is exact. After each commit, replaying it gives the rows of the source at `reached` whose leading key is
less than the bound which the last chunk's commit says (change_log/chunks.py). A chunk's commit keeps that: the log
was followed up to the chunk's own position before, and no key of the chunk had an event until then. So does a stretch
of the log: it brings what happened to the keys that are in, and a change of the key across the bound is the half that
they see (done_keys.py); TRUNCATE takes the rows that are in. So each key's history begins with its row in the snapshot
and goes on in log order, and when the last chunk is in, the log is like one that was taken at once.

After a death the next run finds the bound in the log, and goes on with the keys behind it. Nobody reads the log before
the snapshot is whole: what cannot be brought on is discarded and taken again, as a whole and in one commit. That is so
where the key changed its columns or type, the table was made again, the source's log was lost, or a row came over the
bound without all its cells. Other changes of the table's shape are recorded in their place.

A snapshot is held for some time only (`Chunking.seconds`), for as many chunks as that allows: a server cannot forget
old rows while one is open, nobody can alter the tables, and on Postgres beginning one waits for open transactions.
Between two of them the source hears how far it may forget its log. A table of one chunk is one commit as ever.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import polars as pl

from cdc_platform.change_log.chunks import Chunk
from cdc_platform.engine.done_keys import BeginAgain, same_key
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.follow import Capture, acknowledge, follow, take_shape
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError, Gap, Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.model.event import Origin, events
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.key_range import WHOLE, KeyRange
from cdc_platform.model.position import Position
from cdc_platform.model.schema import Fingerprint, TableName
from cdc_platform.sources.ahead import together
from cdc_platform.sources.source import Snapshot


def take_snapshots(
    feed: Feed, fresh: Sequence[TableName], followed: Sequence[TableName], done: Capture, progress: Progress
) -> dict[TableName, CdcError]:
    """Take, or go on with, the snapshots of the `fresh` tables; `followed` ones are brought along.

    A table's own error is put down in `done`. Gives back the tables that have to wait because no snapshot is to be had.
    """
    work = _Work(feed, list(followed), deque(fresh), done, progress)
    try:
        while work.waiting:
            work.take()
    except CdcError as error:
        return dict.fromkeys(work.waiting, error)
    return {}


@dataclass(slots=True)
class _Work:
    feed: Feed
    followed: Sequence[TableName]
    waiting: deque[TableName]
    done: Capture
    progress: Progress
    ranges: dict[TableName, list[KeyRange]] = field(default_factory=dict)

    def take(self) -> None:
        """One snapshot: as many chunks as its time allows, one at least. A table that is not whole then is the last."""
        source = self.feed.source
        if self._going():
            self._follow_to(source.head())  # what takes long, before the snapshot is open
        if not self.waiting:
            return
        fingerprints = source.fingerprints(list(self.waiting))
        readers = max(self.feed.chunking_of(table).readers for table in self.waiting)
        with source.snapshot(list(self.waiting), readers) as snapshot:
            began = time.monotonic()
            failpoint("capture.snapshot.begun")
            again = self._follow_to(snapshot.position)
            for table in [table for table in self.waiting if table not in again]:
                deadline = began + self.feed.chunking_of(table).seconds
                self._take_one(table, snapshot, fingerprints.get(table, Fingerprint()), deadline)
                if time.monotonic() >= deadline:
                    return

    def _take_one(self, table: TableName, snapshot: Snapshot, fingerprint: Fingerprint, deadline: float) -> None:
        self.waiting.remove(table)
        try:
            if not self._proceed(table, snapshot, fingerprint, deadline):
                self.waiting.append(table)
        except BeginAgain:
            self.waiting.append(table)
            self._begin_again(table)
        except CdcError as error:
            self.done.failures[table] = error

    def _going(self) -> list[TableName]:
        """The tables whose log has begun."""
        tables = [t for t in (*self.followed, *self.waiting) if t not in self.done.failures]
        return [t for t in tables if self.feed.logs[t].reached() is not None]

    def _follow_to(self, until: Position) -> set[TableName]:
        """Bring the logs that have begun to `until`. Gives back the tables that begin again, in a later snapshot."""
        again = set()
        if going := self._going():
            follow(self.feed, going, until, self.done, self.progress)
        for table in list(self.waiting):
            failure = self.done.failures.get(table)
            if isinstance(failure, (BeginAgain, Gap)):
                del self.done.failures[table]
                self._begin_again(table)
                again.add(table)
            elif failure is not None:
                self.waiting.remove(table)
        return again

    def _begin_again(self, table: TableName) -> None:
        """Nobody has read what is in. Prepared anew, because the table may be another one of the same name."""
        try:
            self.feed.logs[table].discard()
            self.feed.source.prepare([table])
            self.ranges[table] = [WHOLE]
        except CdcError as error:
            self.waiting.remove(table)
            self.done.failures[table] = error

    def _proceed(self, table: TableName, snapshot: Snapshot, fingerprint: Fingerprint, deadline: float) -> bool:
        """The table's next chunks, one at least; whether it is whole then."""
        log = self.feed.logs[table]
        if log.reached() is None:
            self._create(table, snapshot, fingerprint)
        else:
            self._take_shape(table, snapshot, fingerprint)
        held = log.unfinished() or Chunk(None, 0, snapshot.count(table))
        if table not in self.ranges:
            self.ranges[table] = self._split(table, snapshot, held)
        readers = min(snapshot.readers, self.feed.chunking_of(table).readers)
        while True:
            now, later = self.ranges[table][:readers], self.ranges[table][readers:]
            held = self._read(table, snapshot, now, held)
            self.ranges[table] = later
            acknowledge(self.feed, self.done)
            if not later or time.monotonic() >= deadline:
                return not later

    def _create(self, table: TableName, snapshot: Snapshot, fingerprint: Fingerprint) -> None:
        feed = self.feed
        origin = Origin(feed.system, feed.database, table, feed.source.identity(), feed.connector)
        feed.logs[table].create(carried(None, snapshot.schema(table)), origin, feed.source.notation(), fingerprint)

    def _take_shape(self, table: TableName, snapshot: Snapshot, fingerprint: Fingerprint) -> None:
        """The log goes on in the snapshot's shape. What the log was not told of is made up for by a comparison."""
        log = self.feed.logs[table]
        if log.fingerprint().identity != fingerprint.identity:
            raise Unavailable(f"{table} was dropped and made again while its snapshot was taken; run again")
        known = log.schema()
        now = carried(known, snapshot.schema(table))
        if not same_key(known, now):
            raise BeginAgain(f"{table}: its key changed while its snapshot was taken; that begins again")
        if differences(known, now):
            take_shape(self.feed, table, now, snapshot.position)
            self.ranges.pop(table, None)

    def _split(self, table: TableName, snapshot: Snapshot, held: Chunk) -> list[KeyRange]:
        """The ranges that are not in yet."""
        chunking, key = self.feed.chunking_of(table), snapshot.schema(table).primary_key
        if held.below is not None:
            return snapshot.split(table, chunking.rows, KeyRange((key[0],), (held.below,), None))
        if held.total <= chunking.rows or not chunking.keys <= {frozenset(key)}:
            return [WHOLE]
        return snapshot.split(table, chunking.rows)

    def _read(self, table: TableName, snapshot: Snapshot, ranges: Sequence[KeyRange], held: Chunk) -> Chunk:
        """Commit the rows of consecutive ranges, and how far the snapshot is."""
        log, high = self.feed.logs[table], ranges[-1].high
        origin, version = log.origin(), log.shapes()[-1].number
        rows = held.rows

        def frames() -> Iterator[pl.DataFrame]:
            nonlocal rows
            for batch in together([snapshot.read(table, within=one) for one in ranges]):
                failpoint("capture.snapshot.read")
                # Numbered through: several chunks may stand at one position.
                numbers = pl.int_range(rows, rows + len(batch), dtype=pl.Int64).alias("ordinal")
                rows += len(batch)
                self.progress(f"snapshot {table.name}", rows, max(rows, held.total))
                numbered = replace(batch, frame=batch.frame.with_columns(numbers))
                yield events(numbered, origin, version, datetime.now(UTC), snapshot=True)

        def chunk() -> Chunk:
            return Chunk(high[0] if high else None, rows, max(rows, held.total))

        alone = high is None and log.reached() is None
        log.append(
            frames(),
            snapshot.position,
            log.reached(),
            snapshot=True,
            chunk=None if alone else chunk,
            resume=snapshot.resume(table),
        )
        self.done.snapshot_rows[table] = self.done.snapshot_rows.get(table, 0) + rows - held.rows
        return chunk()
