"""MariaDB's COMPRESSED columns: what their cells hold.

Format (`field_comp.cc`, https://mariadb.com/kb/en/storage-engine-independent-column-compression/): nothing for the
empty value; else a byte that is 0 before the value itself, or 8 in its upper half before a zlib-compressed one, whose
lower half is 8 for raw deflate plus the bytes of the length that follows, highest first. Pure.
"""

from __future__ import annotations

import zlib

import numpy as np

from cdc_platform.sources.cells import BadCell, Cells
from cdc_platform.sources.mysql.layout import cells_of

_ZLIB = 0x80
_RAW = 0x08


def uncompressed(cells: Cells) -> Cells:
    """The same cells as the values they stand for; raises BadCell. Those that are compressed are taken one by one."""
    there = cells.valid & (cells.lengths > 0)
    heads = np.where(there, cells.buffer[cells.starts], np.uint8(0))
    if not heads.any():
        return cells.part(1, np.where(there, cells.lengths - 1, 0))
    values = []
    for row, (start, length) in enumerate(zip(cells.starts.tolist(), cells.lengths.tolist(), strict=True)):
        cell = cells.buffer[start : start + length].tobytes()
        values.append(cell[1:] if heads[row] == 0 else _inflated(cell, row))
    whole = cells_of(values)
    return Cells(whole.buffer, whole.starts, whole.lengths, cells.valid)


def _inflated(cell: bytes, row: int) -> bytes:
    head = cell[0]
    if head & 0xF0 != _ZLIB:
        raise BadCell(row, "is compressed in a way that is not understood")
    begin = 1 + (head & 7)
    length = int.from_bytes(cell[1:begin], "big")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS if head & _RAW else zlib.MAX_WBITS)
    try:
        value = inflate.decompress(cell[begin:], length + 1)
    except zlib.error as error:
        raise BadCell(row, "cannot be uncompressed") from error
    if len(value) != length or not inflate.eof:
        raise BadCell(row, "cannot be uncompressed to the length that it says")
    return value
