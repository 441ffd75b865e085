"""Texts in any of the server's character sets become UTF-8, all characters of a column at once.

    bytes of all cells ──> where characters begin ──> their codes ──> code points (table or arithmetic) ──> UTF-8

What a code means comes from a table that the server itself filled in (`charset_tables.py`), because servers and
Python's codecs differ in single characters; only Unicode's own forms (utf16, ucs2, utf32) are computed. A code for
which the server knows no Unicode character is a `BadCell`: the server itself would send a question mark for it.

Why no walk from character to character is needed where they take one or two bytes: a byte that cannot lead ends its
character wherever it stands, so after it one begins; and in a run of bytes that can lead, they pair up. Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cdc_platform.sources.cells import BadCell, Bytes, Cells, Ints, Mask, binary_column, text_column
from cdc_platform.sources.mysql.layout import cells_of, flat, gathered

UTF8 = {"utf8mb4", "utf8mb3"}

NONE = 0xFFFFFFFF
"""In a `Codepage.table`: the server knows no character with this code."""

Points = npt.NDArray[np.uint32]

Form = Literal["single", "double", "euc", "gb18030", "utf16", "utf16le", "ucs2", "utf32"]

FORMS: dict[str, Form] = {
    "utf16": "utf16", "utf16le": "utf16le", "ucs2": "ucs2", "utf32": "utf32", "gb18030": "gb18030",
    **dict.fromkeys(("ujis", "eucjpms"), "euc"),
    **dict.fromkeys(("sjis", "cp932", "big5", "gbk", "gb2312", "euckr"), "double"),
}  # fmt: skip
"""How the character sets with more than a byte a character lay characters out."""

LEADS: dict[str, tuple[tuple[int, int], ...]] = {
    "sjis": ((0x81, 0x9F), (0xE0, 0xFC)), "cp932": ((0x81, 0x9F), (0xE0, 0xFC)), "big5": ((0xA1, 0xF9),),
    "gbk": ((0x81, 0xFE),), "gb2312": ((0xA1, 0xF7),), "euckr": ((0x81, 0xFE),), "gb18030": ((0x81, 0xFE),),
    "ujis": ((0x8E, 0x8F), (0xA1, 0xFE)), "eucjpms": ((0x8E, 0x8F), (0xA1, 0xFE)),
}  # fmt: skip
"""The bytes that begin a character of more than one byte: `ctype-*.c` of either server."""

THIRD_PLANE = 1 << 16  # where codes of three bytes (8F and two more) or four begin in a table
FOUR_BYTE_CODES = 39_420  # 81308130 to 8431A439: the rest of the basic plane
_SUPPLEMENTARY = 189_000  # 90308130, counted likewise: U+10000


@dataclass(frozen=True, slots=True, eq=False)
class Codepage:
    """A character set other than UTF-8. `table[code]` is the character's code point or NONE.

    A code is the byte, or both bytes highest first; 8F xx yy is THIRD_PLANE + xxyy, and the four bytes of GB 18030
    are THIRD_PLANE + their number in that standard's order. Unicode's own forms have no table.
    """

    name: str
    form: Form
    table: Points

    @property
    def extends_ascii(self) -> bool:
        """Whether the bytes below 128 are ASCII."""
        return bool((self.table[:128] == np.arange(min(128, len(self.table)))).all()) if len(self.table) else False


def utf8_column(cells: Cells) -> pl.Series:
    """Texts that the server says are UTF-8. MariaDB lets halves of surrogate pairs in, which no Unicode text has."""
    try:
        return binary_column(cells).cast(pl.String)
    except pl.exceptions.ComputeError as error:
        for row in np.flatnonzero(cells.valid).tolist():
            start = int(cells.starts[row])
            try:
                cells.buffer[start : start + int(cells.lengths[row])].tobytes().decode()
            except UnicodeDecodeError:
                raise BadCell(row, "is no valid UTF-8") from error
        raise


def recoded_column(cells: Cells, codepage: Codepage) -> pl.Series:
    """Texts in this character set as strings; raises BadCell."""
    return text_column(recoded(cells, codepage))


def recoded(cells: Cells, codepage: Codepage) -> Cells:
    data = flat(cells)
    if codepage.extends_ascii and not (data & 0x80).any():
        return cells
    owners = np.repeat(np.arange(len(cells)), cells.lengths)
    chars = _READERS[codepage.form](_Text(data, owners), codepage)
    missing = chars.points == NONE
    if missing.any():
        row = int(owners[chars.starts[int(missing.argmax())]])
        raise BadCell(row, f"holds a character of {codepage.name} that Unicode has not, or half of one")
    lengths, encoded = _encoded(chars.points)
    per_cell = np.bincount(owners[chars.starts], weights=lengths, minlength=len(cells)).astype(np.int64)
    return gathered(encoded, per_cell, cells.valid)


def decoded(text: bytes, codepage: Codepage) -> str:
    """One text."""
    return str(recoded_column(cells_of([text]), codepage)[0])


@dataclass(frozen=True, slots=True)
class _Text:
    """The bytes of all cells, and the cell of each."""

    data: Bytes
    owners: Ints

    def byte(self, place: Ints) -> Ints:
        """The bytes at these places; past the end, any."""
        return self.data[np.minimum(place, len(self.data) - 1)].astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Chars:
    """Where characters begin, and their code points."""

    starts: Ints
    points: Points


def _encoded(points: Points) -> tuple[Ints, Bytes]:
    """Code points as UTF-8. -> how many bytes each takes, the bytes"""
    lengths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
    rows = np.zeros((len(points), 4), np.uint8)
    for length, mark in ((1, 0), (2, 0xC0), (3, 0xE0), (4, 0xF0)):
        which = np.flatnonzero(lengths == length)
        rest = points[which].astype(np.int64)
        for place in range(length - 1, 0, -1):
            rows[which, place] = rest & 0x3F | 0x80
            rest = rest >> 6
        rows[which, 0] = rest | mark
    return lengths, rows[np.arange(4) < lengths[:, None]]


# --- one, two or three bytes a character ----------------------------------------------------------------------------


def _single(text: _Text, codepage: Codepage) -> _Chars:
    return _Chars(np.arange(len(text.data)), codepage.table[text.data])


def _double(text: _Text, codepage: Codepage) -> _Chars:
    starts, lengths = _characters(text, _leading(codepage), text.data < 0)
    points = _points(text, codepage, starts, lengths)
    return _Chars(starts, _whole(text, starts, lengths, points))


def _euc(text: _Text, codepage: Codepage) -> _Chars:
    """8E and 8F lead wherever they stand: no other byte of a character is one of them."""
    starts, lengths = _characters(text, _leading(codepage), (text.data == 0x8E) | (text.data == 0x8F))
    points = _points(text, codepage, starts, lengths)
    triple = np.flatnonzero(lengths == 3)
    at = starts[triple]
    points[triple] = codepage.table[THIRD_PLANE + (text.byte(at + 1) << 8) + text.byte(at + 2)]
    return _Chars(starts, _whole(text, starts, lengths, points))


def _gb18030(text: _Text, codepage: Codepage) -> _Chars:
    """A pair whose second byte is a digit is half of a character; halves that follow each other belong together."""
    starts, lengths = _characters(text, _leading(codepage), text.data < 0)
    second = text.byte(starts + 1)
    half = (lengths == 2) & (second >= 0x30) & (second <= 0x39)
    if not half.any():
        return _Chars(starts, _whole(text, starts, lengths, _points(text, codepage, starts, lengths)))
    same_cell = np.zeros(len(starts), np.bool_)
    same_cell[1:] = text.owners[starts[1:]] == text.owners[starts[:-1]]
    goes_on = np.zeros(len(starts), np.bool_)
    goes_on[1:] = half[1:] & half[:-1] & same_cell[1:]
    number = np.arange(len(starts))
    behind = (number - np.maximum.accumulate(np.where(goes_on, 0, number))) % 2 == 1
    kept = np.flatnonzero(~(half & behind))
    half, starts, lengths = half[kept], starts[kept], lengths[kept]
    lengths = np.where(half, 4, lengths)
    points = _points(text, codepage, starts, lengths)
    at = starts[half]
    order = ((text.byte(at) - 0x81) * 10 + text.byte(at + 1) - 0x30) * 1260
    order += (text.byte(at + 2) - 0x81) * 10 + text.byte(at + 3) - 0x30
    points[half] = _four_bytes(order, codepage)
    return _Chars(starts, _whole(text, starts, lengths, points))


def _four_bytes(order: Ints, codepage: Codepage) -> Points:
    """Code points of GB 18030's codes of four bytes: by the table in the basic plane, by counting above it."""
    basic = codepage.table[THIRD_PLANE + np.clip(order, 0, FOUR_BYTE_CODES - 1)]
    above = 0x10000 + order - _SUPPLEMENTARY
    points = np.where((order >= 0) & (order < FOUR_BYTE_CODES), basic, np.uint32(NONE))
    return np.where((above >= 0x10000) & (above <= 0x10FFFF), above, points).astype(np.uint32)


def _leading(codepage: Codepage) -> Mask:
    leading = np.zeros(256, np.bool_)
    for first, last in LEADS[codepage.name]:
        leading[first : last + 1] = True
    return leading


def _characters(text: _Text, leading: Mask, always: Mask) -> tuple[Ints, Ints]:
    """Where characters begin, and their bytes by what leads them. `always` begins one, wherever it stands."""
    data, place = text.data, np.arange(len(text.data))
    lead = leading[data]
    fresh = always.copy()
    fresh[:1] = True
    fresh[1:] |= ~lead[:-1] | (text.owners[1:] != text.owners[:-1])
    run = np.maximum.accumulate(np.where(fresh, place, 0))
    offset = place - run
    triple = data == 0x8F if always.any() else always
    begins = np.where(triple[run], (offset == 0) | ((offset >= 3) & (offset % 2 == 1)), offset % 2 == 0)
    starts = np.flatnonzero(begins)
    return starts, 1 + lead[starts].astype(np.int64) + triple[starts]


def _points(text: _Text, codepage: Codepage, starts: Ints, lengths: Ints) -> Points:
    """The code points of the characters of one or two bytes."""
    first = text.byte(starts)
    return codepage.table[np.where(lengths == 2, first << 8 | text.byte(starts + 1), first)]


def _whole(text: _Text, starts: Ints, lengths: Ints, points: Points) -> Points:
    """`points`, NONE for characters that do not end where the next one, or the next cell, begins."""
    ends = np.append(starts[1:], len(text.data))
    points[starts + lengths != ends] = NONE
    return points


# --- Unicode's own forms --------------------------------------------------------------------------------------------


def _units(text: _Text, kind: str) -> tuple[Ints, Ints, Mask]:
    """Numbers of two or four bytes from the start of each cell. -> starts, numbers, whether they are cut off"""
    width = np.dtype(kind).itemsize
    counts = np.bincount(text.owners) if len(text.owners) else np.zeros(0, np.int64)
    firsts = np.cumsum(counts) - counts
    offset = np.arange(len(text.data)) - firsts[text.owners]
    starts = np.flatnonzero(offset % width == 0)
    cut = starts + width > (firsts + counts)[text.owners[starts]]
    padding = np.zeros(width, np.uint8)
    data = np.append(text.data, padding)
    numbers = np.ndarray((len(data) - width + 1,), kind, data, 0, (1,))[starts].astype(np.int64)
    return starts, numbers, cut


def _unicode(text: _Text, kind: str) -> _Chars:
    """One number a character: what is half of a surrogate pair, or beyond Unicode, is none."""
    starts, numbers, cut = _units(text, kind)
    bad = cut | ((numbers >= 0xD800) & (numbers < 0xE000)) | (numbers > 0x10FFFF)
    return _Chars(starts, np.where(bad, NONE, numbers).astype(np.uint32))


def _utf16(text: _Text, kind: str) -> _Chars:
    starts, numbers, cut = _units(text, kind)
    high, low = (numbers >> 10 == 0x36) & ~cut, (numbers >> 10 == 0x37) & ~cut
    after_high = np.zeros(len(starts), np.bool_)
    after_high[1:] = high[:-1] & (text.owners[starts[1:]] == text.owners[starts[:-1]])
    paired = np.zeros(len(starts), np.bool_)
    paired[:-1] = (after_high & low)[1:]
    following = np.append(numbers[1:], 0)
    points = np.where(paired, 0x10000 + ((numbers & 0x3FF) << 10) + (following & 0x3FF), numbers)
    points[cut | (high & ~paired) | (low & ~after_high)] = NONE
    kept = ~(low & after_high)
    return _Chars(starts[kept], points[kept].astype(np.uint32))


_READERS: dict[Form, Callable[[_Text, Codepage], _Chars]] = {
    "single": _single,
    "double": _double,
    "euc": _euc,
    "gb18030": _gb18030,
    "utf16": lambda text, codepage: _utf16(text, ">u2"),
    "utf16le": lambda text, codepage: _utf16(text, "<u2"),
    "ucs2": lambda text, codepage: _unicode(text, ">u2"),
    "utf32": lambda text, codepage: _unicode(text, ">u4"),
}
