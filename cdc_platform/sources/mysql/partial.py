"""Row images that lack columns: `binlog_row_image=MINIMAL` and `NOBLOB`.

Each event says which columns its images hold. Events that hold the same ones are decoded together, and the changes of
all of them put back into log order:

- DELETE: the before image holds the key; the rest is null.
- UPDATE: a cell that the after image lacks is the before image's where that has it, and otherwise a hole: the
  change left it as it was.
- INSERT: a column that is lacking took its default. Where that is known for certain it is filled in. Rows of
  nothing but defaults have empty images, which cannot even be counted: they are not delivered, and a doubt.

What is not certain is a doubt, and the table has to be compared with its source: an INSERT that took a default which
is not a constant; a virtual column that the image lacks (MariaDB leaves it out even where it changed); and on MariaDB
an UPDATE that may be half of a REPLACE, which sets columns to their defaults and logs the others only
(see `annotated.py`).
Where all images are whole nothing here runs. Layer: sources; pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cdc_platform.errors import NotUnderstood
from cdc_platform.sources.cells import Bytes, Ints, Mask, polars_type
from cdc_platform.sources.mysql.defaults import Rules
from cdc_platform.sources.mysql.shapes import Shape

INSERTS, UPDATES, DELETES = 0, 1, 2

INSERTED = "an INSERT whose row image lacks a column"
VIRTUAL = "a row image without a virtual column"
REPLACED = "a row image that may be part of a REPLACE"


@dataclass(frozen=True, slots=True)
class Known:
    """What helps where images lack columns: the table's rules, and which events are surely no part of a REPLACE."""

    rules: Rules
    plain: Mask


@dataclass(frozen=True, slots=True)
class Kept:
    """Which columns the images of some events hold: one entry a column. `plain` as in `Known`, for all of them."""

    events: Ints
    before: Mask
    after: Mask
    operation: int
    plain: bool


def kept_groups(operations: Ints, first: Bytes, second: Bytes, plain: Mask, columns: int) -> list[Kept]:
    """The events by what their images hold. `first` and `second` are their bit fields, (events, bytes) each; those of
    events with one image are equal."""
    keys = np.concatenate([(operations * 2 + plain)[:, None].astype(np.uint8), first, second], axis=1)
    distinct, which = np.unique(np.ascontiguousarray(keys).view(f"V{keys.shape[1]}").ravel(), return_inverse=True)
    width = first.shape[1]
    groups = []
    for number in range(len(distinct)):
        events = np.flatnonzero(which == number)
        sides = [_bits(side[events[0]], columns, width) for side in (first, second)]
        groups.append(Kept(events, sides[0], sides[1], int(operations[events[0]]), bool(plain[events[0]])))
    return groups


def _bits(field_bytes: Bytes, columns: int, width: int) -> Mask:
    return np.unpackbits(field_bytes[:width], count=columns, bitorder="little").astype(np.bool_)


@dataclass(frozen=True, slots=True)
class Sides:
    """The images of one group's changes, all columns, and what is not in them. `doubts` say what is uncertain."""

    before: pl.DataFrame
    after: pl.DataFrame
    holes: frozenset[str]
    doubts: tuple[str, ...]


def completed(
    kept: Kept, count: int, before: Sequence[pl.Series], after: Sequence[pl.Series], shape: Shape, rules: Rules
) -> Sides:
    """All columns of a group's `count` changes, from those that its images hold, in order."""
    table, names = shape.schema.table, shape.schema.names
    old, new = iter(before), iter(after)
    sides: tuple[list[pl.Series], list[pl.Series]] = ([], [])
    holes: set[str] = set()
    doubts: set[str] = set()
    if kept.operation == INSERTS and not kept.after.any():
        doubts.add(INSERTED)
    key = set(shape.schema.primary_key)
    for place, column in enumerate(shape.schema.columns):
        nothing = pl.repeat(None, count, dtype=polars_type(column.type), eager=True).alias(column.name)
        was = next(old).alias(column.name) if kept.before[place] and kept.operation != INSERTS else nothing
        if kept.operation == DELETES:
            value = nothing
        elif kept.after[place]:
            value = next(new).alias(column.name)
        elif kept.operation == INSERTS:
            default = rules.defaults.get(column.name)
            value = nothing if default is None else default.new_from_index(0, count).alias(column.name)
            if default is None:
                doubts.add(INSERTED)
        elif kept.before[place]:
            value = was
        else:
            value = nothing
            holes.add(column.name)
        if not kept.after[place] and kept.operation == UPDATES:
            if rules.replaces and column.name not in rules.stored:
                doubts.add(VIRTUAL)
            elif rules.replaces and _may_be_replace(kept, names, key):
                doubts.add(REPLACED)
        sides[0].append(was)
        sides[1].append(value)
    if (holes or (kept.operation != INSERTS and not kept.before.all())) and not key:
        raise NotUnderstood(
            f"{table} has no primary key, and the binlog holds only part of its rows' columns;"
            " set binlog_row_image=FULL on the server, in every session, and begin its pipeline anew"
        )
    return Sides(pl.DataFrame(sides[0]), pl.DataFrame(sides[1]), frozenset(holes), tuple(sorted(doubts)))


def _may_be_replace(kept: Kept, names: Sequence[str], key: set[str]) -> bool:
    """A REPLACE names its key, so the after image holds it."""
    return not kept.plain and all(kept.after[place] for place, name in enumerate(names) if name in key)
