"""A Delta table's columns as its metadata has them, and what of the format can be read here.

Shared by destinations and sources. How a table is made and changed is the destinations' business.
Formats: https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from deltalake import DeltaTable

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.target import SOURCE_IDS

MAPPING: Final = "delta.columnMapping.mode"
CHANGE_FEED: Final = "delta.enableChangeDataFeed"
PHYSICAL: Final = "delta.columnMapping.physicalName"
FIELD_ID: Final = "delta.columnMapping.id"
MAX_ID: Final = "delta.columnMapping.maxColumnId"
GENERATION: Final = "delta.generationExpression"
CHANGE_TYPE: Final = "_change_type"
"""The column of a change data feed that says what became of a row."""

WORDS: Final[Mapping[pa.DataType, str]] = {
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
_TYPES: Final = {word: kind for kind, word in WORDS.items()}

_READER_FEATURES: Final = frozenset({"columnMapping", "timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})


@dataclass(frozen=True, slots=True)
class DeltaColumn:
    """A column as the table's metadata has it. `generated` is its generation expression, if any; `source_id` says
    which column of the source fills it, where the table has that noted."""

    name: str
    physical: str
    field_id: int | None
    word: str
    required: bool
    generated: str | None
    source_id: int | None = None


def arrow_type(word: str) -> pa.DataType | None:
    """The inverse of `WORDS`; None for a type that this platform does not write."""
    if word.startswith("decimal("):
        precision, scale = word[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _TYPES.get(word)


def json_fields(table: DeltaTable) -> list[dict[str, Any]]:
    """The fields of the table's schema as its log has them."""
    fields: list[dict[str, Any]] = json.loads(table.schema().to_json())["fields"]
    return fields


def actual_columns(table: DeltaTable) -> list[DeltaColumn]:
    """Every column of the table as it is."""
    configuration = table.metadata().configuration
    # Names may be left in a schema whose mapping is off: they count under column mapping alone.
    mapped = configuration.get(MAPPING, "none") != "none"
    return columns_of(json_fields(table), json.loads(configuration.get(SOURCE_IDS, "{}")), mapped)


def columns_of(fields: Iterable[Mapping[str, Any]], ids: Mapping[str, int], mapped: bool) -> list[DeltaColumn]:
    """The columns that these fields of a schema describe."""
    columns = []
    for field in fields:
        meta, word = field["metadata"], field["type"]
        columns.append(
            DeltaColumn(
                field["name"],
                meta[PHYSICAL] if mapped else field["name"],
                meta[FIELD_ID] if mapped else None,
                word.replace(" ", "") if isinstance(word, str) else word["type"],
                not field["nullable"],
                meta.get(GENERATION),
                ids.get(field["name"]),
            )
        )
    return columns


def other_mapping(configuration: Mapping[str, str]) -> list[str]:
    mode = configuration.get(MAPPING, "none")
    return [] if mode in ("none", "name") else [f"{MAPPING}: {mode}"]


def check_readable(table: DeltaTable, name: str) -> None:
    """Raise NotUnderstood for a table whose data files alone are not its rows (deletion vectors, widened types)."""
    check_features(table.protocol().reader_features or (), table.metadata().configuration, name)


def check_features(features: Iterable[str], configuration: Mapping[str, str], name: str) -> None:
    """The same of a protocol's reader features and a table's properties."""
    beyond = sorted(set(features) - _READER_FEATURES) + other_mapping(configuration)
    if beyond:
        raise NotUnderstood(f"{name} uses {', '.join(beyond)}, which this platform does not read; rewrite it without")
