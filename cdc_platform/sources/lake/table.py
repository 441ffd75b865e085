"""The seam between a lake source and a table format: what Delta and Iceberg say of their tables' versions.

A version is a whole number that grows from commit to commit: Delta's version, Iceberg's sequence number.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from cdc_platform.lake.parquet_rows import Cell
from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import Position
from cdc_platform.model.schema import Column

GONE, CAME, MIXED = "gone", "came", "mixed"


@dataclass(frozen=True, slots=True)
class Part:
    """A file whose rows all came or are all gone with a commit (or are there, in a snapshot: `CAME`); of a `MIXED` one
    the column `_change_type` says it row by row. `known` is what the format has to know of it to read it."""

    path: Path
    side: str
    known: Any


class Shape(Protocol):
    """A table's columns in one of its versions."""

    @property
    def columns(self) -> Sequence[Column]:
        """All of them, also those that no event shows; `source_id` outlives renames. Raises NotUnderstood."""

    @property
    def generated(self) -> frozenset[str]:
        """Those that the table works out of others."""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that the table itself says tell its rows apart; none where it says nothing."""

    def cells(self, part: Part, names: Sequence[str]) -> list[Cell]:
        """Where these columns are in a file of this version or an earlier one."""


@dataclass(frozen=True, slots=True)
class LakeCommit:
    """What a version did to rows, the shape from there on and the one before it. Rows that were only carried on are in
    no part."""

    version: int
    time: datetime
    before: Shape
    shape: Shape
    parts: tuple[Part, ...]


class LakeTable(Protocol):
    """One table. Every method reads what is there now, and raises from the tree in `errors`, and OSError, pyarrow's and
    Polars' errors where a file cannot be read."""

    @property
    def name(self) -> str:
        """For messages."""

    def head(self) -> int | None:
        """The latest version, None where there is no such table. Costs little: sensors ask."""

    def identity(self) -> str:
        """The table's own id: another one, another table."""

    def shape(self) -> Shape:
        """The table's columns now."""

    def check_from(self, start: Position) -> None:
        """Raise Gap where the history from here on, which may be the next version to come, is not to be had."""

    def mark(self, version: int) -> str | None:
        """What tells this version from another one of the same number (the table restored from a copy, and gone on);
        None where it is not there any more."""

    def available(self) -> int:
        """The first version from which on the history can be had, as far as the metadata says."""

    def commits(self, start: int, end: int) -> Iterator[LakeCommit]:
        """The versions from `start` to `end`, both included, in order; those that say nothing may be missing."""

    def snapshot(self, version: int) -> tuple[Shape, list[Part]]:
        """The live files of a version (the latest one, if nobody commits meanwhile), and its columns now."""

    def extent(self) -> Extent:
        """About how large it is."""
