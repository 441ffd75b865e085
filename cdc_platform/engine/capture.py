"""From a source's log into the change logs.

    source.changes ──> [drop what the log has] ──> events ──> log.append(upto) ──> source.acknowledge(min over logs)

Why nothing is lost: a stretch reaches the logs before the source hears of it, and what it hears is read back from
the logs: the least position among them, those of failed tables included (but not those of tables in a gap, whose
changes are lost already). Why nothing is doubled: a log's position is in the commit of its events, and events before
it are dropped when the source delivers them again.

A table without changes gets an empty commit with the new position when it is `IDLE_BYTES` behind one that has some, or
`QUIET_BYTES` behind where all is quiet: an idle table neither holds the source's log back for long nor costs a commit
at each poll.

One table's failure is recorded and the others go on; a failure of the source itself ends the capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import CdcError, Gap, NeedsPerson, SchemaConflict
from cdc_platform.model.change import Captured, ChangeBatch, Followed
from cdc_platform.model.event import Origin, events
from cdc_platform.model.position import Position, parse_binlog
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.source import Snapshot

# How far an idle table's log may fall behind the others: so much is decoded again by the next capture.
IDLE_BYTES = 1 << 20
# The same where no followed table had a change: other tables' changes alone should cost a commit seldom.
QUIET_BYTES = 64 << 20
# A log has one shape for its life (another one stops its table), so its events have one version.
_SCHEMA_VERSION = 1


@dataclass(slots=True)
class Capture:
    """What one capture did: rows by table, and the tables that failed with their reasons."""

    changes: dict[TableName, int] = field(default_factory=dict)
    snapshot_rows: dict[TableName, int] = field(default_factory=dict)
    failures: dict[TableName, CdcError] = field(default_factory=dict)


def capture(feed: Feed, until: Position | None = None, progress: Progress = silent) -> Capture:
    """Bring every log of the feed to `until` (to where the source stands now, when None)."""
    with exclusive(feed.locks, feed.lock):
        done = Capture()
        head = until or feed.source.head()
        tables = _followable(feed, done)
        fresh = [t for t in tables if feed.logs[t].position() is None]
        if fresh:
            try:
                _snapshot(feed, fresh, tables, done, progress)
            except CdcError as error:  # of the snapshot as such: the tables that are followed already go on
                for table in fresh:
                    done.failures.setdefault(table, error)
        _follow(feed, [t for t in tables if t not in done.failures], head, done, progress)
        return done


def _followable(feed: Feed, done: Capture) -> dict[TableName, TableSchema]:
    """The tables that can be followed, with their shapes now; the others are put down as failures."""
    identity = feed.source.identity()
    tables: dict[TableName, TableSchema] = {}
    for table, log in feed.logs.items():
        try:
            position = log.position()
            tables[table] = feed.source.schemas([table])[table]
            if position is None:
                feed.source.prepare([table])
            else:
                # Not prepared again: that would put a table back into a publication which it was taken out of, and
                # hide that its changes in between are lost.
                _check_lineage(feed, table, log, identity)
                feed.source.check_resumable(position)
        except CdcError as error:
            tables.pop(table, None)
            done.failures[table] = error
    return tables


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
            f"({recorded} then, {identity} now); point the pipeline back at it, or begin again in a new CDC_HOME"
        )


def _snapshot(
    feed: Feed, fresh: list[TableName], shapes: dict[TableName, TableSchema], done: Capture, progress: Progress
) -> None:
    """The first state of each fresh table, all from one snapshot; each log takes its rows in one commit."""
    identity = feed.source.identity()
    with feed.source.snapshot(fresh) as snapshot:
        text = feed.source.format(snapshot.position)
        binlog_base = parse_binlog(text)[0] if feed.system == "mysql" else None
        for table in fresh:
            log = feed.logs[table]
            origin = Origin(feed.system, feed.database, table, identity)
            try:
                log.create(shapes[table], origin, binlog_base)
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
        yield events(batch, origin, _SCHEMA_VERSION, datetime.now(UTC), snapshot=True)
    done.snapshot_rows[table] = read


def _follow(feed: Feed, tables: list[TableName], until: Position, done: Capture, progress: Progress) -> None:
    positions = {table: position for table in tables if (position := feed.logs[table].position()) is not None}
    captured_rows = 0
    start = min(positions.values(), default=until)
    followed = {table: Followed(feed.logs[table].schema(), position) for table, position in positions.items()}
    for captured in feed.source.changes(followed, start, until) if start < until else ():
        added = _log(feed, captured, positions, done)
        if added:
            captured_rows += added
            progress(f"capture {feed.label}", captured_rows)
            _advance(feed, positions, captured.upto, IDLE_BYTES, done)
            _acknowledge(feed, done)
        if not positions:
            return
    _advance(feed, positions, until, QUIET_BYTES, done)
    _acknowledge(feed, done)


def _log(feed: Feed, captured: Captured, positions: dict[TableName, Position], done: Capture) -> int:
    """Append a stretch to the logs and move `positions` along; tables that fail leave it. Returns rows added."""
    captured_at, total = datetime.now(UTC), 0
    for table, error in captured.failures.items():
        done.failures[table] = error
        positions.pop(table, None)
    for table in list(positions):
        batches = [b for b in captured.batches if b.schema.table == table]
        try:
            added = _append(feed, batches, positions[table], captured.upto, captured_at)
        except CdcError as error:
            done.failures[table] = error
            del positions[table]
            continue
        if added:
            positions[table] = captured.upto
            done.changes[table] = done.changes.get(table, 0) + added
            total += added
    return total


def _append(feed: Feed, batches: list[ChangeBatch], position: Position, upto: Position, captured_at: datetime) -> int:
    """Add a stretch's changes of one table that its log does not have yet; how many these were."""
    new = [batch for b in batches if len(batch := _since(b, position))]
    if not new:
        return 0
    log = feed.logs[new[0].schema.table]
    shape, origin = log.schema(), log.origin()
    for batch in new:
        if batch.schema.row_type != shape.row_type:
            raise SchemaConflict(_shape_changed(shape, batch.schema, batch.frame["lsn"][0]))
    log.append((events(b, origin, _SCHEMA_VERSION, captured_at, snapshot=False) for b in new), upto, position)
    return sum(len(batch) for batch in new)


def _since(batch: ChangeBatch, position: Position) -> ChangeBatch:
    """The changes at or after a position."""
    at, ordinal = pl.col("at"), pl.col("ordinal")
    behind = (at > position.at) | ((at == position.at) & (ordinal >= position.ordinal))
    return ChangeBatch(batch.schema, batch.frame.filter(behind))


def _shape_changed(old: TableSchema, new: TableSchema, lsn: str) -> str:
    before = {c.name: str(c.type) for c in old.columns}
    after = {c.name: str(c.type) for c in new.columns}
    differences = [f"'{n}' added" for n in after if n not in before]
    differences += [f"'{n}' gone" for n in before if n not in after]
    differences += [f"'{n}' {before[n]} -> {after[n]}" for n in after if before.get(n, after[n]) != after[n]]
    what = ", ".join(differences) or "order of columns"
    return f"{new.table} changed its shape at {lsn} ({what}); begin the pipeline anew with the new shape"


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
