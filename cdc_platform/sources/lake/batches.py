"""From planned changes to `ChangeBatch`es: rows fetched by their numbers, frames of bounded size. Layer: sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from cdc_platform.model.change import INSERT, OPERATION, TIMESTAMP_UTC, ChangeBatch
from cdc_platform.model.digest import row_hashes
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.lake.plan import AFTER, BEFORE, HASHES, ORDINAL
from cdc_platform.sources.lake.rows import ROW, SIDE_GONE, Rows

BATCH_ROWS: Final = 100_000
NOTATION: Final = Notation("version")


def indexed(rows: Rows, key: Sequence[str], hashed: Sequence[str], own: Sequence[str] = ()) -> pl.DataFrame:
    """`ROW`, `SIDE_GONE`, key and `own` columns of all rows; and `HASHES` of the columns `hashed`, if there are any."""
    kept = list(dict.fromkeys([*key, *own]))
    names = list(dict.fromkeys([*kept, *hashed]))
    found = []
    for frame in rows.frames(names):
        part = frame.select(*kept, ROW, SIDE_GONE)
        if hashed:
            hashes = zip(row_hashes(frame.select(hashed)), HASHES, strict=True)
            part = part.with_columns(series.alias(name) for series, name in hashes)
        found.append(part)
    return pl.concat(found)


def of_plan(plan: pl.DataFrame, rows: Rows, schema: TableSchema, version: int, time: datetime) -> Iterator[ChangeBatch]:
    """The planned changes, a batch for each `BATCH_ROWS` of them."""
    for first in range(0, plan.height, BATCH_ROWS):
        part = plan.slice(first, BATCH_ROWS)
        images = [_image(rows, part[name], schema).alias(image) for name, image in _IMAGES]
        yield ChangeBatch(schema, _frame(part["operation"], part[ORDINAL], images, version, time))


def of_one_kind(
    rows: Iterator[pl.DataFrame], operation: str, schema: TableSchema, version: int, time: datetime
) -> Iterator[ChangeBatch]:
    """All rows (frames with `ROW`, their ordinal) as INSERTs or as DELETEs."""
    for frame in rows:
        image, nothing = ("after", "before") if operation == INSERT else ("before", "after")
        held = frame.select(schema.names).to_struct(image)
        empty = pl.Series(nothing, [None], struct_type(schema)).new_from_index(0, frame.height)
        images = [empty, held] if operation == INSERT else [held, empty]
        kinds = pl.repeat(operation, frame.height, dtype=OPERATION, eager=True).alias("operation")
        yield ChangeBatch(schema, _frame(kinds, frame[ROW], images, version, time))


def struct_type(schema: TableSchema) -> pl.Struct:
    """The type of a row image."""
    return pl.Struct({column.name: polars_type(column.type) for column in schema.columns})


_IMAGES: Final = ((BEFORE, "before"), (AFTER, "after"))


def _image(rows: Rows, numbers: pl.Series, schema: TableSchema) -> pl.Series:
    """The rows of these numbers as structs, null where there is no number."""
    there = numbers.is_not_null()
    if not there.any():
        return pl.Series([None], dtype=struct_type(schema)).new_from_index(0, len(numbers))
    held = rows.take(numbers.drop_nulls(), schema.names).to_struct("image")
    if there.all():
        return held
    places = pl.select(pl.when(there).then(there.cast(pl.Int64).cum_sum() - 1)).to_series()
    return held.gather(places)


def _frame(
    operation: pl.Series, ordinal: pl.Series, images: Sequence[pl.Series], version: int, time: datetime
) -> pl.DataFrame:
    frame = pl.DataFrame([operation, ordinal.alias("ordinal"), *images])
    # As `NOTATION.lsn` has it, from 1 on: 0 is before all changes of a version.
    first = NOTATION.lsn(Position(version))
    number = (pl.col("ordinal") + 1).cast(pl.String).str.zfill(len(first.partition("/")[2]))
    return frame.select(
        "operation",
        pl.lit(version, pl.Int64).alias("at"),
        "ordinal",
        pl.format(f"{first.partition('/')[0]}/{{}}", number).alias("lsn"),
        pl.lit(str(version)).alias("transaction_id"),
        pl.lit(time, TIMESTAMP_UTC).alias("source_ts"),
        "before",
        "after",
    )
