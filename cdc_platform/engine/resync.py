"""`cdc resync`: the way back from a gap, and past what cannot be taken. The other tables go on meanwhile.

    capture ──> the table follows      ──> it is compared with its source all the same
            ──> a gap is open          ──> compare, or anew (model/resync.py says which is possible)
            ──> it stopped, no gap     ──> the person's choice to go on without those changes opens a gap: likewise

    compare   begin_resync ──> a snapshot at P ──> differences as changes, up to P ──> the last commit closes the gap
    anew      destinations set aside ──> log set aside ──> a snapshot into a new log

Why nothing is lost if this dies anywhere: a gap is open until the commit that closes it, which holds the last of what
the comparison found; cut short before, the next resync finds what is left. Set aside are the destinations first, the
log, which still says that there is a gap, after them: begun again, what has a new name already is passed by. With the
log gone the table is a new one, which any run takes a snapshot of.

What the source keeps its log by is made anew where it is lost, before the snapshot: so what comes after that is there.
Layer: engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine import gaps
from cdc_platform.engine.apply import Application, apply
from cdc_platform.engine.capture import capture, resumable
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.derivation.opened import Derivation, open_derivation
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_part, parts_of
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.memory import remember
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.reconcile import reconcile
from cdc_platform.errors import CdcError, Gap, Lost, NeedsPerson
from cdc_platform.model.lifecycle import OpenGap, State
from cdc_platform.model.position import Position
from cdc_platform.model.resync import Way, is_replaced, obstacle, same_columns
from cdc_platform.model.schema import TableName

_ASKED = "a resync was asked for"
_UNKNOWABLE = (
    "what happened to a row in between is not known: it has one change from what it was to what it is, and rows that "
    "came and went have none"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resync of a table would do, and what it costs. Rows and bytes are the catalogue's estimates.

    `uncertain_from` is the last position up to which all is known, `available_from` the first from which the source has
    its log. `pipelines` read the same change log and are resynced with it; `also_in_gap` are other tables.
    """

    pipeline: str
    table: str
    state: State
    lost: str | None
    reason: str | None
    since: datetime | None
    uncertain_from: str | None
    available_from: str | None
    way: Way
    because: str | None
    source_rows: int
    source_bytes: int
    log_bytes: int
    history: str
    pipelines: tuple[str, ...]
    also_in_gap: tuple[str, ...]


@dataclass(slots=True)
class Resynced:
    """What was done for a pipeline; with an error, the plan may be lacking."""

    pipeline: str
    plan: Plan | None = None
    done: bool = False
    differences: int = 0
    set_aside: tuple[str, ...] = ()
    position: str | None = None
    application: Application | None = None
    error: CdcError | None = None
    seconds: float = 0.0


def resync(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    chosen: Sequence[Pipeline],
    *,
    dry_run: bool = False,
    anew: bool = False,
    progress: Progress = silent,
) -> list[Resynced]:
    """Resync the tables of the chosen pipelines, for all pipelines that read them; one result a table, in order: of a
    derived pipeline, one for each of its inputs.

    `dry_run` changes nothing, neither here nor at the source. `anew` begins anew also where a comparison would do.
    """
    parts = parts_of(chosen)
    results = [Resynced(part.id) for part in parts]
    for name in feeds_of(chosen):
        wanted = [(part, result) for part, result in zip(parts, results, strict=True) if feed_of(part) == name]
        try:
            with open_feed(settings, environment, everything, name) as feed, exclusive(feed.locks, feed.lock):
                mine = [part for part in parts_of(everything) if feed_of(part) == name]
                flows = [open_part(settings, environment, part) for part in mine]

                def derivation(name: str) -> Derivation:
                    return open_derivation(settings, environment, next(p for p in everything if p.id == name))

                session = _Session(settings, feed, flows, derivation, progress)
                for part, result in wanted:
                    _guarded(session, part, result, dry_run, anew)
        except CdcError as error:
            for _, result in wanted:
                result.error = result.error or error
    return results


def _guarded(session: _Session, part: Pipeline, result: Resynced, dry_run: bool, anew: bool) -> None:
    began = time.monotonic()
    try:
        flow = next(f for f in session.flows if f.pipeline == part)
        if dry_run:
            result.plan = session.plan(flow, anew)
        else:
            session.resync(flow, anew, result)
            remember(session.settings.home, result.pipeline, None)
    except CdcError as error:
        result.error = error
    result.seconds = time.monotonic() - began


@dataclass(slots=True)
class _Session:
    """One source, its lock held, with the flows of all its pipelines."""

    settings: Settings
    feed: Feed
    flows: Sequence[Flow]
    derivation: Callable[[str], Derivation]
    progress: Progress

    def plan(self, flow: Flow, anew: bool) -> Plan:
        """Reads only."""
        source, log = self.feed.source, flow.log
        position, gap = log.position(), None
        if position is not None:
            gap = log.gap() or self._unmarked(flow, log, position)
        because = "asked for" if anew else self._obstacle(flow, log, position)
        way: Way = "anew" if because else "compare"
        extent = source.extent(flow.table)
        append = flow.pipeline.config.destination.write_mode == "append"
        kept = "the rows that are there stay under another name" if way == "anew" else "the rows that are there stay"
        return Plan(
            flow.pipeline.id,
            str(flow.table),
            State.GAP if gap and log.state() not in (State.GAP, State.RESYNCING) else log.state(),
            gap.lost.value if gap else None,
            gap.reason if gap else None,
            gap.since if gap else None,
            log.format(position) if position else None,
            (gap.first_available or None) if gap else None,
            way,
            because,
            extent.rows,
            extent.bytes,
            log.bytes() if way == "compare" else 0,
            f"{kept}; {_UNKNOWABLE}" if append else f"there is none to lose; {_UNKNOWABLE}",
            tuple(f.pipeline.id for f in self._readers(flow)),
            tuple(str(t) for t, other in self.feed.logs.items() if t != flow.table and _in_gap(other)),
        )

    def resync(self, flow: Flow, anew: bool, result: Resynced) -> None:
        log, table = flow.log, flow.table
        failure = self._capture(table) if log.position() is not None else None
        position = log.position()
        if failure is not None and position is not None and not _in_gap(log):
            lost = failure.lost if isinstance(failure, Gap) else Lost.PASSED_OVER
            gaps.mark(self.feed, log, lost, str(failure))
        result.plan = plan = self.plan(flow, anew)
        if plan.way == "anew" or position is None:
            result.set_aside = self._set_aside(flow)
        elif _in_gap(log):
            result.differences = self._compare(table, log, position)
        else:
            log.mark_unlogged(_ASKED, position, position)
        # From here on it is a table like any other: a snapshot for a log that is lacking, else what came since.
        failure = self._capture(table)
        if failure is not None and (log.position() is None or _in_gap(log)):
            raise failure
        reached = log.position()
        result.position = log.format(reached) if reached else None
        for reader in self._readers(flow):
            application = self._bring(reader)
            if reader.pipeline.id == result.pipeline:
                result.application = application
        result.done = True

    def _bring(self, reader: Flow) -> Application:
        """Bring a reader of the log up to date with it."""
        if reader.pipeline.derived:
            return derive(self.derivation(reader.pipeline.id), self.progress)
        return apply(reader, self.progress)

    def _compare(self, table: TableName, log: ChangeLog, position: Position) -> int:
        source = self.feed.source
        source.reopen([table])
        log.begin_resync(source.identity(), position)
        fingerprint = source.fingerprints([table])[table]
        with source.snapshot([table]) as snapshot:
            self.progress(f"compare {table.name}", 0)
            return reconcile(log, table, snapshot, fingerprint, source.notation().lsn(snapshot.position))

    def _set_aside(self, flow: Flow) -> tuple[str, ...]:
        suffix = f"until_{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        readers = self._readers(flow)
        with ExitStack() as locks:
            for reader in readers:
                locks.enter_context(exclusive(reader.locks, reader.lock))
            self.feed.source.reopen([flow.table])  # what cannot be followed is told before anything is moved
            # What is derived from the log is computed again from its successor, and keeps the rows that are the same.
            own = [reader for reader in readers if not reader.pipeline.derived]
            found = [name for reader in own if (name := reader.destination.set_aside(suffix))]
            place = self.settings.set_aside / self.feed.label / f"{flow.log.path.name}.{suffix}"
            if flow.log.set_aside(place):
                found.append(str(place))
        return tuple(found)

    def _capture(self, table: TableName) -> NeedsPerson | None:
        """Capture the tables that are followed, and this one, which may be new; why it was not captured to the end."""
        feed = self.feed.only([t for t, log in self.feed.logs.items() if t == table or log.position() is not None])
        try:
            failure = capture(feed, progress=self.progress).failures.get(table)
        except NeedsPerson as error:  # what stands in the way of all of them
            failure = error
        if failure is not None and not isinstance(failure, NeedsPerson):
            raise failure
        return failure

    def _readers(self, flow: Flow) -> list[Flow]:
        return [f for f in self.flows if f.table == flow.table]

    def _unmarked(self, flow: Flow, log: ChangeLog, position: Position) -> OpenGap | None:
        """A gap that nobody has captured since it is there."""
        source = self.feed.source
        try:
            resumable(self.feed, flow.table, log, position, source.identity())
        except Gap as gap:
            now, available = datetime.now(UTC), source.format(source.available())
            return OpenGap(gap.lost, str(gap), now, log.format(position), available)
        return None

    def _obstacle(self, flow: Flow, log: ChangeLog, position: Position | None) -> str | None:
        """Why the table cannot be compared."""
        source, table = self.feed.source, flow.table
        if position is None:
            return "it has no change log yet"
        head, ours, theirs = source.head(), log.notation(), source.notation()
        mysql = theirs.kind == "binlog"
        now = source.schemas([table])[table]
        prints = source.fingerprints([table])
        return obstacle(
            position,
            head,
            ours.base if mysql else None,
            theirs.base if mysql else None,
            table not in prints or is_replaced(log.fingerprint(), prints[table]),
            mysql or same_columns(log.schema(), now),
        )


def _in_gap(log: ChangeLog) -> bool:
    return log.state() in (State.GAP, State.RESYNCING)
