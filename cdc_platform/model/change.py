"""Changes of one table as columns: what every source delivers, from snapshot and stream alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from cdc_platform.errors import CdcError
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName, TableSchema

INSERT, UPDATE, DELETE = "INSERT", "UPDATE", "DELETE"
OPERATION = pl.Enum([INSERT, UPDATE, DELETE])

TIMESTAMP_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class ChangeBatch:
    """Changes of one table in log order.

    `frame` has exactly these columns, one row a change:

    | column         | type              | meaning                                                              |
    |----------------|-------------------|----------------------------------------------------------------------|
    | operation      | Enum `OPERATION`  | snapshot rows are INSERTs                                            |
    | at             | Int64             | place in the log (see model/position.py); never falls from row to row |
    | ordinal        | Int64             | order among equal `at`; (at, ordinal) is unique in a table           |
    | lsn            | String            | the row's own log position as text; orders the changes of one key    |
    | transaction_id | String or null    | null in a snapshot                                                   |
    | source_ts      | Datetime us UTC   | commit time, or the snapshot's time                                  |
    | before         | Struct or null    | row before the change: UPDATE, DELETE. Fields and types of `schema`  |
    | after          | Struct or null    | row after the change: INSERT, UPDATE                                 |

    No cell of `after` is "unchanged": the source has filled those from `before`, or has stopped.
    """

    schema: TableSchema
    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height


@dataclass(frozen=True, slots=True)
class Captured:
    """A stretch of a source's log: all changes of the followed tables before `upto`.

    `batches` holds zero or more batches, several of one table when its schema changed in between
    (then in log order). `upto` may lie inside a transaction (its ordinal says where). `failures` names the
    tables that deliver nothing from here on, with the reason.
    """

    batches: tuple[ChangeBatch, ...]
    upto: Position
    failures: Mapping[TableName, CdcError] = field(default_factory=dict)
