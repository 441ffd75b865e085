"""Cells of text in a buffer become typed columns, without a Python object a row.

A server that speaks text (Postgres' logical replication, MySQL's result sets) sends each cell as bytes somewhere
in a buffer. `Cells` says where those of one column lie; `column` turns them into a Polars series of the wanted type.
Numbers, decimals, dates and timestamps are read eight characters at a time: eight ASCII digits fill one 64-bit
word, and three multiplications make them a number, for all rows at once. Text and bytes become Arrow views into the
buffer: no copy, but a surviving column keeps the whole buffer alive.

Here belongs what is true of any server's text. A server's own spellings (how bytea or a boolean array is written)
belong to that source. Layer: sources, below both of them; pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

MARGIN = 16
"""Bytes of `Cells.buffer` before the first cell and after the last one, so that whole words can be read there."""

LAST_MOMENT = 2**63 - 2
"""The last timestamp in us since 1970 that is a moment everywhere: 2**63 - 1 is `infinity` to DuckDB."""

TOO_FAR = "is no timestamp that fits 64 bits of microseconds"

_SAFE_DIGITS = 18  # every number of that many decimal digits fits an int64
_INLINE = 12  # an Arrow string view holds this many bytes itself


class BadCell(ValueError):
    """A cell that is not of the column's type. `row` counts in the column; neither it nor `reason` holds the value."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row}: {reason}")
        self.row = row
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Cells:
    """One column's cells: bytes `starts[i]` to `starts[i] + lengths[i]` of `buffer`, or null where not `valid[i]`.

    `buffer` holds MARGIN bytes before the first cell and after the last, is under 2 GiB and is not changed any more.
    A null cell has length 0 and any start inside the buffer. Text is UTF-8, which the sender vouches for.
    """

    buffer: Bytes
    starts: Ints
    lengths: Ints
    valid: Mask

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, offset: int, lengths: Ints) -> Cells:
        """The same cells, beginning `offset` bytes later and of other lengths."""
        return Cells(self.buffer, self.starts + offset, lengths, self.valid)

    def take(self, rows: Ints) -> Cells:
        return Cells(self.buffer, self.starts[rows], self.lengths[rows], self.valid[rows])


def padded(data: Bytes) -> Bytes:
    """A copy of `data` with a MARGIN on both sides: byte i is at MARGIN + i."""
    buffer = np.empty(len(data) + 2 * MARGIN, np.uint8)
    buffer[:MARGIN] = buffer[-MARGIN:] = 0
    buffer[MARGIN:-MARGIN] = data
    return buffer


def column(cells: Cells, wanted: pa.DataType) -> pl.Series:
    """The cells as a series of the Polars type that belongs to `wanted`; raises BadCell.

    Spellings: booleans `t`/`f` or `1`/`0`; integers and decimals in plain digits with an optional minus, a decimal
    with exactly its scale's digits after the point; floats as Rust and C read them; `YYYY-MM-DD`,
    `YYYY-MM-DD HH:MM:SS[.ffffff]`, followed by `+00` or nothing in UTC timestamps; ` BC` and years of up to seven
    digits are understood. Binary cells are taken as the bytes themselves.
    """
    reader = _READERS.get(wanted.id)
    if reader is None:
        raise TypeError(f"no text form of {wanted} is known")
    return reader(cells, wanted)


def text_column(cells: Cells) -> pl.Series:
    """The cells as strings."""
    return _views(cells, pa.StringViewArray, pa.string_view())


def binary_column(cells: Cells) -> pl.Series:
    """The cells' bytes as they are."""
    return _views(cells, pa.BinaryViewArray, pa.binary_view())


def boolean_column(cells: Cells) -> pl.Series:
    first = cells.buffer[cells.starts]
    true = (first == ord("t")) | (first == ord("1"))
    false = (first == ord("f")) | (first == ord("0"))
    _check(cells, (cells.lengths == 1) & (true | false), "is neither true nor false")
    return series_of(true, cells.valid)


def integer_column(cells: Cells, wanted: pa.DataType) -> pl.Series:
    """Whole numbers that fit `wanted`, an Arrow integer type of any width."""
    target = polars_type(wanted)
    if len(cells) and int(cells.lengths.max()) > _SAFE_DIGITS:
        return _cast(cells, target, f"is no {wanted}")
    values, good = _signed(cells)
    narrow = values.astype(wanted.to_pandas_dtype())
    _check(cells, good & (narrow == values), f"is no {wanted}")
    return series_of(narrow, cells.valid)


def float_column(cells: Cells, wanted: pa.DataType) -> pl.Series:
    return _cast(cells, polars_type(wanted), f"is no {wanted}")


def decimal_column(cells: Cells, wanted: pa.DataType) -> pl.Series:
    """decimal128(precision, scale): text with exactly `scale` digits after the point."""
    scale, precision = wanted.scale, wanted.precision
    reason = f"is no finite {wanted}"
    point = cells.starts + cells.lengths - scale - 1
    if scale:
        has_point = (cells.lengths > scale) & (cells.buffer[np.where(cells.valid, point, 0)] == ord("."))
        _check(cells, has_point, reason)
    if scale > _SAFE_DIGITS or (len(cells) and int(cells.lengths.max()) > _SAFE_DIGITS):
        return _cast(cells, pl.Decimal(precision, scale), reason)
    negative = cells.valid & (cells.buffer[cells.starts] == ord("-"))
    whole = cells.part(0, cells.lengths - (scale + 1 if scale else 0))
    value, good = _digits(cells.buffer, whole.starts + negative, whole.lengths - negative)
    if scale:
        fraction, fraction_good = _digits(cells.buffer, point + 1, np.where(cells.valid, scale, 0))
        value = value * np.uint64(10**scale) + fraction
        good &= fraction_good
    if precision < _SAFE_DIGITS:
        good &= value < np.uint64(10**precision)
    _check(cells, good, reason)
    signed = np.where(negative, -value.astype(np.int64), value.astype(np.int64))
    wide = np.empty((len(cells), 2), np.int64)  # little endian: low half, then the sign's extension
    wide[:, 0], wide[:, 1] = signed, signed >> 63
    return laid_out(wide, cells.valid, wanted)


def date_column(cells: Cells) -> pl.Series:
    """Days since 1970-01-01 of `YYYY-MM-DD`."""
    days, good = _plain_dates(cells)
    odd = np.flatnonzero(cells.valid & ~(good & (cells.lengths == 10)))
    for row in odd.tolist():  # before Christ, after 9999, infinite: rare
        days[row] = _odd_moment(cells, row, "date") // _DAY
    return laid_out(days, cells.valid, pa.date32())


def timestamp_column(cells: Cells, wanted: pa.DataType) -> pl.Series:
    """Microseconds since 1970-01-01 of `YYYY-MM-DD HH:MM:SS[.ffffff]`, in UTC where `wanted` has a zone."""
    lengths = cells.lengths
    if wanted.tz is not None:
        ends = np.where(lengths >= 22, cells.starts + lengths - 3, 0)
        zone = _words(cells.buffer)[ends] & np.uint64(0xFFFFFF)
        lengths = lengths - 3 * (zone == np.uint64(int.from_bytes(b"+00", "little")))
    days, good = _plain_dates(cells)
    seconds, good_time = _plain_times(cells)
    micros, good_fraction = _fractions(cells, lengths)
    value = days.astype(np.int64) * _DAY + seconds.astype(np.int64) * 1_000_000 + micros
    odd = np.flatnonzero(cells.valid & ~(good & good_time & good_fraction))
    for row in odd.tolist():  # before Christ, after 9999, infinite: rare
        value[row] = _odd_moment(cells, row, "timestamp")
    return laid_out(value, cells.valid, wanted)


_READERS: dict[int, Callable[[Cells, Any], pl.Series]] = {
    pa.bool_().id: lambda cells, wanted: boolean_column(cells),
    **{integer().id: integer_column for integer in (pa.int8, pa.int16, pa.int32, pa.int64)},
    **{integer().id: integer_column for integer in (pa.uint8, pa.uint16, pa.uint32, pa.uint64)},
    pa.float32().id: float_column,
    pa.float64().id: float_column,
    pa.decimal128(1, 0).id: decimal_column,
    pa.string().id: lambda cells, wanted: text_column(cells),
    pa.binary().id: lambda cells, wanted: binary_column(cells),
    pa.date32().id: lambda cells, wanted: date_column(cells),
    pa.timestamp("us").id: timestamp_column,
}


@cache
def polars_type(arrow: pa.DataType) -> pl.DataType:
    """The Polars type of a column that is `arrow` in a table's schema."""
    return _series(pa.array([], arrow)).dtype


def series_of(values: npt.NDArray[Any], valid: Mask) -> pl.Series:
    """A series of numbers or booleans, null where not `valid`."""
    if values.dtype == np.bool_:
        return laid_out(np.packbits(values, bitorder="little"), valid, pa.bool_())
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return laid_out(native, valid, pa.from_numpy_dtype(native.dtype))


def laid_out(values: npt.NDArray[Any], valid: Mask, arrow: pa.DataType) -> pl.Series:
    """A series of `arrow` from `values` as Arrow lays that type out in memory, null where not `valid`; no copy."""
    buffers = [_bitmap(valid), pa.py_buffer(np.ascontiguousarray(values))]
    return _series(pa.Array.from_buffers(arrow, len(valid), buffers))


def _series(array: pa.Array) -> pl.Series:
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def _bitmap(valid: Mask) -> pa.Buffer | None:
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _check(cells: Cells, good: Mask, reason: str) -> None:
    bad = cells.valid & ~good
    if bad.any():
        raise BadCell(int(bad.argmax()), reason)


def _cast(cells: Cells, target: pl.DataType, reason: str) -> pl.Series:
    """Polars' own reading of the text: slower than digits by words, and it knows all of floats and long numbers."""
    series = text_column(cells).cast(target, strict=False)
    if series.null_count() != len(cells) - int(cells.valid.sum()):
        _check(cells, series.is_not_null().to_numpy(), reason)
    return series


# --- views ------------------------------------------------------------------------------------------------------


def _view_masks() -> npt.NDArray[np.void]:
    """By length 0..12: which of a view's 16 bytes stay when four bytes of anything and twelve of text are read."""
    masks = np.zeros((_INLINE + 1, 16), np.uint8)
    for length in range(_INLINE + 1):
        masks[length, 4 : 4 + length] = 255
    return masks.view("V16").ravel()


_VIEW_MASKS = _view_masks()


def _views(cells: Cells, array: Any, view_type: pa.DataType) -> pl.Series:
    """Arrow's view layout (16 bytes): length; then the bytes if at most 12, else 4 bytes, buffer number, offset."""
    count = len(cells)
    sixteen = np.ndarray((len(cells.buffer) - 15,), "V16", cells.buffer, 0, (1,))
    views = sixteen[cells.starts - 4].view(np.uint64).reshape(count, 2)
    views &= _VIEW_MASKS[np.minimum(cells.lengths, _INLINE)].view(np.uint64).reshape(count, 2)
    views.view(np.uint32)[:, 0] = cells.lengths
    long = np.flatnonzero(cells.lengths > _INLINE)
    views[long, 1] = cells.starts[long].astype(np.uint64) << np.uint64(32)
    buffers = [_bitmap(cells.valid), pa.py_buffer(views)]
    if len(long):
        buffers.append(pa.py_buffer(cells.buffer))
    return _series(array.from_buffers(view_type, count, buffers))


# --- digits -----------------------------------------------------------------------------------------------------

_ZEROS = np.uint64(0x3030303030303030)
_HIGH = np.uint64(0x8080808080808080)
_OVER_NINE = np.uint64(0x7676767676767676)


def _words(buffer: Bytes) -> Words:
    """The eight bytes from each place of the buffer on, the first one lowest. Index it; do not `take` (that copies)."""
    return np.ndarray((len(buffer) - 7,), "<u8", buffer, 0, (1,))


def _not_digits(words: Words) -> Words:
    """Non-zero where a byte of the word, already XORed with '0', is over nine."""
    return ((words + _OVER_NINE) | words) & _HIGH


def _digits(buffer: Bytes, starts: Ints, lengths: Ints) -> tuple[Words, Mask]:
    """Numbers of 1 to 18 digits, and where there were nothing but digits."""
    value = np.zeros(len(starts), np.uint64)
    good = lengths > 0
    ends = starts + lengths
    words = _words(buffer)
    rest, scale = np.maximum(lengths, 0), 1
    for _ in range((int(rest.max(initial=0)) + 7) // 8):
        width = np.minimum(rest, 8)
        ends_before = ends - width
        word = (words[ends_before] ^ _ZEROS) << (8 * (8 - width)).astype(np.uint64)
        word[width == 0] = 0
        good &= _not_digits(word) == 0
        word = (word * np.uint64(10 * 256 + 1) >> np.uint64(8)) & np.uint64(0x00FF00FF00FF00FF)
        word = (word * np.uint64(100 * 65536 + 1) >> np.uint64(16)) & np.uint64(0x0000FFFF0000FFFF)
        value += (word * np.uint64(10000 * 2**32 + 1) >> np.uint64(32)) * np.uint64(scale)
        ends, rest, scale = ends_before, rest - width, scale * 10**8
    return value, good


def _signed(cells: Cells) -> tuple[Ints, Mask]:
    negative = cells.valid & (cells.buffer[cells.starts] == ord("-"))
    value, good = _digits(cells.buffer, cells.starts + negative, cells.lengths - negative)
    signed = value.astype(np.int64)
    return np.where(negative, -signed, signed), good


# --- moments ----------------------------------------------------------------------------------------------------

_DAY = 86_400_000_000
_ODD = re.compile(r"(\d{4,7})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:\+00)?)?( BC)?")


@cache
def _month_starts() -> npt.NDArray[np.int32]:
    """Days since 1970-01-01 of the first of each month, from January of year 0 to January of year 10000."""
    months = np.arange("0000-01", "10000-02", dtype="datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int32)


def _pairs(words: Words, pattern: bytes) -> tuple[Bytes, Mask]:
    """Two-digit numbers of words like `pattern`: byte i of the result (n, 8) is that of characters i and i + 1."""
    digits = words ^ np.uint64(int.from_bytes(pattern, "little"))
    separators = np.uint64(int.from_bytes(bytes(0 if byte == 48 else 255 for byte in pattern), "little"))
    good = (_not_digits(digits) | (digits & separators)) == 0
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    return pairs.view(np.uint8).reshape(len(words), 8), good


def _plain_dates(cells: Cells) -> tuple[npt.NDArray[np.int32], Mask]:
    """Days since 1970-01-01 where the cells begin with a four-digit year's date."""
    words = _words(cells.buffer)
    pairs, good = _pairs(words[cells.starts], b"0000-00-")
    good &= cells.lengths >= 10
    tail = cells.buffer[cells.starts + 8].astype(np.int32) - 48, cells.buffer[cells.starts + 9].astype(np.int32) - 48
    good &= (tail[0] >= 0) & (tail[0] <= 9) & (tail[1] >= 0) & (tail[1] <= 9)
    year = pairs[:, 0].astype(np.int32) * 100 + pairs[:, 2]
    month, day = pairs[:, 5].astype(np.int32), tail[0] * 10 + tail[1]
    good &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    index = np.where(good, year * 12 + month - 1, 0)
    starts = _month_starts()
    first = starts[index]
    good &= day <= starts[index + 1] - first
    return first + day - 1, good


def _plain_times(cells: Cells) -> tuple[npt.NDArray[np.int32], Mask]:
    """Seconds of the day where a space and `HH:MM:SS` stand at character 10."""
    pairs, good = _pairs(_words(cells.buffer)[np.where(cells.lengths >= 19, cells.starts + 11, 0)], b"00:00:00")
    hours, minutes, seconds = (pairs[:, place].astype(np.int32) for place in (0, 3, 6))
    good &= cells.buffer[np.where(cells.lengths >= 19, cells.starts + 10, 0)] == ord(" ")
    good &= (cells.lengths >= 19) & (hours < 24) & (minutes < 60) & (seconds < 60)
    return hours * 3600 + minutes * 60 + seconds, good


def _fractions(cells: Cells, lengths: Ints) -> tuple[Ints, Mask]:
    """Microseconds of an optional `.f` to `.ffffff` at character 19; `lengths` are those without a zone."""
    width = lengths - 20
    good = (width == -1) | ((width >= 1) & (width <= 6))
    width = np.where(good, np.maximum(width, 0), 0)
    if not width.any():
        return np.zeros(len(cells), np.int64), good
    value, digits_good = _digits(cells.buffer, np.where(width > 0, cells.starts + 20, 0), width)
    point = cells.buffer[np.where(width > 0, cells.starts + 19, 0)] == ord(".")
    good &= (width == 0) | (digits_good & point)
    return value.astype(np.int64) * _POWERS[6 - width], good


_POWERS = 10 ** np.arange(7, dtype=np.int64)


def _odd_moment(cells: Cells, row: int, kind: str) -> int:
    """One moment outside the years 1 to 9999, in microseconds since 1970-01-01."""
    start, length = int(cells.starts[row]), int(cells.lengths[row])
    match = _ODD.fullmatch(cells.buffer[start : start + length].tobytes().decode("ascii", "replace"))
    if match is None or (match[4] is None) != (kind == "date"):
        raise BadCell(row, f"is no finite {kind}")
    year = 1 - int(match[1]) if match[8] else int(match[1])
    month, day, hour, minute, second = (int(match[i] or 0) for i in range(2, 7))
    # The calendar repeats every 400 years of 146,097 days.
    cycles, year_in_cycle = divmod(year, 400)
    starts = _month_starts()
    index = (year_in_cycle + 400) * 12 + month - 1
    if not (1 <= month <= 12 and 1 <= day <= starts[index + 1] - starts[index]):
        raise BadCell(row, f"is no finite {kind}")
    if hour > 23 or minute > 59 or second > 59:
        raise BadCell(row, f"is no finite {kind}")
    days = int(starts[index]) + day - 1 + (cycles - 1) * 146_097
    micros = days * _DAY + (hour * 3600 + minute * 60 + second) * 1_000_000 + int((match[7] or "").ljust(6, "0"))
    if kind == "timestamp" and not -(2**63) <= micros <= LAST_MOMENT:
        raise BadCell(row, TOO_FAR)
    return micros
