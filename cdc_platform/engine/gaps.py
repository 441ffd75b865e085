"""Gaps, from the moment that one is seen: kept in the change log, where no later success can lose it.

    a Gap is raised about a table that is followed ──> a commit that marks its log ──> the same error, run after run
                                                                                  ──> ends with `cdc resync` (resync.py)

The mark is made under the source's lock, by whoever captures. If the process dies before it, the next one sees the same
gap: the source does not grow back. Layer: engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import Feed
from cdc_platform.errors import CdcError, Gap, Lost
from cdc_platform.model.schema import TableName


def raise_open(log: ChangeLog) -> None:
    """Raise the error of the log's open gap, if there is one."""
    if (gap := log.gap()) is not None:
        raise gap.error()


def keep(feed: Feed, failures: Mapping[TableName, CdcError]) -> None:
    """Mark the logs of tables whose failure is a gap that is not marked yet."""
    for table, error in failures.items():
        if isinstance(error, Gap):
            mark(feed, feed.logs[table], error.lost, str(error))


def mark(feed: Feed, log: ChangeLog, lost: Lost, reason: str) -> None:
    """Open a gap behind the log's position, if none is open; a log without its snapshot has none."""
    position = log.position()
    if position is None or log.gap() is not None:
        return
    try:
        available = feed.source.format(feed.source.available())
    except CdcError:  # the gap is no less one where the server does not say more
        available = ""
    log.mark_gap(lost, reason, available, position)
