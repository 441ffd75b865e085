"""An asset check on each change log: that no changes are lost, and that none are about to be."""

# Annotations are not postponed here: Dagster reads the context's type from them.

from typing import Any

import dagster as dg

from cdc_platform.defs.failures import as_dagster
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import FlowAssets
from cdc_platform.engine.status import PipelineStatus, status
from cdc_platform.errors import Unavailable

NAME = "gap"


def gap_check(installation: Installation, flow: FlowAssets) -> dg.AssetChecksDefinition:
    """Red while a gap is open, yellow where the source may soon give up what is still needed."""

    @dg.asset_check(
        asset=flow.change_log,
        name=NAME,
        description="No changes are lost, and none are about to be: what the source keeps of its log is in bounds.",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        settings, environment = installation.settings, installation.environment()
        (found,) = status(settings, environment, installation.pipelines, [flow.pipeline])
        if found.state == "unreachable":
            raise as_dagster(Unavailable(found.last_error or "the source cannot be asked"), context) from None
        return _result(found)

    return check


def _result(found: PipelineStatus) -> dg.AssetCheckResult:
    lost = found.state == "gap"
    metadata: dict[str, Any] = {"state": found.state, "captured": found.captured or ""}
    if found.wal_kept_bytes is not None:
        metadata["wal_kept_bytes"] = found.wal_kept_bytes
    if found.gap is not None:
        metadata |= {"lost": found.gap.lost.value, "since": found.gap.since.isoformat(timespec="seconds")}
    return dg.AssetCheckResult(
        passed=not lost and not found.warnings,
        severity=dg.AssetCheckSeverity.ERROR if lost else dg.AssetCheckSeverity.WARN,
        description=found.last_error if lost else "; ".join(found.warnings) or None,
        metadata=metadata,
    )
