"""Cells of row images become typed columns: MySQL's binary forms, for all rows of a column at once.

Formats: https://dev.mysql.com/doc/dev/mysql-server/latest/field_8cc.html (pack and unpack of the fields),
`my_time.cc` for the temporal types and `decimal.cc` for NEWDECIMAL. What text of a result set means is
`sources/cells.py`; the two agree by test. A cell that has no value in the column's Arrow type (a zero date, an
enum's unknown member) is a `BadCell`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cdc_platform.errors import NotUnderstood
from cdc_platform.sources.cells import (
    MARGIN,
    BadCell,
    Bytes,
    Cells,
    Ints,
    Mask,
    binary_column,
    series_of,
    text_column,
)
from cdc_platform.sources.mysql.binlog import little
from cdc_platform.sources.mysql.types import LABELLED, STRINGS, MySQLType

Codepage = Sequence[bytes]
"""For each of the 256 bytes of a single-byte character set, its character in UTF-8."""

UTF8 = {"utf8mb4", "utf8mb3", "ascii"}

_WIDTHS = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}
_DAY = 86_400_000_000
ZERO_DATE = "is a zero or impossible date"


def value_column(cells: Cells, kind: MySQLType, codepage: Codepage | None = None) -> pl.Series:
    """The cells as a series of the Polars type that belongs to `kind.arrow`; raises BadCell.

    `codepage` is needed for texts in a character set other than UTF-8 and ASCII.
    """
    if kind.base in STRINGS:
        return text_column(cells if kind.charset in UTF8 else recoded(cells, kind, codepage))
    if kind.base in LABELLED:
        return (_enum if kind.base == "enum" else _set)(cells, kind)
    if kind.base in _WIDTHS:
        return _integer(cells, kind)
    reader = _READERS.get(kind.base)
    return reader(cells, kind) if reader else binary_column(cells)


# --- numbers ----------------------------------------------------------------------------------------------------


def _integer(cells: Cells, kind: MySQLType) -> pl.Series:
    width, unsigned = _WIDTHS[kind.base], kind.unsigned
    if width == 3:
        values = little(cells.buffer, "<u4")[cells.starts].astype(np.int32) & 0xFFFFFF
        return series_of(values if unsigned else (values ^ 0x800000) - 0x800000, cells.valid)
    values = little(cells.buffer, f"<{'u' if unsigned else 'i'}{width}")[cells.starts]
    if not unsigned:
        return series_of(values, cells.valid)
    if width < 8:
        return series_of(values.astype(f"<i{2 * width}"), cells.valid)
    wide = np.zeros((len(cells), 2), np.uint64)
    wide[:, 0] = values
    return decimals(wide, cells.valid, kind.arrow)


def _float(cells: Cells, kind: MySQLType) -> pl.Series:
    return series_of(little(cells.buffer, "<f4" if kind.base == "float" else "<f8")[cells.starts], cells.valid)


def _year(cells: Cells, kind: MySQLType) -> pl.Series:
    years = cells.buffer[cells.starts].astype(np.int16)
    return series_of(np.where(years == 0, np.int16(0), years + np.int16(1900)), cells.valid)


def _bit(cells: Cells, kind: MySQLType) -> pl.Series:
    """An int64 up to 63 bits, the eight bytes themselves for 64."""
    if kind.length > 63:
        return binary_column(cells)
    return series_of(_big_endian(cells.buffer, cells.starts, (kind.length + 7) // 8), cells.valid)


def _big_endian(buffer: Bytes, starts: Ints, width: int) -> Ints:
    """Unsigned numbers of 1 to 8 bytes, highest byte first; those of 8 bytes must fit an int64."""
    words = little(buffer, ">u8")[starts] >> np.uint64(64 - 8 * width)
    return words.astype(np.int64)


def decimals(wide: npt.NDArray[np.uint64] | Ints, valid: Mask, arrow: pa.DataType) -> pl.Series:
    """128-bit numbers, (n, 2) low half first, as a decimal series."""
    validity = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    array = pa.Decimal128Array.from_buffers(arrow, len(wide), [validity, pa.py_buffer(np.ascontiguousarray(wide))])
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_INT64_DIGITS = 18
_LIMB = np.uint64(0xFFFFFFFF)


def _groups(kind: MySQLType) -> list[tuple[int, int]]:
    """(bytes, digits) of a NEWDECIMAL's groups: a short one, whole ones of nine digits; whole ones, a short one."""
    whole, fraction = kind.precision - kind.scale, kind.scale
    digits = [whole % 9, *[9] * (whole // 9), *[9] * (fraction // 9), fraction % 9]
    return [(_DIGIT_BYTES[count], count) for count in digits if count]


def _decimal(cells: Cells, kind: MySQLType) -> pl.Series:
    """NEWDECIMAL: groups highest first; the first bit is inverted, and for negative numbers all bits are."""
    negative = cells.valid & (cells.buffer[cells.starts] < 0x80)
    groups, place = [], 0
    for width, digits in _groups(kind):
        group = _big_endian(cells.buffer, cells.starts + place, width)
        if place == 0:
            group ^= 1 << (8 * width - 1)
        group = np.where(negative, group ^ ((1 << (8 * width)) - 1), group)
        _require(cells, (group >= 0) & (group < 10**digits), "is no decimal")
        groups.append((group, digits))
        place += width
    if kind.arrow == pa.string():
        return _decimal_text(cells, kind, groups, negative)
    return decimals(_wide(groups, negative, kind.precision), cells.valid, kind.arrow)


def _wide(groups: list[tuple[Ints, int]], negative: Mask, precision: int) -> npt.NDArray[np.uint64]:
    """The groups as 128-bit two's complement, (n, 2) low half first."""
    wide = np.empty((len(negative), 2), np.uint64)
    if precision <= _INT64_DIGITS:
        value = np.zeros(len(negative), np.int64)
        for group, digits in groups:
            value = value * 10**digits + group
        value = np.where(negative, -value, value)
        wide[:, 0], wide[:, 1] = value.view(np.uint64), (value >> 63).view(np.uint64)
        return wide
    limbs = [np.zeros(len(negative), np.uint64) for _ in range(4)]  # of 32 bits, lowest first
    for group, digits in groups:
        carry = group.astype(np.uint64)
        for index, limb in enumerate(limbs):
            total = limb * np.uint64(10**digits) + carry
            limbs[index], carry = total & _LIMB, total >> np.uint64(32)
    flip = np.where(negative, np.uint64(2**64 - 1), np.uint64(0))
    wide[:, 0] = (limbs[0] | limbs[1] << np.uint64(32)) ^ flip
    wide[:, 1] = (limbs[2] | limbs[3] << np.uint64(32)) ^ flip
    wide[:, 0] += negative  # two's complement: the complement plus one
    wide[:, 1] += negative & (wide[:, 0] == 0)
    return wide


def _decimal_text(cells: Cells, kind: MySQLType, groups: list[tuple[Ints, int]], negative: Mask) -> pl.Series:
    """Decimals of more digits than 128 bits hold, as the server prints them: one digit at least before the point."""
    whole = kind.precision - kind.scale
    digits = [group // 10**power % 10 for group, count in groups for power in range(count - 1, -1, -1)]
    text = np.full((len(cells), kind.precision + 3), ord("."), np.uint8)  # sign, 0, whole digits, point, fraction
    text[:, 1] = ord("0")
    for index, digit in enumerate(digits):
        text[:, index + (2 if index < whole else 3)] = digit + ord("0")
    significant = text[:, 2 : 2 + whole] != ord("0")
    leading = (
        np.where(significant.any(axis=1), significant.argmax(axis=1), whole)
        if whole
        else np.zeros(len(cells), np.int64)
    )
    first = np.minimum(2 + leading, max(1 + whole, 1))
    first = first - negative
    rows = np.flatnonzero(negative)
    text[rows, first[rows]] = ord("-")
    stop = 2 + whole + (kind.scale + 1 if kind.scale else 0)
    return _text_rows(text, first, stop - first, cells.valid)


# --- moments ----------------------------------------------------------------------------------------------------


def days_of(cells: Cells, year: Ints, month: Ints, day: Ints) -> Ints:
    """Days since 1970-01-01; BadCell for the dates that no calendar has."""
    good = (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    _require(cells, good & (day <= after - first), ZERO_DATE)
    return first + day - 1


def _date(cells: Cells, kind: MySQLType) -> pl.Series:
    """Three bytes, lowest first: 5 bits of day, 4 of month, 15 of year."""
    value = little(cells.buffer, "<u4")[cells.starts].astype(np.int64) & 0xFFFFFF
    days = days_of(cells, value >> 9, value >> 5 & 15, value & 31)
    return series_of(days.astype(np.int32), cells.valid).cast(pl.Date)


def _fraction(cells: Cells, offset: int, digits: int) -> Ints:
    """Microseconds in (digits + 1) // 2 bytes, highest first, in units of 10**-2, 10**-4 or 10**-6 seconds."""
    width = (digits + 1) // 2
    if width == 0:
        return np.zeros(len(cells), np.int64)
    return _big_endian(cells.buffer, cells.starts + offset, width) * np.int64(100 ** (3 - width))


def _datetime(cells: Cells, kind: MySQLType) -> pl.Series:
    """Five bytes, highest first: sign, 17 bits of year * 13 + month, 5 of day, 5 of hour, 6 and 6; then a fraction."""
    value = _big_endian(cells.buffer, cells.starts, 5) - (1 << 39)
    date, time = value >> 17, value & 0x1FFFF
    days = days_of(cells, (date >> 5) // 13, (date >> 5) % 13, date & 31)
    seconds = (time >> 12) * 3600 + (time >> 6 & 63) * 60 + (time & 63)
    micros = days * _DAY + seconds * 1_000_000 + _fraction(cells, 5, kind.scale)
    return series_of(micros, cells.valid).cast(pl.Datetime("us"))


def _timestamp(cells: Cells, kind: MySQLType) -> pl.Series:
    """Four bytes of seconds since 1970-01-01, highest first; then a fraction. 0 is the zero timestamp."""
    seconds = _big_endian(cells.buffer, cells.starts, 4)
    micros = seconds * 1_000_000 + _fraction(cells, 4, kind.scale)
    _require(cells, micros > 0, ZERO_DATE)
    return series_of(micros, cells.valid).cast(pl.Datetime("us", "UTC"))


def _time(cells: Cells, kind: MySQLType) -> pl.Series:
    """Three bytes and a fraction's, as one number highest byte first, offset so that it is never negative:
    10 bits of hour, 6 of minute, 6 of second, the fraction. -> text as the server prints it, `-838:59:59.000000`.
    """
    width = (kind.scale + 1) // 2
    value = _big_endian(cells.buffer, cells.starts, 3 + width) - (1 << (23 + 8 * width))
    negative = cells.valid & (value < 0)
    value = np.abs(value)
    fraction = (value & ((1 << (8 * width)) - 1)) * 100 ** (3 - width)
    clock = value >> (8 * width)
    parts = [
        (clock >> 12 & 1023, 3),
        (clock >> 6 & 63, 2),
        (clock & 63, 2),
        (fraction // 10 ** (6 - kind.scale), kind.scale),
    ]
    text = np.zeros((len(cells), 11 + kind.scale), np.uint8)  # sign, hhh, :, mm, :, ss, ., fraction
    place = 1
    for (number, digits), mark in zip(parts, "::. ", strict=True):
        for power in range(digits - 1, -1, -1):
            text[:, place] = number // 10**power % 10 + ord("0")
            place += 1
        if place < text.shape[1]:
            text[:, place] = ord(mark)
            place += 1
    first = np.where(text[:, 1] == ord("0"), 2, 1) - negative
    rows = np.flatnonzero(negative)
    text[rows, first[rows]] = ord("-")
    stop = 10 + (kind.scale + 1 if kind.scale else 0)
    return _text_rows(text, first, stop - first, cells.valid)


# --- texts and bytes ----------------------------------------------------------------------------------------------


def _text_rows(text: Bytes, first: Ints, lengths: Ints, valid: Mask) -> pl.Series:
    """Strings out of a matrix of characters: row i from column first[i] on."""
    count, width = text.shape
    buffer = np.zeros(count * width + 2 * MARGIN, np.uint8)
    buffer[MARGIN : MARGIN + count * width] = text.ravel()
    return text_column(Cells(buffer, MARGIN + np.arange(count) * width + first, lengths * valid, valid))


def _flat(starts: Ints, lengths: Ints) -> Ints:
    """The index of every byte of every cell, in order."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)


def _gathered(data: Bytes, lengths: Ints, valid: Mask) -> Cells:
    buffer = np.zeros(len(data) + 2 * MARGIN, np.uint8)
    buffer[MARGIN : MARGIN + len(data)] = data
    return Cells(buffer, MARGIN + np.cumsum(lengths) - lengths, lengths, valid)


def recoded(cells: Cells, kind: MySQLType, codepage: Codepage | None) -> Cells:
    """Cells of a single-byte character set as UTF-8."""
    if codepage is None:
        raise NotUnderstood(f"character set {kind.charset} is not understood; convert the column to utf8mb4")
    data = cells.buffer[_flat(cells.starts, cells.lengths)]
    widths = np.array([len(character) for character in codepage], np.int64)[data]
    owners = np.repeat(np.arange(len(cells)), cells.lengths)
    lengths = np.bincount(owners, weights=widths, minlength=len(cells)).astype(np.int64)
    characters = np.zeros((256, 4), np.uint8)
    for byte, character in enumerate(codepage):
        characters[byte, : len(character)] = list(character)
    there = np.arange(4) < widths[:, None]
    return _gathered(characters[data][there], lengths, cells.valid)


def _fixed_binary(cells: Cells, kind: MySQLType) -> pl.Series:
    """BINARY(n): the log leaves out zero bytes at the end."""
    if (cells.lengths[cells.valid] == kind.length).all():
        return binary_column(cells)
    text = np.zeros((len(cells), kind.length), np.uint8)
    there = np.arange(kind.length) < cells.lengths[:, None]
    text[there] = cells.buffer[_flat(cells.starts, cells.lengths)]
    return binary_column(_gathered(text[cells.valid].ravel(), cells.valid * kind.length, cells.valid))


def _enum(cells: Cells, kind: MySQLType) -> pl.Series:
    """The number of the member, from 1; 0 is the empty string that stands for a refused value."""
    width = 1 if len(kind.labels) < 256 else 2
    members = little(cells.buffer, f"<u{width}")[cells.starts].astype(np.int64)
    _require(cells, members <= len(kind.labels), "is no member of the enum")
    labels = pl.Series(["", *kind.labels], dtype=pl.String)
    return _masked(labels.gather(np.where(cells.valid, members, 0)), cells.valid)


def _set(cells: Cells, kind: MySQLType) -> pl.Series:
    """One bit a member, the first one lowest; members in the set's order with commas between."""
    width = (len(kind.labels) + 7) // 8
    width = width if width <= 4 else 8
    words = little(cells.buffer, "<u8")[cells.starts] & np.uint64(2 ** (8 * width) - 1)
    words = np.where(cells.valid, words, np.uint64(0))
    _require(cells, words >> np.uint64(len(kind.labels)) == 0 if len(kind.labels) < 64 else cells.valid, "is no set")
    distinct, which = np.unique(words, return_inverse=True)
    texts = [",".join(label for i, label in enumerate(kind.labels) if word >> i & 1) for word in distinct.tolist()]
    return _masked(pl.Series(texts, dtype=pl.String).gather(which), cells.valid)


def _masked(series: pl.Series, valid: Mask) -> pl.Series:
    if valid.all():
        return series
    return pl.select(pl.when(pl.Series(values=valid)).then(series)).to_series()


def _require(cells: Cells, good: Mask, reason: str) -> None:
    bad = cells.valid & ~good
    if bad.any():
        raise BadCell(int(bad.argmax()), reason)


_READERS: dict[str, Callable[[Cells, MySQLType], pl.Series]] = {
    "float": _float, "double": _float, "decimal": _decimal, "year": _year, "bit": _bit, "date": _date,
    "datetime": _datetime, "timestamp": _timestamp, "time": _time, "binary": _fixed_binary,
}  # fmt: skip
