"""Digests of rows that a database and the lake compute apart and that are equal where the rows are.

    cells ──> canonical text of each ──> row: cells with commas between ──> SHA-256 ──> two words, summed by key range

The first 16 bytes of a row's SHA-256 are two 64-bit numbers, highest byte first; a range's digest is its number of rows
and both sums modulo 2**64. Sums do not depend on the order of rows, and a row that is there twice counts twice.

| Arrow                           | canonical text of a cell                                                        |
|---------------------------------|---------------------------------------------------------------------------------|
| whole numbers, decimal128(p, s) | digits, `s` of them after the point: `-17`, `0.50`                              |
| bool                            | `t`, `f`                                                                        |
| string                          | its length in bytes of UTF-8, a colon, the text: `5:a,"b"`                      |
| binary                          | `x` and hexadecimal                                                             |
| float, double                   | IEEE bytes, highest first, hexadecimal; every NaN is `7fc00000` or `7ff8000...` |
| date32                          | days since 2000-01-01, 4 bytes, highest first, hexadecimal                      |
| timestamp                       | microseconds since 2000-01-01, 8 bytes, hexadecimal                             |

(The last three are Postgres' own binary forms.) A null is the empty text, in a string column a bare colon. Only a
string can hold a comma, and says how long it is: two rows of one shape have the same text only if all cells are equal.

Types that have one text in all these forms digest alike (an int8 kept as an int32, a timestamp taken as UTC): see
`alike`. Whoever digests in SQL keeps to the table; `sources/*/digests.py` say how, and which types cannot. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
import polars_hash  # noqa: F401  gives expressions their `chash`
import pyarrow as pa

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.key_range import KeyRange, places

WORDS = ("first", "second")
SCHEMA = pl.Schema({"range": pl.UInt32, "rows": pl.Int64, "first": pl.UInt64, "second": pl.UInt64})
"""A frame of digests: one row a range, in the order of the ranges, empty ranges with zeros."""

_EPOCH_DAYS, _EPOCH_MICROSECONDS = 10_957, 946_684_800_000_000  # 2000-01-01 since 1970-01-01


def digests(frames: Iterable[pl.DataFrame], columns: Sequence[str], ranges: Sequence[KeyRange]) -> pl.DataFrame:
    """The digest of each range over these columns (at least one) of bare rows; -> SCHEMA.

    Ranges ascend and do not overlap; rows in none of them are left out. Frames have the `columns`, and the ranges' own
    column unless the range is WHOLE; memory holds one frame's hashes at a time.
    """
    rows = np.zeros(len(ranges), np.int64)
    sums = {word: np.zeros(len(ranges), np.uint64) for word in WORDS}
    keys = ranges[0].columns if ranges else ()
    for frame in frames if ranges else ():
        place = places(frame[keys[0]], ranges) if keys else pl.repeat(0, frame.height, dtype=pl.UInt32, eager=True)
        words = row_words(frame.select(columns)).with_columns(place.alias("range")).drop_nulls()
        found = words.group_by("range").agg(pl.len(), *(pl.col(word).sum() for word in WORDS))
        where = found["range"].to_numpy()
        rows[where] += found["len"].to_numpy()
        for word in WORDS:
            sums[word][where] += found[word].to_numpy()  # both wrap at 2**64
    return frame_of(rows, sums["first"], sums["second"])


def frame_of(rows: Any, first: Any, second: Any) -> pl.DataFrame:
    """Digests of ranges 0, 1, ... as a frame of SCHEMA."""
    values = {"range": np.arange(len(rows)), "rows": rows, "first": first, "second": second}
    return pl.DataFrame(values, schema=SCHEMA)


def row_words(frame: pl.DataFrame) -> pl.DataFrame:
    """Two UInt64 columns, `first` and `second`: what each row adds to the sums. Names of columns do not matter."""
    cells = [canonical(series).alias(str(number)) for number, series in enumerate(frame.get_columns())]
    rows = pl.DataFrame(cells).select(pl.concat_str(pl.all(), separator=",").alias("row"))
    hashed = rows.select(pl.col("row").chash.sha2_256())  # type: ignore[attr-defined]
    return hashed.select(
        pl.col("row").str.slice(place, 16).str.to_integer(base=16, dtype=pl.UInt64).alias(word)
        for place, word in ((0, "first"), (16, "second"))
    )


def canonical(series: pl.Series) -> pl.Series:
    """The column's canonical texts, without nulls."""
    kind = series.dtype
    if kind == pl.String:
        length = series.str.len_bytes().cast(pl.String)
        return pl.select(pl.concat_str(length, pl.lit(":"), series, ignore_nulls=True)).to_series()
    if kind == pl.Boolean:
        return (
            pl.select(pl.when(series).then(pl.lit("t")).when(series.not_()).then(pl.lit("f"))).to_series().fill_null("")
        )
    if kind == pl.Binary:
        return pl.select("x" + series.bin.encode("hex")).to_series().fill_null("")
    if kind.is_integer() or kind.is_decimal():
        return series.cast(pl.String).fill_null("")
    if kind == pl.Date:
        return _hexadecimal(series.to_physical(), _EPOCH_DAYS, ">i4")
    if isinstance(kind, pl.Datetime) and kind.time_unit == "us":
        return _hexadecimal(series.to_physical(), _EPOCH_MICROSECONDS, ">i8")
    if kind.is_float():
        return _hexadecimal(series, 0, ">f4" if kind == pl.Float32 else ">f8")
    raise NotUnderstood(f"no canonical form of {kind}")


def alike(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether equal values of the two types have the same canonical text."""
    return _form(one) == _form(other)


def _form(kind: pa.DataType) -> object:
    if pa.types.is_integer(kind):
        return 0
    if pa.types.is_decimal(kind):
        return kind.scale
    return "timestamp" if pa.types.is_timestamp(kind) else kind


def _hexadecimal(values: pl.Series, less: int, layout: str) -> pl.Series:
    """The numbers less `less` in this NumPy layout, as hexadecimal text."""
    numbers = values.fill_null(0).to_numpy()
    laid_out = (numbers - less if less else numbers).astype(layout)
    if values.dtype.is_float():
        laid_out[np.isnan(laid_out)] = np.nan  # one NaN, whatever bits it had
    raw = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(laid_out.itemsize), len(values), [None, pa.py_buffer(laid_out)]
    )
    texts = pl.from_arrow(raw.cast(pa.binary()))
    assert isinstance(texts, pl.Series)
    return pl.select(pl.when(values.is_not_null()).then(texts.bin.encode("hex")).otherwise(pl.lit(""))).to_series()
