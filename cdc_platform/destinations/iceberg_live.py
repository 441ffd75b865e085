"""Live data files of an Iceberg table, for the upsert planner and for scans.

Imported only where pyiceberg is at work already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField, PrimitiveType

from cdc_platform.destinations.copy_on_write import FILE, LiveFiles
from cdc_platform.destinations.iceberg_names import NAME_MAPPING
from cdc_platform.destinations.iceberg_snapshot import bound
from cdc_platform.errors import NotUnderstood
from cdc_platform.lake.iceberg_format import arrow_type, local_path
from cdc_platform.model.projection import polars_type

_PATH: Final = "\x1fpath"


def live_files(table: Table, key: Sequence[str], version: int | None = None) -> LiveFiles:
    """The data files of a snapshot (the current one without a number), with bounds for `key`, to be read with that
    snapshot's columns. Raises NotUnderstood for delete files."""
    snapshot = table.current_snapshot() if version is None else table.snapshot_by_id(version)
    schema = table.schema()
    if version is not None and snapshot is not None and snapshot.schema_id is not None:
        schema = table.schemas()[snapshot.schema_id]
    files: list[IcebergFile] = []
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        if manifest.content == ManifestContent.DELETES and manifest.has_added_files() | manifest.has_existing_files():
            raise NotUnderstood(
                f"Iceberg table {'.'.join(table.name())} has delete files of another writer (merge-on-read); "
                "rewrite its data files there, then run again"
            )
        if manifest.content == ManifestContent.DATA:
            files += (entry.data_file for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True))
    bounds = {name: _bounds(files, schema.find_field(name)) for name in key}
    reader = _Reader(table, schema, [str(local_path(file.file_path)) for file in files])
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
        return [bound(kind, held[number]) if held and number in held else None for held in maps]

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
    """Reads live files into one schema: columns by field id, as old files may bear old names."""

    def __init__(self, table: Table, schema: Schema, files: Sequence[str]) -> None:
        self._ids = {field.name: field.field_id for field in schema.fields}
        self._files = files
        self._mapping = table.name_mapping()
        self._types = {
            field.name: _polars(field.field_type)
            for field in schema.fields
            if isinstance(field.field_type, PrimitiveType)
        }

    def read(self, places: Sequence[int], names: Sequence[str]) -> pl.LazyFrame:
        groups: dict[tuple[pa.Field | None, ...], list[int]] = {}
        for place in places:
            stored = self._stored(self._files[place])
            groups.setdefault(tuple(stored.get(self._ids[name]) for name in names), []).append(place)
        return pl.concat([self._scan(group, names, stored) for stored, group in groups.items()])

    def _stored(self, file: str) -> dict[int, pa.Field]:
        """The file's columns by field id: its own ids, or the table's mapping of names where the file has none."""
        schema = pq.read_schema(file).remove_metadata()
        ids = [(field.metadata or {}).get(b"PARQUET:field_id") for field in schema]
        plain = [field.remove_metadata() for field in schema]
        if any(ids):
            return {int(number): field for number, field in zip(ids, plain, strict=True) if number is not None}
        if self._mapping is None:
            raise NotUnderstood(
                f"the data file {file} has no field ids, and its table no {NAME_MAPPING} to tell columns by name; "
                "rewrite the file, or set that property"
            )
        numbers = {name: entry.field_id for entry in self._mapping for name in entry.names}
        return {number: field for field in plain if (number := numbers.get(field.name)) is not None}

    def _scan(self, places: Sequence[int], names: Sequence[str], stored: Sequence[pa.Field | None]) -> pl.LazyFrame:
        files = [self._files[place] for place in places]
        places_of = pl.LazyFrame({_PATH: files, FILE: pl.Series(places, dtype=pl.UInt32)})
        scan = pl.scan_parquet(
            files, include_file_paths=_PATH, glob=False, hive_partitioning=False, extra_columns="ignore"
        )
        columns = [self._column(name, held).alias(name) for name, held in zip(names, stored, strict=True)]
        rows = scan.select(*columns, _PATH).join(places_of, on=_PATH, how="inner", maintain_order="left")
        return rows.select(*names, FILE)

    def _column(self, name: str, held: pa.Field | None) -> pl.Expr:
        kind = self._types[name]
        if held is None:
            return pl.lit(None, kind)
        value = pl.col(held.name)
        widened = (
            (pa.types.is_int32(held.type) and kind == pl.Int64)
            or (pa.types.is_float32(held.type) and kind == pl.Float64)
            or (pa.types.is_decimal(held.type) and isinstance(kind, pl.Decimal))
        )
        return value.cast(kind) if widened else value
