"""The change data feed of a Delta table, read from its log: for mapped tables too, which deltalake's reader refuses.

    versions start..end ──> files of each are there? ──> one version after another, one file after another
                            no: Gap, before a row is given

What a version changed is said by its commit (delta_commits.py).
Rows are named and typed as in version `end`: a column is known by its physical name, which no rename changes, so one
that a version did not have is null, and one that has been dropped since is not shown.
Formats: PROTOCOL.md, "Add CDC File", "Change Data Files".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.errors import ConfigError, Gap, Lost, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.lake import delta_columns
from cdc_platform.lake.delta_columns import CHANGE_TYPE, DeltaColumn
from cdc_platform.lake.delta_commits import ChangedFile, Commit, commit_file, read_commit
from cdc_platform.lake.delta_rows import read_rows
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
    delta_columns.check_readable(table, name)
    columns = delta_columns.actual_columns(table)
    if hidden := {column.name for column in columns} & {CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP}:
        raise NotUnderstood(f"{name} has a column {min(hidden)} of its own, which the feed's would hide; rename it")
    _check_there(path, start, end, name)
    for version in range(start, end + 1):
        try:
            commit = read_commit(path, version)
            for file in commit.files:
                yield from _changes(path, commit, file, columns)
        except FileNotFoundError as error:
            raise Gap(
                f"{name}: version {version} was vacuumed while its changes were read; read again", Lost.LOG_PURGED
            ) from error
        except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
            raise NeedsPerson(f"{name}: the changes of version {version} cannot be read: {_line(error)}") from error


def _changes(path: Path, commit: Commit, file: ChangedFile, columns: list[DeltaColumn]) -> Iterator[pl.DataFrame]:
    typed = [*columns, DeltaColumn(CHANGE_TYPE, CHANGE_TYPE, None, "string", True, None)]
    for frame in read_rows(path / unquote(file.path), columns if file.change else typed, file.values):
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
        if not (commit_file(path, end)).exists():
            raise Gap(
                f"{name}: version {end} is no more in its log; read from a later version on", Lost.LOG_PURGED
            ) from error
        raise NeedsPerson(f"{name} cannot be read as of version {end}: {_line(error)}") from error
    return table


def _check_there(path: Path, start: int, end: int, name: str) -> None:
    """Raise Gap where a version from `start` on lacks its commit or one of its files."""
    for version in range(end, start - 1, -1):
        try:
            commit = read_commit(path, version)
        except FileNotFoundError:
            raise _gap(name, start, version, end, "is no more in the log") from None
        if any(not (path / unquote(file.path)).exists() for file in commit.files):
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
