"""The log of a Delta table, where deltalake's own writers do not reach: commits put in place by hand.

A commit is one file of JSON actions, `_delta_log/<version>.json`. It is written beside its place and then linked to
it: a link appears whole or not at all, and fails where the name is taken. So a version is made once, by one writer.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deltalake import DeltaTable

from cdc_platform.destinations.commit import Conflict
from cdc_platform.destinations.destination import Applied

LOG: Final = "_delta_log"
LOG_ID, VERSION, POSITION = "cdc.log_id", "cdc.version", "cdc.position"
CHECKPOINT_INTERVAL: Final = "delta.checkpointInterval"


def put(table: Path, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
    """Make `version` of the table out of these actions. Raises FileExistsError where it is made already, OSError."""
    log = table / LOG
    staged = log / f"_commit_{uuid.uuid4()}.json.tmp"
    lines = "".join(f"{json.dumps(action, ensure_ascii=False)}\n" for action in actions)
    try:
        with staged.open("x", encoding="utf-8") as sink:
            sink.write(lines)
            sink.flush()
            os.fsync(sink.fileno())
        os.link(staged, log / f"{version:020d}.json")
    finally:
        staged.unlink(missing_ok=True)


def commit(
    table: DeltaTable, root: Path, operation: str, actions: Sequence[Mapping[str, Any]], applied: Applied | None
) -> None:
    """Make the version after the table's, holding `applied` if any; the table is brought up to it.

    Raises Conflict when somebody else made that version first: nothing has been written then.
    """
    noted: list[Mapping[str, Any]] = [commit_info(operation)]
    if applied is not None:
        position = {LOG_ID: applied.log_id, VERSION: str(applied.version), POSITION: applied.position}
        transaction = {"appId": app_id(applied.log_id), "version": applied.version, "lastUpdated": now()}
        noted = [commit_info(operation, **position), {"txn": transaction}]
    try:
        put(root, table.version() + 1, [*noted, *actions])
    except FileExistsError as error:
        raise Conflict from error
    table.update_incremental()
    interval = whole_number(table.metadata().configuration, CHECKPOINT_INTERVAL, 100)
    if interval > 0 and table.version() % interval == 0:
        table.create_checkpoint()
        table.cleanup_metadata()


def whole_number(properties: Mapping[str, str], name: str, default: int) -> int:
    """A table property that is a whole number; what is none counts as not set."""
    try:
        return int(properties.get(name, default))
    except ValueError:
        return default


def commit_info(operation: str, **parameters: Any) -> dict[str, Any]:
    """The first action of a commit: what was done, for people and for `history`."""
    return {
        "commitInfo": {
            "timestamp": now(),
            "operation": operation,
            "operationParameters": {},
            "engineInfo": "cdc-platform",
            **parameters,
        }
    }


def now() -> int:
    """Milliseconds since 1970, as the log counts."""
    return time.time_ns() // 1_000_000


def app_id(log_id: str) -> str:
    """Under which a table keeps the version of a change log that is in it."""
    return f"cdc:{log_id}"
