"""Order-independent digests of rows, and the latest state of a history, in bounded memory.

A digest is the sum modulo 2**64, twice with different seeds, of a hash of each row: equal sets of rows give equal
digests in any order and any batching. Both sides must be hashed by the same process and in the same column types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from cdc_platform.model.change import DELETE

_SEEDS = (0x5DEECE66D, 0x9E3779B9)
_COLLAPSE_ROWS = 500_000


@dataclass(frozen=True, slots=True)
class Digest:
    """A number of rows and the sums of their hashes."""

    rows: int
    sums: tuple[int, int]

    def __str__(self) -> str:
        return "".join(f"{word:016x}" for word in self.sums)


def row_hashes(frame: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Two independent hashes of each row, equal for equal rows in this process.

    Polars takes 0.0 and -0.0 for the same; floats are hashed by their bits, every NaN by those of one.
    """
    bits = frame.select(_bits(name, dtype) for name, dtype in frame.schema.items())
    first, second = (bits.hash_rows(seed) for seed in _SEEDS)
    return first, second


def _bits(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if not dtype.is_float():
        return column
    one = pl.when(column.is_nan()).then(pl.lit(float("nan"), dtype)).otherwise(column)
    return one.reinterpret(dtype=pl.UInt32 if dtype == pl.Float32 else pl.UInt64).alias(name)


def digest(frames: Iterable[pl.DataFrame]) -> Digest:
    """The digest of all rows of all frames; every frame has the same columns and types."""
    rows, sums = 0, [0, 0]
    for frame in frames:
        rows += frame.height
        for lane, hashes in enumerate(row_hashes(frame)):
            sums[lane] = (sums[lane] + int(np.sum(hashes.to_numpy(), dtype=np.uint64))) % (1 << 64)
    return Digest(rows, (sums[0], sums[1]))


def latest_digest(
    frames: Iterable[pl.DataFrame], key: Sequence[str], order: Sequence[str], columns: Sequence[str]
) -> Digest:
    """The digest of the latest state of a history: the last row of each key by `order`, where it is no DELETE.

    Keeps the key, the order columns and two hashes of each key's last row, not the rows.
    """
    kept: list[pl.DataFrame] = []
    held, collapsed = 0, 0
    for frame in frames:
        kept.append(_marks(frame, key, order, columns))
        held += frame.height
        if held > 2 * max(collapsed, _COLLAPSE_ROWS):
            kept = [_latest(pl.concat(kept), key, order)]
            held = collapsed = kept[0].height
    if not kept:
        return Digest(0, (0, 0))
    last = _latest(pl.concat(kept), key, order).filter(~pl.col("deleted"))
    sums = [int(np.sum(last[f"hash:{lane}"].to_numpy(), dtype=np.uint64)) for lane in (0, 1)]
    return Digest(last.height, (sums[0], sums[1]))


def _marks(frame: pl.DataFrame, key: Sequence[str], order: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    content = frame.select(columns)
    return frame.select(
        *(pl.col(k).alias(f"key:{k}") for k in key),
        *(pl.col(o).alias(f"order:{o}") for o in order),
        (pl.col("_cdc_operation") == DELETE).alias("deleted"),
        *(hashes.alias(f"hash:{lane}") for lane, hashes in enumerate(row_hashes(content))),
    )


def _latest(marks: pl.DataFrame, key: Sequence[str], order: Sequence[str]) -> pl.DataFrame:
    """The last row of each key; at one place a key goes before it comes."""
    ordered = marks.sort([*(f"order:{o}" for o in order), "deleted"], descending=[*(False for _ in order), True])
    return ordered.unique(subset=[f"key:{k}" for k in key], keep="last", maintain_order=False)
