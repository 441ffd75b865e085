"""A moment in a table's past: what a person asks for, and the bound in the change log that it means.

    "0/1A2B3C4", "binlog.000003:1234"       a source position: everything before it
    "2026-11-24T12:00:00Z", "10 minutes ago"  a time: every transaction that was committed by then
    "version:12", "snapshot:4711"           a version of the destination: the position that it holds

A time is cut where the first change with a later commit time stands, so that what is before is always a state that the
source went through, also where its clock was set back. Layer: engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow.parquet as pq

from cdc_platform.change_log.commits import Doubt, beginning, doubts
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.change_log.slices import Slice
from cdc_platform.change_log.window import PLACES, Window, before
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.feeds import Flow, feed_of, open_feed
from cdc_platform.engine.lag import oldest_uncaptured
from cdc_platform.engine.locks import exclusive
from cdc_platform.errors import ConfigError, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.model.position import Notation, Position

_WAIT = 10.0
_AGO = re.compile(r"(\d+)\s*(second|minute|hour|day|week)s?\s+ago")
_TABLE_VERSION = re.compile(r"(?:version|snapshot):(\d+)")
_TIMES = ("timestamp.source_ts", *PLACES)
_NEIGHBOURS = ("metadata.transaction_id", *PLACES)


@dataclass(frozen=True, slots=True)
class TableVersionNumber:
    """A Delta version or an Iceberg snapshot id."""

    number: int


Asked = Position | datetime | TableVersionNumber
Ahead = Callable[[Position | datetime], None]
"""Asks the source whether the log, which ends before this, lacks a change before it: Unavailable then."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A bound in a flow's change log. `last` is the log's commit of the last event before it, `following` that of the
    first one at or behind it (past the last commit where there is none); they are one where it lies among a commit's
    events. `inside` names the transaction that it cuts in two, `doubt` a stretch around it in which rows may have
    changed without events.
    """

    position: Position
    text: str
    shape: SchemaVersion
    last: int
    following: int
    inside: str | None = None
    doubt: Doubt | None = None

    @property
    def window(self) -> Window:
        """All events before it."""
        return Window(until=self.position)


def parse_asked(text: str, notation: Notation, now: datetime, *, place: bool = False) -> Asked:
    """A position, time or version of the destination as a person writes it. Raises ConfigError.

    Where positions are times, too, one is meant with `place`, and where a number stands behind it (`#3`).
    """
    text = text.strip()
    if match := _TABLE_VERSION.fullmatch(text):
        return TableVersionNumber(int(match[1]))
    if match := _AGO.fullmatch(text.lower()):
        return now - timedelta(**{f"{match[2]}s": int(match[1])})
    if text.lower() == "now":
        return now
    if re.match(r"\d{4}-\d\d-\d\d", text) and not (notation.kind == "time" and (place or "#" in text)):
        return parse_time(text)
    return notation.parse(text)


def begun(flow: Flow) -> ChangeLog:
    """The flow's change log, once its snapshot is whole."""
    if not flow.log.exists() or flow.log.position() is None:
        raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
    return flow.log


def parse_time(text: str) -> datetime:
    """A time in ISO form with its zone."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is no time; write 2026-11-24T12:00:00Z, or '10 minutes ago'") from error
    if time.tzinfo is None:
        raise ConfigError(f"'{text}' has no zone; write {text}Z for UTC, or {text}+01:00")
    return time.astimezone(UTC)


def moment(flow: Flow, asked: Asked, ahead: Ahead) -> Moment:
    """What was asked as a bound in the flow's log. Raises ConfigError before the log's beginning, Unavailable where the
    log has not captured it yet."""
    log = begun(flow)
    end = log.position()
    assert end is not None
    if isinstance(asked, datetime) and asked > datetime.now(UTC):
        raise ConfigError(f"{asked:%Y-%m-%dT%H:%M:%S}Z lies in the future")
    commits = list(log.commits())
    if any(later.position < earlier.position for earlier, later in pairwise(commits)):
        raise NotUnderstood(
            f"the change log of {flow.pipeline.id} goes on from another server, whose positions begin anew: the past "
            "is not worked out across that"
        )
    begin = beginning(commits)
    assert begin is not None
    if isinstance(asked, TableVersionNumber):
        asked = _held_by(flow, asked)
    position = _cut(flow, asked, ahead) if isinstance(asked, datetime) else asked
    if isinstance(asked, Position) and asked > end:
        ahead(asked)
    if position < begin:
        raise ConfigError(
            f"the change log of {flow.pipeline.id} begins at {log.format(begin)}, the position of its snapshot: what "
            "the table was before is not known"
        )
    shape = next(s for s in reversed(log.shapes()) if not s.commit or log.reached_by(s.commit) <= position)
    _check_key(log, shape)
    last, following, inside = _neighbours(log, position)
    doubt = next((d for d in doubts(commits) if d.touches(position)), None)
    return Moment(position, log.format(position), shape, last, following, inside, doubt)


def _held_by(flow: Flow, asked: TableVersionNumber) -> Position:
    """The position that a version of the destination holds."""
    delta = flow.pipeline.config.destination.type == "deltalake"
    for version in flow.destination.versions(flow.log.id()):
        # Delta's versions without a mark (a compaction) hold what the one before them does.
        below = delta and version.number < asked.number <= (flow.destination.table_version() or 0)
        if below or version.number == asked.number:
            return flow.log.reached_by(version.applied.version)
    raise ConfigError(
        f"{flow.pipeline.id}: the destination knows no version {asked.number} that was written from this change log; "
        f"'cdc at {flow.pipeline.id} --time now' names the newest one"
    )


def _cut(flow: Flow, time: datetime, ahead: Ahead) -> Position:
    """The place of the first change with a later commit time; the log's end where there is none."""
    log = flow.log
    newest: datetime | None = None
    for part in log.slices():
        for frame in part.frames(_TIMES):
            times = frame["timestamp"].struct.field("source_ts")
            later = int((times > time).arg_max() or 0)
            if times[later] <= time:
                newest = max(times.sort()[-1], newest or times[0])
                continue
            if newest is None and later == 0:
                taken = times[0] if part.snapshot else log.committed(1)
                if time < taken:
                    raise ConfigError(
                        f"the change log of {flow.pipeline.id} begins with the table's state at "
                        f"{taken:%Y-%m-%dT%H:%M:%S}Z: what the table was before is not known"
                    )
            return Position(frame["_at"][later], frame["_ordinal"][later])
    if newest is None or time > newest:
        ahead(time)
    end = log.position()
    assert end is not None
    return end


def _check_key(log: ChangeLog, shape: SchemaVersion) -> None:
    """Rows are known by their key: where that was another one before, earlier events name rows otherwise."""
    keys = {
        tuple(one.schema.column(name).source_id for name in one.schema.primary_key)
        for one in log.shapes()
        if one.number <= shape.number
    }
    if len(keys) > 1:
        raise NotUnderstood(
            f"the primary key of {shape.schema.table} became another one before {shape.position}: states after that "
            "are not worked out from the change log; begin the pipeline anew"
        )


def _neighbours(log: ChangeLog, position: Position) -> tuple[int, int, str | None]:
    """The commits of the last event before the position and of the first one behind it, and the transaction of both
    where it is the same one."""
    earlier: Slice | None = None
    for part in log.slices():
        if part.span[1] < position.at:
            earlier = part
            continue
        head: str | None = None
        some = False
        for frame in part.frames(_NEIGHBOURS):
            names, count = frame["metadata"].struct.field("transaction_id"), before(frame, position)
            if count:
                head, some = names[count - 1], True
            if count == frame.height:
                continue
            if not some and earlier is not None and names[count] is not None:
                head = _last_transaction(earlier)
            complete = part.version if some else earlier.version if earlier else 0
            return complete, part.version, head if head is not None and head == names[count] else None
        earlier = part
    return earlier.version if earlier else 0, log.version() + 1, None


def _last_transaction(part: Slice) -> str | None:
    with pq.ParquetFile(part.files[-1]) as file:
        last = file.read_row_group(file.metadata.num_row_groups - 1, columns=_NEIGHBOURS[:1])
    name = last.column("metadata")[-1].as_py()["transaction_id"]
    return None if name is None else str(name)


def source_ahead(
    settings: Settings, environment: Mapping[str, str], everything: Sequence[Pipeline], flow: Flow
) -> Ahead:
    """`Ahead` for a flow: looks through what the source has behind the log's end.

    So a table that had no change for long is known to have had none, though its log says nothing of the time since.
    """
    name = feed_of(flow.pipeline)

    def ahead(asked: Position | datetime) -> None:
        with open_feed(settings, environment, everything, name) as feed, exclusive(feed.locks, feed.lock, _WAIT):
            head = feed.source.head()
            if isinstance(asked, Position) and asked > head:
                raise Unavailable(f"the source stands at {feed.source.format(head)} and is not there yet")
            oldest = oldest_uncaptured(feed, flow, asked if isinstance(asked, Position) else head)
        if oldest is not None and (isinstance(asked, Position) or oldest <= asked):
            raise Unavailable(f"{flow.pipeline.id}: not captured yet; run: cdc run {flow.pipeline.id}")

    return ahead
