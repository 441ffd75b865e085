"""What a verification found equal, kept for the next one. A cache below CDC_HOME/state/verified: losing it costs time.

    by part    the digest of the state on which source and log agreed
    by file    rows and digest by part, of every file of the log and of the destination, under the file's identity

A file whose identity is another is read again, a part that has changes since is compared again. Nothing is kept of a
part that differed. All of it goes where the table's shape, the pipeline's columns, the log, or this platform's way of
hashing is another, and when what was last read whole is older than `DAYS`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from cdc_platform.engine.places import file_name
from cdc_platform.engine.verification.files import Identity
from cdc_platform.engine.verification.marks import ALL, HELD, ROWS, VALUES
from cdc_platform.engine.verification.parts import PART, Parts
from cdc_platform.model.digest import row_hashes

DAYS: Final = 7
_FORMAT: Final = 1
_META: Final = "cdc.verified"
_STATE, _LOG, _LAKE = "state", "log", "lake"
_FILE_COLUMNS: Final = ("path", "size", "modified", "changed", "inode")
_WORD: Final[pl.DataType] = pl.UInt64()
_NUMBER: Final[pl.DataType] = pl.Int64()
_COUNTED: Final[dict[str, pl.DataType]] = {PART: pl.UInt32(), ROWS: _NUMBER}
STATE: Final = pl.Schema({**_COUNTED, HELD: _NUMBER, **dict.fromkeys((*VALUES, *ALL), _WORD)})
FILES: Final = pl.Schema({**_COUNTED, **dict.fromkeys(ALL, _WORD)})
_SCHEMA: Final = pl.Schema(
    {"side": pl.String(), "path": pl.String(), **dict.fromkeys(_FILE_COLUMNS[1:], _NUMBER), **STATE}
)


@dataclass(slots=True)
class Kept:
    """`state` is of the schema `STATE`, files' frames of `FILES`; `whole` says when all was last read."""

    parts: Parts
    whole: datetime
    state: pl.DataFrame
    log: dict[Identity, pl.DataFrame]
    lake: dict[Identity, pl.DataFrame]


def nothing(parts: Parts) -> Kept:
    return Kept(parts, datetime.now(UTC), pl.DataFrame(schema=STATE), {}, {})


def recall(home: Path, pipeline: str, fingerprint: str, now: datetime | None = None) -> Kept | None:
    """What is kept and may be used; None where there is nothing."""
    file = _file(home, pipeline)
    try:
        meta = json.loads(pl.read_parquet_metadata(file)[_META])
        whole = datetime.fromisoformat(meta["whole"])
        if meta["fingerprint"] != fingerprint or (now or datetime.now(UTC)) - whole > timedelta(days=DAYS):
            return None
        frame = pl.read_parquet(file)
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError):
        return None
    if frame.schema != _SCHEMA:
        return None
    sides = {str(side): rows for (side,), rows in frame.group_by("side")}
    state = sides[_STATE].select(list(STATE)) if _STATE in sides else pl.DataFrame(schema=STATE)
    return Kept(Parts.from_json(meta["parts"]), whole, state, _files(sides.get(_LOG)), _files(sides.get(_LAKE)))


def keep(home: Path, pipeline: str, fingerprint: str, kept: Kept) -> None:
    """Written whole, in one step. A home that cannot be written has louder failures."""
    frames = [_wide(kept.state, _STATE, None)]
    frames += [_wide(frame, side, of) for side, files in _sides(kept).items() for of, frame in files.items()]
    meta = {"fingerprint": fingerprint, "whole": kept.whole.isoformat(), "parts": kept.parts.to_json()}
    file = _file(home, pipeline)
    draft = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.concat(frames).write_parquet(draft, metadata={_META: json.dumps(meta)})
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)


def fingerprint_of(described: str) -> str:
    """What the kept digests depend on beside their rows. Polars' hashes are told by what they make of a sample, because
    they are the same from one version to the next by no promise."""
    sample = pl.DataFrame(
        {"i": [1, None], "f": [0.5, None], "s": ["a", None], "b": [b"a", None], "t": [datetime(2020, 1, 1), None]}
    )
    words = [str(list(series)) for series in row_hashes(sample)]
    text = "\x00".join([str(_FORMAT), pl.__version__, *words, described])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _sides(kept: Kept) -> Mapping[str, Mapping[Identity, pl.DataFrame]]:
    return {_LOG: kept.log, _LAKE: kept.lake}


def _wide(frame: pl.DataFrame, side: str, of: Identity | None) -> pl.DataFrame:
    values = {name: getattr(of, name) if of is not None else None for name in _FILE_COLUMNS}
    own = {"side": side, **values}
    return frame.select(
        pl.col(name) if name in frame.columns else pl.lit(own.get(name), dtype).alias(name)
        for name, dtype in _SCHEMA.items()
    )


def _files(rows: pl.DataFrame | None) -> dict[Identity, pl.DataFrame]:
    if rows is None:
        return {}
    grouped = rows.group_by(_FILE_COLUMNS)
    return {Identity(*key): frame.select(list(FILES)) for key, frame in grouped}


def _file(home: Path, pipeline: str) -> Path:
    return home / "state" / "verified" / f"{file_name(pipeline)}.parquet"
