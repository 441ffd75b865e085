"""The commits of a Delta table, read from its log: what each did to rows and columns.

What a version changed is in its `cdc` files where it has some. Otherwise its removed files' rows were deleted and its
added files' rows inserted; files that carry rows on (`dataChange` false: compaction, a widened column) are no change.
Formats: PROTOCOL.md, "Actions", "Add CDC File", "Change Data Files".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cdc_platform.delta_commit import LOG
from cdc_platform.errors import NotUnderstood
from cdc_platform.lake.delta_columns import MAPPING, DeltaColumn, check_features, columns_of
from cdc_platform.model.target import SOURCE_IDS

_COMMIT_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file of changed rows; `change` is what became of all of them, None where the file says it row by row. `path`
    (as the log writes it) and `values` (partition values by physical name) are as in the log."""

    path: str
    values: Mapping[str, str | None]
    change: str | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One version. `columns` are the table's from here on, and `table_id` its id, where the commit says them
    anew."""

    version: int
    time: datetime
    files: tuple[ChangedFile, ...]
    columns: Sequence[DeltaColumn] | None = None
    table_id: str | None = None


def latest_version(path: Path) -> int | None:
    """The table's newest version, None where there is no table. Reads names alone."""
    try:
        names = [name.stem for name in (path / LOG).iterdir() if name.suffix == ".json"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    return max((int(name) for name in names if len(name) == _COMMIT_DIGITS and name.isdecimal()), default=None)


def commit_file(path: Path, version: int) -> Path:
    """Where a version's commit is."""
    return path / LOG / f"{version:0{_COMMIT_DIGITS}d}.json"


def read_commit(path: Path, version: int) -> Commit:
    """Raises FileNotFoundError where the log holds the version no more, NotUnderstood for what is not read here."""
    log = commit_file(path, version)
    found: dict[str, list[ChangedFile]] = {"cdc": [], "remove": [], "add": []}
    milliseconds = columns = table_id = None
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            ((kind, action),) = json.loads(line).items()
            if kind == "commitInfo":
                milliseconds = action.get("inCommitTimestamp", action.get("timestamp"))
            elif kind == "metaData":
                columns, table_id = _columns(action), action["id"]
                check_features((), action.get("configuration") or {}, f"Delta table {path}")
            elif kind == "protocol":
                check_features(action.get("readerFeatures") or (), {}, f"Delta table {path}")
            elif kind in found and (kind == "cdc" or action.get("dataChange")):
                found[kind].append(_changed(kind, action, path, version))
    if milliseconds is None:
        milliseconds = log.stat().st_mtime_ns // 1_000_000
    files = found["cdc"] or [*found["remove"], *found["add"]]
    return Commit(version, datetime.fromtimestamp(milliseconds / 1000, UTC), tuple(files), columns, table_id)


def _changed(kind: str, action: Mapping[str, Any], path: Path, version: int) -> ChangedFile:
    if action.get("deletionVector"):
        raise NotUnderstood(
            f"Delta table {path}: version {version} uses deletion vectors, which this platform does not read"
        )
    change = {"cdc": None, "add": "insert", "remove": "delete"}[kind]
    values = action.get("partitionValues")
    if values is None:
        raise NotUnderstood(f"Delta table {path}: version {version} removes a file without saying its partition")
    return ChangedFile(action["path"], values, change)


def _columns(action: Mapping[str, Any]) -> list[DeltaColumn]:
    configuration = action.get("configuration") or {}
    mapped = configuration.get(MAPPING, "none") != "none"
    ids = json.loads(configuration.get(SOURCE_IDS, "{}"))
    return columns_of(json.loads(action["schemaString"])["fields"], ids, mapped)
