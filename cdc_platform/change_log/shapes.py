"""The shapes that a change log's rows have had: versions of the source table's schema, and where their cells stand.

A log's row images hold a field for each column that there ever was, by name; a row fills those of its own version and
leaves the others null. A column whose type changes gets a field of its own (`price#2`), so no cell is ever converted
and no old file touched. All versions are in the table's property `cdc.schemas`, in the commit that makes them. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.model.schema import Column, TableName, TableSchema


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One shape: its number from 1 on, the log's commit that made it (0: the log's creation), and the source position
    from which it holds (text; empty for the first). `fields[i]` is where `schema.columns[i]` stands in the images;
    `changes` tell in words what became of the version before.
    """

    number: int
    commit: int
    position: str
    schema: TableSchema
    fields: tuple[str, ...]
    changes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether each column stands under its own name."""
        return self.fields == self.schema.names


def first_version(schema: TableSchema) -> SchemaVersion:
    """The shape that a log is made with."""
    return SchemaVersion(1, 0, "", schema, _fields(schema, []))


def next_version(
    known: Sequence[SchemaVersion], schema: TableSchema, commit: int, position: str, changes: Sequence[str]
) -> SchemaVersion:
    """The shape after the last of `known`."""
    fields = _fields(schema, known)
    return SchemaVersion(known[-1].number + 1, commit, position, schema, fields, tuple(changes))


def images_type(versions: Sequence[SchemaVersion]) -> pa.StructType:
    """The Arrow struct that holds rows of all these versions; all fields nullable."""
    kinds: dict[str, pa.DataType] = {}
    for version in versions:
        for field, column in zip(version.fields, version.schema.columns, strict=True):
            kinds.setdefault(field, column.type)
    return pa.struct([pa.field(name, kind) for name, kind in kinds.items()])


def _fields(schema: TableSchema, known: Sequence[SchemaVersion]) -> tuple[str, ...]:
    """A field for each column: its name, unless that is taken by a field of another type (or other case)."""
    taken = {field.name: field.type for field in images_type(known)}
    lower = {name.lower(): name for name in taken}
    fields = []
    for column in schema.columns:
        name, attempt = column.name, 1
        while lower.get(name.lower(), name) != name or taken.get(name, column.type) != column.type or name in fields:
            attempt += 1
            name = f"{column.name}#{attempt}"
        taken[name], lower[name.lower()] = column.type, name
        fields.append(name)
    return tuple(fields)


def to_json(versions: Sequence[SchemaVersion]) -> str:
    """All versions as text. Types are left out: the images' fields have them."""
    return json.dumps([_document(version) for version in versions], ensure_ascii=False)


def _document(version: SchemaVersion) -> dict[str, Any]:
    schema = version.schema
    return {
        "number": version.number,
        "commit": version.commit,
        "position": version.position,
        "changes": version.changes,
        "table": asdict(schema.table),
        "primary_key": schema.primary_key,
        "last_id": schema.last_id,
        "columns": [
            (field, c.name, c.nullable, c.source_type, c.source_id)
            for field, c in zip(version.fields, schema.columns, strict=True)
        ],
    }


def from_json(text: str, images: pa.StructType) -> tuple[SchemaVersion, ...]:
    """The inverse of `to_json`; `images` is the type of the log's `before` and `after`."""
    versions = []
    for stored in json.loads(text):
        columns = tuple(
            Column(name, images.field(field).type, nullable, source_type, source_id)
            for field, name, nullable, source_type, source_id in stored["columns"]
        )
        schema = TableSchema(TableName(**stored["table"]), columns, tuple(stored["primary_key"]), stored["last_id"])
        fields = tuple(column[0] for column in stored["columns"])
        versions.append(
            SchemaVersion(
                stored["number"], stored["commit"], stored["position"], schema, fields, tuple(stored["changes"])
            )
        )
    return tuple(versions)


def laid_out(events: pl.DataFrame, version: SchemaVersion, images: pl.Struct) -> pl.DataFrame:
    """Events whose images have the version's columns, as the log stores them: images of type `images`."""
    if all(events.schema[name] == images for name in ("before", "after")):
        return events
    columns = dict(zip(version.fields, version.schema.names, strict=True))
    return events.with_columns(
        _image(
            name,
            [
                pl.col(name).struct.field(columns[field.name]).alias(field.name)
                if field.name in columns
                else pl.lit(None, field.dtype).alias(field.name)
                for field in images.fields
            ],
        )
        for name in ("before", "after")
    )


def picked_up(frame: pl.DataFrame, version: SchemaVersion) -> pl.DataFrame:
    """Events as stored (those columns that are in `frame`) with images of the version's columns, under their names."""
    wanted = list(zip(version.fields, version.schema.names, strict=True))
    expressions = []
    for name in ("before", "after"):
        dtype = frame.schema.get(name)
        if isinstance(dtype, pl.Struct) and [f.name for f in dtype.fields] != list(version.schema.names):
            expressions.append(_image(name, [pl.col(name).struct.field(f).alias(n) for f, n in wanted]))
    return frame.with_columns(expressions) if expressions else frame


def _image(name: str, cells: list[pl.Expr]) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null()).then(pl.struct(cells)).alias(name)
