"""The change data feed of a Delta table, read from its log: for mapped tables too, which deltalake's reader refuses.

    versions start..end ──> files of each are there? ──> one version after another, one file after another
                            no: Gap, before a row is given

What a version changed is in its `cdc` files where it has some. Otherwise its removed files' rows were deleted and its
added files' rows inserted; files that carry rows on (`dataChange` false: compaction, a widened column) are no change.
Rows are named and typed as in version `end`: a column is known by its physical name, which no rename changes, so one
that a version did not have is null, and one that has been dropped since is not shown.
Formats: PROTOCOL.md, "Add CDC File", "Change Data Files".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.destinations import delta_table
from cdc_platform.destinations.delta_log import LOG
from cdc_platform.destinations.delta_rows import read_rows
from cdc_platform.destinations.delta_table import DeltaColumn
from cdc_platform.destinations.delta_write import CHANGE_TYPE
from cdc_platform.errors import ConfigError, Gap, Lost, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.model.change import TIMESTAMP_UTC

COMMIT_VERSION: Final = "_commit_version"
COMMIT_TIMESTAMP: Final = "_commit_timestamp"


def read_feed(path: Path, start: int, end: int) -> Iterator[pl.DataFrame]:
    """All changes of the versions `start` to `end`, both included, in version order and bounded memory.

    Frames have the columns of version `end` (generated ones too), `_change_type` (insert, update_preimage,
    update_postimage, delete), `_commit_version` and `_commit_timestamp` (UTC). Raises Gap where a version or its files
    are gone, Unavailable where `end` is not there yet, NotUnderstood, NeedsPerson.
    """
    name = f"Delta table {path}"
    table = _opened(path, end, name)
    delta_table.check_readable(table, name)
    columns = delta_table.actual_columns(table)
    if hidden := {column.name for column in columns} & {CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP}:
        raise NotUnderstood(f"{name} has a column {min(hidden)} of its own, which the feed's would hide; rename it")
    _check_there(path, start, end, name)
    for version in range(start, end + 1):
        try:
            commit = _Commit.read(path, version)
            for file in commit.files:
                yield from _changes(path, commit, file, columns)
        except FileNotFoundError as error:
            raise Gap(
                f"{name}: version {version} was vacuumed while its changes were read; read again", Lost.LOG_PURGED
            ) from error
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise NeedsPerson(f"{name}: the changes of version {version} cannot be read: {_line(error)}") from error


@dataclass(frozen=True, slots=True)
class _ChangedFile:
    """A file of changed rows; `change` is what became of all of them, None where the file says it row by row."""

    path: str
    values: Mapping[str, str | None]
    change: str | None


@dataclass(frozen=True, slots=True)
class _Commit:
    version: int
    time: datetime
    files: tuple[_ChangedFile, ...]

    @classmethod
    def read(cls, path: Path, version: int) -> _Commit:
        """Raises FileNotFoundError where the log holds the version no more."""
        log = path / LOG / f"{version:020d}.json"
        found: dict[str, list[_ChangedFile]] = {"cdc": [], "remove": [], "add": []}
        milliseconds = None
        with log.open(encoding="utf-8") as lines:
            for line in lines:
                ((kind, action),) = json.loads(line).items()
                if kind == "commitInfo":
                    milliseconds = action.get("inCommitTimestamp", action.get("timestamp"))
                elif kind in found and (kind == "cdc" or action.get("dataChange")):
                    found[kind].append(_changed(kind, action, path, version))
        if milliseconds is None:
            milliseconds = log.stat().st_mtime_ns // 1_000_000
        files = found["cdc"] or [*found["remove"], *found["add"]]
        return cls(version, datetime.fromtimestamp(milliseconds / 1000, UTC), tuple(files))


def _changed(kind: str, action: Mapping[str, Any], path: Path, version: int) -> _ChangedFile:
    if action.get("deletionVector"):
        raise NotUnderstood(
            f"Delta table {path}: version {version} uses deletion vectors, which this platform does not read"
        )
    change = {"cdc": None, "add": "insert", "remove": "delete"}[kind]
    values = action.get("partitionValues")
    if values is None:
        raise NotUnderstood(f"Delta table {path}: version {version} removes a file without saying its partition")
    return _ChangedFile(unquote(action["path"]), values, change)


def _changes(path: Path, commit: _Commit, file: _ChangedFile, columns: list[DeltaColumn]) -> Iterator[pl.DataFrame]:
    typed = [*columns, DeltaColumn(CHANGE_TYPE, CHANGE_TYPE, None, "string", True, None)]
    for frame in read_rows(path / file.path, columns if file.change else typed, file.values):
        given = frame if file.change is None else frame.with_columns(pl.lit(file.change).alias(CHANGE_TYPE))
        yield given.with_columns(
            pl.lit(commit.version, pl.Int64).alias(COMMIT_VERSION),
            pl.lit(commit.time, TIMESTAMP_UTC).alias(COMMIT_TIMESTAMP),
        )


def _opened(path: Path, end: int, name: str) -> DeltaTable:
    try:
        table = DeltaTable(str(path))
    except TableNotFoundError as error:
        raise ConfigError(f"there is no Delta table at {path}") from error
    except (DeltaError, OSError) as error:
        raise NeedsPerson(f"{name} cannot be read: {_line(error)}") from error
    if table.version() < end:
        raise Unavailable(f"{name} is at version {table.version()} and not yet at {end}; read again later")
    try:
        table.load_as_version(end)
    except (DeltaError, OSError) as error:
        if not (path / LOG / f"{end:020d}.json").exists():
            raise Gap(
                f"{name}: version {end} is no more in its log; read from a later version on", Lost.LOG_PURGED
            ) from error
        raise NeedsPerson(f"{name} cannot be read as of version {end}: {_line(error)}") from error
    return table


def _check_there(path: Path, start: int, end: int, name: str) -> None:
    """Raise Gap where a version from `start` on lacks its commit or one of its files."""
    for version in range(end, start - 1, -1):
        try:
            commit = _Commit.read(path, version)
        except FileNotFoundError:
            raise _gap(name, start, version, end, "is no more in the log") from None
        if any(not (path / file.path).exists() for file in commit.files):
            raise _gap(name, start, version, end, "has lost its files to a vacuum")


def _gap(name: str, start: int, version: int, end: int, what: str) -> Gap:
    oldest = f"the oldest that can be had is {version + 1}" if version < end else f"none up to {end} can be had"
    return Gap(
        f"{name}: changes from version {start} on are gone: version {version} {what}; {oldest}. "
        "Take the table's rows anew, and its changes from there",
        Lost.LOG_PURGED,
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
