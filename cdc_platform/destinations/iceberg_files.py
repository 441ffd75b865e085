"""Data files in Iceberg's terms: new ones for a manifest, live ones for the upsert planner and for scans.

Imported only where pyiceberg is at work already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from math import isnan
from typing import Any, Final

import polars as pl
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.io.pyarrow import MetricModeTypes, MetricsMode, compute_statistics_plan
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestContent
from pyiceberg.table import Table
from pyiceberg.typedef import Record
from pyiceberg.types import BinaryType, NestedField, PrimitiveType, StringType
from pyiceberg.utils.datetime import date_to_days, datetime_to_micros, time_to_micros
from pyiceberg.utils.truncate import (
    truncate_upper_bound_binary_string,
    truncate_upper_bound_text_string,
)

from cdc_platform.destinations.copy_on_write import FILE, LiveFiles
from cdc_platform.destinations.data_files import ColumnStats, DataFile, stand_in
from cdc_platform.destinations.iceberg_metadata import arrow_type, local_path
from cdc_platform.errors import NotUnderstood
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import PartitionField

_PATH: Final = "\x1fpath"
_FOLDER: Final = re.compile(r"[\w.+-]{1,100}", re.ASCII)


class NewFiles:
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


def live_files(table: Table, key: Sequence[str]) -> LiveFiles:
    """The data files of the current snapshot, with bounds for `key`. Raises NotUnderstood for delete files."""
    snapshot = table.current_snapshot()
    files: list[IcebergFile] = []
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        if manifest.content == ManifestContent.DELETES and manifest.has_added_files() | manifest.has_existing_files():
            raise NotUnderstood(
                f"Iceberg table {'.'.join(table.name())} has delete files of another writer (merge-on-read); "
                "rewrite its data files there, then run again"
            )
        if manifest.content == ManifestContent.DATA:
            files += (entry.data_file for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True))
    bounds = {name: _bounds(files, table.schema().find_field(name)) for name in key}
    reader = _Reader(table, [str(local_path(file.file_path)) for file in files])
    return LiveFiles(
        [file.file_path for file in files], [file.file_size_in_bytes for file in files], bounds, reader.read
    )


def entries(table: Table, paths: set[str]) -> list[IcebergFile]:
    """The manifest entries of some live files."""
    snapshot = table.current_snapshot()
    return [
        entry.data_file
        for manifest in (snapshot.manifests(table.io) if snapshot else ())
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        if entry.data_file.file_path in paths
    ]


def _bounds(files: Sequence[IcebergFile], field: NestedField) -> pl.DataFrame:
    kind, number = field.field_type, field.field_id
    assert isinstance(kind, PrimitiveType)

    def values(maps: Sequence[Mapping[int, bytes] | None]) -> list[Any]:
        return [from_bytes(kind, held[number]) if held and number in held else None for held in maps]

    dtype = _polars(kind)
    low = values([file.lower_bounds for file in files])
    high = values([file.upper_bounds for file in files])
    return pl.DataFrame({"low": _series(low, dtype), "high": _series(high, dtype)})


def _series(values: list[Any], dtype: pl.DataType) -> pl.Series:
    """Values as from_bytes gives them: temporal ones are plain numbers."""
    if dtype.is_temporal():
        physical = pl.Series(values, dtype=pl.Int32 if dtype == pl.Date else pl.Int64)
        return (physical * 1000 if dtype == pl.Time else physical).cast(dtype)
    return pl.Series(values, dtype=dtype, strict=False)


def _polars(kind: PrimitiveType) -> pl.DataType:
    arrow = arrow_type(str(kind))
    if arrow is None:
        raise NotUnderstood(f"an Iceberg column of type {kind} is not read")
    return polars_type(arrow)


class _Reader:
    """Reads live files into the current schema: columns by field id, as old files may bear old names."""

    def __init__(self, table: Table, files: Sequence[str]) -> None:
        self._ids = {field.name: field.field_id for field in table.schema().fields}
        self._files = files
        self._types = {
            field.name: _polars(field.field_type)
            for field in table.schema().fields
            if isinstance(field.field_type, PrimitiveType)
        }

    def read(self, places: Sequence[int], names: Sequence[str]) -> pl.LazyFrame:
        groups: dict[tuple[str | None, ...], list[int]] = {}
        for place in places:
            stored = self._stored_names(self._files[place])
            groups.setdefault(tuple(stored.get(self._ids[name]) for name in names), []).append(place)
        return pl.concat([self._scan(group, names, stored) for stored, group in groups.items()])

    def _stored_names(self, file: str) -> dict[int, str]:
        schema = pq.read_schema(file)
        return {
            int(field.metadata[b"PARQUET:field_id"]): field.name
            for field in schema
            if field.metadata and b"PARQUET:field_id" in field.metadata
        }

    def _scan(self, places: Sequence[int], names: Sequence[str], stored: Sequence[str | None]) -> pl.LazyFrame:
        files = [self._files[place] for place in places]
        places_of = pl.LazyFrame({_PATH: files, FILE: pl.Series(places, dtype=pl.UInt32)})
        scan = pl.scan_parquet(
            files, include_file_paths=_PATH, glob=False, hive_partitioning=False, extra_columns="ignore"
        )
        columns = [
            pl.lit(None, self._types[name]).alias(name) if held is None else pl.col(held).alias(name)
            for name, held in zip(names, stored, strict=True)
        ]
        rows = scan.select(*columns, _PATH).join(places_of, on=_PATH, how="inner", maintain_order="left")
        return rows.select(*names, FILE)
