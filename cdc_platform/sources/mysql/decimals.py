"""NEWDECIMAL of row images: groups of nine digits become 128-bit numbers, or text where those do not suffice.

Format: `decimal2bin` of https://dev.mysql.com/doc/dev/mysql-server/latest/decimal_8cc.html. Pure.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cdc_platform.sources.cells import Cells, Ints, Mask, laid_out
from cdc_platform.sources.mysql.layout import big_endian, print_digits, require, text_rows
from cdc_platform.sources.mysql.types import MySQLType

_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_INT64_DIGITS = 18
_LIMB = np.uint64(0xFFFFFFFF)

Groups = list[tuple[Ints, int]]
"""A number's groups of digits, highest first: each with its count of digits."""


def decimal_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """Groups highest first; the first bit is inverted, and for negative numbers all bits are."""
    negative = cells.valid & (cells.buffer[cells.starts] < 0x80)
    groups: Groups = []
    place = 0
    for width, digits in _groups(kind):
        group = big_endian(cells.buffer, cells.starts + place, width)
        if place == 0:
            group ^= 1 << (8 * width - 1)
        group = np.where(negative, group ^ ((1 << (8 * width)) - 1), group)
        require(cells, (group >= 0) & (group < 10**digits), "is no decimal")
        groups.append((group, digits))
        place += width
    if kind.arrow == pa.string():
        return _text(cells, kind, groups, negative)
    return laid_out(_wide(groups, negative, kind.precision), cells.valid, kind.arrow)


def _groups(kind: MySQLType) -> list[tuple[int, int]]:
    """(bytes, digits) of the groups: a short one, whole ones of nine digits; whole ones, a short one."""
    whole, fraction = kind.precision - kind.scale, kind.scale
    digits = [whole % 9, *[9] * (whole // 9), *[9] * (fraction // 9), fraction % 9]
    return [(_DIGIT_BYTES[count], count) for count in digits if count]


def _wide(groups: Groups, negative: Mask, precision: int) -> npt.NDArray[np.uint64]:
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


def _text(cells: Cells, kind: MySQLType, groups: Groups, negative: Mask) -> pl.Series:
    """All digits as the server prints them: one digit at least before the point."""
    whole = kind.precision - kind.scale
    text = np.full((len(cells), kind.precision + 3), ord("."), np.uint8)  # sign, 0, whole digits, point, fraction
    text[:, 1] = ord("0")
    place = 2
    for group, count in groups:
        place += place == 2 + whole and kind.scale > 0
        place = print_digits(text, place, group, count)
    significant = text[:, 2 : 2 + whole] != ord("0")
    leading = (
        np.where(significant.any(axis=1), significant.argmax(axis=1), whole)
        if whole
        else np.zeros(len(cells), np.int64)
    )
    first = np.minimum(2 + leading, max(1 + whole, 1)) - negative
    rows = np.flatnonzero(negative)
    text[rows, first[rows]] = ord("-")
    stop = 2 + whole + (kind.scale + 1 if kind.scale else 0)
    return text_rows(text, first, stop - first, cells.valid)
