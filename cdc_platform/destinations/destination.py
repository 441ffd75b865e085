"""The seam between the engine and a destination table. Delta and Iceberg implement it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import polars as pl

from cdc_platform.model.evidence import Evidence
from cdc_platform.model.target import TargetField, TargetSchema


@dataclass(frozen=True, slots=True)
class Applied:
    """What travels in a destination's commit: the change log (by its id) and the version of it that is in.

    `position` is the source position of that version as text, for people. A derived table's are its definition, the
    number of the derivation and, in `basis`, what it was made of (engine/derivation); that one alone may be lost with
    old metadata, and is "" then.
    """

    log_id: str
    version: int
    position: str
    basis: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """One commit: the table's new version (Delta) or snapshot id (Iceberg), how many rows it wrote, and the data files
    that came with it (places as the table's metadata writes them)."""

    table_version: int
    rows: int
    files: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class TableVersion:
    """A commit of a change log's changes that the table still knows: its Delta version or Iceberg snapshot id, what of
    the log is in the table then, when it was committed (this machine's clock), the `evidence` in it (None for a
    change of shape), and how many data files it added and took away.
    """

    number: int
    applied: Applied
    committed: datetime
    evidence: Evidence | None
    files_added: int
    files_removed: int


def nothing() -> Evidence | None:
    """No evidence."""
    return None


@dataclass(frozen=True, slots=True)
class Contents:
    """The data files of one version of a table. `read` gives all rows of some of them, by their places in `files`: the
    named columns and `file` (`copy_on_write.FILE`), the file's place; a file's own rows in their order there."""

    files: Sequence[Path]
    sizes: Sequence[int]
    read: Callable[[Sequence[int], Sequence[str]], pl.LazyFrame]


class Destination(Protocol):
    """One table. Every write is one atomic commit that carries `Applied`, so a repeated or lost reply is harmless:

    the caller reads `applied` back, and never writes a version twice. One writer at a time; a conflicting commit
    of somebody else (compaction, another tool) is retried on the reloaded table.
    Raises from the tree in `errors` only.
    """

    def ensure(self, schema: TargetSchema) -> None:
        """Make the table where there is none; where there is one, a shape that differs is a SchemaConflict."""

    def evolve(self, schema: TargetSchema, applied: Applied, drop_unknown: bool = False) -> None:
        """Give the table this shape and record `applied`, in one atomic commit that rewrites no row it need not.

        Columns are known again by `source_id` (the `_cdc_*` ones, which have none, by name): one of another name was
        renamed, one that is missing in `schema` goes, one that is new comes (null in the rows that are there), one
        that is no longer required is relaxed. Types only widen: those in which every old value is the same value.
        What the format cannot do, or would do by guessing, is a SchemaConflict before anything is written. Doing it
        again is harmless. With `drop_unknown`, columns that somebody else added go, instead of being a conflict.
        """

    def applied(self, log_id: str) -> Applied | None:
        """What is in the table, read from its commits; None when no version of this log is.

        A table that holds rows which this log did not write is a SchemaConflict, not None.
        """

    def append(
        self, rows: Iterator[pl.DataFrame], applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        """Add all rows (frames with the columns of the schema) in one commit, in bounded memory.

        `evidence` is asked once all rows were taken, and travels in the commit as well.
        """

    def upsert(
        self, rows: pl.DataFrame, applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        """Set the current state from one row a key: the key's row goes where `_cdc_operation` is DELETE, and is
        replaced or added otherwise. Rows have that column also where the table has it not."""

    def scan(self, columns: Sequence[str] | None = None, version: int | None = None) -> Iterator[pl.DataFrame]:
        """All rows of a version (the latest one without a number), some or all columns, in bounded memory; no rows when
        there is no table.

        Rows have the columns that the table had in that version. One that was expired, or has lost files to a vacuum,
        is NeedsPerson before a row is given.
        """

    def versions(self, log_id: str) -> Iterator[TableVersion]:
        """The table's commits of this change log, the newest first, as far back as its metadata goes."""

    def opening(self, version: int) -> Mapping[str, str]:
        """How other tools open a version: the tool's name and what a person writes there; empty without a table."""

    def set_aside(self, suffix: str) -> str | None:
        """Give the table another name, its own with `suffix`, so that a new one can be begun in its place.

        Returns the new name; None when there is no table. One step: it was done or it was not.
        """

    def contents(self) -> Contents | None:
        """The data files of the latest version; None when there is no table."""

    def mend(self, gone: Mapping[Path, pl.Series | None], rows: Iterator[pl.DataFrame], applied: Applied) -> Written:
        """Put right what is there: in one commit take these rows out and put those in, no others; bounded memory.

        `gone` names rows by file of `contents` and their numbers in it (Int64); None is the whole file, which is not
        read then. Rows are told apart by nothing else, so equal ones may be taken out one by one. The commit keeps
        `applied`, which is what the table has already. Unavailable, and nothing written, where one of the files is no
        part of the table any more: doing it again needs another look.
        """

    def table_version(self) -> int | None:
        """The latest Delta version or Iceberg snapshot id; None when there is no table."""

    def schema(self) -> Sequence[TargetField] | None:
        """The table's columns as they are (Arrow types as in a TargetSchema); None when there is no table.

        Columns that the destination adds for itself (a generated partition column) are not in it.
        """
