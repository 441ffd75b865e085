"""Data files as actions of a Delta commit: paths, partition values and statistics in the log's own words.

Formats: PROTOCOL.md, "Add File", "Partition Value Serialization", "Per-file Statistics".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

from cdc_platform.destinations import delta_log
from cdc_platform.destinations.data_files import ColumnStats, DataFile, StoredColumn, stand_in
from cdc_platform.destinations.delta_layout import Shape, stats_columns
from cdc_platform.destinations.delta_table import INDEXED_COLUMNS, STATS_COLUMNS
from cdc_platform.errors import InvalidRow
from cdc_platform.lake.delta_columns import DeltaColumn
from cdc_platform.model.target import PartitionField

_FOLDER_BOUND: Final = 200  # file systems take 255 bytes
_PLAIN: Final = "/="  # beside letters, digits and -._, as they are in a path of the log
_TEXT_BOUND: Final = 32
_EXACT_DIGITS: Final = 15  # decimal digits that survive a JSON number read as a double


def add_action(file: DataFile, values: Mapping[str, str | None], indexed: list[StoredColumn]) -> dict[str, Any]:
    """The `add` of a new file with these partition values (see `partition_values`)."""
    return {
        "path": quote(file.path, safe=_PLAIN),
        "partitionValues": values,
        "size": file.bytes,
        "modificationTime": delta_log.now(),
        "dataChange": True,
        "stats": stats_json(file, indexed),
    }


def cdc_action(file: DataFile, values: Mapping[str, str | None]) -> dict[str, Any]:
    """The `cdc` of a file of changed rows under `_change_data`."""
    return {
        "path": quote(f"_change_data/{file.path}", safe=_PLAIN),
        "partitionValues": values,
        "size": file.bytes,
        "dataChange": False,
    }


def partition_values(file: DataFile, partitions: Sequence[DeltaColumn]) -> dict[str, str | None]:
    """The partition values of a new file. `partitions` are the partition columns in the order of the layout."""
    return {
        column.physical: partition_text(value, column.name)
        for column, value in zip(partitions, file.partition, strict=True)
    }


def indexed_columns(columns: tuple[StoredColumn, ...], properties: Mapping[str, str]) -> list[StoredColumn]:
    """The columns that statistics are kept of: those named by the table's properties, else the first 32."""
    if names := properties.get(STATS_COLUMNS):
        chosen = set(stats_columns(names))
        return [column for column in columns if column.name in chosen]
    limit = delta_log.whole_number(properties, INDEXED_COLUMNS, 32)
    return list(columns) if limit < 0 else list(columns[:limit])


def folder(shape: Shape, term: PartitionField, value: Any) -> str:
    """`column=value`, percent-encoded: Polars takes partition values from the path, so it must tell them exactly."""
    name = shape.folder_name(term)
    text = partition_text(value, name)
    shown = "__HIVE_DEFAULT_PARTITION__" if text is None else quote(text, safe="")
    return f"{quote(name, safe='')}={shown if len(shown) <= _FOLDER_BOUND else stand_in(shown)}"


def partition_text(value: Any, column: str) -> str | None:
    """A partition value as the log writes it."""
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case datetime():
            if value.tzinfo is None:
                return value.isoformat(" ", timespec="microseconds")
            return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case "":
            raise InvalidRow(
                f"partition column '{column}' holds an empty text, which Delta cannot tell from null; "
                "partition by another column"
            )
        case _:
            return str(value)


def stats_json(file: DataFile, indexed: list[StoredColumn]) -> str:
    """Row count, bounds and null counts of a file, by stored column names."""
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    for column in indexed:
        if (bounds := _bounds(file.stats[column.name], column.type)) is not None:
            low[column.stored], high[column.stored] = bounds
    nulls = {column.stored: file.stats[column.name].nulls for column in indexed}
    document = {"numRecords": file.rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _bounds(stats: ColumnStats, kind: pa.DataType) -> tuple[Any, Any] | None:
    """Bounds as JSON values; None where there are none, or where JSON could not hold them without rounding."""
    low, high = stats.low, stats.high
    if low is None or high is None or stats.nans or isinstance(low, bool | bytes):
        return None
    if isinstance(low, str):
        # A cut upper bound must still lie above every text that begins like it.
        return low[:_TEXT_BOUND], high if len(high) <= _TEXT_BOUND else high[:_TEXT_BOUND] + "\U0010ffff"
    if pa.types.is_temporal(kind):
        try:
            return _temporal_text(low, kind), _temporal_text(high, kind)
        except OverflowError:
            return None
    if isinstance(low, Decimal):
        if any(len(bound.as_tuple().digits) > _EXACT_DIGITS for bound in (low, high)):
            return None
        return float(low), float(high)
    if isinstance(low, float) and not (isfinite(low) and isfinite(high)):
        return None
    return low, high


def _temporal_text(value: int, kind: pa.DataType) -> str:
    """Days or microseconds since 1970 in ISO form."""
    if pa.types.is_date(kind):
        return (date(1970, 1, 1) + timedelta(days=value)).isoformat()
    text = (datetime(1970, 1, 1) + timedelta(microseconds=value)).isoformat(timespec="microseconds")
    return text if kind.tz is None else f"{text}Z"
