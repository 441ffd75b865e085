"""The shape of a Delta table: types, the generated partition columns, making one, comparing one.

A table is made by one commit, version 0, linked into place whole: there is no half-made table to recover from.
Its protocol and metadata are deltalake's own, taken from a staging table, with one change: under column mapping the
physical names are the columns' first names. (deltalake picks random ones; the protocol allows any, files stay
readable for people, and DuckDB 1.5 reads a partition column of a mapped table as null unless both names agree.)
Formats: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable, Field, Schema, TableFeatures
from deltalake.exceptions import DeltaError
from deltalake.schema import PrimitiveType

from cdc_platform.destinations import delta_log
from cdc_platform.destinations.data_files import StoredColumn
from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict
from cdc_platform.model.target import PartitionField, TableLayout, TargetField, TargetSchema

MAPPING: Final = "delta.columnMapping.mode"
INDEXED_COLUMNS: Final = "delta.dataSkippingNumIndexedCols"
CHANGE_FEED: Final = "delta.enableChangeDataFeed"
_PHYSICAL: Final = "delta.columnMapping.physicalName"
_ID: Final = "delta.columnMapping.id"
_MAX_ID: Final = "delta.columnMapping.maxColumnId"
_GENERATION: Final = "delta.generationExpression"

_UNMAPPABLE: Final = frozenset(" ,;{}()\n\t=")
_WORDS: Final[Mapping[pa.DataType, str]] = {
    pa.bool_(): "boolean",
    pa.int8(): "byte",
    pa.int16(): "short",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp",
    pa.timestamp("us"): "timestamp_ntz",
}
_TYPES: Final = {word: kind for kind, word in _WORDS.items()}

# What our writing of data files obeys. A table that asks for more of its writers is left alone.
_WRITER_FEATURES: Final = frozenset(
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
_READER_FEATURES: Final = frozenset({"columnMapping", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


@dataclass(frozen=True, slots=True)
class DeltaColumn:
    """A column as the table's metadata has it. `generated` is its generation expression, if any."""

    name: str
    physical: str
    field_id: int | None
    word: str
    required: bool
    generated: str | None


def delta_word(field: TargetField) -> str:
    """The Delta type of a column. Raises NotUnderstood."""
    if pa.types.is_decimal128(field.type):
        return f"decimal({field.type.precision},{field.type.scale})"
    word = _WORDS.get(field.type)
    if word is None:
        raise NotUnderstood(
            f"column '{field.name}': Delta has no type for {field.type}; "
            f"cast or drop it in destination.columns.{field.name}"
        )
    return word


def arrow_type(word: str) -> pa.DataType | None:
    """The inverse of `delta_word`; None for a type that this platform does not write."""
    if word.startswith("decimal("):
        precision, scale = word[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _TYPES.get(word)


def generation(field: PartitionField) -> str:
    """The SQL that gives a partition column its value, in words that Spark and DataFusion both know."""
    column = quoted(field.column) if not field.column.isidentifier() else field.column
    if field.transform == "day":
        return f"CAST({column} AS DATE)"
    return f"CAST(date_trunc('{field.transform.upper()}', {column}) AS DATE)"


def quoted(name: str) -> str:
    """A column name in Spark's and deltalake's SQL."""
    return "`" + name.replace("`", "``") + "`"


def expected_columns(schema: TargetSchema, layout: TableLayout) -> list[DeltaColumn]:
    """Every column of the table to be, the generated ones (dates: first day of the unit) at the end."""
    names = {field.name for field in schema.fields}
    _check_names(names, mapped=dict(layout.properties).get(MAPPING) == "name")
    columns = [
        DeltaColumn(field.name, field.name, i, delta_word(field), field.required, None)
        for i, field in enumerate(schema.fields, 1)
    ]
    for term in layout.partitions:
        field = next((field for field in schema.fields if field.name == term.column), None)
        if field is None:
            raise ConfigError(f"partition_by: the destination has no column '{term.column}'")
        if term.transform == "identity":
            if pa.types.is_binary(field.type) or pa.types.is_floating(field.type):
                raise ConfigError(f"partition_by: '{term.column}' is {field.type}; partitions are of other types")
            continue
        if not (pa.types.is_timestamp(field.type) or pa.types.is_date(field.type)):
            raise ConfigError(f"partition_by: {term.transform}({term.column}) needs a date or timestamp column")
        if term.name in names:
            raise ConfigError(f"partition_by: the generated column '{term.name}' would hide a column of that name")
        columns.append(DeltaColumn(term.name, term.name, len(columns) + 1, "date", False, generation(term)))
    if len(layout.partitions) == len(columns):
        raise ConfigError("partition_by: a table cannot be partitioned by all of its columns")
    return columns


def _check_names(names: set[str], mapped: bool) -> None:
    """Raise ConfigError for names that a Delta table cannot have, or other readers could not tell apart."""
    lower: dict[str, str] = {}
    for name in sorted(names):
        if (twin := lower.setdefault(name.lower(), name)) != name:
            raise ConfigError(
                f"columns '{twin}' and '{name}' differ in case alone, which Delta cannot tell apart; "
                f"rename one in destination.columns.{name}"
            )
        if not mapped and _UNMAPPABLE & set(name):
            raise ConfigError(
                f"column '{name}' has a character that a Delta column has only under column mapping; "
                f"rename it in destination.columns, or set {MAPPING}: name in destination.properties"
            )


def create(path: Path, columns: list[DeltaColumn], layout: TableLayout) -> None:
    """Make the table, or do nothing where somebody else just did. Raises ConfigError, OSError."""
    (path / delta_log.LOG).mkdir(parents=True, exist_ok=True)
    protocol, metadata = _staged(path, columns, layout)
    info = delta_log.commit_info("CREATE TABLE")
    with suppress(FileExistsError):
        delta_log.put(path, 0, [info, {"protocol": protocol}, {"metaData": metadata}])


def set_properties(path: Path, table: DeltaTable, columns: list[DeltaColumn], layout: TableLayout) -> None:
    """Bring properties that the pipeline changed into its table, with the protocol that they ask for.

    Raises ConfigError, FileExistsError (somebody else committed first), OSError. deltalake's own way
    adds table features that nobody asked for (1.6.6: variantType), which shuts other readers out.
    """
    have = dict(table.metadata().configuration)
    if all(have.get(key) == value for key, value in layout.properties):
        return
    merged = have | dict(layout.properties)
    staged = {key: value for key, value in merged.items() if key != _MAX_ID}
    wanted, _ = _staged(path, columns, replace(layout, properties=tuple(staged.items())))
    info = delta_log.commit_info("SET TBLPROPERTIES")
    actions = [info, {"metaData": _metadata(table, merged)}]
    if (protocol := _widened(table, wanted)) is not None:
        actions.insert(1, {"protocol": protocol})
    delta_log.put(path, table.version() + 1, actions)


def _metadata(table: DeltaTable, configuration: Mapping[str, str]) -> dict[str, Any]:
    held = table.metadata()
    return {
        "id": str(held.id),
        "name": held.name,
        "description": held.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": table.schema().to_json(),
        "partitionColumns": held.partition_columns,
        "createdTime": held.created_time,
        "configuration": dict(configuration),
    }


def _widened(table: DeltaTable, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The table's protocol with what `wanted` has more; None when that is nothing."""
    have = table.protocol()
    if have.writer_features is None:
        higher = wanted["minWriterVersion"] > have.min_writer_version
        return dict(wanted) if higher or wanted["minReaderVersion"] > have.min_reader_version else None
    writer = set(have.writer_features) | set(wanted.get("writerFeatures", ()))
    reader = set(have.reader_features or ()) | set(wanted.get("readerFeatures", ()))
    if writer == set(have.writer_features) and reader == set(have.reader_features or ()):
        return None
    return {
        "minReaderVersion": have.min_reader_version,
        "minWriterVersion": have.min_writer_version,
        "readerFeatures": sorted(reader),
        "writerFeatures": sorted(writer),
    }


def _staged(path: Path, columns: list[DeltaColumn], layout: TableLayout) -> tuple[dict[str, Any], dict[str, Any]]:
    """Protocol and metadata that deltalake gives such a table, from one made beside it for a moment."""
    with TemporaryDirectory(prefix="_creating-", dir=path) as staging:
        return _staged_actions(Path(staging) / "table", columns, layout)


def _features(columns: list[DeltaColumn], properties: Mapping[str, str]) -> list[TableFeatures]:
    """All that a mapped table uses: raising the protocol drops what a lower version stood for unless it is named."""
    features = [TableFeatures.ColumnMapping]
    if properties.get(CHANGE_FEED) == "true":
        features.append(TableFeatures.ChangeDataFeed)
    if properties.get("delta.appendOnly") == "true":
        features.append(TableFeatures.AppendOnly)
    if any(column.generated for column in columns):
        features.append(TableFeatures.GeneratedColumns)
    return features


def _staged_actions(
    staging: Path, columns: list[DeltaColumn], layout: TableLayout
) -> tuple[dict[str, Any], dict[str, Any]]:
    properties = dict(layout.properties)
    if properties.get(MAPPING, "none") not in ("none", "name"):
        raise ConfigError(f"destination.properties: {MAPPING} is 'name' or left out; other modes are not written")
    for name in (delta_log.CHECKPOINT_INTERVAL, INDEXED_COLUMNS):
        if not properties.get(name, "1").removeprefix("-").isdigit():
            raise ConfigError(f"destination.properties: {name} is a whole number")
    fields = [
        Field(
            column.name,
            PrimitiveType(column.word),
            nullable=not column.required,
            metadata={_GENERATION: column.generated} if column.generated else None,
        )
        for column in columns
    ]
    try:
        table = DeltaTable.create(
            str(staging),
            Schema(fields),
            partition_by=[term.name for term in layout.partitions],
            configuration=properties,
        )
        if properties.get(MAPPING) == "name":
            table.alter.add_feature(_features(columns, properties), allow_protocol_versions_increase=True)
    except DeltaError as error:
        raise ConfigError(f"destination.properties: {_one_line(error)}") from error
    actions: dict[str, dict[str, Any]] = {}
    for file in sorted((staging / "_delta_log").glob("*.json")):
        for line in file.read_text().splitlines():
            actions |= json.loads(line)
    beyond = sorted(set(actions["protocol"].get("writerFeatures", ())) - _WRITER_FEATURES)
    if beyond:
        raise ConfigError(f"destination.properties ask for {', '.join(beyond)}, which this platform does not write")
    metadata = actions["metaData"]
    schema = json.loads(metadata["schemaString"])
    for field in schema["fields"]:
        if _PHYSICAL in field["metadata"]:
            field["metadata"][_PHYSICAL] = field["name"]
    metadata["schemaString"] = json.dumps(schema)
    return actions["protocol"], metadata


def actual_columns(table: DeltaTable) -> list[DeltaColumn]:
    """Every column of the table as it is."""
    columns = []
    for field in json.loads(table.schema().to_json())["fields"]:
        meta, word = field["metadata"], field["type"]
        columns.append(
            DeltaColumn(
                field["name"],
                meta.get(_PHYSICAL, field["name"]),
                meta.get(_ID),
                word.replace(" ", "") if isinstance(word, str) else word["type"],
                not field["nullable"],
                meta.get(_GENERATION),
            )
        )
    return columns


def check_writable(table: DeltaTable, name: str) -> None:
    """Raise NotUnderstood for a table whose protocol asks more of writers than is done here."""
    asked = set(table.protocol().writer_features or ())
    configuration = table.metadata().configuration
    beyond = sorted(asked - _WRITER_FEATURES)
    beyond += sorted(key for key in configuration if key.startswith("delta.constraints."))
    if beyond:
        raise NotUnderstood(f"{name} uses {', '.join(beyond)}, which this platform does not write; choose another path")


def check_readable(table: DeltaTable, name: str) -> None:
    """Raise NotUnderstood for a table whose data files alone are not its rows (deletion vectors, widened types)."""
    beyond = sorted(set(table.protocol().reader_features or ()) - _READER_FEATURES)
    if beyond:
        raise NotUnderstood(f"{name} uses {', '.join(beyond)}, which this platform does not read; rewrite it without")


def check_same(table: DeltaTable, expected: list[DeltaColumn], layout: TableLayout, name: str) -> None:
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
    differences += [f"it has a column '{extra}' more" for extra in actual]
    metadata = table.metadata()
    partitions = [term.name for term in layout.partitions]
    if metadata.partition_columns != partitions:
        have, want = ", ".join(metadata.partition_columns) or "nothing", ", ".join(partitions) or "nothing"
        differences.append(f"it is partitioned by {have} and should be by {want}")
    mode, wanted = metadata.configuration.get(MAPPING, "none"), dict(layout.properties).get(MAPPING, "none")
    if mode != wanted:
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
