"""Earlier versions of a Delta table: which commit of the change log each holds, and whether it can still be read.

A version is opened by its number as long as its log is there; its rows are there as long as no vacuum took its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from cdc_platform.destinations import delta_log
from cdc_platform.destinations.delta_log import LOG
from cdc_platform.destinations.destination import Applied, TableVersion
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.evidence import Evidence


def versions(path: Path, log_id: str) -> Iterator[TableVersion]:
    """The commits that hold a version of this change log, the newest first."""
    for file in sorted((path / LOG).glob("[0-9]*.json"), reverse=True):
        try:
            info, added, removed = _commit(file)
        except FileNotFoundError:  # cleaned up meanwhile, and all older ones with it
            return
        if info.get(delta_log.LOG_ID) != log_id:
            continue
        evidence = info.get(delta_log.EVIDENCE)
        yield TableVersion(
            int(file.stem),
            Applied(log_id, int(info[delta_log.VERSION]), str(info.get(delta_log.POSITION, ""))),
            datetime.fromtimestamp(info["timestamp"] / 1000, UTC),
            Evidence.parse(evidence) if evidence else None,
            added,
            removed,
        )


def load(table: DeltaTable, path: Path, version: int, name: str) -> None:
    """Bring the table to one of its versions. Raises NeedsPerson where that cannot be read any more."""
    try:
        table.load_as_version(version)
    except (DeltaError, OSError) as error:
        raise NeedsPerson(
            f"{name} has no version {version} that can be opened: the numbers go up to {table.version()}, and its log "
            "is kept for a limited time; the change log has the rows of every position"
        ) from error
    paths = pa.table(table.get_add_actions())["path"].to_pylist()
    if not all((path / unquote(file)).exists() for file in paths):
        raise NeedsPerson(
            f"{name}: version {version} has lost files to a vacuum; the change log has the rows of every position"
        )


def opening(path: Path, version: int) -> dict[str, str]:
    """How other tools open a version."""
    text = str(path)
    literal = "'" + text.replace("'", "''") + "'"
    return {
        "duckdb": f"from delta_scan({literal}, version => {version})",
        "deltalake": f"DeltaTable({text!r}, version={version})",
        "spark": f'spark.read.format("delta").option("versionAsOf", {version}).load({text!r})',
    }


def _commit(file: Path) -> tuple[dict[str, Any], int, int]:
    """What a commit says of itself, and how many data files it adds and removes."""
    info: dict[str, Any] = {}
    counts = {"add": 0, "remove": 0}
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            # The long lines are those of files, which are only counted.
            for kind in counts:
                if line.startswith(f'{{"{kind}"'):
                    counts[kind] += 1
                    break
            else:
                action = json.loads(line)
                info |= action.get("commitInfo", {})
    return info, counts["add"], counts["remove"]
