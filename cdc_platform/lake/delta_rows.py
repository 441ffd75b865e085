"""The rows of one data file of a Delta table: columns are found by physical name, which no rename changes.

Partition columns are in the log alone, as text. Queries over many files at once are delta_upsert.py's.
Formats: PROTOCOL.md, "Partition Value Serialization".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from cdc_platform.errors import NotUnderstood
from cdc_platform.lake.delta_columns import DeltaColumn, arrow_type
from cdc_platform.lake.parquet_rows import Cell, read_cells
from cdc_platform.model.projection import polars_type


def read_rows(file: Path, columns: Sequence[DeltaColumn], values: Mapping[str, str | None]) -> Iterator[pl.DataFrame]:
    """All rows of the file in its order. `values` are its partition values by physical name, as the log has them.

    Raises NotUnderstood, OSError, pyarrow's and Polars' errors.
    """
    return read_cells(file, cells(columns, values))


def cells(columns: Sequence[DeltaColumn], values: Mapping[str, str | None]) -> list[Cell]:
    """Where the columns are in a file with these partition values. Raises NotUnderstood."""
    return [_cell(column, column_type(column), values) for column in columns]


def _cell(column: DeltaColumn, kind: pl.DataType, values: Mapping[str, str | None]) -> Cell:
    if column.physical in values:
        return Cell(column.name, kind, constant=parsed(values[column.physical], kind))
    return Cell(column.name, kind, stored=column.physical)


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
