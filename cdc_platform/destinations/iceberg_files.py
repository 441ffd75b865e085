"""New data files in Iceberg's terms: where they are, and their entries in a manifest.

Imported only where pyiceberg is at work already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from math import isnan
from typing import IO, Any, Final

import polars as pl
from pyiceberg.conversions import to_bytes
from pyiceberg.io.pyarrow import (
    MetricModeTypes,
    MetricsMode,
    _get_parquet_writer_kwargs,
    compute_statistics_plan,
)
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table import Table, TableProperties
from pyiceberg.typedef import Record
from pyiceberg.types import BinaryType, NestedField, PrimitiveType, StringType
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros, time_to_micros
from pyiceberg.utils.truncate import (
    truncate_upper_bound_binary_string,
    truncate_upper_bound_text_string,
)

from cdc_platform.destinations.arrange import Arrangement, arranged
from cdc_platform.destinations.data_files import (
    ColumnStats,
    DataFile,
    FilePlan,
    StoredColumn,
    stand_in,
    write_files,
)
from cdc_platform.errors import NotUnderstood
from cdc_platform.lake.iceberg_format import arrow_type, local_path
from cdc_platform.model.target import PartitionField

_SPOOL: Final = "_cdc_spool"
_FOLDER: Final = re.compile(r"[\w.+-]{1,100}", re.ASCII)


class IcebergWriting:
    """The data files of one write, so that they can be removed when it comes to nothing."""

    def __init__(self, table: Table, partitions: Sequence[PartitionField]) -> None:
        self._locations = table.location_provider()
        self._spool = local_path(table.metadata.location) / _SPOOL
        self._entries = _Entries(table, partitions)
        self._columns = tuple(_stored(field) for field in table.schema().fields)
        properties = table.metadata.properties
        self._options = _get_parquet_writer_kwargs(properties)
        # The default codec stands in no property: what does was asked for.
        if TableProperties.PARQUET_COMPRESSION not in properties:
            del self._options["compression"], self._options["compression_level"]
        self._written: list[str] = []

    def write(self, rows: Iterable[pl.DataFrame], arrangement: Arrangement) -> tuple[list[IcebergFile], int]:
        """Data files of all rows as manifest entries, and how many rows there are."""
        plan = FilePlan(self._columns, arrangement, folder, self._create, self._options)
        written = list(write_files(arranged(rows, arrangement, self._spool), plan))
        entries = [self._entries.entry(file, self._location(file.path)) for file in written]
        return entries, sum(file.rows for file in written)

    def discard(self) -> None:
        """Remove what was written: files that no snapshot names would stay for ever."""
        while self._written:
            with suppress(OSError):
                local_path(self._written.pop()).unlink()

    def _location(self, path: str) -> str:
        return self._locations.new_data_location(path)

    def _create(self, path: str) -> IO[bytes]:
        location = self._location(path)
        file = local_path(location)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._written.append(location)
        return file.open("xb")


def _stored(field: NestedField) -> StoredColumn:
    kind = arrow_type(str(field.field_type))
    if kind is None:
        raise NotUnderstood(f"column '{field.name}' is {field.field_type}, which this platform does not write")
    return StoredColumn(field.name, field.name, kind, field.required, field.field_id)


class _Entries:
    """Turns written files into entries of a manifest. Made once a write: the plan of statistics is not cheap."""

    def __init__(self, table: Table, partitions: Sequence[PartitionField]) -> None:
        self._fields = {field.name: field for field in table.schema().fields}
        modes = compute_statistics_plan(table.schema(), table.metadata.properties)
        self._modes = {field.name: modes[field.field_id].mode for field in table.schema().fields}
        self._partitions = partitions
        self._spec_id = table.metadata.default_spec_id

    def entry(self, file: DataFile, location: str) -> IcebergFile:
        """`location` is the file's full place. Bounds and counts as the table's metrics properties ask."""
        kept = {name: s for name, s in file.stats.items() if self._modes[name].type != MetricModeTypes.NONE}
        lower: dict[int, bytes] = {}
        upper: dict[int, bytes] = {}
        for name, stats in kept.items():
            _add_bounds(lower, upper, self._fields[name], stats, self._modes[name])
        ids = {name: self._fields[name].field_id for name in kept}
        return IcebergFile.from_args(
            content=DataFileContent.DATA,
            file_path=location,
            file_format=FileFormat.PARQUET,
            partition=Record(
                *(_partition(term, value) for term, value in zip(self._partitions, file.partition, strict=True))
            ),
            record_count=file.rows,
            file_size_in_bytes=file.bytes,
            column_sizes={ids[name]: file.column_bytes[name] for name in kept},
            value_counts={ids[name]: file.rows for name in kept},
            null_value_counts={ids[name]: stats.nulls for name, stats in kept.items()},
            nan_value_counts={ids[name]: stats.nans for name, stats in kept.items() if _is_float(self._fields[name])},
            lower_bounds=lower,
            upper_bounds=upper,
            key_metadata=None,
            split_offsets=None,
            equality_ids=None,
            sort_order_id=None,
            spec_id=self._spec_id,
        )


def folder(term: PartitionField, value: Any) -> str:
    """`column_month=2025-05`. Locations are taken as they are written, so nothing that some reader would decode."""
    column = term.name if _FOLDER.fullmatch(term.name) else stand_in(term.name)
    if value is None:
        return f"{column}=null"
    text = {"month": "%Y-%m", "year": "%Y"}.get(term.transform)
    shown = f"{value:{text}}" if text else str(value)
    return f"{column}={shown if _FOLDER.fullmatch(shown) else stand_in(shown)}"


def _is_float(field: NestedField) -> bool:
    return str(field.field_type) in ("float", "double")


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _add_bounds(
    lower: dict[int, bytes], upper: dict[int, bytes], field: NestedField, stats: ColumnStats, mode: MetricsMode
) -> None:
    low, high, kind = stats.low, stats.high, field.field_type
    if (
        low is None
        or high is None
        or _is_nan(low)
        or _is_nan(high)
        or mode.type == MetricModeTypes.COUNTS
        or not isinstance(kind, PrimitiveType)
    ):
        return
    if mode.type == MetricModeTypes.TRUNCATE and mode.length is not None:
        if isinstance(kind, StringType):
            low, high = low[: mode.length], truncate_upper_bound_text_string(high, mode.length)
        elif isinstance(kind, BinaryType):
            low, high = low[: mode.length], truncate_upper_bound_binary_string(high, mode.length)
    lower[field.field_id] = to_bytes(kind, low)
    if high is not None:
        upper[field.field_id] = to_bytes(kind, high)


def _partition(term: PartitionField, value: Any) -> Any:
    """A partition value as the spec counts it: days, months or years since 1970; microseconds; or as it is."""
    match term.transform, value:
        case _, None:
            return None
        case "year", date():
            return value.year - 1970
        case "month", date():
            return (value.year - 1970) * 12 + value.month - 1
        case _, datetime():
            return datetime_to_micros(value)
        case _, date():
            return date_to_days(value)
        case _, time():
            return time_to_micros(value)
    return value
