"""A derived table as an asset: its materialisation brings it up to date with the change logs of its inputs."""

# Annotations are not postponed here: Dagster reads the context's type from them.

from collections.abc import Sequence
from typing import Any

import dagster as dg

from cdc_platform.defs.columns import fields_columns
from cdc_platform.defs.destinations import applied_metadata, table_metadata
from cdc_platform.defs.failures import told
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import OWNERS, FlowAssets, data_version, tag_value
from cdc_platform.defs.progress import logged
from cdc_platform.defs.tables import facts, preview
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.measuring import observation, publish
from cdc_platform.engine.memory import remember
from cdc_platform.errors import CdcError, ConfigError


def derived_asset(installation: Installation, inputs: Sequence[FlowAssets]) -> dg.AssetsDefinition:
    """The asset of one derived table, made of what `inputs` name."""
    flow = inputs[0]
    config = flow.pipeline.config

    @dg.asset(
        key=flow.destination,
        deps=[one.change_log for one in inputs],
        description=_description(inputs),
        group_name=flow.group,
        owners=OWNERS,
        kinds={config.destination.type, "polars"},
        tags={"cdc/pipeline": tag_value(flow.pipeline.id), "cdc/write_mode": config.destination.write_mode},
        metadata=_columns(installation, flow),
        required_resource_keys={flow.resource},
    )
    def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with told(context, installation, inputs[:1]):
            opened = installation.derivation(flow.pipeline)
            applied = derive(opened, logged(context.log))
            if not opened.captured():
                logs = ", ".join(one.change_log.to_user_string() for one in inputs)
                raise ConfigError(f"nothing is captured yet; materialise {logs} first")
            if (gap := opened.gap()) is not None:
                raise gap.error()
            metadata = {
                **applied_metadata(applied),
                **table_metadata(facts(getattr(context.resources, flow.resource))),
                **_columns(installation, flow),
                **({"preview": rows} if (rows := preview(opened, config.destination.preview)) else {}),
            }
            remember(installation.settings.home, flow.pipeline.id, None)
            publish(installation.settings, installation.pipelines, [observation(flow.pipeline, applied, None, {})])
            return dg.MaterializeResult(metadata=metadata, data_version=data_version(applied.end))

    return table


def _columns(installation: Installation, flow: FlowAssets) -> dict[str, Any]:
    try:
        opened = installation.derivation(flow.pipeline)
    except CdcError:  # told by the asset when it is asked for
        return {}
    return {"dagster/column_schema": fields_columns(opened.target)}


def _description(inputs: Sequence[FlowAssets]) -> str:
    flow = inputs[0]
    derive = flow.pipeline.config.derive
    assert derive is not None
    tables = ", ".join(one.table for one in inputs)
    return (
        f"Derived from {tables} of source '{flow.label}' as {derive.definition} says: the rows as they are now, "
        f"kept by changes. Pipeline {flow.pipeline.id}."
    )
