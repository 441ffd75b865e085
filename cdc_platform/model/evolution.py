"""How a table's shape changes: which column is which, and what became of each. Pure.

A column is known by its `source_id`, never by its name: a rename keeps the id, and a column that was dropped and made
again under the same name has another. Postgres has such numbers (attribute numbers). MySQL has none, so its reader
leaves them out and `carried` hands them on: by name, and by the renames that the reader saw as statements.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

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
