"""An upsert into a Delta table: its live files as copy_on_write.py wants them, the change data feed, the commit.

deltalake's own merge is left aside: it held 2.2 GB for 100,000 keys in 1 M rows of 700 partitions, and refuses a
DELETE of an absent key where a column is NOT NULL. The feed is written as PROTOCOL.md ("Add CDC File") has it: a
commit that removes files names all its changed rows in `_change_data`; rows that were only copied are no changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from cdc_platform.destinations.copy_on_write import FILE, LiveFiles, Plan
from cdc_platform.destinations.rows import OPERATION
from cdc_platform.lake.delta_columns import CHANGE_TYPE, DeltaColumn
from cdc_platform.lake.delta_rows import column_type
from cdc_platform.model.change import DELETE

_FEED_ROWS: Final = 100_000
_AS_WRITTEN: Final = pl.ScanCastOptions(
    integer_cast="upcast", float_cast="upcast", datetime_cast=["nanosecond-downcast", "convert-timezone"]
)
"""Types in files that hold the same values: of writers before a column was widened, and of Spark's INT96."""


def live_files(table: DeltaTable, root: Path, columns: Sequence[DeltaColumn], key: Sequence[str]) -> LiveFiles:
    """The data files of the table's version. `columns` are those of the target schema."""
    adds = pa.table(table.get_add_actions())
    partitioned = table.metadata().partition_columns
    paths = adds["path"].to_pylist()
    values = pl.DataFrame({FILE: pl.arange(len(paths), dtype=pl.UInt32, eager=True)})
    for name in partitioned:
        values = values.with_columns(_series(adds["partition"], name).alias(name))
    files = [str(root / unquote(path)) for path in paths]

    def read(places: Sequence[int], names: Sequence[str]) -> pl.LazyFrame:
        wanted = [column for column in columns if column.name in names]
        in_file = [column for column in wanted if column.name not in partitioned]
        places_of = pl.LazyFrame({"\x1fpath": [files[i] for i in places], FILE: pl.Series(places, dtype=pl.UInt32)})
        scan = pl.scan_parquet(
            [files[i] for i in places],
            # A file is as old as its shape: what it lacks is null, whichever file comes first.
            schema={column.physical: column_type(column) for column in in_file},
            cast_options=_AS_WRITTEN,
            include_file_paths="\x1fpath",
            glob=False,
            hive_partitioning=False,
            missing_columns="insert",
            extra_columns="ignore",
        )
        scan = scan.select(*(pl.col(column.physical).alias(column.name) for column in in_file), "\x1fpath")
        rows = scan.join(places_of, on="\x1fpath", how="inner", maintain_order="left")
        if len(in_file) < len(wanted):
            held = [FILE, *(column.name for column in wanted if column.name in partitioned)]
            rows = rows.join(values.lazy().select(held), on=FILE, how="inner", maintain_order="left")
        return rows.select(*(column.name for column in wanted), FILE)

    bounds: dict[str, pl.DataFrame] = {}
    for column in columns:
        # Other writers cut timestamps in statistics to milliseconds, the upper bound too: not usable.
        if column.name in key and not column.word.startswith("timestamp"):
            if column.name in partitioned:
                low = high = values[column.name]
            else:
                low, high = _series_of(adds, "min", column.physical), _series_of(adds, "max", column.physical)
            bounds[column.name] = pl.DataFrame({"low": low, "high": high})
    return LiveFiles(paths, adds["size_bytes"].to_pylist(), bounds, read)


def _series_of(adds: pa.Table, which: str, name: str) -> pl.Series:
    if which in adds.column_names and adds.schema.field(which).type.get_field_index(name) >= 0:
        return _series(adds[which], name)
    return pl.Series([None] * adds.num_rows)


def _series(structs: pa.ChunkedArray, name: str) -> pl.Series:
    series = pl.from_arrow(structs.combine_chunks().field(name))
    assert isinstance(series, pl.Series)
    return series


def feed(
    made: Plan, replaced: list[pl.DataFrame], key: Sequence[str], columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """The change data feed of an upsert, in frames: `columns` and the type of the change. Empties `replaced`."""
    names = list(key)
    stay = made.changes.filter(pl.col(OPERATION) != DELETE)
    staying = stay.select(names)
    while replaced:
        before = replaced.pop()
        yield _typed(before.join(staying, on=names, how="anti"), "delete", columns)
        yield _typed(before.join(staying, on=names, how="semi"), "update_preimage", columns)
    for part in stay.iter_slices(_FEED_ROWS):
        yield _typed(part.join(made.found, on=names, how="semi"), "update_postimage", columns)
        yield _typed(part.join(made.found, on=names, how="anti"), "insert", columns)


def _typed(rows: pl.DataFrame, change: str, columns: Sequence[str]) -> pl.DataFrame:
    return rows.select(*columns, pl.lit(change, pl.String).alias(CHANGE_TYPE))
