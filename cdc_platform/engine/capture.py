"""From a source's log into the change logs.

    source.changes ──> record.py: [drop what the log has] ──> log.append(upto) ──> source.acknowledge(min over logs)
                   ──> reconcile.py, for tables whose rows may have changed unlogged

Why nothing is lost: a stretch reaches the logs before the source hears of it, and what it hears is read back from
the logs: the least position among them, those of failed tables included (but not those of tables in a gap, whose
changes are lost already). Why nothing is doubled: a log's position is in the commit of its events, and events before
it are dropped when the source delivers them again.

A table without changes gets an empty commit with the new position when it is `IDLE_BYTES` behind one that has some, or
`QUIET_BYTES` behind where all is quiet: an idle table neither holds the source's log back for long nor costs a commit
at each poll.

A table that changed its shape and had no row change since is given the shape that the catalogue has: it was read before
the head was, so what it says had happened by then.

One table's failure is recorded and the others go on; a failure of the source itself ends the capture. That changes of
a table are lost is marked in its log (gaps.py), and it is followed again only after a resync.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine import gaps
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.reconcile import reconcile
from cdc_platform.engine.record import evolve, record
from cdc_platform.errors import CdcError, ConfigError, Gap, Lost, NeedsPerson, SchemaConflict
from cdc_platform.model.change import Captured, Followed
from cdc_platform.model.event import Origin, events
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.position import Position, parse_binlog
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.source import Snapshot

# How far an idle table's log may fall behind the others: so much is decoded again by the next capture.
IDLE_BYTES = 1 << 20
# The same where no followed table had a change: other tables' changes alone should cost a commit seldom.
QUIET_BYTES = 64 << 20
_FIRST_SHAPE = 1
_BETTER_NAME = re.compile(r"; (did you mean .*|correct its name)")
_CATCHING_UP = 3


@dataclass(slots=True)
class Capture:
    """What one capture did: rows by table, and the tables that failed with their reasons."""

    changes: dict[TableName, int] = field(default_factory=dict)
    snapshot_rows: dict[TableName, int] = field(default_factory=dict)
    failures: dict[TableName, CdcError] = field(default_factory=dict)


def capture(feed: Feed, until: Position | None = None, progress: Progress = silent) -> Capture:
    """Bring every log of the feed to `until`, or to where the source stands now.

    In the latter case, tables whose rows may have changed unlogged are compared with the source, too.
    """
    with exclusive(feed.locks, feed.lock):
        done = Capture()
        tables = _followable(feed, done)
        gaps.keep(feed, done.failures)  # now: what comes may fail as a whole
        head = until or feed.source.head()
        fresh = [t for t in tables if feed.logs[t].position() is None]
        if fresh:
            try:
                _snapshot(feed, fresh, done, progress)
            except CdcError as error:  # of the snapshot as such: the tables that are followed already go on
                for table in fresh:
                    done.failures.setdefault(table, error)
        followed = [t for t in tables if t not in done.failures]
        known = {table: feed.logs[table].schema() for table in followed}
        _follow(feed, followed, head, done, progress)
        if until is None:
            caught = {t: _Asked(known[t], tables[t]) for t in followed if t not in fresh}
            _catch_up(feed, caught, head, done, progress)
            _settle(feed, [t for t in followed if t not in done.failures], done, progress)
        gaps.keep(feed, done.failures)
        return done


def _followable(feed: Feed, done: Capture) -> dict[TableName, TableSchema]:
    """The tables that can be followed, with their shapes now; the others are put down as failures."""
    identity = feed.source.identity()
    tables: dict[TableName, TableSchema] = {}
    for table, log in feed.logs.items():
        try:
            position = log.position()
            if position is None:
                tables[table] = feed.source.schemas([table])[table]
                feed.source.prepare([table])
            else:
                tables[table] = follow(feed, table, log, position, identity)
        except CdcError as error:
            tables.pop(table, None)
            done.failures[table] = error
    return tables


def follow(feed: Feed, table: TableName, log: ChangeLog, position: Position, identity: str) -> TableSchema:
    """The shape now of a table that is followed; raises what keeps it from being followed further. Reads only.

    It is not prepared again: that would put a table back into a publication which it was taken out of, and hide that
    its changes in between are lost.
    """
    gaps.raise_open(log)
    _check_lineage(feed, table, log, identity)
    feed.source.check_resumable(position)
    shape = _shape_now(feed, table)
    _check_identity(feed, table, log)
    return shape


def _shape_now(feed: Feed, table: TableName) -> TableSchema:
    """The followed table's shape; that it is not there any more is no fault of the configuration."""
    try:
        return feed.source.schemas([table])[table]
    except ConfigError as error:
        missing = _BETTER_NAME.sub("", str(error))  # it was right once
        raise SchemaConflict(
            f"{missing}; it was dropped or renamed while it was followed: what was captured stays as it is; rename it "
            "back, or take its pipeline away"
        ) from error


def _check_identity(feed: Feed, table: TableName, log: ChangeLog) -> None:
    """A table of the same name may be another one, or may have been out of sight for a while."""
    then, fingerprint = log.fingerprint(), feed.source.fingerprints([table])[table]
    known, now = then.identity, fingerprint.identity
    if known != now:
        raise Gap(
            f"{table}: since its change log was begun the table was dropped and made again, or taken out of the "
            f"publication (then {known}; now {now}): changes in between may be lost; run: cdc resync",
            Lost.TABLE_REPLACED if then.table != fingerprint.table else Lost.UNPUBLISHED,
        )


def _check_lineage(feed: Feed, table: TableName, log: ChangeLog, identity: str) -> None:
    """A log goes on only from the server (and lineage) that it was begun with: elsewhere, positions mean nothing."""
    origin = log.origin()
    if origin.table != table or origin.database != feed.database:
        raise NeedsPerson(
            f"{table}: the change log at {log.path} is that of {origin.database}.{origin.table}; move it away"
        )
    recorded = origin.identity
    if recorded != identity:
        raise Gap(
            f"{table}: the source is another server than the change log was begun with "
            f"({recorded} then, {identity} now); point the pipeline back at it, or run: cdc resync",
            Lost.SERVER_REPLACED,
        )


def _snapshot(feed: Feed, fresh: list[TableName], done: Capture, progress: Progress) -> None:
    """The first state of each fresh table, all from one snapshot; each log takes its rows in one commit."""
    identity = feed.source.identity()
    fingerprints = feed.source.fingerprints(fresh)
    with feed.source.snapshot(fresh) as snapshot:
        text = feed.source.format(snapshot.position)
        binlog_base = parse_binlog(text)[0] if feed.system == "mysql" else None
        for table in fresh:
            log = feed.logs[table]
            origin = Origin(feed.system, feed.database, table, identity)
            try:
                log.create(carried(None, snapshot.schema(table)), origin, binlog_base, fingerprints[table])
                rows = _snapshot_events(snapshot, table, origin, done, progress)
                log.append(rows, snapshot.position, after=None, snapshot=True)
            except CdcError as error:
                done.failures[table] = error


def _snapshot_events(
    snapshot: Snapshot, table: TableName, origin: Origin, done: Capture, progress: Progress
) -> Iterator[pl.DataFrame]:
    total, read = snapshot.count(table), 0
    for batch in ahead(snapshot.read(table)):
        read += len(batch)
        progress(f"snapshot {table.name}", read, total)
        yield events(batch, origin, _FIRST_SHAPE, datetime.now(UTC), snapshot=True)
    done.snapshot_rows[table] = read


def _follow(feed: Feed, tables: list[TableName], until: Position, done: Capture, progress: Progress) -> None:
    positions = {table: position for table in tables if (position := feed.logs[table].position()) is not None}
    captured_rows = 0
    while positions and (start := min(positions.values())) < until:
        followed = {table: Followed(feed.logs[table].schema(), position) for table, position in positions.items()}
        try:
            for captured in feed.source.changes(followed, start, until):
                added = _log(feed, captured, positions, done)
                if added:
                    captured_rows += added
                    progress(f"capture {feed.label}", captured_rows)
                    _advance(feed, positions, captured.upto, IDLE_BYTES, done)
                    _acknowledge(feed, done)
                if not positions:
                    return
            break
        except Gap as gap:
            # The log cannot be read from where the hindmost tables stand; those ahead of them may go on.
            _fail(positions, gap, done)
    _advance(feed, positions, until, QUIET_BYTES, done)
    _acknowledge(feed, done)


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
            added, positions[table] = record(feed.logs[table], entries, positions[table], captured.upto, captured_at)
        except CdcError as error:
            done.failures[table] = error
            added = 0
        if table in done.failures:
            del positions[table]
        done.changes[table] = done.changes.get(table, 0) + added
        total += added
    return total


@dataclass(frozen=True, slots=True)
class _Asked:
    """A table's shape in its log before that was followed, and the catalogue's, which was asked before the head was."""

    logged: TableSchema
    catalogue: TableSchema


def _catch_up(feed: Feed, asked: dict[TableName, _Asked], head: Position, done: Capture, progress: Progress) -> None:
    """Record the shapes of tables that had no change since they got them; their logs reach `head`.

    Where the log told of another shape meanwhile, that one may be newer than the catalogue's was: it is asked again,
    and the log followed from there. A table that changes faster than this keeps up with is caught by the next run.
    """
    for _ in range(_CATCHING_UP):
        undecided = []
        for table, shapes in asked.items():
            if table in done.failures:
                continue
            if feed.logs[table].schema() == shapes.logged:
                with _its_own(done, table):
                    _take_shape(feed, table, shapes.catalogue, head)
            elif differences(feed.logs[table].schema(), carried(feed.logs[table].schema(), shapes.catalogue)):
                undecided.append(table)
        asked = {}
        for table in undecided:
            with _its_own(done, table):
                asked[table] = _Asked(feed.logs[table].schema(), _shape_now(feed, table))
        if not asked:
            return
        head = feed.source.head()
        _follow(feed, list(asked), head, done, progress)


def _take_shape(feed: Feed, table: TableName, now: TableSchema, head: Position) -> None:
    log = feed.logs[table]
    position, known = log.position(), log.schema()
    shape = carried(known, now)
    if position is None or not differences(known, shape):
        return
    place = max(head, position)
    # The mark first: once the shape is recorded, nothing would tell a process that died in between of the rows.
    if reason := feed.source.rewritten_by(known, shape):
        log.mark_unlogged(reason, place, position)
        position = place
    evolve(log, shape, place, position)


def _settle(feed: Feed, tables: list[TableName], done: Capture, progress: Progress) -> None:
    """Compare the tables whose rows may have changed without a word in the log."""
    now = feed.source.fingerprints(tables)
    doubtful = [t for t in now if feed.logs[t].unlogged() or feed.logs[t].fingerprint() != now[t]]
    if not doubtful:
        return
    try:
        with feed.source.snapshot(doubtful) as snapshot:
            _follow(feed, tables, snapshot.position, done, progress)
            text = feed.source.format(snapshot.position)
            for table in doubtful:
                if table not in done.failures:
                    progress(f"compare {table.name}", 0)
                    with _its_own(done, table):
                        differed = reconcile(feed.logs[table], table, snapshot, now[table], text)
                        done.changes[table] = done.changes.get(table, 0) + differed
    except CdcError as error:  # of the snapshot as such
        for table in doubtful:
            done.failures.setdefault(table, error)
    _acknowledge(feed, done)


@contextmanager
def _its_own(done: Capture, table: TableName) -> Iterator[None]:
    """One table's step: its failure is its own."""
    try:
        yield
    except CdcError as error:
        done.failures[table] = error


def _advance(feed: Feed, positions: dict[TableName, Position], upto: Position, behind: int, done: Capture) -> None:
    """Record `upto` in the logs that are more than `behind` bytes short of it and had no change up to there."""
    for table, position in list(positions.items()):
        if upto.at - position.at < behind:
            continue
        try:
            feed.logs[table].advance(upto, position)
            positions[table] = upto
        except CdcError as error:
            done.failures[table] = error
            del positions[table]


def _acknowledge(feed: Feed, done: Capture) -> None:
    """Tell the source what is safe, by reading the logs again.

    A table that waits for a person holds the source's log back, unless what it misses is gone already.
    """
    positions = []
    for table, log in feed.logs.items():
        if isinstance(done.failures.get(table), Gap):
            continue
        try:
            positions.append(log.position())
        except CdcError as error:
            done.failures.setdefault(table, error)
            return  # what this log holds is not known, so nothing is known to be safe
    if known := [p for p in positions if p is not None]:
        feed.source.acknowledge(min(known))
