"""A Delta table as a `LakeTable`: the commits of its log, and the live files of a version.

A column is known by its physical name, which no rename changes, and which a column has from before column mapping was
switched on: `source_id` is a hash of it. What a commit did to rows: lake/delta_commits.py. Layer: sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cdc_platform.errors import Gap, Lost, NeedsPerson, NotUnderstood
from cdc_platform.lake.delta_columns import DeltaColumn, actual_columns, arrow_type, check_readable
from cdc_platform.lake.delta_commits import commit_file, latest_version, read_commit
from cdc_platform.lake.delta_rows import cells, column_type
from cdc_platform.lake.parquet_rows import Cell
from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import Position
from cdc_platform.model.schema import Column
from cdc_platform.sources.lake.table import CAME, GONE, MIXED, LakeCommit, Part

_SIDES: Final[Mapping[str | None, str]] = {"insert": CAME, "delete": GONE, None: MIXED}


@dataclass(frozen=True, slots=True)
class DeltaShape:
    """The columns of a Delta table in one of its versions."""

    held: Sequence[DeltaColumn]
    table: str

    @property
    def columns(self) -> Sequence[Column]:
        found = []
        for column in self.held:
            kind = arrow_type(column.word)
            if kind is None:
                raise NotUnderstood(
                    f"{self.table}: column '{column.name}' is {column.word}, which this platform does not read; leave "
                    "it out of the table that is followed"
                )
            found.append(Column(column.name, kind, not column.required, column.word, _number(column.physical)))
        return found

    @property
    def generated(self) -> frozenset[str]:
        return frozenset(column.name for column in self.held if column.generated is not None)

    @property
    def key(self) -> tuple[str, ...]:
        """Delta has no keys."""
        return ()

    def cells(self, part: Part, names: Sequence[str]) -> list[Cell]:
        by_name = {column.name: column for column in self.held}
        wanted = [by_name[name] for name in names]
        if isinstance(part.known, _Values):
            outside = [column for column in wanted if column.physical in part.known.values]
            plain = {cell.name: cell for cell in cells([c for c in wanted if c not in outside], {})}
            typed = {c.name: Cell(c.name, column_type(c), constant=part.known.of(c)) for c in outside}
            return [typed.get(name) or plain[name] for name in names]
        return cells(wanted, part.known)


@dataclass(frozen=True, slots=True)
class _Values:
    """The partition values of a live file, typed, by physical name."""

    values: Mapping[str, Any]

    def of(self, column: DeltaColumn) -> pl.Series:
        series = pl.from_arrow(pa.array([self.values[column.physical].as_py()], self.values[column.physical].type))
        assert isinstance(series, pl.Series)
        return series.cast(column_type(column))


class DeltaLakeTable:
    """The table at `path`; see `table.LakeTable`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"Delta table {path.name}"

    def head(self) -> int | None:
        return latest_version(self._path)

    def identity(self) -> str:
        return str(self._opened().metadata().id)

    def shape(self) -> DeltaShape:
        return self._shape(self._opened())

    def check_from(self, start: Position) -> None:
        version, head = start.at, self.head()
        if head is not None and version <= head and not commit_file(self._path, version).exists():
            raise Gap(
                f"{self.name}: the commit of version {version} is no more in its log, which was cleaned up to version "
                f"{self.available()} before it was read; run: cdc resync",
                Lost.LOG_PURGED,
            )

    def mark(self, version: int) -> str | None:
        try:
            return hashlib.blake2b(commit_file(self._path, version).read_bytes(), digest_size=8).hexdigest()
        except FileNotFoundError:
            return None

    def available(self) -> int:
        head = self.head()
        version = head if head is not None else 0
        while version > 0 and commit_file(self._path, version - 1).exists():
            version -= 1
        return version

    def commits(self, start: int, end: int) -> Iterator[LakeCommit]:
        if start > end:
            return
        columns = self._columns_before(start)
        for version in range(start, end + 1):
            commit = read_commit(self._path, version)
            former, columns = columns, commit.columns if commit.columns is not None else columns
            parts = tuple(Part(self._file(file.path), _SIDES[file.change], file.values) for file in commit.files)
            self._check_there(parts, version)
            shapes = (DeltaShape(former, self.name), DeltaShape(columns, self.name))
            yield LakeCommit(version, commit.time, *shapes, parts)

    def snapshot(self, version: int) -> tuple[DeltaShape, list[Part]]:
        table = self._opened(version)
        shape = self._shape(table)
        partitions = {c.physical: c.name for c in shape.held if c.name in table.metadata().partition_columns}
        adds = pa.table(table.get_add_actions())
        values = adds["partition"].combine_chunks() if partitions and adds.num_rows else None
        parts = []
        for number, path in enumerate(adds["path"].to_pylist()):
            held = {physical: values.field(name)[number] for physical, name in partitions.items()} if values else {}
            parts.append(Part(self._file(path), CAME, _Values(held)))
        parts.sort(key=lambda part: str(part.path))
        return shape, parts

    def extent(self) -> Extent:
        adds = pa.table(self._opened().get_add_actions())
        return Extent(sum(adds["num_records"].to_pylist()) if adds.num_rows else 0, sum(adds["size_bytes"].to_pylist()))

    def _columns_before(self, start: int) -> Sequence[DeltaColumn]:
        """The columns that the table had when it came to `start`: those of the version before it, or, where that
        cannot be opened any more, its own."""
        for version in (start - 1, start):
            try:
                return self._shape(self._opened(version)).held
            except (NeedsPerson, OSError):
                if version == start:
                    raise
        raise AssertionError

    def _opened(self, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(str(self._path), version=version)
        except (DeltaError, OSError) as error:
            reason = (str(error).splitlines() or [""])[0][:200]
            at = "" if version is None else f" as of version {version}"
            raise NeedsPerson(f"{self.name} cannot be read{at}: {reason}") from error

    def _shape(self, table: DeltaTable) -> DeltaShape:
        check_readable(table, self.name)
        return DeltaShape(actual_columns(table), self.name)

    def _file(self, path: str) -> Path:
        return self._path / unquote(path)

    def _check_there(self, parts: Sequence[Part], version: int) -> None:
        if not all(part.path.exists() for part in parts):
            raise Gap(
                f"{self.name}: the changes of version {version} are gone, its files were vacuumed before they were "
                "read; run: cdc resync, and let the table keep them for longer (delta.deletedFileRetentionDuration, "
                "vacuum's retention)",
                Lost.LOG_PURGED,
            )


def _number(physical: str) -> int:
    """48 bits, so that JSON readers that know doubles alone keep it."""
    return int.from_bytes(hashlib.blake2b(physical.encode(), digest_size=6).digest(), "big") + 1
