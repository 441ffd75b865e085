"""The shape of a Delta table: types, names, the generated partition columns, comparing one with what is expected.

How a table is made is delta_create.py's, how its shape changes delta_evolve.py's.
Formats: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
from deltalake import DeltaTable

from cdc_platform.destinations.data_files import StoredColumn
from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict
from cdc_platform.lake.delta_columns import MAPPING, WORDS, DeltaColumn, actual_columns, arrow_type, other_mapping
from cdc_platform.model.target import PartitionField, TableLayout, TargetField, TargetSchema

INDEXED_COLUMNS: Final = "delta.dataSkippingNumIndexedCols"
STATS_COLUMNS: Final = "delta.dataSkippingStatsColumns"
_UNMAPPABLE: Final = frozenset(" ,;{}()\n\t=")
# What our writing of data files obeys. A table that asks for more of its writers is left alone.
WRITER_FEATURES: Final = frozenset(
    {
        "appendOnly",
        "changeDataFeed",
        "columnMapping",
        "generatedColumns",
        "timestampNtz",
        "v2Checkpoint",
        "vacuumProtocolCheck",
        "invariants",
        "checkConstraints",
        "domainMetadata",
    }
)


def delta_word(field: TargetField) -> str:
    """The Delta type of a column. Raises NotUnderstood."""
    if pa.types.is_decimal128(field.type):
        return f"decimal({field.type.precision},{field.type.scale})"
    word = WORDS.get(field.type)
    if word is None:
        raise NotUnderstood(
            f"column '{field.name}': Delta has no type for {field.type}; "
            f"cast or drop it in destination.columns.{field.name}"
        )
    return word


def generation(field: PartitionField) -> str:
    """The SQL that gives a partition column its value, in words that Spark and DataFusion both know."""
    column = quoted(field.column) if not field.column.isidentifier() else field.column
    if field.transform == "day":
        return f"CAST({column} AS DATE)"
    return f"CAST(date_trunc('{field.transform.upper()}', {column}) AS DATE)"


def quoted(name: str) -> str:
    """A column name in Spark's and deltalake's SQL."""
    return "`" + name.replace("`", "``") + "`"


def expected_columns(
    schema: TargetSchema, layout: TableLayout, partition_names: Sequence[str], mapped: bool
) -> list[DeltaColumn]:
    """Every column of the table to be, the generated ones (dates: first day of the unit) at the end."""
    names = {field.name for field in schema.fields}
    check_names(names, mapped)
    columns = [
        DeltaColumn(field.name, field.name, i, delta_word(field), field.required, None, field.source_id)
        for i, field in enumerate(schema.fields, 1)
    ]
    for term, name in zip(layout.partitions, partition_names, strict=True):
        field = next((field for field in schema.fields if field.name == term.column), None)
        if field is None:
            raise ConfigError(f"partition_by: the destination has no column '{term.column}'")
        if term.transform == "identity":
            if pa.types.is_binary(field.type) or pa.types.is_floating(field.type):
                raise ConfigError(f"partition_by: '{term.column}' is {field.type}; partitions are of other types")
            continue
        if not (pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)):
            raise ConfigError(f"partition_by: {term.transform}({term.column}) needs a date or timestamp column")
        if name in names:
            raise ConfigError(f"partition_by: the generated column '{name}' would hide a column of that name")
        columns.append(DeltaColumn(name, name, len(columns) + 1, "date", False, generation(term)))
    if len(layout.partitions) == len(columns):
        raise ConfigError("partition_by: a table cannot be partitioned by all of its columns")
    return columns


def check_names(names: set[str], mapped: bool) -> None:
    """Raise ConfigError for names that a Delta table cannot have, or other readers could not tell apart."""
    lower: dict[str, str] = {}
    for name in sorted(names):
        if (twin := lower.setdefault(name.lower(), name)) != name:
            raise ConfigError(
                f"columns '{twin}' and '{name}' differ in case alone, which Delta cannot tell apart; "
                f"rename one in destination.columns.{name}"
            )
        if not mapped and needs_mapping(name):
            raise ConfigError(
                f"column '{name}' has a character that a Delta column has only under column mapping; "
                f"rename it in destination.columns, or set {MAPPING}: name in destination.properties"
            )


def needs_mapping(name: str) -> bool:
    """Whether a column can have this name under column mapping only."""
    return bool(_UNMAPPABLE & set(name))


def source_ids(columns: Iterable[DeltaColumn]) -> str | None:
    """The table property `SOURCE_IDS` for these columns; None where none is known."""
    known = {column.name: column.source_id for column in columns if column.source_id is not None}
    return json.dumps(known, ensure_ascii=False) if known else None


def check_writable(table: DeltaTable, name: str) -> None:
    """Raise NotUnderstood for a table whose protocol asks more of writers than is done here."""
    asked = set(table.protocol().writer_features or ())
    configuration = table.metadata().configuration
    beyond = sorted(asked - WRITER_FEATURES) + other_mapping(configuration)
    beyond += sorted(key for key in configuration if key.startswith("delta.constraints."))
    if beyond:
        raise NotUnderstood(f"{name} uses {', '.join(beyond)}, which this platform does not write; choose another path")


def check_same(
    table: DeltaTable, expected: list[DeltaColumn], layout: TableLayout, partitions: Sequence[str], name: str
) -> None:
    """Raise SchemaConflict where the table's columns, partitions or mapping are not those expected."""
    differences: list[str] = []
    actual = {column.name: column for column in actual_columns(table)}
    for column in expected:
        there = actual.pop(column.name, None)
        if there is None:
            differences.append(f"it lacks column '{column.name}'")
        elif there.word != column.word:
            differences.append(f"column '{column.name}' is {there.word} and should be {column.word}")
        elif there.required != column.required:
            word = "required" if there.required else "not required"
            differences.append(f"column '{column.name}' is {word} there and not here")
        elif (there.generated is None) != (column.generated is None):
            differences.append(f"column '{column.name}' is generated in one and not in the other")
        elif there.generated != column.generated:
            differences.append(f"column '{column.name}' is generated as {there.generated}, not {column.generated}")
        elif None not in (there.source_id, column.source_id) and there.source_id != column.source_id:
            differences.append(f"column '{column.name}' was filled by another column of the source of that name")
    differences += [f"it has a column '{extra}' more" for extra in actual]
    metadata = table.metadata()
    if metadata.partition_columns != list(partitions):
        have, want = ", ".join(metadata.partition_columns) or "nothing", ", ".join(partitions) or "nothing"
        differences.append(f"it is partitioned by {have} and should be by {want}")
    # A table that was given mapping by a rename keeps it, whether the pipeline asks for mapping or says nothing.
    mode = metadata.configuration.get(MAPPING, "none")
    if (wanted := dict(layout.properties).get(MAPPING, mode)) != mode:
        differences.append(f"its {MAPPING} is {mode} and should be {wanted}")
    if differences:
        more = f" and {len(differences) - 5} differences more" if len(differences) > 5 else ""
        raise SchemaConflict(
            f"{name} is not the table that the pipeline describes: {'; '.join(differences[:5])}{more}; "
            "move it away, choose another path, or change the pipeline"
        )


def stored_columns(columns: Iterable[DeltaColumn], partition_columns: list[str]) -> tuple[StoredColumn, ...]:
    """What stands in a data file: every column but the partition columns, whose values are in the log."""
    stored = []
    for column in columns:
        kind = arrow_type(column.word)
        if kind is None:
            raise NotUnderstood(f"column '{column.name}' is {column.word}, which this platform does not write")
        if column.name not in partition_columns:
            stored.append(StoredColumn(column.name, column.physical, kind, column.required, column.field_id))
    return tuple(stored)
