"""Rows in files by a hash of the derived key that they belong to: what of a table is held in memory at a time.

Hashes are Polars', equal for equal keys of one type in one version of Polars; who keeps such files keeps `SAMPLE` with
them. Not durable: what is written here can be made again.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from cdc_platform.errors import Unavailable, no_space
from cdc_platform.model.digest import row_hashes

ROWS_A_BUCKET: Final = 50_000
MOST: Final = 256
"""Buckets: so many files are open at once while rows are sorted into them."""

Files = Mapping[int, tuple[str, ...]]
"""By bucket, the names of its files."""


def buckets_for(rows: int) -> int:
    """How many buckets serve so many rows."""
    return max(1, min(MOST, rows // ROWS_A_BUCKET))


def bucket_of(keys: pl.DataFrame, buckets: int) -> pl.Series:
    """The bucket of each row of key columns (in the derived key's types): Int64 named `bucket`."""
    hashed = row_hashes(keys.rename(dict(zip(keys.columns, map(str, range(keys.width)), strict=True))))[0]
    return (hashed % buckets).cast(pl.Int64).alias("bucket")


def sample() -> str:
    """What the hashes of this version of Polars make of some values."""
    values = pl.DataFrame({"i": [1, None], "s": ["a", None]})
    return f"{pl.__version__} {[list(series) for series in row_hashes(values)]}"


class Spool:
    """Writes frames into one file a bucket; `files` are their names, once it is closed."""

    def __init__(self, folder: Path, key: Sequence[str], buckets: int) -> None:
        self.files: dict[int, tuple[str, ...]] = {}
        self._folder, self._key, self._buckets = folder, list(key), buckets
        self._writers: dict[int, pq.ParquetWriter] = {}
        self._open = ExitStack()
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def add(self, rows: pl.DataFrame) -> None:
        """Rows whose key columns are not null."""
        if self._buckets == 1:
            self._write(0, rows)
            return
        for part in rows.with_columns(bucket_of(rows.select(self._key), self._buckets)).partition_by("bucket"):
            self._write(int(part["bucket"][0]), part.drop("bucket"))

    def _write(self, bucket: int, rows: pl.DataFrame) -> None:
        if rows.is_empty():
            return
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        try:
            if bucket not in self._writers:
                name = f"{uuid.uuid4().hex}.parquet"
                writer = pq.ParquetWriter(self._folder / name, table.schema, compression="zstd", compression_level=1)
                self._writers[bucket] = self._open.enter_context(writer)
                self.files[bucket] = (name,)
            self._writers[bucket].write_table(table)
        except OSError as error:
            raise unwritable(self._folder, error) from error


def written(folder: Path, rows: pl.DataFrame) -> str:
    """The name of a new file that holds these rows."""
    name = f"{uuid.uuid4().hex}.parquet"
    try:
        rows.write_parquet(folder / name, compression="zstd", compression_level=1)
    except OSError as error:
        raise unwritable(folder, error) from error
    return name


def read(folder: Path, names: Sequence[str], schema: pl.Schema) -> pl.LazyFrame:
    """The rows of some files of this schema, which may be none."""
    if not names:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet([folder / name for name in names], glob=False).select(schema.names())


def unwritable(folder: Path, error: OSError) -> Unavailable:
    reason = "no space is left; make room, and run again" if no_space(error) else str(error)
    return Unavailable(f"cannot write below {folder}: {reason}")
