"""The seam between the engine and a source database. Postgres and MySQL implement it; nothing here knows a driver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import polars as pl

from cdc_platform.model.change import Captured, ChangeBatch, Followed
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.key_range import KeyRange
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema


class Snapshot(Protocol):
    """The source's state at exactly `position`: every change before it is in, none at or after it."""

    @property
    def position(self) -> Position: ...

    @property
    def readers(self) -> int:
        """How many `read`s may go on at the same time, each in a thread of its own."""

    def schema(self, table: TableName) -> TableSchema:
        """The table's shape in this snapshot."""

    def count(self, table: TableName) -> int:
        """Rows of the table in this snapshot."""

    def read(
        self, table: TableName, columns: Sequence[str] | None = None, within: KeyRange | None = None
    ) -> Iterator[ChangeBatch]:
        """All rows as INSERTs with `at = position.at - 1` and ordinals 0, 1, ...; bounded memory.

        With `columns`, only those (the batch's schema is narrowed likewise); with `within`, one of `split`'s, only that
        range's rows, ordinals from 0 again. Values are equal to what `Source.changes` delivers for the same row.
        """

    def split(self, table: TableName, rows: int, within: KeyRange | None = None) -> list[KeyRange]:
        """The table, or one range of it, in ascending ranges without gaps of about `rows` rows each.

        Together they hold every key there can be, or all of `within`. A range may hold fewer rows, and more only
        where rows share their leading key. One range where the key's order is not the lake's (model/key_range.py).
        """

    def digests(self, table: TableName, columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
        """Rows and digest of each range over these columns, at least one, as `canonical.digests` has them of rows.

        Computed in the database where its types allow (the source's `digests.py`), else of the rows read.
        Ranges ascend and do not overlap. The order of `columns` matters, their names do not.
        """

    def resume(self, table: TableName) -> str | None:
        """What the source needs besides the position to follow the table from here on (`Captured.resume`)."""


class Source(Protocol):
    """One database whose log is read once for all followed tables.

    Order: changes come in log order. Duplicates: none within one call of `changes`; across calls everything
    at or after `start` may come again. Durability: nothing is given up at the source before `acknowledge`.
    Every method raises from the tree in `errors` only, without secrets or cell values in the message.
    """

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        """Current shape of each table; a missing one is a ConfigError that names near ones."""

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        """What tells that a table is still the one that was followed; see `Fingerprint`. A missing table is missing."""

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        """Why rows may have changed when the table went from `before` to its shape `now`; None if none can have.

        For a change that is seen in the catalogue alone; where the log shows it, `changes` says so by `Unlogged`.
        """

    def prepare(self, tables: Sequence[TableName]) -> None:
        """Check settings and privileges, then make what following needs (publication, slot). Idempotent."""

    def check_resumable(self, start: Position) -> None:
        """Raise Gap when the log from `start` on can no longer be had."""

    def available(self) -> Position:
        """The first position from which the log can be had now; its end where nothing of it is kept."""

    def reopen(self, tables: Sequence[TableName]) -> None:
        """As `prepare`, and what kept the log is made anew where it is lost: a snapshot taken after this can be
        followed. Tables that were followed by what was lost stay in their gap. Idempotent."""

    def keeping(self, position: Position) -> Keeping:
        """What the source keeps of its log, as seen by a reader that goes on from `position`. Reads only."""

    def extent(self, table: TableName) -> Extent:
        """About how large a table is, by the catalogue's own statistics: nothing is counted."""

    def identity(self) -> str:
        """What must stay the same for positions to mean the same (system identifier, server lineage)."""

    def head(self) -> Position:
        """The bound below which everything committed by now lies."""

    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> AbstractContextManager[Snapshot]:
        """A consistent read of these tables, bound to a log position. None of them changes its shape meanwhile.

        With so many readers at the same time, or as many as the source can let into one snapshot.
        """

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        """What the log says of the followed tables in [start, until), in stretches of bounded memory.

        The last stretch reaches `until`. Nothing before a table's own position is delivered, or looked into. Shapes
        are told by change of the one that each table is followed with, so that `Column.source_id`s go on.

        Calling `acknowledge` between two stretches is allowed and not required. A table that cannot be
        followed further is named in `Captured.failures` once and delivers no more; the others go on.
        """

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        """Have the log no longer decoded for these tables, which nobody follows any more; returns those it was for."""

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        """Which of these names, as `open_source` gives them, the server keeps its log for, and how many bytes."""

    def remove(self, name: str) -> None:
        """Remove what was made at the server under this name, in whichever of its databases. Idempotent; Unavailable
        while somebody reads by it."""

    def acknowledge(self, position: Position) -> None:
        """Everything before `position` is safe elsewhere: the source may forget it. Never called earlier."""

    def notation(self) -> Notation:
        """How positions are written, so that a person can look them up at the source."""

    def format(self, position: Position) -> str:
        """The position as text."""

    def close(self) -> None: ...
