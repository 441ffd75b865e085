"""Rows for destination tests: one schema with a column of every type, and frames of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.destinations.destination import Applied
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetField, TargetSchema

PROCESSED = datetime(2025, 10, 27, 10, 30, tzinfo=UTC)

FIELDS = (
    TargetField("id", pa.int64(), required=True),
    TargetField("region", pa.string(), required=True),
    TargetField("small", pa.int32()),
    TargetField("flag", pa.bool_()),
    TargetField("ratio", pa.float64()),
    TargetField("amount", pa.decimal128(12, 2)),
    TargetField("huge", pa.decimal128(38, 10)),
    TargetField("note", pa.string()),
    TargetField("blob", pa.binary()),
    TargetField("day", pa.date32()),
    TargetField("seen", pa.timestamp("us")),
    TargetField("updated", pa.timestamp("us", "UTC")),
    TargetField("_cdc_operation", pa.string()),
    TargetField("_cdc_timestamp", pa.timestamp("us", "UTC")),
    TargetField("_cdc_source_lsn", pa.string()),
)
SCHEMA = TargetSchema(FIELDS, ("id",))
COMPOSITE = TargetSchema(FIELDS, ("id", "region"))
NAMES = [field.name for field in FIELDS]
TYPES = pl.Schema({field.name: polars_type(field.type) for field in FIELDS})

_PLAIN: Mapping[str, Any] = {
    "region": "north",
    "small": 7,
    "flag": True,
    "ratio": 0.5,
    "amount": Decimal("12.30"),
    "huge": Decimal("1234567890123456789012345678.0123456789"),
    "note": "plain",
    "blob": b"\x00\xff",
    "day": date(2025, 5, 17),
    "seen": datetime(2025, 5, 17, 23, 59, 59, 999999),
    "updated": datetime(2025, 5, 17, 23, 59, 59, 999999, tzinfo=UTC),
}


def row(id: int, lsn: int = 1, operation: str = "INSERT", **values: Any) -> dict[str, Any]:
    """One row; what is not given is plain."""
    cdc = {
        "_cdc_operation": operation,
        "_cdc_timestamp": PROCESSED,
        "_cdc_source_lsn": f"00000000/{lsn:08X}",
    }
    return {"id": id, **_PLAIN, **cdc, **values}


def deleted(id: int, lsn: int, **key: Any) -> dict[str, Any]:
    """A DELETE that holds its key alone."""
    return row(id, lsn, "DELETE", **dict.fromkeys(_PLAIN)) | key


def frame(*rows: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=TYPES, orient="row")


def frames(*rows: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    """Each row as a frame of its own."""
    return iter([frame(row) for row in rows])


def at(version: int, log: str = "log") -> Applied:
    return Applied(log, version, f"00000000/{version:08X}")


def by_key(rows: pl.DataFrame, key: Sequence[str] = ("id", "region", "_cdc_source_lsn")) -> pl.DataFrame:
    return rows.sort(list(key), nulls_last=True)
