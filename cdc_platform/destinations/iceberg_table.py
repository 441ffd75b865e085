"""The shape of an Iceberg table: its schema, partition spec and sort order, making one, comparing one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from cdc_platform.destinations.iceberg_metadata import Metadata
from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict
from cdc_platform.lake.iceberg_format import iceberg_word
from cdc_platform.model.target import SOURCE_IDS, PartitionField, TableLayout, TargetSchema

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

FORMAT_VERSION: Final = "format-version"


def required_schema(schema: TargetSchema) -> TargetSchema:
    """The schema with its key required: Iceberg's identifier fields cannot be optional. Raises NotUnderstood."""
    fields = []
    for field in schema.fields:
        if iceberg_word(field.type) is None:
            raise NotUnderstood(
                f"column '{field.name}': Iceberg has no type for {field.type}; "
                f"cast or drop it in destination.columns.{field.name}"
            )
        if field.name in schema.key and pa.types.is_floating(field.type):
            raise ConfigError(f"column '{field.name}' is {field.type}, which Iceberg takes no key of; cast it")
        fields.append(replace(field, required=field.required or field.name in schema.key))
    return TargetSchema(tuple(fields), schema.key)


def check_layout(schema: TargetSchema, layout: TableLayout) -> None:
    """Raise ConfigError for partitions, sort terms or properties that no table of this schema can have."""
    kinds = {field.name: field.type for field in schema.fields}
    for term in layout.partitions:
        _check_partition(term, kinds)
    for name in (term.column for term in layout.sort):
        if name not in kinds:
            raise ConfigError(f"sort_by: the destination has no column '{name}'")
    if dict(layout.properties).get(FORMAT_VERSION, "2") != "2":
        raise ConfigError(f"destination.properties: {FORMAT_VERSION} is 2; other versions are not written")


def _check_partition(term: PartitionField, kinds: Mapping[str, pa.DataType]) -> None:
    kind = kinds.get(term.column)
    if kind is None:
        raise ConfigError(f"partition_by: the destination has no column '{term.column}'")
    if term.transform == "identity":
        if pa.types.is_floating(kind) or pa.types.is_binary(kind):
            raise ConfigError(f"partition_by: '{term.column}' is {kind}; partitions are of other types")
    elif not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise ConfigError(f"partition_by: {term.transform}({term.column}) needs a date or timestamp column")


def ids_of(schema: TargetSchema) -> dict[str, int]:
    """Which source column fills each column; those without an id are missing."""
    return {field.name: field.source_id for field in schema.fields if field.source_id is not None}


def text_of(ids: Mapping[str, int]) -> str:
    """The value of the table property `SOURCE_IDS`."""
    return json.dumps(ids, ensure_ascii=False)


def create(
    catalog: Catalog, identifier: str, schema: TargetSchema, layout: TableLayout, location: str | None = None
) -> None:
    """Make the table and its namespace, or do nothing where somebody else just did. Raises ConfigError."""
    from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
    from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionSpec
    from pyiceberg.partitioning import PartitionField as IcebergPartition
    from pyiceberg.schema import Schema
    from pyiceberg.table.sorting import NullOrder, SortDirection, SortOrder
    from pyiceberg.table.sorting import SortField as IcebergSort
    from pyiceberg.transforms import IdentityTransform, parse_transform
    from pyiceberg.types import NestedField

    ids = {field.name: i for i, field in enumerate(schema.fields, 1)}
    for term in layout.partitions:
        if term.transform != "identity" and term.name in ids:
            raise ConfigError(f"partition_by: the partition field '{term.name}' would hide a column of that name")
    fields = [
        NestedField(
            field_id=ids[field.name],
            name=field.name,
            field_type=iceberg_word(field.type),
            required=field.required,
        )
        for field in schema.fields
    ]
    spec = PartitionSpec(
        *(
            IcebergPartition(ids[term.column], PARTITION_FIELD_ID_START + i, parse_transform(term.transform), term.name)
            for i, term in enumerate(layout.partitions)
        )
    )
    order = SortOrder(
        *(
            IcebergSort(
                source_id=ids[term.column],
                transform=IdentityTransform(),
                direction=SortDirection.DESC if term.descending else SortDirection.ASC,
                null_order=NullOrder.NULLS_LAST,
            )
            for term in layout.sort
        )
    )
    namespace = identifier.rpartition(".")[0]
    if not catalog.namespace_exists(namespace):
        with suppress(NamespaceAlreadyExistsError):
            catalog.create_namespace(namespace)
    try:
        catalog.create_table(
            identifier,
            Schema(*fields, identifier_field_ids=[ids[name] for name in schema.key]),
            location=location,
            partition_spec=spec,
            sort_order=order,
            properties={FORMAT_VERSION: "2", **dict(layout.properties), SOURCE_IDS: text_of(ids_of(schema))},
        )
    except TableAlreadyExistsError:
        return


def check_same(metadata: Metadata, schema: TargetSchema, layout: TableLayout, name: str) -> None:
    """Raise SchemaConflict where the table's columns, key, partitions or sort order are not those expected.

    `layout` names columns as they are called now. Where table or schema have no source id, names and types tell alone.
    """
    if metadata.document["format-version"] != 2:
        raise NotUnderstood(f"{name} is of format version {metadata.document['format-version']}; only 2 is written")
    differences: list[str] = []
    actual = {field.name: field for field in metadata.columns}
    for field in schema.fields:
        there = actual.pop(field.name, None)
        if there is None:
            differences.append(f"it lacks column '{field.name}'")
        elif there.type != field.type:
            word = iceberg_word(there.type) or "of an unknown type"
            differences.append(f"column '{field.name}' is {word} and should be {iceberg_word(field.type)}")
        elif there.required != field.required:
            word = "required" if there.required else "not required"
            differences.append(f"column '{field.name}' is {word} there and not here")
        elif None not in (there.source_id, field.source_id) and there.source_id != field.source_id:
            differences.append(f"column '{field.name}' was filled by another column of the source, since gone")
    differences += [f"it has a column '{extra}' more" for extra in actual]
    for what, have, want in (
        ("identified", sorted(metadata.key), sorted(schema.key)),
        ("partitioned", *_partition_texts(metadata, layout)),
        ("sorted", [_sorted(*t) for t in metadata.sort], [_sorted(t.column, t.descending) for t in layout.sort]),
    ):
        if have != want:
            differences.append(f"it is {what} by {_listed(have)} and should be by {_listed(want)}")
    if differences:
        more = f" and {len(differences) - 5} differences more" if len(differences) > 5 else ""
        raise SchemaConflict(
            f"{name} is not the table that the pipeline describes: {'; '.join(differences[:5])}{more}; "
            "move it away, choose another table, or change the pipeline"
        )


def _partition_texts(metadata: Metadata, layout: TableLayout) -> tuple[list[str], list[str]]:
    have = [f"{transform}({column})" for column, transform in metadata.partitions]
    return have, [f"{term.transform}({term.column})" for term in layout.partitions]


def _sorted(column: str, descending: bool) -> str:
    return f"{column} desc" if descending else column


def _listed(terms: list[str]) -> str:
    return ", ".join(terms) or "nothing"
