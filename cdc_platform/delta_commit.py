"""A commit to a Delta table put in place by hand: one file of JSON actions, `_delta_log/<version>.json`.

It is written beside its place, put on the disk and then linked to it: a link appears whole or not at all, and fails
where the name is taken. So a version is made once, by one writer. What the actions say is the business of whoever
commits (change logs, Delta destinations). Format: Delta transaction log protocol, "Actions".
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cdc_platform.failpoints import failpoint

LOG: Final = "_delta_log"


def put(table: Path, version: int, actions: Sequence[Mapping[str, Any]]) -> None:
    """Make `version` of the table out of these actions, safely on disk.

    Raises FileExistsError where it is made already, OSError.
    """
    log = table / LOG
    staged = log / f"_commit_{uuid.uuid4()}.json.tmp"
    lines = "".join(f"{json.dumps(action, ensure_ascii=False)}\n" for action in actions)
    try:
        with staged.open("x", encoding="utf-8") as sink:
            sink.write(lines)
            sink.flush()
            os.fsync(sink.fileno())
        failpoint("delta.staged")
        os.link(staged, log / f"{version:020d}.json")
        failpoint("delta.linked")
    finally:
        staged.unlink(missing_ok=True)
    sync(log)


def sync(path: Path) -> None:
    """Have the system put a file, or a folder's names, on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
