"""Cells as Debezium encodes them, whole columns at a time: base64 and big-endian decimals, counts since 1970, ISO text.

Each function takes the column as it was parsed (JSON gives base64 text for bytes, Avro the bytes) and raises BadCell.
Pure. Layer: sources.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from cdc_platform.model.change import TIMESTAMP_UTC
from cdc_platform.sources.cells import LAST_MOMENT, TOO_FAR, BadCell, Ints, Mask, laid_out, polars_type

_FIRST_DAY: Final = -2_440_588  # 4714-11-24 BC, where Postgres' calendar begins
_LAST_DAY: Final = 2_145_031_948  # 5874897-12-31
_INFINITE: Final = (9_223_372_036_825_200_000, -9_223_372_036_832_400_000)  # pgjdbc's
_SECOND: Final = 1_000_000
_LONGEST: Final = 16


def check(good: pl.Series, reason: str) -> None:
    """Raise BadCell about the first cell that is not `good`; null is good."""
    bad = ~good.fill_null(value=True)
    if bad.any():
        raise BadCell(int(bad.arg_max() or 0), reason)


def raw(series: pl.Series) -> pl.Series:
    """Bytes as they are, or out of base64."""
    if series.dtype != pl.String:
        return series
    decoded = series.str.decode("base64", strict=False)
    if decoded.null_count() != series.null_count():
        check(decoded.is_not_null() | series.is_null(), "is no base64")
    return decoded


def decimal(series: pl.Series, wanted: pa.DataType) -> pl.Series:
    """Two's complement, highest byte first, as decimal128."""
    high, low, lengths, valid = _whole(raw(series))
    reason = f"is no {wanted}"
    bad = valid & ((lengths == 0) | (lengths > _LONGEST))
    if bad.any():
        raise BadCell(int(bad.argmax()), reason)
    number = laid_out(np.stack([low, high], axis=1), valid, pa.decimal128(38, wanted.scale))
    fits = number.cast(polars_type(wanted), strict=False)
    if fits.null_count() != number.null_count():
        check(fits.is_not_null() | number.is_null(), reason)
    return fits


def decimal_text(series: pl.Series, scale: int | pl.Series) -> pl.Series:
    """All digits, for decimals that no Arrow type holds; `scale` digits are behind the point."""
    binary = raw(series)
    _, low, lengths, valid = _whole(binary)
    scales = pl.repeat(scale, len(series), dtype=pl.Int32, eager=True) if isinstance(scale, int) else scale
    odd = np.flatnonzero(valid & ((lengths > 8) | (lengths == 0) | (scales.fill_null(0).to_numpy() < 0)))
    given, scales = scales, scales.cast(pl.Int64).clip(lower_bound=0)
    frame = pl.DataFrame({"n": pl.Series(low).cast(pl.String), "scale": scales, "valid": pl.Series(valid)})
    scale_of = pl.col("scale")
    digits = pl.col("n").str.strip_prefix("-").str.zfill(scale_of + 1)
    sign = pl.when(pl.col("n").str.starts_with("-")).then(pl.lit("-")).otherwise(pl.lit(""))
    fraction = pl.concat_str(pl.lit("."), digits.str.tail(scale_of))
    text = pl.concat_str(
        sign,
        digits.str.head(digits.str.len_bytes().cast(pl.Int64) - scale_of),
        pl.when(scale_of > 0).then(fraction).otherwise(pl.lit("")),
    )
    made = frame.select(pl.when("valid").then(text).alias(series.name)).to_series()
    if len(odd):  # beyond 64 bits: rare
        words = [_long_decimal(binary[row], int(given[row])) for row in odd.tolist()]
        made = made.scatter(odd, words)
    return made


def _long_decimal(data: bytes, scale: int) -> str:
    number = int.from_bytes(data, "big", signed=True)
    digits = str(abs(number)) + "0" * max(-scale, 0)
    digits = digits.rjust(scale + 1, "0")
    whole = digits if scale <= 0 else f"{digits[:-scale]}.{digits[-scale:]}"
    return f"-{whole}" if number < 0 else whole


def variable_decimal(series: pl.Series) -> pl.Series:
    """Debezium's VariableScaleDecimal: each with its own scale."""
    return decimal_text(series.struct.field("value"), series.struct.field("scale"))


def _whole(series: pl.Series) -> tuple[Ints, Ints, Ints, Mask]:
    """High and low half of big-endian numbers of up to sixteen bytes, the number of bytes, and which are not null."""
    array = series.to_arrow().cast(pa.large_binary())
    count = len(array)
    valid = series.is_not_null().to_numpy()
    if not count:
        empty = np.zeros(0, np.int64)
        return empty, empty, empty, valid
    offsets = np.frombuffer(array.buffers()[1], np.int64, count + 1, 8 * array.offset)
    data = array.buffers()[2]
    padded = np.zeros(_LONGEST + (data.size if data else 0), np.uint8)
    if data:
        padded[_LONGEST:] = np.frombuffer(data, np.uint8)
    words = np.ndarray((len(padded) - 7,), ">i8", padded, 0, (1,))
    lengths = np.where(valid, np.diff(offsets), 0)
    ends = offsets[1:] + _LONGEST
    low, high = words[ends - 8].astype(np.int64), words[ends - 16].astype(np.int64)
    short = lengths <= 8
    shift = 8 * (8 - np.clip(lengths, 1, 8))
    low = np.where(short, (low << shift) >> shift, low)
    shift = 8 * (16 - np.clip(lengths, 9, 16))
    high = np.where(short, low >> 63, (high << shift) >> shift)
    return high, low, lengths, valid


def days(series: pl.Series) -> pl.Series:
    """Days since 1970."""
    check((series >= _FIRST_DAY) & (series <= _LAST_DAY), "is no finite date")
    return series.cast(pl.Int32).cast(pl.Date)


def moments(series: pl.Series, times: int, part: int) -> pl.Series:
    """Counts of `times` microseconds, or of a `part` of one, since 1970."""
    check(~series.is_in(_INFINITE), "is no finite timestamp")
    if times > 1:
        limit = LAST_MOMENT // times
        check((series >= -limit) & (series <= limit), TOO_FAR)
        series = series * times
    if part > 1:
        check(series % part == 0, "is finer than a microsecond")
        series = series // part
    check(series <= LAST_MOMENT, TOO_FAR)
    return series.cast(pl.Datetime("us"))


def zoned_moments(series: pl.Series) -> pl.Series:
    """`YYYY-MM-DDTHH:MM:SS[.ffffff]` with `Z` or an offset, in UTC."""
    made = series.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    if made.null_count() != series.null_count():
        check(made.is_not_null() | series.is_null(), "is no finite timestamp")
    return made.cast(TIMESTAMP_UTC) if made.dtype == TIMESTAMP_UTC else made.dt.replace_time_zone("UTC")


def iso_moments(series: pl.Series) -> pl.Series:
    """`YYYY-MM-DDTHH:MM:SS[.ffffff]Z` of a timestamp without a zone."""
    return zoned_moments(series).dt.replace_time_zone(None)


def iso_date(series: pl.Series) -> pl.Series:
    """`YYYY-MM-DDZ`."""
    made = series.str.strip_suffix("Z").str.to_date("%Y-%m-%d", strict=False)
    check(made.is_not_null() | series.is_null(), "is no finite date")
    return made


def clock(series: pl.Series, times: int, part: int = 1) -> pl.Series:
    """Counts of `times` microseconds, or of a `part` of one, as `[-]HH:MM:SS[.ffffff]` without zeros at the end."""
    if part > 1:
        check(series % part == 0, "is finer than a microsecond")
    frame = pl.DataFrame({"us": series.cast(pl.Int64) * times // part})
    size = pl.col("us").abs()
    seconds = size // _SECOND
    two = [(seconds // 3600), (seconds // 60 % 60), (seconds % 60)]
    fraction = (size % _SECOND).cast(pl.String).str.zfill(6).str.strip_chars_end("0")
    return frame.select(
        pl.when(pl.col("us").is_not_null())
        .then(
            pl.concat_str(
                pl.when(pl.col("us") < 0).then(pl.lit("-")).otherwise(pl.lit("")),
                pl.format("{}:{}:{}", *(one.cast(pl.String).str.zfill(2) for one in two)),
                pl.when(fraction != "").then(pl.concat_str(pl.lit("."), fraction)).otherwise(pl.lit("")),
            )
        )
        .alias(series.name)
    ).to_series()


def bits(series: pl.Series) -> pl.Series:
    """Bytes with the lowest first, up to 63 bits, as a whole number."""
    return _reversed(series).cast(pl.Int64)


def bits_highest_first(series: pl.Series) -> pl.Series:
    """Bytes with the lowest first as eight bytes with the highest first."""
    number = _reversed(series)
    data = number.fill_null(0).to_numpy().astype(">u8").tobytes()
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(number), [None, pa.py_buffer(data)])
    made = pl.from_arrow(array.cast(pa.large_binary()))
    assert isinstance(made, pl.Series)
    return pl.select(pl.when(number.is_not_null()).then(made)).to_series()


def _reversed(series: pl.Series) -> pl.Series:
    """Little-endian numbers of at most eight bytes, unsigned."""
    binary = raw(series)
    check(binary.bin.size() <= 8, "is longer than eight bytes")
    padded = (binary.bin.encode("hex") + "0" * 16).str.head(16).str.decode("hex")
    return padded.bin.reinterpret(dtype=pl.UInt64, endianness="little")


def geometry(series: pl.Series) -> pl.Series:
    """MySQL's own form: four bytes of SRID, lowest first, then WKB."""
    wkb = raw(series.struct.field("wkb"))
    srid = series.struct.field("srid").fill_null(0).cast(pl.UInt32).to_numpy().astype("<u4")
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4), len(srid), [None, pa.py_buffer(srid.tobytes())])
    head = pl.from_arrow(array.cast(pa.large_binary()))
    assert isinstance(head, pl.Series)
    return (head.bin.encode("hex") + wkb.bin.encode("hex")).str.decode("hex")


def struct_text(series: pl.Series) -> pl.Series:
    """A struct as JSON."""
    return pl.select(pl.when(series.is_not_null()).then(series.struct.json_encode())).to_series()


def array_text(series: pl.Series) -> pl.Series:
    """One-dimensional arrays as Postgres writes them: `{1,NULL,"a b"}`."""
    inner = pl.element()
    dtype = series.dtype
    assert isinstance(dtype, pl.List)
    if dtype.inner == pl.Boolean:
        text: pl.Expr = pl.when(inner).then(pl.lit("t")).otherwise(pl.lit("f"))
    else:
        text = inner.cast(pl.String)
    if dtype.inner == pl.String:
        plain = (inner != "") & (inner.str.to_lowercase() != "null") & ~inner.str.contains(r'[{}",\\\s]')
        escaped = inner.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
        text = pl.when(plain).then(inner).otherwise(pl.concat_str(pl.lit('"'), escaped, pl.lit('"')))
    shown = pl.when(inner.is_null()).then(pl.lit("NULL")).otherwise(text)
    words = series.list.eval(shown).list.join(",")
    return pl.select(
        pl.when(series.is_not_null()).then(pl.concat_str(pl.lit("{"), words, pl.lit("}"))).alias(series.name)
    ).to_series()
