"""What is known of a flow's columns before anything runs: from the change log on disk, never from a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from cdc_platform.defs.columns import (
    change_log_columns,
    change_log_lineage,
    destination_columns,
    destination_lineage,
    source_columns,
)
from cdc_platform.defs.installation import Installation
from cdc_platform.defs.naming import FlowAssets
from cdc_platform.engine.shaping import present_projection
from cdc_platform.errors import CdcError
from cdc_platform.model.projection import Projection
from cdc_platform.model.schema import TableSchema

Metadata = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A table's shape as its change log recorded it, and its way to the destination (a derived table's has none)."""

    table: TableSchema
    plan: Projection | None


def recorded_shape(installation: Installation, flow: FlowAssets) -> Shape | None:
    """None where nothing was captured yet, or where the answer needs a variable that is not set."""
    try:
        _, log = installation.log(flow.part)
        if not log.exists():
            return None
        table = log.schema()
        plan = None if flow.pipeline.derived else present_projection(installation.flow(flow.pipeline), table)
        return Shape(table, plan)
    except CdcError:
        # A broken log or pipeline is told by the asset that uses it; the definitions load without it.
        return None


def source_metadata(shape: Shape | None) -> Metadata:
    return {"dagster/column_schema": source_columns(shape.table)} if shape else {}


def change_log_metadata(flow: FlowAssets, table: TableSchema | None) -> Metadata:
    if table is None:
        return {}
    return {
        "dagster/column_schema": change_log_columns(table),
        "dagster/column_lineage": dg.MetadataValue.column_lineage(change_log_lineage(flow, table)),
    }


def destination_metadata(flow: FlowAssets, plan: Projection | None) -> Metadata:
    if plan is None:
        return {}
    return {
        "dagster/column_schema": destination_columns(plan),
        "dagster/column_lineage": dg.MetadataValue.column_lineage(destination_lineage(flow, plan)),
    }
