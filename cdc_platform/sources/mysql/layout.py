"""Cells laid out anew: bytes gathered from a buffer, padded to one width, or printed into a matrix of characters.

The tools that the decoders of single types share; they know no type. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from cdc_platform.sources.cells import MARGIN, BadCell, Bytes, Cells, Ints, Mask, padded, text_column
from cdc_platform.sources.mysql.binlog import little


def require(cells: Cells, good: Mask, reason: str) -> None:
    """BadCell for the first valid cell that is not good."""
    bad = cells.valid & ~good
    if bad.any():
        raise BadCell(int(bad.argmax()), reason)


def big_endian(buffer: Bytes, starts: Ints, width: int) -> Ints:
    """Unsigned numbers of 1 to 8 bytes, highest byte first; those of 8 bytes must fit an int64."""
    words = little(buffer, ">u8")[starts] >> np.uint64(64 - 8 * width)
    return words.astype(np.int64)


def flat(cells: Cells) -> Bytes:
    """The bytes of all cells, one after the other."""
    ends = np.cumsum(cells.lengths)
    total = int(ends[-1]) if len(ends) else 0
    return cells.buffer[np.repeat(cells.starts - (ends - cells.lengths), cells.lengths) + np.arange(total)]


def gathered(data: Bytes, lengths: Ints, valid: Mask) -> Cells:
    """Cells that follow each other in `data`."""
    return Cells(padded(data), MARGIN + np.cumsum(lengths) - lengths, lengths, valid)


def cells_of(values: Sequence[bytes]) -> Cells:
    """Cells with these bytes, none of them null."""
    data = np.frombuffer(b"".join(values), np.uint8)
    lengths = np.fromiter(map(len, values), np.int64, len(values))
    return gathered(data, lengths, np.ones(len(values), np.bool_))


def matrix(cells: Cells, width: int) -> Bytes:
    """(cells, width): each cell's bytes, then zeros; BadCell for one that is longer."""
    require(cells, cells.lengths <= width, f"has more than {width} bytes")
    rows = np.zeros((len(cells), width), np.uint8)
    rows[np.arange(width) < cells.lengths[:, None]] = flat(cells)
    return rows


def text_rows(text: Bytes, first: Ints, lengths: Ints, valid: Mask) -> pl.Series:
    """Strings out of a matrix of characters: row i from column first[i] on."""
    count, width = text.shape
    return text_column(Cells(padded(text.ravel()), MARGIN + np.arange(count) * width + first, lengths * valid, valid))


def print_digits(text: Bytes, place: int, numbers: Ints, digits: int) -> int:
    """Write numbers of that many digits into the columns of `text` from `place` on. -> the place after them"""
    for power in range(digits - 1, -1, -1):
        text[:, place] = numbers // 10**power % 10 + ord("0")
        place += 1
    return place
