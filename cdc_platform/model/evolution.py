"""How a table's shape changes: which column is which, and what became of each. Pure.

A column is known by its `source_id`, never by its name: a rename keeps the id, and a column that was dropped and made
again under the same name has another. Postgres has such numbers (attribute numbers). MySQL has none, so its reader
leaves them out and `carried` hands them on: by name, and by the renames that the reader saw as statements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from cdc_platform.model.schema import Column, TableSchema


def carried(
    before: TableSchema | None,
    now: TableSchema,
    renamed: Mapping[str, str] | None = None,
    dropped: Collection[str] = (),
) -> TableSchema:
    """`now` with a `source_id` for each column that has none: the one it had in `before`, or the next free number.

    `renamed` maps names in `before` to names in `now`; a column of `before` in `dropped` is none of `now`'s, even
    where one has its name.
    """
    renamed = renamed or {}
    known: dict[str, int | None] = {}
    for column in before.columns if before else ():
        if column.name not in dropped:
            known[renamed.get(column.name, column.name)] = column.source_id
    last = before.last_id if before else 0
    columns: list[Column] = []
    for column in now.columns:
        number = column.source_id if column.source_id is not None else known.get(column.name)
        if number is None:
            last += 1
            number = last
        columns.append(replace(column, source_id=number))
    highest = max((column.source_id or 0 for column in columns), default=0)
    return replace(now, columns=tuple(columns), last_id=max(last, highest))


Kind = Literal["add_column", "drop_column", "rename_column", "change_type", "change_key"]
Policy = Literal["apply", "ignore", "stop"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs between two shapes of a table. `name` is the column's name after it (for a column that is
    gone: before it), `before` and `after` are what changed: names, source types, keys; empty where there is none.
    """

    kind: Kind
    name: str
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        match self.kind:
            case "add_column":
                return f"column '{self.name}' added ({self.after})"
            case "drop_column":
                return f"column '{self.name}' dropped"
            case "rename_column":
                return f"column '{self.before}' renamed to '{self.after}'"
            case "change_type":
                return f"column '{self.name}' changed from {self.before} to {self.after}"
            case "change_key":
                return f"primary key changed from ({self.before}) to ({self.after})"


def differences(before: TableSchema, after: TableSchema) -> tuple[Difference, ...]:
    """What became of the table, column by column, in the order of the columns; those that are gone first."""
    old = {column.source_id: column for column in before.columns}
    new = {column.source_id: column for column in after.columns}
    found = [Difference("drop_column", c.name, c.source_type) for c in before.columns if c.source_id not in new]
    for column in after.columns:
        was = old.get(column.source_id)
        if was is None:
            found.append(Difference("add_column", column.name, "", column.source_type))
            continue
        if was.name != column.name:
            found.append(Difference("rename_column", column.name, was.name, column.name))
        if (was.type, was.source_type) != (column.type, column.source_type):
            found.append(Difference("change_type", column.name, was.source_type, column.source_type))
    keys = [[old[c].name for c in _ids(before)], [new[c].name for c in _ids(after)]]
    if _ids(before) != _ids(after):
        found.append(Difference("change_key", ", ".join(keys[1]), ", ".join(keys[0]), ", ".join(keys[1])))
    return tuple(found)


def same_shape(one: TableSchema, other: TableSchema) -> bool:
    """Whether rows of both mean the same: the same columns of the same types and names, and the same key.

    The columns' order, and whether they may be null, say nothing about a row.
    """
    return not differences(one, other)


def _ids(schema: TableSchema) -> list[int | None]:
    return [schema.column(name).source_id for name in schema.primary_key]


def widens(narrow: pa.DataType, wide: pa.DataType) -> bool:
    """Whether every value of `narrow` is the same value in `wide`, and both formats widen a column so."""
    if pa.types.is_decimal(narrow) and pa.types.is_decimal(wide):
        return bool(narrow.scale == wide.scale and narrow.precision <= wide.precision)
    return (narrow, wide) in _WIDER


_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_WIDER = {(narrow, wide) for i, narrow in enumerate(_INTEGERS) for wide in _INTEGERS[i + 1 :]}
_WIDER.add((pa.float32(), pa.float64()))
