"""Parquet data files of a table: written from arranged packs, with the statistics that both formats record.

What belongs here: bytes of files and figures about them. How a format names columns, places files and notes
them in its metadata is passed in as a `FilePlan` and comes back as `DataFile`s; commits are the formats' own.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.destinations.arrange import Arrangement
from cdc_platform.model.target import PartitionField

_LARGE: Final = 10_000
WRITERS: Final = 2
"""Files written at once. Encoding releases the interpreter's lock; more than the cores brings nothing."""


@dataclass(frozen=True, slots=True)
class StoredColumn:
    """A column as it stands in the file: `name` in our rows, `stored` in Parquet, its type there, its field id."""

    name: str
    stored: str
    type: pa.DataType
    required: bool = False
    field_id: int | None = None

    @property
    def field(self) -> pa.Field:
        metadata = None if self.field_id is None else {b"PARQUET:field_id": str(self.field_id).encode()}
        return pa.field(self.stored, self.type, nullable=not self.required, metadata=metadata)


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """Of one column of one file; bounds are None when all is null or the type has no order that is kept.

    Bounds of dates are days, of timestamps and times microseconds (since 1970, midnight): Python's own types end at
    the year 9999, databases do not.
    """

    low: Any
    high: Any
    nulls: int
    nans: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """A written file. `path` is relative to the table's data folder, '/' between parts, not URL-encoded."""

    path: str
    partition: tuple[Any, ...]
    rows: int
    bytes: int
    stats: Mapping[str, ColumnStats]
    column_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FilePlan:
    """How files of one table are made. `create` opens a new file for writing by its relative path.

    `options` go to Arrow's Parquet writer. Without a compression, files of few rows are snappy and others zstd:
    setting zstd up costs 0.8 ms for a file of 18 columns, more than all the rest of writing a small one.

    `folder` names the folder of a partition value; folders are for people, the table's metadata is what counts.
    """

    columns: tuple[StoredColumn, ...]
    arrangement: Arrangement
    folder: Callable[[PartitionField, Any], str]
    create: Callable[[str], AbstractContextManager[IO[bytes]]]
    options: Mapping[str, Any] = field(default_factory=dict)


def write_files(packs: Iterable[pl.DataFrame], plan: FilePlan) -> Iterator[DataFile]:
    """One file a partition of each pack (sorted frames of `arrange`). Rows are checked and of their types already."""
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="parquet") as pool:
        for pack in packs:
            runs = plan.arrangement.runs(pack)
            stats = _statistics(pack, runs["length"], plan.columns)
            table = stored_table(pack, plan.columns)
            values = runs.select(plan.arrangement.partition_columns).rows() or [()]
            jobs = [
                pool.submit(_write, table.slice(offset, length), value, plan, stat)
                for value, offset, length, stat in zip(
                    values, runs["offset"].to_list(), runs["length"].to_list(), stats, strict=True
                )
            ]
            del table, pack
            for job in jobs:
                yield job.result()


def stored_table(frame: pl.DataFrame, columns: tuple[StoredColumn, ...]) -> pa.Table:
    """The frame's rows as an Arrow table with the stored names, types and nullability."""
    arrow = frame.select([column.name for column in columns]).to_arrow(compat_level=pl.CompatLevel.oldest())
    arrays, fields = [], []
    for array, column in zip(arrow.columns, columns, strict=True):
        # Polars' large strings and binaries are the same bytes in Parquet: casting them would only copy.
        same = _is_large_twin(array.type, column.type)
        arrays.append(array if same else array.cast(column.type))
        fields.append(column.field.with_type(array.type) if same else column.field)
    return pa.table(arrays, schema=pa.schema(fields))


def _is_large_twin(given: pa.DataType, wanted: pa.DataType) -> bool:
    return bool(
        (pa.types.is_large_string(given) and pa.types.is_string(wanted))
        or (pa.types.is_large_binary(given) and pa.types.is_binary(wanted))
    )


def _write(table: pa.Table, partition: tuple[Any, ...], plan: FilePlan, stats: Mapping[str, ColumnStats]) -> DataFile:
    terms = zip(plan.arrangement.partitions, partition, strict=True)
    path = "/".join([*(plan.folder(term, value) for term, value in terms), f"{uuid.uuid4()}.parquet"])
    sizes = dict.fromkeys((column.name for column in plan.columns), 0)
    options = {"compression": "zstd" if table.num_rows >= _LARGE else "snappy", **plan.options}
    with plan.create(path) as sink:
        with pq.ParquetWriter(
            sink, table.schema, store_decimal_as_integer=True, store_schema=False, **options
        ) as writer:
            writer.write_table(table)
        size = sink.tell()
        # A commit must not outlive a power cut that its data does not.
        sink.flush()
        os.fsync(sink.fileno())
    metadata = writer.writer.metadata
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group)
        for i, column in enumerate(plan.columns):
            sizes[column.name] += chunk.column(i).total_compressed_size
    return DataFile(path, partition, table.num_rows, size, stats, sizes)


def stand_in(value: str) -> str:
    """A stable name for a partition value whose own text is too long, or not fit, to name a folder."""
    return f"~{uuid.uuid5(uuid.NAMESPACE_OID, value).hex[:12]}"


def _statistics(
    pack: pl.DataFrame, lengths: pl.Series, columns: tuple[StoredColumn, ...]
) -> list[dict[str, ColumnStats]]:
    """For each run of rows the statistics of each column: one grouped pass over the pack, whatever the files."""
    run = pl.Series("run", range(len(lengths)), dtype=pl.UInt32)
    of_row = run.to_frame().select(pl.col("run").repeat_by(lengths).explode()).to_series()
    wanted: list[pl.Expr] = []
    for i, column in enumerate(columns):
        value, dtype = pl.col(column.name), pack.schema[column.name]
        if dtype.is_temporal():
            value = value.cast(pl.Time).to_physical() // 1000 if dtype == pl.Time else value.to_physical()
        low, high = (value.min(), value.max()) if _ordered(dtype) else (pl.lit(None), pl.lit(None))
        nans = value.is_nan().sum() if dtype.is_float() else pl.lit(0)
        wanted += [
            low.alias(f"low{i}"),
            high.alias(f"high{i}"),
            value.null_count().alias(f"nulls{i}"),
            nans.alias(f"nans{i}"),
        ]
    grouped = pack.with_columns(of_row.alias("\x1frun")).group_by("\x1frun", maintain_order=True).agg(wanted)
    names = [column.name for column in columns]
    return [
        {name: ColumnStats(*row[4 * i + 1 : 4 * i + 5]) for i, name in enumerate(names)} for row in grouped.iter_rows()
    ]


def _ordered(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype != pl.Object
