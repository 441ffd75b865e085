"""Rows as the text protocol sends them, and what to select so that the text holds whole values.

Layer: sources; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cdc_platform.sources.cells import Bytes, Cells, Ints
from cdc_platform.sources.mysql.binlog import little
from cdc_platform.sources.mysql.types import MySQLType

_NULL = 251


def expression(operand: str, kind: MySQLType) -> str:
    """What to select so that the text holds the whole value: floats would be cut to six digits (and adding nought
    makes a minus nought plus), bits come as bytes, and ZEROFILL fills numbers up to 255 digits.
    """
    if kind.base in ("float", "double"):
        return f"{operand} * 1e0"
    if kind.base == "bit" and kind.length < 64:
        return f"{operand} + 0"
    if kind.unsigned and kind.base == "decimal":
        return f"cast({operand} as decimal({kind.precision},{kind.scale}))"
    return f"cast({operand} as unsigned)" if kind.unsigned else operand


def walk_text_rows(buffer: Bytes, starts: Ints, columns: int) -> Iterator[Cells]:
    """The cells of each column in turn, of text rows that begin at `starts`: length-encoded strings, 251 for null
    (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_row.html).
    """
    cursor = starts
    for _ in range(columns):
        first = buffer[cursor]
        lengths = first.astype(np.int64)
        begin = cursor + 1
        valid = first != _NULL
        if (first >= _NULL).any():
            lengths[~valid] = 0
            for code, width in ((252, 2), (253, 3), (254, 8)):
                long = np.flatnonzero(first == code)
                if len(long):
                    words = little(buffer, "<u8")[begin[long]] & np.uint64(2 ** (8 * width) - 1)
                    lengths[long] = words.astype(np.int64)
                    begin[long] += width
        yield Cells(buffer, begin, lengths, valid)
        cursor = begin + lengths
