"""Columns and where they come from, in Dagster's terms: source -> change log -> destination. Pure.

A change log holds the row before and after a change, so a source column `email` is `before.email` and `after.email`
there, and the destination's column (of whatever name) is made of both: `before` for a DELETE, `after` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa

from cdc_platform.defs.naming import FlowAssets
from cdc_platform.model.event import log_schema
from cdc_platform.model.projection import Projection
from cdc_platform.model.schema import TableSchema
from cdc_platform.model.target import TargetSchema

_IMAGES = ("before", "after")
# What the `_cdc_*` columns are made of (model/projection.py).
_CDC_ORIGIN = {
    "_cdc_operation": "operation",
    "_cdc_timestamp": "timestamp",
    "_cdc_source_lsn": "metadata",
    "_cdc_binlog_file": "metadata",
    "_cdc_binlog_position": "metadata",
}


def source_columns(shape: TableSchema) -> dg.TableSchema:
    """The source's columns with their types as the server names them."""
    return dg.TableSchema(
        [
            dg.TableColumn(c.name, c.source_type, constraints=_constraints(c.nullable, c.name in shape.primary_key))
            for c in shape.columns
        ]
    )


def change_log_columns(shape: TableSchema) -> dg.TableSchema:
    """The event's columns; the two row images by column."""
    return dg.TableSchema([dg.TableColumn(name, str(kind)) for name, kind in _log_fields(shape)])


def destination_columns(plan: Projection) -> dg.TableSchema:
    """The destination's columns."""
    return fields_columns(plan.target)


def fields_columns(target: TargetSchema) -> dg.TableSchema:
    """A table's columns."""
    return dg.TableSchema(
        [
            dg.TableColumn(f.name, str(f.type), constraints=_constraints(not f.required, f.name in target.key))
            for f in target.fields
        ]
    )


def change_log_lineage(flow: FlowAssets, shape: TableSchema) -> dg.TableColumnLineage:
    """Each row image's columns come from the source's of the same name."""
    return dg.TableColumnLineage(
        {
            f"{image}.{name}": [dg.TableColumnDep(asset_key=flow.source, column_name=name)]
            for image in _IMAGES
            for name in shape.names
        }
    )


def destination_lineage(flow: FlowAssets, plan: Projection) -> dg.TableColumnLineage:
    """Each column comes from the row images' column before its renaming, or from the event's own columns."""

    def log_column(name: str) -> dg.TableColumnDep:
        return dg.TableColumnDep(asset_key=flow.change_log, column_name=name)

    names = {field.name for field in plan.target.fields}
    deps = {field.name: [log_column(f"{image}.{column.name}") for image in _IMAGES] for column, field in plan.pairs}
    deps |= {name: [log_column(origin)] for name, origin in _CDC_ORIGIN.items() if name in names}
    return dg.TableColumnLineage(deps)


def _log_fields(shape: TableSchema) -> Iterator[tuple[str, pa.DataType]]:
    for field in log_schema(shape.row_type):
        if field.name in _IMAGES:
            yield from ((f"{field.name}.{image.name}", image.type) for image in field.type)
        else:
            yield field.name, field.type


def _constraints(nullable: bool, key: bool) -> dg.TableColumnConstraints:
    return dg.TableColumnConstraints(nullable=nullable, other=["primary key"] if key else [])
