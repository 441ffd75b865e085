"""Changes of one table as columns: what every source delivers, from snapshot and stream alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

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

    A cell is a value, null, or unchanged. `holes` has, for each column where `after` may lack a cell that the change
    left as it was (Postgres' unchanged TOAST values, MySQL's partial row images), a boolean series: True where it
    does, and the cell is null there. Only UPDATEs have holes; the engine fills them before anything is logged.
    `snapshot` says of rows in a log that somebody else read them, not that they changed (Debezium's).

    In a `bare` batch no UPDATE has a `before`: the engine takes it from the rows that were logged (engine/former.py).
    """

    schema: TableSchema
    frame: pl.DataFrame
    holes: Mapping[str, pl.Series] = field(default_factory=dict)
    snapshot: bool = False
    bare: bool = False

    def __len__(self) -> int:
        return self.frame.height

    @property
    def table(self) -> TableName:
        return self.schema.table

    @property
    def start(self) -> Position:
        """The place of the first change; the batch has one."""
        return Position(self.frame["at"][0], self.frame["ordinal"][0])


@dataclass(frozen=True, slots=True)
class Place:
    """Where something that is no row change stands in the log; fields as the columns of `ChangeBatch.frame`."""

    at: int
    ordinal: int
    lsn: str
    transaction_id: str | None
    source_ts: datetime


@dataclass(frozen=True, slots=True)
class Reshaped:
    """From `place` on the table has this shape; said where no row change says it (a column renamed, then nothing)."""

    schema: TableSchema
    place: Place

    @property
    def table(self) -> TableName:
        return self.schema.table

    @property
    def start(self) -> Position:
        return Position(self.place.at, self.place.ordinal)


@dataclass(frozen=True, slots=True)
class Truncated:
    """All rows of the table went at `place`, without a row change each. Takes one ordinal."""

    table: TableName
    place: Place

    @property
    def start(self) -> Position:
        return Position(self.place.at, self.place.ordinal)


@dataclass(frozen=True, slots=True)
class Unlogged:
    """At `place` rows may have changed without row changes in the log, for this reason (`a statement-based UPDATE`):

    the table has to be compared with its source at some later position.
    """

    table: TableName
    place: Place
    reason: str

    @property
    def start(self) -> Position:
        return Position(self.place.at, self.place.ordinal)


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows as they were found, where nothing says what happened to them: INSERTs, no key twice. Some may be known, and
    then are nothing new, or known otherwise, and then are UPDATEs; the engine asks the change log (engine/seen.py)."""

    batch: ChangeBatch

    @property
    def table(self) -> TableName:
        return self.batch.table

    @property
    def start(self) -> Position:
        return self.batch.start


Entry = ChangeBatch | Reshaped | Truncated | Unlogged | Seen
"""What a source's log says about one table, in stretches of one shape."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A table that is followed from `position` on, where it has the shape `schema`; `resume` is what the source said
    last (`Captured.resume`) and is now in the log."""

    schema: TableSchema
    position: Position
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """A stretch of a source's log: all changes of the followed tables before `upto`.

    `entries` holds zero or more of each table; those of one table are in log order. `upto` may lie inside a
    transaction (its ordinal says where). `failures` names the tables that deliver nothing from here on, and why.
    `resume` is by table what the source needs besides `upto` to go on from there (offsets of partitions, ...): text
    that travels in the commit of `upto` and comes back in `Followed`. Only a stretch whose entries make one commit of
    that table may have one.
    """

    entries: tuple[Entry, ...]
    upto: Position
    failures: Mapping[TableName, CdcError] = field(default_factory=dict)
    resume: Mapping[TableName, str] = field(default_factory=dict)

    @property
    def batches(self) -> tuple[ChangeBatch, ...]:
        """The row changes alone."""
        return tuple(entry for entry in self.entries if isinstance(entry, ChangeBatch))
