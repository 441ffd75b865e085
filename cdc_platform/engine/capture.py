"""From a source's log into the change logs.

    new tables ────────────> snapshots.py: their first state, in chunks, while the others go on
    followed tables ───────> follow.py: the source's log up to its head
    doubtful tables ───────> settle.py: those whose rows may have changed unlogged, compared with the source

A table that changed its shape and had no row change since is given the shape that the catalogue has: it was read before
the head was, so what it says had happened by then.

One table's failure is recorded and the others go on; a failure of the source itself ends the capture. That changes of
a table are lost is marked in its log (gaps.py), and it is followed again only after a resync.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine import gaps
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.follow import Capture, follow, its_own, take_shape
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.settle import settle
from cdc_platform.engine.snapshots import take_snapshots
from cdc_platform.errors import CdcError, ConfigError, Gap, Lost, NeedsPerson, SchemaConflict
from cdc_platform.failpoints import failpoint
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema

_BETTER_NAME = re.compile(r"; (did you mean .*|correct its name)")
_CATCHING_UP = 3


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
        known = {table: feed.logs[table].schema() for table in tables if table not in fresh}
        waiting: dict[TableName, CdcError] = {}
        if fresh:
            waiting = take_snapshots(feed, fresh, list(known), done, progress)
        # What is in of an unfinished snapshot is followed like the rest: it must not hold the source's log back.
        follow(feed, [t for t in tables if t not in done.failures], head, done, progress)
        done.failures = {**waiting, **done.failures}
        followed = [t for t in tables if t not in done.failures and feed.logs[t].position() is not None]
        if until is None:
            caught = {t: _Asked(known[t], tables[t]) for t in followed if t in known}
            _catch_up(feed, caught, head, done, progress)
            settle(feed, [t for t in followed if t not in done.failures], done, progress)
        gaps.keep(feed, done.failures)
        return done


def _followable(feed: Feed, done: Capture) -> dict[TableName, TableSchema]:
    """The tables that can be followed, with their shapes now; the others are put down as failures."""
    identity = feed.source.identity()
    tables: dict[TableName, TableSchema] = {}
    for table, log in feed.logs.items():
        try:
            if log.position() is None:
                _keep_or_discard(feed, table, log, identity)
            position = log.reached()
            if position is None:
                tables[table] = feed.source.schemas([table])[table]
                feed.source.prepare([table])
                failpoint("capture.prepared")
            else:
                # Not prepared again: that would put a table back into a publication which it was taken out of, and
                # hide that its changes in between are lost.
                tables[table] = resumable(feed, table, log, position, identity)
        except CdcError as error:
            tables.pop(table, None)
            done.failures[table] = error
    return tables


def _keep_or_discard(feed: Feed, table: TableName, log: ChangeLog, identity: str) -> None:
    """An unfinished snapshot that cannot go on is no gap: nobody has read it, and it begins anew."""
    if (position := log.reached()) is not None:
        try:
            resumable(feed, table, log, position, identity)
        except Gap:
            log.discard()


def resumable(feed: Feed, table: TableName, log: ChangeLog, position: Position, identity: str) -> TableSchema:
    """The table's shape now, if its log can go on; a Gap or another error says why it cannot. Reads only.

    The table is not prepared again: that would put it back into a publication which it was taken out of, and hide that
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
                with its_own(done, table):
                    take_shape(feed, table, shapes.catalogue, head)
            elif differences(feed.logs[table].schema(), carried(feed.logs[table].schema(), shapes.catalogue)):
                undecided.append(table)
        asked = {}
        for table in undecided:
            with its_own(done, table):
                asked[table] = _Asked(feed.logs[table].schema(), _shape_now(feed, table))
        if not asked:
            return
        head = feed.source.head()
        follow(feed, list(asked), head, done, progress)
