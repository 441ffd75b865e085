"""Making a Delta table, and the protocol and metadata actions that changes of it need.

A table is made by one commit, version 0, linked into place whole: there is no half-made table to recover from.
Its protocol and metadata are deltalake's own, taken from a staging table, with one change: under column mapping the
physical names are the columns' first names. (deltalake picks random ones; the protocol allows any, files stay
readable for people, and DuckDB 1.5 shows null in a partition column behind a column whose two names differ.)
Formats: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from deltalake import DeltaTable, Field, Schema, TableFeatures
from deltalake.exceptions import DeltaError
from deltalake.schema import PrimitiveType

from cdc_platform.destinations import delta_log
from cdc_platform.destinations.delta_table import INDEXED_COLUMNS, WRITER_FEATURES, source_ids
from cdc_platform.errors import ConfigError
from cdc_platform.failpoints import failpoint
from cdc_platform.lake.delta_columns import CHANGE_FEED, GENERATION, MAPPING, MAX_ID, PHYSICAL, DeltaColumn, json_fields
from cdc_platform.model.target import SOURCE_IDS

_COLUMN_MAPPING: Final = "columnMapping"
_INVARIANTS: Final = "invariants"
"""What NOT NULL is in a protocol of named features. deltalake leaves it out, and Spark then refuses the table."""
_OWN: Final = "delta."
"""How properties that Delta itself gives a meaning begin; a table may have others."""


def create(
    path: Path, columns: Sequence[DeltaColumn], partition_columns: Sequence[str], properties: Mapping[str, str]
) -> None:
    """Make the table, or do nothing where somebody else just did. Raises ConfigError, OSError."""
    (path / delta_log.LOG).mkdir(parents=True, exist_ok=True)
    protocol, metadata = _staged(path, columns, partition_columns, properties)
    if (ids := source_ids(columns)) is not None:
        metadata["configuration"][SOURCE_IDS] = ids
    info = delta_log.commit_info("CREATE TABLE")
    with suppress(FileExistsError):
        delta_log.put(path, 0, [info, {"protocol": protocol}, {"metaData": metadata}])
        failpoint("delta.created")


def set_properties(
    path: Path, table: DeltaTable, columns: Sequence[DeltaColumn], properties: Mapping[str, str]
) -> None:
    """Bring properties that the pipeline changed into its table, with the protocol that they ask for, and the ids of
    the source's columns where the table has none noted. A table made with NOT NULL columns and without the feature
    that stands for them gets it.

    Raises ConfigError, FileExistsError (somebody else committed first), OSError. deltalake's own way
    adds table features that nobody asked for (1.6.6: variantType), which shuts other readers out.
    """
    have = dict(table.metadata().configuration)
    merged = have | dict(properties)
    if SOURCE_IDS not in have and (ids := source_ids(columns)) is not None:
        merged[SOURCE_IDS] = ids
    features = table.protocol().writer_features
    unnamed = features is not None and _INVARIANTS not in features and any(column.required for column in columns)
    if merged == have and not unnamed:
        return
    if unknown := sorted(name for name in properties if not name.startswith(_OWN)):
        raise ConfigError(f"destination.properties: Delta has no property {unknown[0]}")
    actions = [delta_log.commit_info("SET TBLPROPERTIES"), {"metaData": metadata_action(table, merged)}]
    if (protocol := widened_protocol(path, table, columns, table.metadata().partition_columns, merged)) is not None:
        actions.insert(1, {"protocol": protocol})
    delta_log.put(path, table.version() + 1, actions)
    failpoint("delta.properties.set")


def metadata_action(
    table: DeltaTable,
    configuration: Mapping[str, str],
    fields: Sequence[Mapping[str, Any]] | None = None,
    partition_columns: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The table's metadata with this configuration, and with other fields and partition columns where given."""
    held = table.metadata()
    fields = json_fields(table) if fields is None else fields
    return {
        "id": str(held.id),
        "name": held.name,
        "description": held.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps({"type": "struct", "fields": fields}, ensure_ascii=False),
        "partitionColumns": list(held.partition_columns if partition_columns is None else partition_columns),
        "createdTime": held.created_time,
        "configuration": dict(configuration),
    }


def widened_protocol(
    path: Path,
    table: DeltaTable,
    columns: Sequence[DeltaColumn],
    partition_columns: Sequence[str],
    configuration: Mapping[str, str],
) -> dict[str, Any] | None:
    """The table's protocol with what such columns and configuration ask for more; None when that is nothing."""
    asking = {name: value for name, value in configuration.items() if name.startswith(_OWN)}
    wanted, _ = _staged(path, columns, partition_columns, asking)
    have = table.protocol()
    if have.writer_features is None:
        higher = wanted["minWriterVersion"] > have.min_writer_version
        return dict(wanted) if higher or wanted["minReaderVersion"] > have.min_reader_version else None
    writer = set(have.writer_features) | set(wanted.get("writerFeatures", ()))
    named = set(have.reader_features or ())
    reader = named | set(wanted.get("readerFeatures", ()))
    if writer == set(have.writer_features) and reader == named:
        return None
    widened: dict[str, Any] = {
        "minReaderVersion": have.min_reader_version,
        "minWriterVersion": have.min_writer_version,
        "writerFeatures": sorted(writer),
    }
    if reader:
        # Features are named from reader version 3 on; version 2 stood for column mapping.
        reader |= {_COLUMN_MAPPING} if have.min_reader_version == 2 else set()
        widened |= {"minReaderVersion": 3, "readerFeatures": sorted(reader)}
    return widened


def _staged(
    path: Path, columns: Sequence[DeltaColumn], partition_columns: Sequence[str], properties: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Protocol and metadata that deltalake gives such a table, from one made beside it for a moment."""
    if properties.get(MAPPING, "none") not in ("none", "name"):
        raise ConfigError(f"destination.properties: {MAPPING} is 'name' or left out; other modes are not written")
    for name in (delta_log.CHECKPOINT_INTERVAL, INDEXED_COLUMNS):
        if not properties.get(name, "1").removeprefix("-").isdigit():
            raise ConfigError(f"destination.properties: {name} is a whole number")
    own = {key: value for key, value in properties.items() if key != MAX_ID}
    with TemporaryDirectory(prefix="_creating-", dir=path) as staging:
        protocol, metadata = _staged_actions(Path(staging) / "table", columns, partition_columns, own)
    if "writerFeatures" in protocol and any(column.required for column in columns):
        protocol["writerFeatures"] = sorted({*protocol["writerFeatures"], _INVARIANTS})
    beyond = sorted(set(protocol.get("writerFeatures", ())) - WRITER_FEATURES)
    if beyond:
        raise ConfigError(f"destination.properties ask for {', '.join(beyond)}, which this platform does not write")
    schema = json.loads(metadata["schemaString"])
    for field in schema["fields"]:
        if PHYSICAL in field["metadata"]:
            field["metadata"][PHYSICAL] = field["name"]
    metadata["schemaString"] = json.dumps(schema, ensure_ascii=False)
    return protocol, metadata


def _features(columns: Sequence[DeltaColumn], properties: Mapping[str, str]) -> list[TableFeatures]:
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
    staging: Path, columns: Sequence[DeltaColumn], partition_columns: Sequence[str], properties: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    fields = [
        Field(
            column.name,
            PrimitiveType(column.word),
            nullable=not column.required,
            metadata={GENERATION: column.generated} if column.generated else None,
        )
        for column in columns
    ]
    try:
        table = DeltaTable.create(
            str(staging), Schema(fields), partition_by=list(partition_columns), configuration=dict(properties)
        )
        if properties.get(MAPPING) == "name":
            table.alter.add_feature(_features(columns, properties), allow_protocol_versions_increase=True)
    except DeltaError as error:
        raise ConfigError(f"destination.properties: {_one_line(error)}") from error
    actions: dict[str, dict[str, Any]] = {}
    for file in sorted((staging / delta_log.LOG).glob("*.json")):
        for line in file.read_text().splitlines():
            actions |= json.loads(line)
    return actions["protocol"], actions["metaData"]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
