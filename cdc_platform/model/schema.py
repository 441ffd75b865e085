"""The shape of a source table: names, columns with their Arrow types, the primary key.

Pure descriptions. How a server's type becomes an Arrow type is the business of each source's `types.py`;
how an Arrow type becomes a destination's is that of `model/projection.py` and the destinations.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True, order=True, slots=True)
class TableName:
    """A table inside one source: `schema` is a Postgres schema or a MySQL database."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: `type` is what both snapshot and stream deliver, `source_type` as the server declares it.

    `source_id` is what survives a rename and is never given to another column of the table: Postgres' attribute number.
    MySQL has none: its source says None, and evolution.py hands out numbers and carries them through renames.
    """

    name: str
    type: pa.DataType
    nullable: bool
    source_type: str
    source_id: int | None = None


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A table's columns in the source's order, and its primary key: the columns by which the log tells rows apart
    (the replica identity's index where that is another; empty when there is none).

    `last_id` is the highest `source_id` ever handed out for the table, 0 where the source has its own.
    """

    table: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    last_id: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    @property
    def row_type(self) -> pa.StructType:
        """The Arrow struct of one row image, all fields nullable (an image of a deleted key may lack columns)."""
        return pa.struct([pa.field(column.name, column.type) for column in self.columns])


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Two texts to keep and compare, each empty where the source has nothing of the kind.

    `identity` changes when the table was dropped and made again, or was out of what the log is decoded for in between:
    changes may be lost. `storage` changes when all rows may have been rewritten without row changes in the log (the
    table's files were replaced, a partition came or went): the rows have to be compared once.
    """

    identity: str = ""
    storage: str = ""

    @property
    def table(self) -> str:
        """The part of `identity` (the first, up to a semicolon) that is the table's own: another one, another table."""
        return self.identity.partition(";")[0]
