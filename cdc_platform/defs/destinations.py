"""A destination table as an asset: its materialisation applies what its change log has and it has not."""

# Annotations are not postponed here: Dagster reads the context's type from them.

from typing import Any

import dagster as dg

from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.defs.failures import told
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import OWNERS, FlowAssets, data_version, tag_value
from cdc_platform.defs.progress import logged
from cdc_platform.defs.shapes import Shape, destination_metadata
from cdc_platform.defs.tables import TableFacts, facts, preview
from cdc_platform.engine.apply import Application, apply
from cdc_platform.engine.gaps import raise_open
from cdc_platform.engine.measuring import observation, publish
from cdc_platform.engine.memory import remember
from cdc_platform.engine.shaping import present_projection
from cdc_platform.errors import ConfigError
from cdc_platform.model.change import DELETE, INSERT, UPDATE


def destination_asset(installation: Installation, flow: FlowAssets, shape: Shape | None) -> dg.AssetsDefinition:
    """The asset of one pipeline's destination."""
    destination = flow.pipeline.config.destination

    @dg.asset(
        key=flow.destination,
        deps=[flow.change_log],
        description=_description(flow, destination),
        group_name=flow.group,
        owners=OWNERS,
        kinds={destination.type, "polars"},
        tags={"cdc/pipeline": tag_value(flow.pipeline.id), "cdc/write_mode": destination.write_mode},
        metadata=destination_metadata(flow, shape.plan if shape else None),
        required_resource_keys={flow.resource},
    )
    def table(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
        with told(context, installation, [flow]):
            opened = installation.flow(flow.pipeline)
            applied = apply(opened, logged(context.log))
            if opened.log.position() is None:
                raise ConfigError(f"nothing is captured yet; materialise {flow.change_log.to_user_string()} first")
            raise_open(opened.log)
            plan = present_projection(opened, opened.log.schema())
            metadata = {
                **applied_metadata(applied),
                **table_metadata(facts(getattr(context.resources, flow.resource))),
                **destination_metadata(flow, plan),
                **({"preview": rows} if (rows := preview(opened, destination.preview)) else {}),
            }
            remember(installation.settings.home, flow.pipeline.id, None)
            seen = observation(flow.pipeline, applied, None, {})
            publish(installation.settings, installation.pipelines, [seen])
            return dg.MaterializeResult(metadata=metadata, data_version=data_version(applied.end))

    return table


def applied_metadata(applied: Application) -> dict[str, Any]:
    """What this materialisation did; numbers are plotted over time."""
    metadata: dict[str, Any] = {
        "inserts": applied.events[INSERT],
        "updates": applied.events[UPDATE],
        "deletes": applied.events[DELETE],
        "snapshot_rows": applied.snapshot_rows,
        "rows_written": applied.rows_written,
        "from": applied.start,
        "to": applied.end,
        "seconds": round(applied.seconds, 3),
    }
    if applied.evidence is not None:
        metadata |= {
            "schema_version": applied.evidence.schema_version,
            "transactions": applied.evidence.transactions,
            "first_transaction": applied.evidence.first_transaction or "",
            "last_transaction": applied.evidence.last_transaction or "",
            "events_digest": applied.evidence.digest,
            "files_added": applied.file_count,
            "files": dg.MetadataValue.json(applied.files),
        }
    # Without a new change there is no lag to measure: a gap in the plot, not a zero.
    return metadata | ({} if applied.lag_seconds is None else {"lag_seconds": round(applied.lag_seconds, 3)})


def table_metadata(table: TableFacts) -> dict[str, Any]:
    """What the table is now."""
    metadata: dict[str, Any] = {
        "table_version": table.version,
        "dagster/row_count": table.rows,
        "dagster/uri": table.uri,
    }
    return metadata | ({} if table.snapshot is None else {"snapshot_id": table.snapshot})


def _description(flow: FlowAssets, destination: DestinationConfig) -> str:
    kind = {"deltalake": "Delta", "iceberg": "Iceberg"}[destination.type]
    rows = {"append": "every change is a row", "upsert": "the rows as they are now"}[destination.write_mode]
    return f"Table {flow.table} of source '{flow.label}' in {kind}: {rows}. Pipeline {flow.pipeline.id}."
