"""The source's log followed for a set of tables, and the source told how far it may forget.

    source.changes ──> record.py: [drop what the log has] ──> log.append(upto) ──> source.acknowledge(min over logs)

Why nothing is lost: a stretch reaches the logs before the source hears of it, and what it hears is read back from
the logs: the least position among them, those of failed tables included (but not those of tables in a gap, whose
changes are lost already). Why nothing is doubled: a log's position is in the commit of its events, and events before
it are dropped when the source delivers them again.

A table without changes gets an empty commit with the new position when it is `IDLE_BYTES` behind one that has some, or
`QUIET_BYTES` behind where all is quiet: an idle table neither holds the source's log back for long nor costs a commit
at each poll.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.progress import Progress
from cdc_platform.engine.record import evolve, record
from cdc_platform.errors import CdcError, Gap
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import Captured, Followed
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.lifecycle import State
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema

# How far an idle table's log may fall behind the others: so much is decoded again by the next capture.
IDLE_BYTES = 1 << 20
# The same where no followed table had a change: other tables' changes alone should cost a commit seldom.
QUIET_BYTES = 64 << 20
# The same where positions are times, in microseconds: a poll that found nothing costs a commit seldom.
IDLE_TIME = 60_000_000


@dataclass(slots=True)
class Capture:
    """What one capture did: rows by table, and the tables that failed with their reasons."""

    changes: dict[TableName, int] = field(default_factory=dict)
    snapshot_rows: dict[TableName, int] = field(default_factory=dict)
    failures: dict[TableName, CdcError] = field(default_factory=dict)


def follow(feed: Feed, tables: Sequence[TableName], until: Position, done: Capture, progress: Progress) -> None:
    """Bring the logs of these tables to `until`; those that fail are put down in `done`, the others go on.

    A table without a log is passed over; one whose snapshot is unfinished is followed as far as its keys are in.
    """
    positions = {table: position for table in tables if (position := feed.logs[table].reached()) is not None}
    captured_rows = 0
    resume: dict[TableName, str] = {}
    while positions and (start := min(positions.values())) < until:
        followed = {table: followed_as(feed.logs[table], position) for table, position in positions.items()}
        try:
            for captured in feed.source.changes(followed, start, until):
                failpoint("capture.fetched")
                resume |= captured.resume
                added = _log(feed, captured, positions, done)
                failpoint("capture.recorded")
                if added:
                    captured_rows += added
                    progress(f"capture {feed.label}", captured_rows)
                    _advance(feed, positions, captured.upto, IDLE_BYTES, done, resume)
                    acknowledge(feed, done)
                if not positions:
                    return
            break
        except Gap as gap:
            # The log cannot be read from where the hindmost tables stand; those ahead of them may go on.
            _fail(positions, gap, done)
    _advance(feed, positions, until, QUIET_BYTES, done, resume)
    acknowledge(feed, done)


def followed_as(log: ChangeLog, position: Position) -> Followed:
    """A table as its log tells it to the source, to be followed from `position` on."""
    return Followed(log.schema(), position, log.resume())


def _fail(positions: dict[TableName, Position], gap: Gap, done: Capture) -> None:
    hindmost = min(positions.values())
    for table in [t for t, position in positions.items() if position == hindmost]:
        done.failures[table] = gap
        del positions[table]


def _log(feed: Feed, captured: Captured, positions: dict[TableName, Position], done: Capture) -> int:
    """Record a stretch in the logs and move `positions` along; tables that fail leave it. Returns changes added."""
    captured_at, total = datetime.now(UTC), 0
    for table, error in captured.failures.items():
        done.failures[table] = error
    for table in list(positions):
        entries = [entry for entry in captured.entries if entry.table == table]
        try:
            resume = captured.resume.get(table)
            added, positions[table] = record(
                feed.logs[table], entries, positions[table], captured.upto, captured_at, resume
            )
        except CdcError as error:
            done.failures[table] = error
            added = 0
        if table in done.failures:
            del positions[table]
        done.changes[table] = done.changes.get(table, 0) + added
        total += added
    return total


def _advance(
    feed: Feed,
    positions: dict[TableName, Position],
    upto: Position,
    behind: int,
    done: Capture,
    resume: Mapping[TableName, str],
) -> None:
    """Record `upto` in the logs that are more than `behind` bytes short of it and had no change up to there; where
    positions are times, a minute; at all short of it, where they are something else."""
    for table, position in list(positions.items()):
        least = {"lsn": behind, "binlog": behind, "time": IDLE_TIME}.get(feed.logs[table].notation().kind, 1)
        if position >= upto or upto.at - position.at < least:
            continue
        try:
            feed.logs[table].advance(upto, position, resume.get(table))
            positions[table] = upto
        except CdcError as error:
            done.failures[table] = error
            del positions[table]


def acknowledge(feed: Feed, done: Capture) -> None:
    """Tell the source what is safe, by reading the logs again.

    A table that waits for a person holds the source's log back, unless what it misses is gone already.
    """
    positions = []
    for table, log in {**feed.others, **feed.logs}.items():
        if isinstance(done.failures.get(table), Gap):
            continue
        try:
            if table not in feed.others or log.state() not in (State.GAP, State.RESYNCING):
                positions.append(log.reached())
        except CdcError as error:
            done.failures.setdefault(table, error)
            return  # what this log holds is not known, so nothing is known to be safe
    if known := [p for p in positions if p is not None]:
        failpoint("capture.acknowledging")
        feed.source.acknowledge(min(known))
        failpoint("capture.acknowledged")


@contextmanager
def its_own(done: Capture, table: TableName) -> Iterator[None]:
    """One table's step: its failure is its own."""
    try:
        yield
    except CdcError as error:
        done.failures[table] = error


def take_shape(feed: Feed, table: TableName, now: TableSchema, head: Position) -> None:
    """Record the shape that the catalogue has `now`, where the log, which reaches `head`, was told of no such one."""
    log = feed.logs[table]
    position, known = log.reached(), log.schema()
    shape = carried(known, now)
    if position is None or not differences(known, shape):
        return
    place = max(head, position)
    # The mark first: once the shape is recorded, nothing would tell a process that died in between of the rows.
    if reason := feed.source.rewritten_by(known, shape):
        log.mark_unlogged(reason, place, position)
        position = place
        failpoint("capture.shape.marked")
    evolve(log, shape, place, position)
