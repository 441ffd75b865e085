"""Small change batches, written as Python rows, for tests of the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.model.change import OPERATION, TIMESTAMP_UTC, ChangeBatch
from cdc_platform.model.event import Origin
from cdc_platform.model.position import format_lsn
from cdc_platform.model.schema import Column, TableName, TableSchema

TABLE = TableName("public", "things")
SCHEMA = TableSchema(
    TABLE,
    (
        Column("id", pa.int32(), nullable=False, source_type="integer", source_id=1),
        Column("name", pa.string(), nullable=True, source_type="text", source_id=2),
    ),
    ("id",),
)
ORIGIN = Origin("postgres", "shop", TABLE, "system-1")
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Row = dict[str, Any] | None


def batch(*changes: tuple[int, int, Row, Row], schema: TableSchema = SCHEMA) -> ChangeBatch:
    """Changes as (at, ordinal, before, after); the operation follows from which images are there."""

    def operation(before: Row, after: Row) -> str:
        return "INSERT" if before is None else "DELETE" if after is None else "UPDATE"

    empty = pl.from_arrow(pa.table({"row": pa.array([], schema.row_type)}))
    assert isinstance(empty, pl.DataFrame)
    frame = pl.DataFrame(
        {
            "operation": [operation(b, a) for _, _, b, a in changes],
            "at": [at for at, *_ in changes],
            "ordinal": [ordinal for _, ordinal, *_ in changes],
            "lsn": [format_lsn(at + ordinal) for at, ordinal, *_ in changes],
            "transaction_id": ["7"] * len(changes),
            "source_ts": [WHEN] * len(changes),
            "before": [b for *_, b, _ in changes],
            "after": [a for *_, a in changes],
        },
        schema={
            "operation": OPERATION,
            "at": pl.Int64,
            "ordinal": pl.Int64,
            "lsn": pl.String,
            "transaction_id": pl.String,
            "source_ts": TIMESTAMP_UTC,
            "before": empty["row"].dtype,
            "after": empty["row"].dtype,
        },
    )
    return ChangeBatch(schema, frame)
