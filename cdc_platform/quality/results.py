"""Where verdicts are kept: one Delta table with the columns of data-model section 4.2."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.quality.checks import Verdict

SCHEMA = pa.schema(
    [
        ("validation_id", pa.string()),
        ("pipeline_id", pa.string()),
        ("validation_type", pa.string()),
        ("validation_timestamp", pa.timestamp("us", "UTC")),
        ("status", pa.string()),
        ("expected_value", pa.string()),
        ("actual_value", pa.string()),
        ("details", pa.string()),
        ("duration_ms", pa.int64()),
    ]
)


def record(path: Path, verdicts: Sequence[tuple[str, Verdict]]) -> None:
    """Append one row a (pipeline id, verdict), in one commit."""
    now = datetime.now(UTC)
    rows = [
        {
            "validation_id": str(uuid.uuid4()),
            "pipeline_id": pipeline,
            "validation_type": verdict.type,
            "validation_timestamp": now,
            "status": verdict.status,
            "expected_value": verdict.expected,
            "actual_value": verdict.actual,
            "details": verdict.details_json,
            "duration_ms": verdict.duration_ms,
        }
        for pipeline, verdict in verdicts
    ]
    if not rows:
        return
    failpoint("check.recording")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_deltalake(str(path), pa.Table.from_pylist(rows, SCHEMA), mode="append")
        failpoint("check.recorded")
    except (OSError, DeltaError) as error:
        kind = Unavailable if os.access(path if path.exists() else path.parent, os.W_OK) else ConfigError
        raise kind(f"cannot record validation results at {path}: {type(error).__name__}; run again") from error
