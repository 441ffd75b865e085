"""`cdc verify [--repair]`: every row and cell of a destination against its source, at one position, under any load.

    lock source and pipelines (our own locks: the database takes writes all the while)
    capture; snapshot of the source at P; capture until P; apply ──> the destination holds exactly P
    compare                                                      ──> nothing differs, or keys
    --repair: the log made equal to the source (reconcile.py), applied; the destination made equal to the log, in one
              commit; compared again

Death at any moment of a repair leaves commits that are each right by themselves: what differs still is found again.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.apply import apply
from cdc_platform.engine.capture import capture
from cdc_platform.engine.derivation.opened import open_derivation
from cdc_platform.engine.derivation.verified import up_to_date
from cdc_platform.engine.derivation.verified import verified as verified_derivation
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_flow
from cdc_platform.engine.follow import Capture
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.places import file_name
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.reconcile import reconcile
from cdc_platform.engine.settle import find_untold
from cdc_platform.engine.shaping import present_projection
from cdc_platform.engine.validity import held_by, quarantine_of
from cdc_platform.engine.verification import kept as keeping
from cdc_platform.engine.verification.compare import Compared, Comparison, Work
from cdc_platform.engine.verification.differences import KIND, KINDS, KeyDifferences
from cdc_platform.engine.verification.expected import Expected
from cdc_platform.engine.verification.lake import Lake
from cdc_platform.engine.verification.marks import Marking
from cdc_platform.engine.verification.origin import Origin
from cdc_platform.engine.verification.parts import ROWS_A_PART, Parts, parts_for
from cdc_platform.engine.verification.shape import ShapeDifference, mend_shape, shape_difference
from cdc_platform.errors import CdcError, NeedsPerson, Unavailable
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.projection import Projection
from cdc_platform.quality.checks import Verdict, verified
from cdc_platform.quality.results import record
from cdc_platform.sources.source import Snapshot


@dataclass(frozen=True, slots=True)
class Options:
    """`full` uses nothing that is kept. `in_database` lets the database compute the digests of its rows where it can
    (canonical.py). `part_rows` is about how many rows are compared as one."""

    repair: bool = False
    full: bool = False
    in_database: bool = False
    part_rows: int = ROWS_A_PART


@dataclass(slots=True)
class Verified:
    """What was found of one pipeline. Counts are of keys (of rows, where the table has no key); `keys` are the first of
    them. `columns` are those that the destination has otherwise than the pipeline describes."""

    pipeline: str
    position: str = ""
    rows: int = 0
    missing: int = 0
    unexpected: int = 0
    different: int = 0
    keys: list[dict[str, Any]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    repaired: bool = False
    work: Work = field(default_factory=Work)
    seconds: float = 0.0
    error: CdcError | None = None

    def tell(self, keys: KeyDifferences) -> None:
        """Take over which keys differ."""
        counts, self.keys = keys.settled()
        self.missing, self.unexpected, self.different = (counts[kind] for kind in KINDS)

    @property
    def equal(self) -> bool:
        return not (self.missing or self.unexpected or self.different or self.columns)

    @property
    def verdict(self) -> Verdict:
        counts = {"missing": self.missing, "unexpected": self.unexpected, "different": self.different}
        details = {"position": self.position, **counts, "columns": self.columns, "repaired": self.repaired}
        read = dataclasses.asdict(self.work)
        return verified(self.rows, counts, self.equal, {**details, **read}, round(self.seconds * 1000))


def verify(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    chosen: Sequence[Pipeline],
    options: Options = Options(),
    progress: Progress = silent,
) -> list[Verified]:
    """Compare, and mend where asked to; recorded as validation results."""
    results: dict[str, Verified] = {}
    plain = [p for p in chosen if not p.derived]
    for name in feeds_of(plain):
        mine = [p for p in plain if feed_of(p) == name]
        try:
            with open_feed(settings, environment, everything, name) as feed:
                flows = [open_flow(settings, environment, p) for p in mine]
                for found in _verify_source(settings.home, feed, flows, options, progress):
                    results[found.pipeline] = found
        except CdcError as error:
            for pipeline in mine:
                results.setdefault(pipeline.id, Verified(pipeline.id, error=error))
    for pipeline in chosen:
        if pipeline.derived:
            results[pipeline.id] = _verify_derived(settings, environment, everything, pipeline, options, progress)
    record(settings.validation_results, [(v.pipeline, v.verdict) for v in results.values() if v.error is None])
    return [results[p.id] for p in chosen]


def _verify_derived(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    pipeline: Pipeline,
    options: Options,
    progress: Progress,
) -> Verified:
    """A derived table against what its inputs' change logs make of it."""
    began = time.monotonic()
    one = Verified(pipeline.id)
    try:
        flow = open_derivation(settings, environment, pipeline)
        up_to_date(settings, environment, everything, flow, progress)
        compared = verified_derivation(flow, progress, options.repair)
        one.position, one.columns = compared.position, compared.columns
        if (found := compared.found) is not None:
            one.rows = found.expected.rows
            keys = KeyDifferences(flow.definition.table.key)
            for kind, those in zip(KINDS, (found.missing, found.unexpected, found.different), strict=True):
                keys.add(those.with_columns(pl.lit(kind).alias(KIND)))
            one.tell(keys)
            after = compared.after if compared.after is not None else found
            one.repaired = not one.equal and after.equal
    except CdcError as error:
        one.error = error
    one.seconds = time.monotonic() - began
    return one


def _verify_source(
    home: Path, feed: Feed, flows: Sequence[Flow], options: Options, progress: Progress
) -> list[Verified]:
    found = {flow.pipeline.id: Verified(flow.pipeline.id) for flow in flows}
    with ExitStack() as locks:
        locks.enter_context(exclusive(feed.locks, feed.lock))
        for flow in flows:
            locks.enter_context(exclusive(flow.locks, flow.lock))
        ready = []
        for flow in flows:
            if flow.log.position() is None or flow.destination.schema() is None:
                reason = f"there is no destination table to verify yet; run: cdc run {flow.pipeline.id}"
                found[flow.pipeline.id].error = Unavailable(reason)
            else:
                ready.append(flow)
        if not ready:
            return list(found.values())
        followed = feed.only([table for table, log in feed.logs.items() if log.position() is not None])
        capture(followed, progress=progress)
        with feed.source.snapshot(list(dict.fromkeys(flow.table for flow in ready))) as snapshot:
            captured = capture(followed, snapshot.position, progress)
            find_untold(feed, [flow.table for flow in ready], snapshot, captured, progress)
            for flow in ready:
                began = time.monotonic()
                one = found[flow.pipeline.id]
                try:
                    _Verification(home, feed, flow, snapshot, captured, options, progress).run(one)
                except CdcError as error:
                    one.error = error
                one.seconds = time.monotonic() - began
    return list(found.values())


@dataclass(slots=True)
class _Verification:
    home: Path
    feed: Feed
    flow: Flow
    snapshot: Snapshot
    captured: Capture
    options: Options
    progress: Progress

    def run(self, found: Verified) -> None:
        flow = self.flow
        if error := self.captured.failures.get(flow.table):
            raise error
        if reason := flow.log.unlogged():
            raise Unavailable(f"{flow.table}: {reason} came in between; verify again")
        if differences(flow.log.schema(), carried(flow.log.schema(), self.snapshot.schema(flow.table))):
            raise Unavailable(f"{flow.table} changed its columns in between; verify again")
        found.position = self.feed.source.format(self.snapshot.position)
        shape = shape_difference(flow)
        if shape.columns:
            self._run_reshaped(found, shape)
            return
        apply(flow)
        comparison, first = self._compare(None if self.options.full else self._recall())
        found.rows, found.work = first.rows, first.work
        self._tell(found, first)
        if not first.equal and self.options.repair:
            found.repaired = self._repair(comparison, first).equal

    def _run_reshaped(self, found: Verified, shape: ShapeDifference) -> None:
        """The destination's columns are not the pipeline's: each row differs, until they are."""
        found.columns = list(shape.columns)
        found.rows = self.snapshot.count(self.flow.table)
        found.different = found.rows
        if self.options.repair:
            mend_shape(self.flow, shape)
            apply(self.flow)
            comparison, first = self._compare(None)
            found.work = first.work
            found.repaired = first.equal or self._repair(comparison, first).equal

    def _tell(self, found: Verified, compared: Compared) -> None:
        found.tell(compared.keys)
        if not (found.missing or found.unexpected or found.different):
            # Files that cannot be read, whose rows nobody lacks; files of another size than is said of them.
            found.unexpected = len(compared.lost) + len(compared.misfits)

    def _repair(self, comparison: Comparison, compared: Compared) -> Compared:
        """Bring log and destination to what they should be; the comparison after that."""
        flow = self.flow
        if compared.state:
            fingerprint = self.feed.source.fingerprints([flow.table])[flow.table]
            text = self.feed.source.notation().lsn(self.snapshot.position)
            reconcile(flow.log, flow.table, self.snapshot, fingerprint, text)
            apply(flow)
            comparison, compared = self._compare(compared.kept)
        if compared.surplus or compared.lost or compared.misfits:
            applied = flow.destination.applied(flow.log.id())
            if applied is None:
                raise NeedsPerson(f"{flow.pipeline.id}: its destination was changed by somebody else meanwhile")
            flow.destination.mend(compared.gone(), comparison.lacking(compared), applied)
            _, compared = self._compare(compared.kept)
        return compared

    def _compare(self, known: keeping.Kept | None) -> tuple[Comparison, Compared]:
        plan = self._plan()
        contents = self.flow.destination.contents()
        if contents is None:
            raise NeedsPerson(f"{self.flow.pipeline.id}: its destination is gone; run again to make it anew")
        usable = known or keeping.nothing(self._parts(plan))
        marking = Marking.of(plan, usable.parts, self.options.in_database)
        history = self.flow.pipeline.config.destination.write_mode == "append"
        folder = self._folder() / "spool"
        held_back = self._held_back()
        keeps = self.flow.pipeline.config.destination.on_invalid == "quarantine"
        expected = Expected(self.flow.log, plan, marking, held_back, held_by(self.flow) if keeps else None)
        comparison = Comparison(
            expected,
            Origin(self.snapshot, self.flow.table, plan, marking, expected.aside()),
            Lake(contents, marking),
            history,
            folder / file_name(self.flow.pipeline.id),
        )
        compared = comparison.compared(usable, self.progress)
        keeping.keep(self.home, self.flow.pipeline.id, self._fingerprint(plan), compared.kept)
        compared.work.quarantined_keys = len(expected.aside())
        return comparison, compared

    def _plan(self) -> Projection:
        schema = self.flow.log.schema()
        return present_projection(self.flow, schema)

    def _parts(self, plan: Projection) -> Parts:
        shape = self.flow.log.schema()
        ranges = self.snapshot.split(self.flow.table, self.options.part_rows)
        rows = self.snapshot.count(self.flow.table) if len(ranges) < 2 else 0
        return parts_for(plan, shape, ranges, rows, self.options.part_rows)

    def _recall(self) -> keeping.Kept | None:
        return keeping.recall(self.home, self.flow.pipeline.id, self._fingerprint(self._plan()))

    def _fingerprint(self, plan: Projection) -> str:
        held_back = self._held_back()["event_id"].sort().to_list()
        how = (self.options.part_rows, self.options.in_database)
        described = [self.flow.log.id(), len(self.flow.log.shapes()), plan, how, held_back]
        return keeping.fingerprint_of("\x00".join(map(str, described)))

    def _held_back(self) -> pl.DataFrame:
        """The events of this log that are in the pipeline's quarantine instead of its destination."""
        return quarantine_of(self.flow).rows().filter(pl.col("log_id") == self.flow.log.id())

    def _folder(self) -> Path:
        return self.home / "state" / "verified"
