"""Which changes a destination cannot hold, change by change: what `Projection.rows` would stop at, as masks. Pure.

Used where such changes go to quarantine. What is asked is the same as in a pipeline that stops: casts and required
columns (projection.py), years and texts that no partition can be made of, keys without a value (destinations).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from cdc_platform.model.change import DELETE
from cdc_platform.model.projection import Format, Projection, cast
from cdc_platform.model.schema import Column
from cdc_platform.model.target import PartitionField, TargetField

_FIRST_YEAR, _LAST_YEAR = 1, 9999
_DELETED = pl.col("operation") == DELETE


@dataclass(frozen=True, slots=True)
class Misfit:
    """What the destination cannot hold: `rows` is true where the change has it in this source column."""

    column: str
    reason: str
    rows: pl.Series


def misfits(
    changes: pl.DataFrame, plan: Projection, destination: Format, partitions: Sequence[PartitionField]
) -> list[Misfit]:
    """What of the changes (frames of `collapse.history`) does not fit; empty where all do."""
    asked = list(_asked(plan, destination, partitions))
    found = changes.select(
        pl.when(bad.is_null()).then(False).otherwise(bad).alias(str(i)) for i, (_, _, bad) in enumerate(asked)
    )
    return [Misfit(column, reason, found[str(i)]) for i, (column, reason, _) in enumerate(asked) if found[str(i)].any()]


def eased(events: pl.DataFrame, plan: Projection) -> pl.DataFrame:
    """The events (a change log's) with old images of DELETEs that fit: cells that do not, outside the key, are null.

    A row that goes has to go, whatever it held; its key is what counts.
    """
    before, cells = pl.col("before"), []
    for column, field in plan.pairs:
        if field.name not in plan.target.key and (bad := _unheld(before.struct.field(column.name), column, field)):
            expression = bad[1]
            cells.append(pl.when(expression.fill_null(False).not_()).then(pl.field(column.name)).alias(column.name))
    if not cells:
        return events
    image = pl.when(_DELETED & before.is_not_null()).then(before.struct.with_fields(cells)).otherwise(before)
    return events.with_columns(image.alias("before"))


def _asked(
    plan: Projection, destination: Format, partitions: Sequence[PartitionField]
) -> Iterator[tuple[str, str, pl.Expr]]:
    """(source column, reason, where it is so) of everything that may not fit."""
    sources = {field.name: (column, field.type) for column, field in plan.pairs}
    # What a current state is told of a row that went is its key alone.
    stored = pl.lit(True) if plan.keeps_deletes else ~_DELETED
    for column, field in plan.pairs:
        value, keyed = pl.col("row").struct.field(column.name), field.name in plan.target.key
        if bad := _unheld(value, column, field):
            yield column.name, bad[0], bad[1] & (pl.lit(True) if keyed else stored)
        if keyed and not plan.keeps_deletes:
            yield column.name, "is part of the key and null", value.is_null()
        elif field.required:
            yield column.name, "is required at the destination and null", value.is_null() & stored
    for term in partitions:
        if term.column not in sources:
            continue
        held, kind = sources[term.column]
        value = cast(pl.col("row").struct.field(held.name), held.type, kind, strict=False)
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            year = value.dt.year()
            outside = (year < _FIRST_YEAR) | (year > _LAST_YEAR)
            yield held.name, "lies outside the years 1 to 9999, of which no partition can be made", outside & stored
        if destination == "deltalake" and pa.types.is_string(kind):
            yield held.name, "is an empty text, which a Delta partition cannot tell from null", (value == "") & stored


def _unheld(value: pl.Expr, column: Column, field: TargetField) -> tuple[str, pl.Expr] | None:
    """Why a cell of the column may not be held by the field, and where it is not; None where every one is."""
    if column.type == field.type:
        return None
    if pa.types.is_boolean(field.type):
        return "holds a number other than 0 and 1, and is cast to bool", value.is_in([0, 1]).not_()
    reason = f"has a value that {field.type} cannot hold"
    return reason, value.is_not_null() & cast(value, column.type, field.type, strict=False).is_null()
