"""The rows of one data file of a Delta table, in the table's names and types and in bounded memory.

Columns are found by physical name: one that the file lacks is null, one that is narrower in the file is cast.
Partition columns are in the log alone, as text. Queries over many files at once are delta_upsert.py's.
Formats: PROTOCOL.md, "Partition Value Serialization".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from cdc_platform.destinations.delta_table import DeltaColumn, arrow_type
from cdc_platform.errors import NotUnderstood
from cdc_platform.model.projection import polars_type

_BATCH_ROWS: Final = 64 << 10


def read_rows(file: Path, columns: Sequence[DeltaColumn], values: Mapping[str, str | None]) -> Iterator[pl.DataFrame]:
    """All rows of the file in its order. `values` are its partition values by physical name, as the log has them.

    Raises NotUnderstood, OSError, pyarrow's and Polars' errors.
    """
    with pq.ParquetFile(file) as source:
        held = [column for column in columns if column.physical in source.schema_arrow.names]
        names = [column.physical for column in held if column.physical not in values]
        for batch in source.iter_batches(_BATCH_ROWS, columns=names):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            # A batch without columns has lost its number of rows.
            rows = batch.num_rows
            yield pl.DataFrame([_column(column, frame, values, rows) for column in columns])


def file_types(file: Path) -> dict[str, object]:
    """The columns of a data file and their Arrow types, read from its footer."""
    schema = pq.read_schema(file)
    return dict(zip(schema.names, schema.types, strict=True))


def column_type(column: DeltaColumn) -> pl.DataType:
    """The Polars type of a column's values. Raises NotUnderstood."""
    kind = arrow_type(column.word)
    if kind is None:
        raise NotUnderstood(f"column '{column.name}' is {column.word}, which this platform does not read")
    return polars_type(kind)


def _column(column: DeltaColumn, frame: pl.DataFrame, values: Mapping[str, str | None], rows: int) -> pl.Series:
    wanted = column_type(column)
    if column.physical in values:
        return parsed(values[column.physical], wanted).new_from_index(0, rows).alias(column.name)
    if column.physical not in frame.columns:
        return pl.Series(column.name, [None], wanted).new_from_index(0, rows)
    series = frame[column.physical].alias(column.name)
    if series.dtype == wanted:
        return series
    if isinstance(wanted, pl.Datetime) and isinstance(series.dtype, pl.Datetime):
        # Instants are UTC in Parquet, whether the file says so (others' INT96 cannot).
        series = series.dt.replace_time_zone(None) if series.dtype.time_zone in (None, "UTC") else series
        return series.dt.cast_time_unit("us").dt.replace_time_zone(wanted.time_zone)
    return series.cast(wanted, strict=True)


def parsed(text: str | None, wanted: pl.DataType) -> pl.Series:
    """A partition value of the log as a series of one."""
    series = pl.Series([text or None], dtype=pl.String)
    if wanted == pl.String or text is None or text == "":
        return series.cast(wanted)
    if wanted == pl.Boolean:
        return series == "true"
    if isinstance(wanted, pl.Datetime):
        plain = series.str.replace("T", " ").str.strip_suffix("Z")
        pattern = "%Y-%m-%d %H:%M:%S%.f" if "." in text else "%Y-%m-%d %H:%M:%S"
        return plain.str.to_datetime(pattern, time_unit="us").dt.replace_time_zone(wanted.time_zone)
    if wanted == pl.Date:
        return series.str.to_date("%Y-%m-%d")
    return series.cast(wanted, strict=True)
