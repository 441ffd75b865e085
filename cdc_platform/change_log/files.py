"""The Parquet files of a change log: written by Polars, which encodes the columns of a frame in parallel.

Delta's own writer encodes in one thread, and takes twice the time for a log's wide rows on two cores.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.delta_commit import now, sync
from cdc_platform.errors import SchemaConflict


@dataclass(frozen=True, slots=True)
class Written:
    """The actions that make the files part of a table, and the memory that their rows take."""

    actions: list[dict[str, Any]]
    memory: int


FILE_ROWS = 262_144
FILE_BYTES = 128 << 20
COMMIT_BYTES = 256 << 20
_ROW_GROUP_ROWS = 131_072


def write_files(folder: Path, frames: Iterable[pl.DataFrame], schema: pa.Schema) -> Written:
    """Write all frames as files of about `FILE_ROWS` rows, or `FILE_BYTES` in memory, below `folder`, safely on disk.

    Returns one add action a file, and how many bytes all rows took in memory.

    The files count only once a commit names them. After an error, also one that `frames` raises, none is left.
    """
    types = polars_schema(schema)
    written: list[dict[str, Any]] = []
    memory = 0.0
    file = folder / "none"
    try:
        for frame in gathered(frames, FILE_ROWS, FILE_BYTES):
            memory += frame.estimated_size()
            file = folder / f"part-{uuid.uuid4()}.zstd.parquet"
            written.append(_write(file, frame, types))
        if written:
            sync(folder)
    except BaseException:
        for name in (file.name, *(action["add"]["path"] for action in written)):
            (folder / name).unlink(missing_ok=True)
        raise
    return Written(written, int(memory))


def commits(frames: Iterable[pl.DataFrame]) -> Iterator[list[pl.DataFrame]]:
    """The same frames, as many at a time as one commit should hold for those who apply it: about `FILE_ROWS` rows, or
    `COMMIT_BYTES` in memory."""
    held: list[pl.DataFrame] = []
    rows = size = 0
    for frame in frames:
        if held and (rows + frame.height > FILE_ROWS or size + frame.estimated_size() > COMMIT_BYTES):
            yield held
            held, rows, size = [], 0, 0
        held.append(frame)
        rows += frame.height
        size += int(frame.estimated_size())
    if held:
        yield held


def gathered(frames: Iterable[pl.DataFrame], rows: int, size: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of at least `rows` rows or `size` bytes, the last one excepted."""
    held: list[pl.DataFrame] = []
    for frame in frames:
        held.append(frame)
        if sum(f.height for f in held) >= rows or sum(f.estimated_size() for f in held) >= size:
            yield pl.concat(held)
            held = []
    if any(f.height for f in held):
        yield pl.concat(held)


def _write(file: Path, frame: pl.DataFrame, types: pl.Schema) -> dict[str, Any]:
    if frame.schema != types:
        raise SchemaConflict(f"rows for the change log at {file.parent} are not of its shape: {frame.schema}")
    try:
        frame.write_parquet(file, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP_ROWS)
    except pl.exceptions.ComputeError as error:
        # Polars' word for a writer that failed; which error the system gave is lost in it.
        raise OSError(f"a file could not be written; is the disk full? ({error})") from error
    sync(file)
    at = frame["_at"]
    stats = {
        "numRecords": frame.height,
        "minValues": {"_at": at.min()},
        "maxValues": {"_at": at.max()},
        "nullCount": {"_at": 0},
    }
    return {
        "add": {
            "path": file.name,
            "partitionValues": {},
            "size": file.stat().st_size,
            "modificationTime": now(),
            "dataChange": True,
            "stats": json.dumps(stats),
        }
    }


def polars_schema(schema: pa.Schema) -> pl.Schema:
    """The Polars schema that rows of this Arrow schema have."""
    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)
    return frame.schema
