"""Shapes that a table goes through, for the tests of Iceberg tables that change theirs, and how all readers see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.destinations.destination import Destination
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TableLayout, TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import IcebergLake, layout
from cdc_platform_tests.destinations.rows import at

ID = TargetField("id", pa.int32(), True, 1)
NOTE = TargetField("note", pa.string(), False, 2)
REGION = TargetField("region", pa.string(), True, 3)
SEEN = TargetField("seen", pa.timestamp("us"), False, 4)
AMOUNT = TargetField("amount", pa.decimal128(8, 2), False, 5)
RATIO = TargetField("ratio", pa.float32(), False, 6)
FIELDS = (ID, NOTE, REGION, SEEN, AMOUNT, RATIO)
CDC = (TargetField("_cdc_operation", pa.string(), True), TargetField("_cdc_source_lsn", pa.string()))
PARTED = layout(["region", "month(seen)"], ["note desc", "id"])

PLAIN: dict[str, Any] = {
    "note": "plain",
    "region": "north",
    "seen": datetime(2025, 5, 17, 12),
    "amount": Decimal("12.30"),
    "ratio": 0.5,
}


def shape(*fields: TargetField, key: Sequence[str] = ("id",)) -> TargetSchema:
    return TargetSchema((*fields, *CDC), tuple(key))


BEFORE = shape(*FIELDS)


def rows(schema: TargetSchema, *given: dict[str, Any]) -> pl.DataFrame:
    """Rows of this shape; what is not given is plain where the plain column is there, else null."""
    cdc = {"_cdc_operation": "INSERT", "_cdc_source_lsn": "00000000/00000001"}
    types = {field.name: polars_type(field.type) for field in schema.fields}
    return pl.DataFrame([{name: {**PLAIN, **cdc, **row}.get(name) for name in types} for row in given], schema=types)


def made(lake: IcebergLake, shaped: TableLayout | None = None, schema: TargetSchema = BEFORE) -> Destination:
    """A table of two rows, written by version 1."""
    destination = lake.open(shaped)
    destination.ensure(schema)
    destination.append(iter([rows(schema, {"id": 1}, {"id": 2, "note": "two", "region": "south"})]), at(1))
    return destination


def seen(lake: IcebergLake, schema: TargetSchema, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows as all readers see them, which have to agree; columns in order, by id."""
    types = pl.Schema({field.name: polars_type(field.type) for field in schema.fields})
    found = {name: frame.cast(types) for name, frame in lake.readers(list(types)).items()}
    found["scan"] = pl.concat([types.to_frame(), *(part.select(list(types)) for part in lake.open().scan())])
    shown = {reader: frame.sort(names[0]).select(names).rows() for reader, frame in found.items()}
    assert shown["duckdb"] == shown["scan"], "duckdb"
    assert shown["pyiceberg"] == shown["scan"], "pyiceberg"
    return shown["scan"]


def evolved(destination: Destination, version: int, *fields: TargetField, key: Sequence[str] = ("id",)) -> TargetSchema:
    schema = shape(*fields, key=key)
    destination.evolve(schema, at(version))
    return schema


def without(*gone: TargetField) -> list[TargetField]:
    return [field for field in FIELDS if field not in gone]


def changed(field: TargetField, **values: Any) -> list[TargetField]:
    return [replace(f, **values) if f == field else f for f in FIELDS]
