"""Tables that are compared with their source, because not everything that changes rows is told by it.

    rows may have changed unlogged ────> once, as a whole
    a source that never tells all ─────> by key and one column: now and then, and before its lake is compared
                                         (timestamps: rows that went, and rows that came later than their window)

Layer: engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.follow import Capture, acknowledge, follow, its_own
from cdc_platform.engine.progress import Progress
from cdc_platform.engine.reconcile import reconcile
from cdc_platform.errors import CdcError
from cdc_platform.model.schema import Fingerprint, TableName
from cdc_platform.sources.source import Snapshot


def settle(feed: Feed, tables: Sequence[TableName], done: Capture, progress: Progress) -> None:
    """Compare the tables whose rows may have changed without a word, and those whose time has come."""
    now = feed.source.fingerprints(tables)
    chosen = [t for t in now if _doubtful(feed, t, now) or due(feed, t)]
    if not chosen:
        return
    try:
        with feed.source.snapshot(chosen) as snapshot:
            follow(feed, tables, snapshot.position, done, progress)
            _compare(feed, chosen, snapshot, now, done, progress)
    except CdcError as error:  # of the snapshot as such
        for table in chosen:
            done.failures.setdefault(table, error)
    acknowledge(feed, done)


def find_untold(feed: Feed, tables: Iterable[TableName], snapshot: Snapshot, done: Capture, progress: Progress) -> None:
    """Let the logs of these tables have what their source does not tell by itself, as of the snapshot, up to which they
    were followed. Nothing where the source tells all."""
    wanted = [t for t in dict.fromkeys(tables) if t in feed.comparing and t not in done.failures]
    if wanted:
        _compare(feed, wanted, snapshot, feed.source.fingerprints(wanted), done, progress)


def due(feed: Feed, table: TableName) -> bool:
    """Whether the time has come to look for what the source does not tell."""
    how = feed.comparing.get(table)
    return how is not None and feed.logs[table].compared() + how.every <= datetime.now(UTC)


def _doubtful(feed: Feed, table: TableName, now: Mapping[TableName, Fingerprint]) -> bool:
    log = feed.logs[table]
    return log.unlogged() is not None or log.fingerprint() != now[table]


def _compare(
    feed: Feed,
    tables: Iterable[TableName],
    snapshot: Snapshot,
    now: Mapping[TableName, Fingerprint],
    done: Capture,
    progress: Progress,
) -> None:
    text = feed.source.notation().lsn(snapshot.position)
    for table in tables:
        if table not in done.failures:
            progress(f"compare {table.name}", 0)
            with its_own(done, table):
                log, how = feed.logs[table], feed.comparing.get(table)
                by = how.column if how is not None and not _doubtful(feed, table, now) else None
                differed = reconcile(log, table, snapshot, now[table], text, by)
                done.changes[table] = done.changes.get(table, 0) + differed
