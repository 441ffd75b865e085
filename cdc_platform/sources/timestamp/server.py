"""What the timestamp-based source asks of a database: the seam between it and the servers' own ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import polars as pl

from cdc_platform.model.keeping import Extent
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.source import Snapshot

Numbered = Callable[[int], int]
"""The place of a snapshot from the server's time, in microseconds since 1970: that time, or later where the clock was
set back."""


class View(Snapshot, Protocol):
    """A consistent read of the server's tables, whose places are times. `taken` is the server's clock just before:
    everything committed by then is in."""

    @property
    def taken(self) -> datetime: ...

    def since(self, table: TableName, column: str, value: int | None) -> Iterator[pl.DataFrame]:
        """Rows whose `column` is at or behind `value` (None: all that have one), in the order of column and key;
        bounded memory. Values of the column are microseconds since 1970, of UTC or of its own clock."""

    def without(self, table: TableName, column: str) -> Iterator[pl.DataFrame]:
        """Rows that have no value in `column`, in the order of the key."""

    def highest(self, table: TableName, column: str, below: int) -> pl.Series:
        """The column's highest value at or before `below`; none where there is none."""


class Server(Protocol):
    """One database, read with no right but SELECT. Errors are those of the tree in `errors`."""

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        """As `Source.schemas`."""

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        """As `Source.fingerprints`; `storage` also tells of statements that took or changed all rows."""

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        """As `Source.rewritten_by`, where nothing but the catalogue tells of a statement."""

    def identity(self) -> str:
        """As `Source.identity`."""

    def extent(self, table: TableName) -> Extent:
        """As `Source.extent`."""

    def check(self, tables: Sequence[TableName]) -> None:
        """Whether the user may read the tables, and whether they can be read consistently."""

    def indexed(self, table: TableName, column: str) -> bool:
        """Whether an index begins with the column, or may: it is no fault where there is none."""

    def now(self) -> datetime:
        """The server's clock, in UTC."""

    def view(self, tables: Sequence[TableName], readers: int, place: Numbered) -> AbstractContextManager[View]:
        """The state of these tables, none of which can be altered meanwhile."""

    def close(self) -> None: ...
