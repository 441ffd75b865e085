"""The one factory: from pipelines to all of Dagster's definitions.

Needs no server and no password: what is shown of tables before anything runs comes from change logs on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import dagster as dg

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.defs.captures import RESOURCE, captures_resource
from cdc_platform.defs.change_logs import change_log_asset, source_spec
from cdc_platform.defs.checks import destination_checks, source_checks
from cdc_platform.defs.derived import derived_asset
from cdc_platform.defs.destinations import destination_asset
from cdc_platform.defs.gap_checks import gap_check
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import CAPTURE_AND_APPLY, CHECKS, FlowAssets, name_flows
from cdc_platform.defs.resyncs import resync_job
from cdc_platform.defs.sensors import source_sensor
from cdc_platform.defs.shapes import recorded_shape
from cdc_platform.defs.tables import definition_of
from cdc_platform.defs.verification import VERIFY, verification_check, verification_key

_Key = TypeVar("_Key", bound=Hashable)


def build(settings: Settings, pipelines: Sequence[Pipeline], sensors_running: bool = False) -> dg.Definitions:
    """Assets, checks, jobs, sensors and resources of the pipelines; raises ConfigError where names clash."""
    installation = Installation(settings, tuple(pipelines))
    flows = name_flows(pipelines, installation.environment())
    # One for each destination: the tables of a derived one have it in common.
    targets = [mine[0] for mine in _grouped(flows, lambda flow: flow.destination)]
    checks = [made for flow in targets if (made := destination_checks(installation, flow))]
    checks += [gap_check(installation, mine[0]) for mine in _grouped(flows, lambda f: f.change_log)]
    tables = _grouped(flows, lambda flow: flow.source)
    checks += [made for mine in tables if (made := source_checks(installation, mine))]
    verifications = [verification_check(installation, flow) for flow in targets]
    # Checks read whole tables: they have jobs of their own.
    keys = dict.fromkeys(key for flow in flows for key in (flow.change_log, flow.destination))
    capture_and_apply = dg.define_asset_job(
        CAPTURE_AND_APPLY,
        dg.AssetSelection.assets(*keys).without_checks(),
        description="Brings the changes of all sources into their change logs and from there into the destinations.",
    )
    compare = dg.define_asset_job(
        CHECKS,
        dg.AssetSelection.all_asset_checks() - dg.AssetSelection.checks(*map(verification_key, flows)),
        description="Compares destinations with their sources, each at one position, and sources with their rules.",
    )
    hourly = dg.ScheduleDefinition(name="hourly_checks", cron_schedule="0 * * * *", job_name=CHECKS)
    verify = dg.define_asset_job(
        VERIFY,
        dg.AssetSelection.checks(*map(verification_key, flows)),
        description="Compares destinations with their sources row by row, each at one position.",
    )
    nightly = dg.ScheduleDefinition(name="nightly_verify", cron_schedule="0 3 * * *", job_name=VERIFY)
    return dg.Definitions(
        assets=_assets(installation, flows),
        asset_checks=[*checks, *verifications],
        jobs=[
            capture_and_apply,
            resync_job(installation),
            *([compare] if checks else []),
            *([verify] if flows else []),
        ],
        schedules=[*([hourly] if checks else []), *([nightly] if flows else [])],
        sensors=[source_sensor(installation, mine, sensors_running) for mine in _grouped(flows, lambda f: f.label)],
        resources={
            RESOURCE: captures_resource(installation),
            **{flow.resource: definition_of(flow.pipeline.config.destination) for flow in targets},
        },
        # Batches are small: a process a step would cost its start-up of three seconds each time.
        executor=dg.in_process_executor,
    )


def _assets(installation: Installation, flows: Sequence[FlowAssets]) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    shapes = {flow.change_log: recorded_shape(installation, flow) for flow in flows if flow.pipeline.derived}
    shapes |= {flow.change_log: recorded_shape(installation, flow) for flow in flows if not flow.pipeline.derived}
    tables = _grouped(flows, lambda flow: flow.change_log)
    targets = _grouped(flows, lambda flow: flow.destination)
    return [
        *(source_spec(mine[0], shapes[mine[0].change_log]) for mine in tables if not mine[0].handed_on),
        *(change_log_asset(installation, mine, shapes[mine[0].change_log]) for mine in tables),
        *(
            derived_asset(installation, mine)
            if mine[0].pipeline.derived
            else destination_asset(installation, mine[0], recorded_shape(installation, mine[0]))
            for mine in targets
        ),
    ]


def _grouped(flows: Sequence[FlowAssets], key: Callable[[FlowAssets], _Key]) -> list[list[FlowAssets]]:
    """The flows by key, in the order in which the keys first come."""
    groups: dict[_Key, list[FlowAssets]] = {}
    for flow in flows:
        groups.setdefault(key(flow), []).append(flow)
    return list(groups.values())
