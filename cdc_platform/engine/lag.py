"""How far a destination is behind its source: the age of the oldest change that it does not have yet."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import Feed, Flow
from cdc_platform.engine.follow import followed_as
from cdc_platform.engine.seen import changes_of
from cdc_platform.model.change import ChangeBatch, Seen
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName


def lag_seconds(feed: Feed, flow: Flow, head: Position) -> float:
    """Seconds since the oldest change below `head` that is missing in the destination; 0.0 when none is."""
    oldest = oldest_unapplied(flow) or oldest_uncaptured(feed, flow, head)
    return max(0.0, time.time() - oldest.timestamp()) if oldest else 0.0


def oldest_unapplied(flow: Flow) -> datetime | None:
    """Commit time of the first event in the log that the destination lacks, or when another shape was logged for it."""
    if flow.log.position() is None:
        return None
    applied = flow.destination.applied(flow.log.id())
    return oldest_logged(flow.log, applied.version if applied else 0)


def oldest_logged(log: ChangeLog, after: int) -> datetime | None:
    """The same for what a log has behind a version."""
    part = next(log.read(after=after, rows=1), None)
    if part is None:
        return None
    if not part.files:
        return log.committed(part.version)
    first = next(part.frames(["timestamp"]))
    return _datetime(first.select(pl.col("timestamp").struct.field("source_ts").min()).item())


class Logged(Protocol):
    """A table with its change log."""

    @property
    def table(self) -> TableName: ...
    @property
    def log(self) -> ChangeLog: ...


def oldest_uncaptured(feed: Feed, flow: Logged, head: Position) -> datetime | None:
    """Commit time of the first change of the flow's table that its log lacks."""
    position = flow.log.position()
    if position is None or position >= head:
        return None
    for captured in feed.source.changes({flow.table: followed_as(flow.log, position)}, position, head):
        for entry in captured.entries:
            if isinstance(entry, Seen):
                entry = changes_of(entry, flow.log)
                if not len(entry):
                    continue
            if isinstance(entry, ChangeBatch):
                return _datetime(entry.frame["source_ts"].min())
            return entry.place.source_ts
    return None


def _datetime(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None
