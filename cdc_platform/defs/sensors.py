"""One sensor a source: it starts a run of `capture_and_apply` when there is something to do, and none otherwise.

a run for this source is going on ──> skip
new changes ────────────────────────> a run
the last run failed ────────────────> the same again after a pause that doubles: 1, 2, 4 ... 60 minutes
something unfinished ───────────────> a run
the server cannot be asked ─────────> skip, with the reason in one line
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter, SensorEvaluationContext, SensorResult

from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import CAPTURE_AND_APPLY, FlowAssets, digest, safe_name
from cdc_platform.defs.pending import Look, Seen, look, parse_seen, seen_text
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.engine.feeds import Flow, feeds_of
from cdc_platform.engine.locks import exclusive
from cdc_platform.errors import CdcError

SOURCE_TAG = "cdc/source"
MINIMUM_SECONDS = 5
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0
_MOST_FAILURES = 7
_FAILED = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
_GOING_ON = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class Failures:
    """Failed runs in a row: how many, when the last ended (seconds since 1970), its id."""

    count: int = 0
    ended: float = 0.0
    last: str = ""

    @property
    def pause(self) -> float:
        """Seconds to wait after the last."""
        return min(_FIRST_PAUSE * 2.0 ** (self.count - 1), _LONGEST_PAUSE)


def source_sensor(installation: Installation, flows: Sequence[FlowAssets], running: bool) -> dg.SensorDefinition:
    """The sensor of the source that all of `flows` read."""
    label = flows[0].label
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name=f"{safe_name(label)}_changes",
        job_name=CAPTURE_AND_APPLY,
        minimum_interval_seconds=MINIMUM_SECONDS,
        default_status=status,
        description=f"Starts a run when source '{label}' has changes of the tables that are followed in it.",
    )
    def changes(context: SensorEvaluationContext) -> SensorResult:
        if run_id := _run_going_on(context.instance, label):
            return SensorResult(skip_reason=f"run {run_id} is at work on source '{label}'")
        try:
            found = _look(installation, label, parse_seen(context.cursor))
        except CdcError as error:
            return SensorResult(skip_reason=str(error))
        return _decide(found, _failures(context.instance, label), flows)

    return changes


def _run_going_on(instance: dg.DagsterInstance, label: str) -> str | None:
    """A run that captures this source, or all of them (started by hand)."""
    runs = instance.get_runs(RunsFilter(job_name=CAPTURE_AND_APPLY, statuses=_GOING_ON))
    return next((r.run_id for r in runs if r.tags.get(SOURCE_TAG, label) == label), None)


@dataclass(frozen=True, slots=True)
class Found:
    """What looks at all feeds of a source found together; `cursor` is what was seen of them."""

    cursor: str
    changed: str | None
    unfinished: str | None


def _look(installation: Installation, label: str, before: Mapping[str, Seen]) -> Found:
    pipelines, looks = installation.of_source(label), dict[str, Look]()
    for name in feeds_of(pipelines):
        flows: list[Flow | Derivation] = []
        for pipeline in pipelines:
            # A destination that cannot be opened is told by its asset; it must not stop the others.
            with suppress(CdcError):
                if name in feeds_of([pipeline]):
                    derived = pipeline.derived
                    flows.append(installation.derivation(pipeline) if derived else installation.flow(pipeline))
        with installation.feed(name) as feed, exclusive(feed.locks, feed.lock, wait=0):
            looks[name] = look(feed, flows, before.get(name, Seen()))
    return Found(
        seen_text({name: one.seen for name, one in looks.items()}),
        next((one.changed for one in looks.values() if one.changed), None),
        next((one.unfinished for one in looks.values() if one.unfinished), None),
    )


def _failures(instance: dg.DagsterInstance, label: str) -> Failures:
    """The failed runs of this source since its last success."""
    records = instance.get_run_records(
        RunsFilter(job_name=CAPTURE_AND_APPLY, tags={SOURCE_TAG: label}), limit=_MOST_FAILURES
    )
    failed = list(itertools.takewhile(lambda r: r.dagster_run.status in _FAILED, records))
    return Failures(len(failed), failed[0].end_time or 0.0, failed[0].dagster_run.run_id) if failed else Failures()


def _decide(found: Found, failures: Failures, flows: Sequence[FlowAssets]) -> SensorResult:
    cursor = found.cursor
    key = digest([cursor])
    if found.changed:
        return SensorResult(run_requests=[_request(flows, key, found.changed)], cursor=cursor)
    if failures.count:
        if (wait := failures.ended + failures.pause - time.time()) > 0:
            reason = f"{failures.count} failed run(s), the last is {failures.last}; trying again in {wait:.0f} s"
            return SensorResult(skip_reason=reason, cursor=cursor)
        retry = _request(flows, f"after-{failures.last}", f"try {failures.count + 1}")
        return SensorResult(run_requests=[retry], cursor=cursor)
    if found.unfinished:
        return SensorResult(run_requests=[_request(flows, key, found.unfinished)], cursor=cursor)
    return SensorResult(skip_reason="nothing new", cursor=cursor)


def _request(flows: Sequence[FlowAssets], key: str, reason: str) -> dg.RunRequest:
    """A run of all assets of the source. The same key never starts a second run."""
    label = flows[0].label
    assets = list(dict.fromkeys(key for flow in flows for key in (flow.change_log, flow.destination)))
    return dg.RunRequest(
        run_key=f"{label}:{key}",
        asset_selection=assets,
        # Not None, which means all checks of these assets.
        asset_check_keys=[],
        tags={SOURCE_TAG: label, "cdc/reason": reason},
    )
