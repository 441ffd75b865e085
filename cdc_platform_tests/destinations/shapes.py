"""Shapes of one table over time, and rows of them: columns are made here by id, so that a rename keeps its values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.rows import PROCESSED

CDC = (
    TargetField("_cdc_operation", pa.string()),
    TargetField("_cdc_timestamp", pa.timestamp("us", "UTC")),
    TargetField("_cdc_source_lsn", pa.string()),
)
FIRST = TargetSchema(
    (
        TargetField("id", pa.int64(), required=True, source_id=1),
        TargetField("name", pa.string(), source_id=2),
        TargetField("small", pa.int32(), source_id=3),
        TargetField("ratio", pa.float32(), source_id=4),
        TargetField("amount", pa.decimal128(10, 2), source_id=5),
        TargetField("updated", pa.timestamp("us", "UTC"), source_id=6),
        TargetField("must", pa.string(), required=True, source_id=7),
        *CDC,
    ),
    ("id",),
)


def renamed(schema: TargetSchema, **names: str) -> TargetSchema:
    fields = tuple(replace(field, name=names.get(field.name, field.name)) for field in schema.fields)
    return TargetSchema(fields, tuple(names.get(name, name) for name in schema.key))


def dropped(schema: TargetSchema, *names: str) -> TargetSchema:
    return replace(schema, fields=tuple(field for field in schema.fields if field.name not in names))


def added(schema: TargetSchema, name: str, kind: pa.DataType, source_id: int, required: bool = False) -> TargetSchema:
    """With a new column in front of the `_cdc_*` ones."""
    new = TargetField(name, kind, required, source_id)
    return replace(schema, fields=(*schema.fields[: -len(CDC)], new, *CDC))


def changed(schema: TargetSchema, name: str, **what: Any) -> TargetSchema:
    fields = tuple(replace(field, **what) if field.name == name else field for field in schema.fields)
    return replace(schema, fields=fields)


def types(schema: TargetSchema) -> pl.Schema:
    return pl.Schema({field.name: polars_type(field.type) for field in schema.fields})


def rows(schema: TargetSchema, *given: dict[str, Any]) -> pl.DataFrame:
    """Rows of the schema; what is not given is made of the row's number (`id`, whatever it is called) and the column.

    `lsn` and `operation` are the `_cdc_*` columns'.
    """
    return pl.DataFrame([_row(schema, dict(values)) for values in given], schema=types(schema), orient="row")


def _row(schema: TargetSchema, values: dict[str, Any]) -> dict[str, Any]:
    cdc = {
        "_cdc_operation": values.pop("operation", "INSERT"),
        "_cdc_timestamp": PROCESSED,
        "_cdc_source_lsn": f"00000000/{values.pop('lsn', 1):08X}",
    }
    (key,) = (field.name for field in schema.fields if field.source_id == 1)
    number = values.setdefault(key, values.pop("id", 1))
    made = {field.name: _value(field, number) for field in schema.fields if field.source_id is not None}
    return {**made, **cdc, **values}


def _value(field: TargetField, number: int) -> Any:
    kind = field.type
    if pa.types.is_string(kind):
        return f"{field.source_id}/{number}"
    if pa.types.is_decimal(kind):
        return Decimal(number * 100 + (field.source_id or 0)).scaleb(-2)
    if pa.types.is_floating(kind):
        return number + 0.5
    if pa.types.is_timestamp(kind):
        return datetime(2025, 1 + number % 12, 1 + number % 28, 23, 59, 59, 999999, UTC if kind.tz else None)
    return number * 10 + (field.source_id or 0)


def null(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """The frame with these columns emptied."""
    return frame.with_columns(pl.lit(None, frame.schema[name]).alias(name) for name in names)
