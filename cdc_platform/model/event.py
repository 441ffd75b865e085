"""The standard change event (data model, section 2.1) as columns: what a change log holds.

A log's columns are the event's own, then three of bookkeeping that `cdc events` does not show:
`_at` and `_ordinal` (the change's place in the source's log, see position.py) and `_snapshot`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cdc_platform.model.change import DELETE, INSERT, OPERATION, TIMESTAMP_UTC, UPDATE, ChangeBatch
from cdc_platform.model.event_rules import kept
from cdc_platform.model.position import fixed_width_text
from cdc_platform.model.schema import TableName

System = Literal["postgres", "mysql", "deltalake", "iceberg"]
Connector = Literal["debezium", "native", "timestamp-based"]

BOOKKEEPING = ("_at", "_ordinal", "_snapshot")
COMPARED = 1 << 32
"""Ordinals from here on are of events that a comparison with the source made: no change in the log has so many."""

_UTC = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a log's events come from. `identity` is the source's (Source.identity); it salts the event ids."""

    system: System
    database: str
    table: TableName
    identity: str
    connector: Connector = "native"

    @property
    def salt(self) -> bytes:
        """16 bytes that differ for any two tables of any two servers."""
        text = "\x00".join((self.system, self.identity, self.database, self.table.schema, self.table.name))
        return hashlib.blake2b(text.encode(), digest_size=16).digest()


def log_schema(images: pa.StructType) -> pa.Schema:
    """The Arrow schema of a change log whose `before` and `after` are of the type `images`."""
    text = pa.string()
    return pa.schema(
        [
            ("event_id", text),
            ("source", pa.struct([(n, text) for n in ("system", "database", "schema", "table", "connector")])),
            ("operation", text),
            ("timestamp", pa.struct([(n, _UTC) for n in ("source_ts", "capture_ts", "process_ts")])),
            ("before", images),
            ("after", images),
            (
                "metadata",
                pa.struct(
                    [
                        ("transaction_id", text),
                        ("lsn", text),
                        ("schema_version", text),
                        ("primary_key", pa.list_(text)),
                    ]
                ),
            ),
            ("_at", pa.int64()),
            ("_ordinal", pa.int64()),
            ("_snapshot", pa.bool_()),
        ]
    )


def events(
    batch: ChangeBatch,
    origin: Origin,
    schema_version: int,
    captured: datetime,
    snapshot: bool,
    first_part: int | None = None,
) -> pl.DataFrame:
    """The batch as standard events, in its order. `captured` is when its bytes arrived; processing is now.

    With `first_part`, all changes are parts of one thing at one place (the rows of a TRUNCATE), numbered from there on.

    Clocks of two machines differ, one clock may be set back, and the rule is source_ts <= capture_ts <= process_ts:
    where an earlier step's clock is ahead, the later ones are lifted to its time. All rules of events are asked of the
    batch (event_rules.py).
    """
    processed = datetime.now(UTC)
    frame = _split_key_changes(batch.frame, batch.schema.primary_key)
    # Two steps a place in the log: a change of the key is two events.
    steps = 2 * frame["ordinal"].to_numpy() + frame["step"].to_numpy()
    if first_part is None:
        ids = event_ids(origin.salt, frame["at"].to_numpy(), steps)
    else:
        parts = np.arange(first_part, first_part + frame.height)
        ids = event_ids(_part_salt(origin.salt, int(steps[0])), frame["at"].to_numpy(), parts)
    source_ts = pl.col("source_ts")
    key = pl.lit(list(batch.schema.primary_key), pl.List(pl.String))
    made = frame.select(
        ids.alias("event_id"),
        pl.struct(
            pl.lit(origin.system).alias("system"),
            pl.lit(origin.database).alias("database"),
            pl.lit(origin.table.schema).alias("schema"),
            pl.lit(origin.table.name).alias("table"),
            pl.lit(origin.connector).alias("connector"),
        ).alias("source"),
        pl.col("operation").cast(pl.String),
        pl.struct(
            source_ts,
            pl.max_horizontal(source_ts, pl.lit(captured, TIMESTAMP_UTC)).alias("capture_ts"),
            pl.max_horizontal(source_ts, pl.lit(captured, TIMESTAMP_UTC), pl.lit(processed, TIMESTAMP_UTC)).alias(
                "process_ts"
            ),
        ).alias("timestamp"),
        "before",
        "after",
        pl.struct(
            "transaction_id", "lsn", pl.lit(str(schema_version)).alias("schema_version"), key.alias("primary_key")
        ).alias("metadata"),
        pl.col("at").alias("_at"),
        pl.col("ordinal").alias("_ordinal"),
        pl.lit(snapshot).alias("_snapshot"),
    )
    return kept(made, batch.schema.primary_key)


def _split_key_changes(frame: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Changes with their `step`. An UPDATE of the primary key becomes two: the DELETE of the old key (step 0), then the
    INSERT of the new one (step 1), because an event's key does not change (data model, 8.2)."""
    frame = frame.with_columns(pl.lit(0, pl.Int64).alias("step"))
    if not key:
        return frame
    moved = frame.select(
        (pl.col("operation") == UPDATE)
        & pl.col("before").is_not_null()
        & pl.any_horizontal(pl.col("before").struct.field(k).ne_missing(pl.col("after").struct.field(k)) for k in key)
    ).to_series()
    if not moved.any():
        return frame
    updates, empty = frame.filter(moved), pl.lit(None)
    parts = [
        frame.filter(~moved),
        updates.with_columns(pl.lit(DELETE, OPERATION).alias("operation"), empty.alias("after")),
        updates.with_columns(
            pl.lit(INSERT, OPERATION).alias("operation"), empty.alias("before"), pl.lit(1, pl.Int64).alias("step")
        ),
    ]
    return pl.concat(parts, how="vertical_relaxed").cast(frame.schema).sort("at", "ordinal", "step")


def _part_salt(salt: bytes, step: int) -> bytes:
    return hashlib.blake2b(step.to_bytes(16, "little", signed=True), key=salt, digest_size=16).digest()


def event_ids(salt: bytes, at: npt.NDArray[np.int64], ordinal: npt.NDArray[np.int64]) -> pl.Series:
    """Version-4 UUIDs as text, a function of (salt, at, ordinal) alone: the same change has the same id at each replay.

    122 bits from two lanes of the splitmix64 finaliser (Steele, Lea, Flood: Fast splittable pseudorandom
    number generators, 2014), keyed by the halves of the salt.
    """
    places, ordinals = at.astype(np.uint64), ordinal.astype(np.uint64)
    lanes = np.empty((len(at), 2), np.uint64)
    for lane, key in enumerate(np.frombuffer(salt, "<u8")):
        lanes[:, lane] = _mix(_mix(_mix(places ^ key) + ordinals) ^ key)
    raw = lanes.view(np.uint8).reshape(-1, 16)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = np.full((len(at), 36), ord("-"), np.uint8)
    columns = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
    hexadecimal = np.frombuffer(b"0123456789abcdef", np.uint8)
    text[:, columns[0::2]] = hexadecimal[raw >> 4]
    text[:, columns[1::2]] = hexadecimal[raw & 15]
    return fixed_width_text(text)


def _mix(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """splitmix64's finaliser: a bijection of 64-bit words."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
