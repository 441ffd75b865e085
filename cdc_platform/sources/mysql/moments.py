"""Dates and times of row images, as moments or as the text that the server prints.

Formats: `my_time.cc` (https://dev.mysql.com/doc/dev/mysql-server/latest/my__time_8cc.html), the forms since MySQL
5.6.4. A zero or impossible date (0000-00-00, a month or day 0, February 30) is no moment: it is a BadCell unless the
column is taken as text. Pure.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from cdc_platform.sources.cells import Bytes, Cells, Ints, series_of
from cdc_platform.sources.mysql.binlog import little
from cdc_platform.sources.mysql.layout import big_endian, print_digits, require, text_rows
from cdc_platform.sources.mysql.types import MySQLType

ZERO_DATE = "is a zero or impossible date, which only text can hold (source.tables[].as_text)"

_DAY = 86_400_000_000


def date_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """Three bytes, lowest first: 5 bits of day, 4 of month, 15 of year."""
    value = little(cells.buffer, "<u4")[cells.starts].astype(np.int64) & 0xFFFFFF
    year, month, day = value >> 9, value >> 5 & 15, value & 31
    if kind.text:
        text = np.zeros((len(cells), 10), np.uint8)
        _print_date(text, year, month, day)
        return text_rows(text, np.zeros(len(cells), np.int64), np.full(len(cells), 10), cells.valid)
    days = days_of(cells, year, month, day)
    return series_of(days.astype(np.int32), cells.valid).cast(pl.Date)


def datetime_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """Five bytes, highest first: sign, 17 bits of year * 13 + month, 5 of day, 5 of hour, 6 and 6; then a fraction."""
    value = big_endian(cells.buffer, cells.starts, 5) - (1 << 39)
    date, time = value >> 17, value & 0x1FFFF
    seconds = (time >> 12) * 3600 + (time >> 6 & 63) * 60 + (time & 63)
    micros = seconds * 1_000_000 + _fraction(cells, 5, kind.scale)
    year, month, day = (date >> 5) // 13, (date >> 5) % 13, date & 31
    if kind.text:
        return _moment_text(cells, kind.scale, year, month, day, micros)
    micros += days_of(cells, year, month, day) * _DAY
    return series_of(micros, cells.valid).cast(pl.Datetime("us"))


def timestamp_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """Four bytes of seconds since 1970-01-01, highest first; then a fraction. 0 is the zero timestamp."""
    seconds = big_endian(cells.buffer, cells.starts, 4)
    micros = seconds * 1_000_000 + _fraction(cells, 4, kind.scale)
    if kind.text:
        days = (micros // _DAY).astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        month = months.astype(np.int64)
        there = micros > 0
        year, month = (month // 12 + 1970) * there, (month % 12 + 1) * there
        day = ((days - months.astype("datetime64[D]")).astype(np.int64) + 1) * there
        return _moment_text(cells, kind.scale, year, month, day, micros % _DAY)
    require(cells, micros > 0, ZERO_DATE)
    return series_of(micros, cells.valid).cast(pl.Datetime("us", "UTC"))


def time_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """Three bytes and a fraction's, as one number highest byte first, offset so that it is never negative:
    10 bits of hour, 6 of minute, 6 of second, the fraction. -> text as the server prints it, `-838:59:59.000000`.
    """
    width = (kind.scale + 1) // 2
    value = big_endian(cells.buffer, cells.starts, 3 + width) - (1 << (23 + 8 * width))
    negative = cells.valid & (value < 0)
    value = np.abs(value)
    fraction = (value & ((1 << (8 * width)) - 1)) * 100 ** (3 - width)
    clock = value >> (8 * width)
    text = np.full((len(cells), 11 + kind.scale), ord(":"), np.uint8)  # sign, hhh, :, mm, :, ss, ., fraction
    print_digits(text, 1, clock >> 12 & 1023, 3)
    print_digits(text, 5, clock >> 6 & 63, 2)
    print_digits(text, 8, clock & 63, 2)
    stop = _print_fraction(text, 10, fraction, kind.scale)
    first = np.where(text[:, 1] == ord("0"), 2, 1) - negative
    rows = np.flatnonzero(negative)
    text[rows, first[rows]] = ord("-")
    return text_rows(text, first, stop - first, cells.valid)


def year_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """One byte: years since 1900, 0 for the year 0."""
    years = cells.buffer[cells.starts].astype(np.int16)
    years = np.where(years == 0, np.int16(0), years + np.int16(1900))
    if not kind.text:
        return series_of(years, cells.valid)
    text = np.zeros((len(cells), 4), np.uint8)
    print_digits(text, 0, years.astype(np.int64), 4)
    return text_rows(text, np.zeros(len(cells), np.int64), np.full(len(cells), 4), cells.valid)


def days_of(cells: Cells, year: Ints, month: Ints, day: Ints) -> Ints:
    """Days since 1970-01-01; BadCell for the dates that no calendar has."""
    good = (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    after = (months + 1).astype("datetime64[D]").astype(np.int64)
    require(cells, good & (day <= after - first), ZERO_DATE)
    return first + day - 1


def _fraction(cells: Cells, offset: int, digits: int) -> Ints:
    """Microseconds in (digits + 1) // 2 bytes, highest first, in units of 10**-2, 10**-4 or 10**-6 seconds."""
    width = (digits + 1) // 2
    if width == 0:
        return np.zeros(len(cells), np.int64)
    return big_endian(cells.buffer, cells.starts + offset, width) * np.int64(100 ** (3 - width))


def _moment_text(cells: Cells, scale: int, year: Ints, month: Ints, day: Ints, micros: Ints) -> pl.Series:
    """`YYYY-MM-DD HH:MM:SS[.ffffff]`; `micros` since midnight."""
    text = np.full((len(cells), 20 + scale), ord(":"), np.uint8)
    _print_date(text, year, month, day)
    text[:, 10] = ord(" ")
    seconds = micros // 1_000_000
    print_digits(text, 11, seconds // 3600, 2)
    print_digits(text, 14, seconds // 60 % 60, 2)
    print_digits(text, 17, seconds % 60, 2)
    stop = _print_fraction(text, 19, micros % 1_000_000, scale)
    return text_rows(text, np.zeros(len(cells), np.int64), np.full(len(cells), stop), cells.valid)


def _print_date(text: Bytes, year: Ints, month: Ints, day: Ints) -> None:
    text[:, (4, 7)] = ord("-")
    print_digits(text, 0, year, 4)
    print_digits(text, 5, month, 2)
    print_digits(text, 8, day, 2)


def _print_fraction(text: Bytes, place: int, micros: Ints, digits: int) -> int:
    """A point and so many digits of a second's fraction, or nothing. -> the place after them"""
    if not digits:
        return place
    text[:, place] = ord(".")
    return print_digits(text, place + 1, micros // 10 ** (6 - digits), digits)
