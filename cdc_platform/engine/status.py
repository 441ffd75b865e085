"""`cdc status`: where each pipeline is, from the tables and the source themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from cdc_platform.change_log.chunks import Chunk
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.capture import resumable
from cdc_platform.engine.derivation.opened import open_derivation
from cdc_platform.engine.derivation.standing import standing
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_flow
from cdc_platform.engine.handing_on import awaited
from cdc_platform.engine.lag import lag_seconds, oldest_unapplied
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.memory import LastError, recall
from cdc_platform.errors import CdcError, Gap, Unavailable
from cdc_platform.model.keeping import Keeping, warnings
from cdc_platform.model.lifecycle import OpenGap
from cdc_platform.model.position import Position

State = Literal["new", "snapshotting", "current", "behind", "busy", "failed", "gap", "unreachable"]

_LOCK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """Positions are text in the source's own words. `lag_seconds` is None where it cannot be known.

    States: new (no snapshot yet), snapshotting (some of it is in, `snapshot` says how many rows of about how many;
    another run goes on with the rest), current (the destination has every change), behind (it lacks some), busy
    (another process captures from the source right now), failed (the last run ended in an error that is not cleared),
    gap (the source's log lacks what is missing), unreachable.

    `gap` says more of an open gap that is marked in the change log. `wal_kept_bytes` is what the source keeps of its
    log for the platform, `warnings` what a person should do something about before it becomes a gap.
    """

    pipeline: str
    state: State
    source_head: str | None
    captured: str | None
    applied: str | None
    lag_seconds: float | None
    last_error: str | None
    gap: OpenGap | None = None
    wal_kept_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    snapshot: Chunk | None = None

    @property
    def told(self) -> str:
        """The state, for people: with how far an unfinished snapshot is."""
        if self.snapshot is None:
            return self.state
        return f"{self.state} ({self.snapshot.rows:,} of about {self.snapshot.total:,} rows)"


def status(
    settings: Settings, environment: Mapping[str, str], everything: Sequence[Pipeline], chosen: Sequence[Pipeline]
) -> list[PipelineStatus]:
    """The state of the chosen pipelines, in order."""
    found: dict[str, PipelineStatus] = {}
    plain = [p for p in chosen if not p.derived]
    for name in feeds_of(plain):
        mine = [p for p in plain if feed_of(p) == name]
        try:
            with open_feed(settings, environment, everything, name) as feed, _reader(feed) as busy:
                for pipeline in mine:
                    found[pipeline.id] = _status(settings, environment, pipeline, feed, busy)
        except CdcError as error:
            for pipeline in mine:
                found.setdefault(pipeline.id, _blind(settings, environment, pipeline, error))
    for pipeline in chosen:
        if pipeline.derived:
            found[pipeline.id] = _derived(settings, environment, everything, pipeline)
    return [found[p.id] for p in chosen]


@contextmanager
def _reader(feed: Feed) -> Iterator[bool]:
    """Be the source's one reader; True where another process is. Looking for what is missing would otherwise take the
    log from a capture at work."""
    with ExitStack() as lock:
        try:
            lock.enter_context(exclusive(feed.locks, feed.lock, wait=_LOCK_SECONDS))
            busy = False
        except Unavailable:
            busy = True
        yield busy


def _status(
    settings: Settings, environment: Mapping[str, str], pipeline: Pipeline, feed: Feed, busy: bool
) -> PipelineStatus:
    flow = open_flow(settings, environment, pipeline)
    position = flow.log.position()
    gap = flow.log.gap() if position is not None else None
    found = _standing(settings, pipeline, feed, flow, position, busy)
    if gap is not None:  # also where the source cannot be asked: it stays one
        found = replace(found, state="gap", gap=gap, last_error=gap.reason, lag_seconds=None)
    kept = _keeping(feed, position)
    threshold = pipeline.config.observability.wal_kept_warning_mb
    return replace(found, wal_kept_bytes=kept.kept_bytes, warnings=tuple(warnings(kept, threshold)))


def _derived(
    settings: Settings, environment: Mapping[str, str], everything: Sequence[Pipeline], pipeline: Pipeline
) -> PipelineStatus:
    remembered = recall(settings.home, pipeline.id)
    found = PipelineStatus(pipeline.id, "failed", None, None, None, None, None)
    gap: OpenGap | None = None
    try:
        flow = open_derivation(settings, environment, pipeline)
        gap = flow.gap()
        if not flow.captured() and any(awaited(part, everything, environment) for part in pipeline.parts):
            return replace(found, state="new", last_error=remembered.message if remembered else None)
        now = standing(settings, environment, everything, flow)
        snapshot = next((chunk for one in flow.inputs.values() if (chunk := one.log.unfinished())), None)
        state: State = "busy" if now.busy else _state(flow.captured(), snapshot, now.lag_seconds, remembered)
        lag = now.lag_seconds if flow.captured() else None
        last_error = remembered.message if remembered and remembered.kind != Gap.kind else None
        found = PipelineStatus(
            pipeline.id, state, now.head, now.captured, now.applied, lag, last_error, snapshot=snapshot
        )
    except Gap as error:
        found = replace(found, state="gap", last_error=str(error))
    except CdcError as error:
        state = "unreachable" if isinstance(error, Unavailable) else "failed"
        found = replace(found, state=state, last_error=str(error))
    if gap is not None:
        found = replace(found, state="gap", gap=gap, last_error=gap.reason, lag_seconds=None)
    return found


def _keeping(feed: Feed, position: Position | None) -> Keeping:
    try:
        return feed.source.keeping(position) if position is not None else Keeping()
    except CdcError:  # said with the state
        return Keeping()


def _standing(
    settings: Settings, pipeline: Pipeline, feed: Feed, flow: Flow, position: Position | None, busy: bool
) -> PipelineStatus:
    snapshot = flow.log.unfinished()
    remembered = recall(settings.home, pipeline.id)
    captured = applied = None
    lag: float | None = None
    try:
        head = feed.source.head()
        head_text = feed.source.format(head)
        if position is not None:
            captured = flow.log.format(position)
            in_table = flow.destination.applied(flow.log.id())
            applied = in_table.position if in_table else None
            if applied is None and flow.destination.schema() is not None and oldest_unapplied(flow) is None:
                applied = captured  # no event yet, and none is missing
            if not busy:
                resumable(feed, flow.table, feed.logs[flow.table], position, feed.source.identity())
                lag = lag_seconds(feed, flow, head)
    except Gap as error:
        return PipelineStatus(pipeline.id, "gap", None, captured, applied, None, str(error))
    except Unavailable as error:
        return PipelineStatus(pipeline.id, "unreachable", None, captured, applied, None, str(error))
    except CdcError as error:
        return PipelineStatus(pipeline.id, "failed", None, captured, applied, None, str(error))
    state: State = "busy" if busy else _state(position is not None, snapshot, lag, remembered)
    last_error = remembered.message if remembered and remembered.kind != Gap.kind else None
    return PipelineStatus(pipeline.id, state, head_text, captured, applied, lag, last_error, snapshot=snapshot)


def _state(captured: bool, snapshot: Chunk | None, lag: float | None, remembered: LastError | None) -> State:
    if remembered is not None and remembered.kind != Gap.kind:  # a gap is its log's to tell
        return "failed"
    if not captured:
        return "snapshotting" if snapshot else "new"
    return "behind" if lag else "current"


def _blind(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline, error: CdcError) -> PipelineStatus:
    """What can be said without the source: that its gap is open, for one thing."""
    state: State = "unreachable" if isinstance(error, Unavailable) else "failed"
    found = PipelineStatus(pipeline.id, state, None, None, None, None, str(error))
    try:
        log = open_flow(settings, environment, pipeline).log
        gap = log.gap() if log.position() is not None else None
    except CdcError:
        return found
    return replace(found, state="gap", gap=gap, last_error=gap.reason) if gap is not None else found
