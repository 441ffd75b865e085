"""The last error of each pipeline, kept for `cdc status`. A cache: losing it loses nothing that matters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cdc_platform.engine.places import file_name
from cdc_platform.errors import CdcError
from cdc_platform.failpoints import failpoint


@dataclass(frozen=True, slots=True)
class LastError:
    """`kind` is that of the error tree, `at` an ISO time in UTC."""

    message: str
    kind: str
    at: str


def remember(home: Path, pipeline: str, error: CdcError | None) -> None:
    """Keep the pipeline's error, or forget it after a success. A home that cannot be written has louder failures."""
    file = _file(home, pipeline)
    try:
        if error is None:
            file.unlink(missing_ok=True)
            failpoint("memory.written")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        file.write_text(json.dumps({"message": str(error), "kind": error.kind, "at": now}))
        failpoint("memory.written")
    except OSError:
        return


def recall(home: Path, pipeline: str) -> LastError | None:
    """The error of the pipeline's last run; None when it went well."""
    try:
        return LastError(**json.loads(_file(home, pipeline).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _file(home: Path, pipeline: str) -> Path:
    return home / "state" / f"{file_name(pipeline)}.json"
