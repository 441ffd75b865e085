"""Where verdicts are kept: one Delta table with the columns of data-model section 4.2, for any reader of Delta tables.

Old rows go, by a commit of their own, whenever new ones come: each pipeline says for how many days its own stay.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

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


def history(path: Path, pipelines: Sequence[str], limit: int) -> pl.DataFrame:
    """The latest `limit` results of these pipelines, the newest first, with the columns of `SCHEMA`."""
    try:
        table = DeltaTable(str(path))
        mine = pl.scan_delta(table).filter(pl.col("pipeline_id").is_in(list(pipelines)))
        return mine.sort("validation_timestamp", descending=True, maintain_order=True).head(limit).collect()
    except TableNotFoundError:
        return pl.DataFrame(schema=dict.fromkeys(SCHEMA.names, pl.String))
    except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"cannot read validation results at {path}: {type(error).__name__}") from error


def retire(path: Path, days: Mapping[str, int]) -> int:
    """Delete results older than the days that each pipeline (by id) keeps them; how many those were.

    Where somebody else commits at the same time, the next check does it.
    """
    now = datetime.now(UTC)
    old = [
        (pl.col("pipeline_id") == pipeline) & (pl.col("validation_timestamp") < now - timedelta(days=kept))
        for pipeline, kept in days.items()
    ]
    try:
        table = DeltaTable(str(path))
        gone = pl.scan_delta(table).filter(pl.any_horizontal(old)).select(pl.len()).collect().item() if old else 0
        if not gone:
            return 0
        predicates = [
            f"(pipeline_id = '{pipeline.replace(chr(39), 2 * chr(39))}' and validation_timestamp < "
            f"arrow_cast('{(now - timedelta(days=kept)).isoformat(timespec='microseconds')}', "
            "'Timestamp(Microsecond, Some(\"UTC\"))'))"
            for pipeline, kept in days.items()
        ]
        table.delete(" or ".join(predicates))
        # Each check adds a file: gathered, and what is not read any more removed, at the table's own retention.
        table.optimize.compact()
        table.vacuum(dry_run=False)
    except (CommitFailedError, TableNotFoundError):
        return 0
    except (OSError, DeltaError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"cannot retire validation results at {path}: {type(error).__name__}") from error
    return int(gone)
