"""`cdc check`: compare source and destination at one source position, exactly, under any load.

    lock source and pipelines
    snapshot of the source at position P
    capture until P, apply ──────────────> the destination holds exactly what the source held at P
    count, digest of the source's rows  ─┐
    count, digest of the destination ────┴> compare, without tolerance

Rows whose last change is in quarantine are left out on both sides; a comparison that did so is no pass but a warning.

Nobody waits but other captures of the same source: the database takes writes all the while. What the check
captures and applies on the way is what the next run would have.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import polars as pl

from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.pipeline import CheckType, QualityCheck
from cdc_platform.config.settings import Settings
from cdc_platform.engine.apply import apply
from cdc_platform.engine.capture import capture
from cdc_platform.engine.derivation.checked import check_derived
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_flow
from cdc_platform.engine.lag import lag_seconds
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.quarantine import Outstanding, outstanding
from cdc_platform.engine.settle import find_untold
from cdc_platform.engine.shaping import described_target, present_projection
from cdc_platform.engine.source_rules import RulesChecked, check_rules
from cdc_platform.errors import CdcError, SchemaConflict, Unavailable
from cdc_platform.model.digest import Digest, digest, latest_digest
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.position import Position
from cdc_platform.model.projection import Projection, order_columns
from cdc_platform.quality import checks
from cdc_platform.quality.checks import DEFAULT_LAG_THRESHOLD_SECONDS, Checked, ValidationType, Verdict
from cdc_platform.quality.results import record, retire
from cdc_platform.sources.open import default_schema
from cdc_platform.sources.source import Snapshot

_TYPES: Mapping[CheckType, ValidationType] = {
    "row_count": "row_count",
    "checksum": "checksum",
    "lag_monitoring": "lag",
    "schema": "schema",
}


@dataclass(slots=True)
class _Subject:
    """A flow under check with what the source's snapshot says of it."""

    flow: Flow
    options: Mapping[ValidationType, QualityCheck]
    verdicts: list[Verdict]
    error: CdcError | None = None
    plan: Projection | None = None
    digest: Digest | None = None
    left_out: Outstanding | None = None
    seconds: float = 0.0


def check(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    chosen: Sequence[Pipeline],
    progress: Progress = silent,
    *,
    with_rules: bool = True,
) -> list[Checked]:
    """All enabled checks of the chosen pipelines and the rules of their tables, recorded as validation results."""
    results: dict[str, Checked] = {}
    plain = [p for p in chosen if not p.derived]
    for name in feeds_of(plain):
        mine = [p for p in plain if feed_of(p) == name]
        try:
            with open_feed(settings, environment, everything, name) as feed:
                subjects = [_subject(open_flow(settings, environment, p)) for p in mine]
                _check_source(feed, subjects, progress)
                _redden(subjects)
                for s in subjects:
                    results[s.flow.pipeline.id] = Checked(s.flow.pipeline.id, tuple(s.verdicts), s.error)
                if with_rules:
                    schema = default_schema(feed.system, connection_of(mine[0], environment))
                    _join(results, check_rules(feed, schema, mine, progress))
        except CdcError as error:
            for pipeline in mine:
                results.setdefault(pipeline.id, Checked(pipeline.id, (), error))
    for pipeline in chosen:
        if pipeline.derived:
            options = enabled_checks(pipeline)
            results[pipeline.id] = check_derived(settings, environment, everything, pipeline, options, progress)
    _keep(settings, chosen, results)
    return [results[p.id] for p in chosen]


def check_source_rules(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    chosen: Sequence[Pipeline],
    progress: Progress = silent,
) -> list[Checked]:
    """The rules of the chosen pipelines, which are of one source, looked at there alone; recorded as well."""
    (name,) = feeds_of(chosen)
    results = {p.id: Checked(p.id, ()) for p in chosen}
    with open_feed(settings, environment, everything, name) as feed:
        schema = default_schema(feed.system, connection_of(chosen[0], environment))
        _join(results, check_rules(feed, schema, chosen, progress))
    _keep(settings, chosen, results)
    return list(results.values())


def _keep(settings: Settings, chosen: Sequence[Pipeline], results: Mapping[str, Checked]) -> None:
    """Record the verdicts, and let go of those that were kept long enough."""
    record(settings.validation_results, [(c.pipeline, v) for c in results.values() for v in c.verdicts])
    retire(settings.validation_results, {p.id: p.config.observability.results_days for p in chosen})


def _join(results: dict[str, Checked], found: RulesChecked) -> None:
    """Add what the rules say to what the comparisons did."""
    for pipeline, verdicts in found.verdicts.items():
        done = results[pipeline]
        results[pipeline] = dataclasses.replace(done, verdicts=(*done.verdicts, *verdicts))
    for pipeline, error in found.errors.items():
        if results[pipeline].error is None:
            results[pipeline] = dataclasses.replace(results[pipeline], error=error)


def enabled_checks(pipeline: Pipeline) -> dict[ValidationType, QualityCheck]:
    """The pipeline's checks by type; all four where the pipeline lists none."""
    listed = pipeline.config.quality_checks
    if not listed:
        return {kind: QualityCheck(type=name) for name, kind in _TYPES.items()}
    return {_TYPES[c.type]: c for c in listed if c.enabled}


def _subject(flow: Flow) -> _Subject:
    return _Subject(flow, enabled_checks(flow.pipeline), [])


def _check_source(feed: Feed, subjects: list[_Subject], progress: Progress) -> None:
    with ExitStack() as locks:
        locks.enter_context(exclusive(feed.locks, feed.lock))
        for subject in subjects:
            locks.enter_context(exclusive(subject.flow.locks, subject.flow.lock))
        ready = [s for s in subjects if _has_table(s)]
        if not ready:
            return
        head = feed.source.head()
        for subject in ready:
            _guarded(subject, lambda s: _measure_lag(feed, s, head))
        # Tables that have no snapshot yet, or half of one, are none of this check's business.
        followed = feed.only([table for table, log in feed.logs.items() if log.position() is not None])
        # Rows that changed unlogged are found and logged now: between this and the snapshot there is but a moment.
        capture(followed, progress=progress)
        ready = [s for s in ready if s.flow.log.gap() is None]
        if not ready:
            return
        # Each once: several pipelines may be on one table.
        with feed.source.snapshot(list(dict.fromkeys(subject.flow.table for subject in ready))) as snapshot:
            position = snapshot.position
            captured = capture(followed, position, progress)
            find_untold(feed, [s.flow.table for s in ready], snapshot, captured, progress)
            for subject in ready:
                if error := captured.failures.get(subject.flow.table) or _unsettled(subject.flow):
                    subject.error = subject.error or error
                progress(f"check {subject.flow.pipeline.id}", 0)
                _guarded(subject, lambda s: _read_source(feed, s, snapshot))
        for subject in ready:
            _guarded(subject, lambda s: _compare(s, feed.source.format(position)))


def _guarded(subject: _Subject, step: Callable[[_Subject], None]) -> None:
    """One step of one pipeline's check; after an error its further steps are left out and the others go on."""
    if subject.error is None:
        began = time.monotonic()
        try:
            step(subject)
        except CdcError as error:
            subject.error = error
        subject.seconds += time.monotonic() - began


def _has_table(subject: _Subject) -> bool:
    flow = subject.flow
    if flow.log.position() is not None and flow.destination.schema() is not None:
        return True
    reason = f"nothing captured yet; run: cdc run {flow.pipeline.id}"
    subject.verdicts = [checks.absent(kind, reason) for kind in subject.options]
    return False


def _redden(subjects: Sequence[_Subject]) -> None:
    """What was found beside an open gap does not count."""
    for s in subjects:
        gap = s.flow.log.gap() if s.flow.log.position() is not None else None
        if gap is not None:
            s.error = s.error or gap.error()
            s.verdicts = [checks.in_gap(kind, gap.reason) for kind in s.options]


def _unsettled(flow: Flow) -> CdcError | None:
    reason = flow.log.unlogged()
    return Unavailable(f"{flow.table}: {reason} came in between; check again") if reason else None


def _measure_lag(feed: Feed, subject: _Subject, head: Position) -> None:
    option = subject.options.get("lag")
    if option is None:
        return
    began = time.monotonic()
    seconds = lag_seconds(feed, subject.flow, head)
    verdict = checks.lag(seconds, option.threshold_seconds or DEFAULT_LAG_THRESHOLD_SECONDS)
    subject.verdicts.append(_timed(verdict, began))


def _read_source(feed: Feed, subject: _Subject, snapshot: Snapshot) -> None:
    table = subject.flow.table
    known, shape = subject.flow.log.schema(), snapshot.schema(table)
    if differences(known, shape := carried(known, shape)):
        raise Unavailable(f"{table} changed its columns in between; check again")
    _apply(subject)
    plan = subject.plan = present_projection(subject.flow, shape)
    left_out = subject.left_out = outstanding(subject.flow)
    wanted = _source_columns(subject)
    names = _target_columns(subject)
    hashed = bool(names) and "checksum" in subject.options
    if left_out is not None and plan.target.key:
        key = [plan.source_of(name) for name in plan.target.key]
        columns = list(dict.fromkeys([*key, *(wanted if hashed else ())]))
        rows = (left_out.at_source(b.frame["after"].struct.unnest(), plan) for b in snapshot.read(table, columns))
        subject.digest = digest(plan.plain(r).select(names if hashed else list(plan.target.key)) for r in rows)
    elif hashed:
        frames = (plan.plain(b.frame["after"].struct.unnest()) for b in snapshot.read(table, wanted))
        subject.digest = digest(frame.select(names) for frame in frames)
    elif "row_count" in subject.options:
        subject.digest = Digest(snapshot.count(table), (0, 0))
    if left_out is not None and subject.digest is not None:
        # Of a table without a key, rows that are in quarantine cannot be told from others; they can be counted.
        subject.digest = dataclasses.replace(subject.digest, rows=subject.digest.rows - left_out.missing)


def _compare(subject: _Subject, position: str) -> None:
    flow, plan = subject.flow, subject.plan
    if plan is None:
        return
    _apply(subject)
    _check_schema(subject)
    if subject.digest is None:
        return
    began = time.monotonic() - subject.seconds
    left_out = subject.left_out
    compared = left_out.at_destination if left_out is not None else _all_of
    held = {field.name for field in flow.destination.schema() or ()}
    names = _target_columns(subject)
    lacking = [name for name in names if name not in held]
    if not plan.target.key:
        count = _net_rows(flow.destination.scan(["_cdc_operation"]))
        destination = Digest(count, (0, 0))
    elif flow.pipeline.config.destination.write_mode == "upsert":
        # As it is: a key that is there twice is a difference.
        hashed = [name for name in names if name in held] or list(plan.target.key)
        frames = flow.destination.scan(list(dict.fromkeys([*plan.target.key, *hashed])))
        destination = digest(compared(frame).select(hashed) for frame in frames)
    else:
        order = order_columns(plan.order)
        # A column that the source got meanwhile is not there to be read; the rows can be counted all the same.
        hashed = [name for name in names if name in held] or list(plan.target.key)
        columns = list(dict.fromkeys([*plan.target.key, *order, "_cdc_operation", *hashed]))
        frames = flow.destination.scan(columns)
        destination = latest_digest(map(compared, frames), plan.target.key, order, hashed)
    if option := subject.options.get("row_count"):
        verdict = checks.row_count(subject.digest.rows, destination.rows, position, option.tolerance)
        subject.verdicts.append(_timed(_beside(left_out, verdict), began))
    if "checksum" in subject.options:
        if lacking:
            verdict = checks.absent("checksum", f"the destination has no column {', '.join(lacking)}")
        elif plan.target.key:
            verdict = checks.checksum(subject.digest, destination, position, names)
        else:
            verdict = checks.checksum_impossible("the table has no primary key: its history has no latest state")
        subject.verdicts.append(_timed(_beside(left_out, verdict), began))


def _all_of(rows: pl.DataFrame) -> pl.DataFrame:
    return rows


def _beside(left_out: Outstanding | None, verdict: Verdict) -> Verdict:
    return verdict if left_out is None else checks.beside_quarantine(verdict, left_out.changes, left_out.keys.height)


def _apply(subject: _Subject) -> None:
    """A destination that cannot take its log's shape is red, too, not only an error."""
    try:
        apply(subject.flow)
    except SchemaConflict:
        _check_schema(subject)
        raise


def _check_schema(subject: _Subject) -> None:
    if "schema" in subject.options:
        began = time.monotonic()
        subject.verdicts.append(_timed(_schema(subject.flow), began))


def _schema(flow: Flow) -> Verdict:
    """The destination's columns against what the pipeline describes for the source's shape, with that one's history."""
    expected = {f.name: str(f.type) for f in described_target(flow).fields}
    found = {f.name: str(f.type) for f in flow.destination.schema() or ()}
    shapes = flow.log.shapes()
    history = {shape.number: {"position": shape.position, "changes": list(shape.changes)} for shape in shapes[1:]}
    return checks.schema(expected, found, shapes[-1].number, history)


def _target_columns(subject: _Subject) -> list[str]:
    """The destination columns that the checksum is over: those named in the check, or all of the source's."""
    assert subject.plan is not None
    option = subject.options.get("checksum")
    chosen = option.columns if option and option.columns else None
    return [field.name for column, field in subject.plan.pairs if chosen is None or column.name in chosen]


def _source_columns(subject: _Subject) -> list[str]:
    assert subject.plan is not None
    return [subject.plan.source_of(name) for name in _target_columns(subject)]


def _net_rows(frames: Iterator[pl.DataFrame]) -> int:
    """Rows of a table without a key, from its history: INSERTs less DELETEs."""
    total = 0
    for frame in frames:
        operations = dict(frame["_cdc_operation"].value_counts().iter_rows())
        total += operations.get("INSERT", 0) - operations.get("DELETE", 0)
    return total


def _timed(verdict: Verdict, began: float) -> Verdict:
    return dataclasses.replace(verdict, duration_ms=round((time.monotonic() - began) * 1000))
