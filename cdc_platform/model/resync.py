"""Which way back there is from a gap. Pure. Layer: model.

    compare   the log is compared with the source at a new position; what differs is logged as changes, and the log goes
              on from there. Cheap in writes, and histories keep their rows.
    anew      log and destinations are set aside under other names, and begun again by a snapshot.

Comparing is exact for the state. It needs that positions of the source go on behind those that are logged, because they
order each key's history (`_cdc_source_lsn`), and that a column is what it was.
"""

from __future__ import annotations

from typing import Literal

from cdc_platform.model.position import Position
from cdc_platform.model.schema import Fingerprint, TableSchema

Way = Literal["compare", "anew"]


def obstacle(
    position: Position, head: Position, base: str | None, base_now: str | None, replaced: bool, same: bool
) -> str | None:
    """Why a log at `position` cannot be compared with a source whose log ends at `head`; None where it can.

    `base` is what the binlog's files were called, and are now; `replaced` says that the table was dropped and made
    again, `same` that its columns are those that it had.
    """
    if base != base_now:
        return f"the server's binlog files have another name ({base_now}, not {base}): positions have no common order"
    if head < position:
        return "the server's positions begin again below those that are logged: they would not order a key's history"
    if replaced and not same:
        return "the table was made again with other columns: which of them are the same cannot be told"
    return None


def is_replaced(then: Fingerprint, now: Fingerprint) -> bool:
    """Whether another table has this name now."""
    return then.table != now.table


def same_columns(then: TableSchema, now: TableSchema) -> bool:
    """Whether columns of one id have one name: the ids of a table that was made again begin from 1."""
    names = {column.source_id: column.name for column in then.columns}
    ids = {column.name: column.source_id for column in then.columns}
    return all(
        names.get(column.source_id, column.name) == column.name
        and ids.get(column.name, column.source_id) == column.source_id
        for column in now.columns
    )
