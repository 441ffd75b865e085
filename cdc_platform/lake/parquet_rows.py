"""The rows of one Parquet file of a lake table, in the table's names and types and in bounded memory.

Which of the file's columns is which of the table's is each format's to say (`Cell`): by physical name or field id, or
a constant, where a partition's value is kept outside the file. A column that the file lacks is null, one that is
narrower in the file is cast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

_BATCH_ROWS: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of the table in one file: called `stored` there, or the same value (a series of one) in every row."""

    name: str
    kind: pl.DataType
    stored: str | None = None
    constant: pl.Series | None = None


def read_cells(file: Path, cells: Sequence[Cell], groups: Sequence[int] | None = None) -> Iterator[pl.DataFrame]:
    """All rows of the file, or of some of its row groups, in its order.

    Raises OSError, pyarrow's and Polars' errors.
    """
    with pq.ParquetFile(file) as source:
        names = [cell.stored for cell in cells if cell.stored in source.schema_arrow.names]
        for batch in source.iter_batches(_BATCH_ROWS, row_groups=groups, columns=names):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            # A batch without columns has lost its number of rows.
            yield pl.DataFrame([_column(cell, frame, batch.num_rows) for cell in cells])


def group_sizes(file: Path) -> list[int]:
    """The number of rows of each row group."""
    footer = pq.read_metadata(file)
    return [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]


def _column(cell: Cell, frame: pl.DataFrame, rows: int) -> pl.Series:
    if cell.constant is not None:
        return cell.constant.new_from_index(0, rows).alias(cell.name)
    if cell.stored is None or cell.stored not in frame.columns:
        return pl.Series(cell.name, [None], cell.kind).new_from_index(0, rows)
    series = frame[cell.stored].alias(cell.name)
    if series.dtype == cell.kind:
        return series
    if isinstance(cell.kind, pl.Datetime) and isinstance(series.dtype, pl.Datetime):
        # Instants are UTC in Parquet, whether the file says so (others' INT96 cannot).
        series = series.dt.replace_time_zone(None) if series.dtype.time_zone in (None, "UTC") else series
        return series.dt.cast_time_unit("us").dt.replace_time_zone(cell.kind.time_zone)
    return series.cast(cell.kind, strict=True)
