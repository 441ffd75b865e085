"""Which changes a destination cannot hold, change by change: what `Projection.rows` would stop at, as masks. Pure.

Used where such changes go to quarantine. What is asked is the same as in a pipeline that stops: casts and required
columns (projection.py), years and texts that no partition can be made of, keys without a value (destinations).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@dataclass(frozen=True, slots=True)
class Held:
    """What else than its columns' types bounds the values of a destination: its format, and how it is partitioned."""

    destination: Format
    partitions: tuple[PartitionField, ...] = ()


def misfits(changes: pl.DataFrame, plan: Projection, held: Held) -> list[Misfit]:
    """What of the changes (frames of `collapse.history`) does not fit; empty where all do."""
    asked = list(_asked(plan, held))
    found = changes.select(
        pl.when(bad.is_null()).then(False).otherwise(bad).alias(str(i)) for i, (_, _, bad) in enumerate(asked)
    )
    return [Misfit(column, reason, found[str(i)]) for i, (column, reason, _) in enumerate(asked) if found[str(i)].any()]


def eased(events: pl.DataFrame, plan: Projection, held: Held) -> pl.DataFrame:
    """The events (a change log's) with old images of DELETEs that fit: cells that do not, outside the key, are null.

    A row that goes has to go, whatever it held; its key is what counts.
    """
    before = pl.col("before")
    unfit: dict[str, list[pl.Expr]] = {}
    for column, _, bad in _cells(plan, held, before.struct.field):
        if column not in {plan.source_of(name) for name in plan.target.key}:
            unfit.setdefault(column, []).append(bad.fill_null(False))
    if not unfit or not (events["operation"] == DELETE).any():
        return events
    cells = [
        pl.when(~pl.any_horizontal(bad)).then(before.struct.field(name)).alias(name) for name, bad in unfit.items()
    ]
    image = pl.when(_DELETED & before.is_not_null()).then(before.struct.with_fields(cells)).otherwise(before)
    return events.with_columns(image.alias("before"))


def _asked(plan: Projection, held: Held) -> Iterator[tuple[str, str, pl.Expr]]:
    """(source column, reason, where it is so) of everything that may not fit."""
    # What a current state is told of a row that went is its key alone.
    stored = pl.lit(True) if plan.keeps_deletes else ~_DELETED
    keyed = {plan.source_of(name) for name in plan.target.key}
    for name, reason, bad in _cells(plan, held, _of_row):
        yield name, reason, bad if name in keyed else bad & stored
    for column, field in plan.pairs:
        if column.name in keyed and not plan.keeps_deletes:
            yield column.name, "is part of the key and null", _of_row(column.name).is_null()
        elif field.required:
            reason = "is required at the destination and null"
            yield column.name, reason, _of_row(column.name).is_null() & stored


def _of_row(name: str) -> pl.Expr:
    return pl.col("row").struct.field(name)


def _cells(plan: Projection, held: Held, cell: Callable[[str], pl.Expr]) -> Iterator[tuple[str, str, pl.Expr]]:
    """The same of single cells that are there, which `cell` gives by source column."""
    sources = {field.name: (column, field) for column, field in plan.pairs}
    for column, field in plan.pairs:
        if bad := _unheld(cell(column.name), column, field):
            yield column.name, *bad
    for term in held.partitions:
        if term.column not in sources:
            continue
        column, field = sources[term.column]
        value = cast(cell(column.name), column.type, field.type, strict=False)
        if pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            year = value.dt.year()
            reason = "lies outside the years 1 to 9999, of which no partition can be made"
            yield column.name, reason, (year < _FIRST_YEAR) | (year > _LAST_YEAR)
        if held.destination == "deltalake" and pa.types.is_string(field.type):
            yield column.name, "is an empty text, which a Delta partition cannot tell from null", value == ""


def _unheld(value: pl.Expr, column: Column, field: TargetField) -> tuple[str, pl.Expr] | None:
    """Why a cell of the column may not be held by the field, and where it is not; None where every one is."""
    if column.type == field.type:
        return None
    if pa.types.is_boolean(field.type):
        return "holds a number other than 0 and 1, and is cast to bool", value.is_in([0, 1]).not_()
    reason = f"has a value that {field.type} cannot hold"
    return reason, value.is_not_null() & cast(value, column.type, field.type, strict=False).is_null()
