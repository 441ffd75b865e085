"""Running Dagster's jobs in this process, and reading what they left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg


def execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job: str = "capture_and_apply", *assets: str
) -> dg.ExecuteInProcessResult:
    """A job's run, or that of some of its assets; failures are in the result."""
    resolved = definitions.resolve_job_def(job)
    if assets:
        resolved = only(resolved, [dg.AssetKey.from_user_string(name) for name in assets])
    return resolved.execute_in_process(instance=instance, raise_on_error=False)


def only(job: dg.JobDefinition, assets: Sequence[dg.AssetKey]) -> dg.JobDefinition:
    """The job with these assets and no checks, as a sensor asks for it."""
    return job.get_subset(asset_selection=set(assets), asset_check_selection=set())


def materialised(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of each asset that the run materialised."""
    found = {}
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        key = materialization.asset_key.to_user_string()
        found[key] = {name: entry.value for name, entry in materialization.metadata.items()}
    return found


def failures(result: dg.ExecuteInProcessResult) -> dict[str, dg.SerializableErrorInfo | Any]:
    """The failed steps with what they say."""
    return {
        event.step_key or "": event.step_failure_data
        for event in result.all_events
        if event.event_type is dg.DagsterEventType.STEP_FAILURE
    }


def everything_said(instance: dg.DagsterInstance, run_id: str) -> str:
    """All of a run's events and log lines as one text."""
    return "\n".join(repr(entry) for entry in instance.all_logs(run_id))
