"""A change log as an asset: its materialisation brings the source's new changes into the log of its table."""

# Annotations are not postponed here: Dagster reads the context's type from them.

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.defs.captures import RESOURCE, Captures
from cdc_platform.defs.failures import told
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import OWNERS, FlowAssets, data_version
from cdc_platform.defs.progress import logged
from cdc_platform.defs.shapes import Shape, change_log_metadata, source_metadata
from cdc_platform.engine.feeds import feed_of
from cdc_platform.model.change import DELETE, INSERT, UPDATE

_LOG_TAG = "cdc/log_id"


def source_spec(flow: FlowAssets, shape: Shape | None) -> dg.AssetSpec:
    """The source table: shown, and not the platform's to materialise."""
    return dg.AssetSpec(
        flow.source,
        description=f"Table {flow.table} of source '{flow.label}', followed by its log.",
        group_name=flow.group,
        owners=OWNERS,
        kinds={flow.pipeline.config.source.type},
        metadata=source_metadata(shape),
    )


def change_log_asset(
    installation: Installation, flows: Sequence[FlowAssets], shape: Shape | None
) -> dg.AssetsDefinition:
    """The asset of one table's change log, which all of `flows` read."""
    flow = flows[0]

    @dg.asset(
        key=flow.change_log,
        deps=[flow.source],
        description=f"Every change of table {flow.table} of source '{flow.label}', in log order, as a Delta table. "
        f"Read by {', '.join(f.pipeline.id for f in flows)}.",
        group_name=flow.group,
        owners=OWNERS,
        kinds={"deltalake", "polars"},
        metadata=change_log_metadata(flow, shape.table if shape else None),
        required_resource_keys={RESOURCE},
    )
    def change_log(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        began = time.monotonic()
        captures: Captures = getattr(context.resources, RESOURCE)
        with told(context, installation, flows):
            table, log = installation.log(flow.part)
            captured = captures.of(feed_of(flow.part), logged(context.log), again=context.retry_number > 0)
            if table in captured.failures:
                raise captured.failures[table]
            return _result(flow, log, _version_told(context.instance, flow.change_log, log), began)

    return change_log


@dataclass(slots=True)
class Logged:
    """What a log holds behind some version: changes by operation, and rows of snapshots; `version` has the last."""

    version: int
    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    snapshot_rows: int = 0


def logged_since(log: ChangeLog, version: int) -> Logged:
    """Read from the log itself, so that it is right whoever captured: this run, `cdc run` or a check."""
    found = Logged(version)
    for part in log.read(after=version):
        for frame in part.frames(["operation", "_snapshot"]):
            changes = frame.filter(~pl.col("_snapshot"))
            found.snapshot_rows += frame.height - changes.height
            for operation, count in changes["operation"].value_counts().iter_rows():
                found.events[operation] += count
        found.version = part.version
    return found


def _result(flow: FlowAssets, log: ChangeLog, told: int, began: float) -> dg.MaterializeResult[Any]:
    new, position = logged_since(log, told), log.position()
    metadata = {
        "inserts": new.events[INSERT],
        "updates": new.events[UPDATE],
        "deletes": new.events[DELETE],
        "snapshot_rows": new.snapshot_rows,
        "from": log.position_of(told) if told else "",
        "to": log.format(position) if position else "",
        "log_version": new.version,
        "seconds": round(time.monotonic() - began, 3),
        "dagster/uri": log.path.as_uri(),
        **change_log_metadata(flow, log.schema()),
    }
    version = data_version(log.position_of(new.version))
    return dg.MaterializeResult(metadata=metadata, data_version=version, tags={_LOG_TAG: log.id()})


def _version_told(instance: dg.DagsterInstance, key: dg.AssetKey, log: ChangeLog) -> int:
    """The version up to which the last materialisation told; 0 (the creation) when it was of no or another log."""
    event = instance.get_latest_materialization_event(key)
    told = event.asset_materialization if event else None
    if told is None or (told.tags or {}).get(_LOG_TAG) != log.id():
        return 0
    version = told.metadata["log_version"].value
    return version if isinstance(version, int) else 0
