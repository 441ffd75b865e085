"""MariaDB's uuid, inet4 and inet6: fixed bytes in the log, printed as the server prints them. Pure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from cdc_platform.sources.cells import Cells
from cdc_platform.sources.mysql.layout import matrix, text_rows
from cdc_platform.sources.mysql.types import ADDRESSES, MySQLType

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_DASHES = (8, 13, 18, 23)


def address_column(cells: Cells, kind: MySQLType) -> pl.Series:
    """The log leaves out zero bytes at the end."""
    rows = matrix(cells, ADDRESSES[kind.base])
    if kind.base == "uuid":
        text = np.full((len(cells), 36), ord("-"), np.uint8)
        digits = np.setdiff1d(np.arange(36), _DASHES)
        text[:, digits[0::2]] = _HEX[rows >> 4]
        text[:, digits[1::2]] = _HEX[rows & 15]
        return text_rows(text, np.zeros(len(cells), np.int64), np.full(len(cells), 36), cells.valid)
    printed: Callable[[bytes], str] = inet4_text if kind.base == "inet4" else inet6_text
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    texts = pl.Series([printed(row.tobytes()) for row in distinct], dtype=pl.String)
    numbers = pl.Series(which.ravel().astype(np.uint32))
    return texts.gather(pl.select(pl.when(pl.Series(values=cells.valid)).then(numbers)).to_series())


def inet4_text(address: bytes) -> str:
    return ".".join(map(str, address))


def inet6_text(address: bytes) -> str:
    """The first of the longest runs of zero groups becomes `::`, also if it is one group; the last four bytes are
    printed as IPv4 where six zero groups, or five and ffff, precede them and are the longest run.
    """
    groups = [address[place] << 8 | address[place + 1] for place in range(0, 16, 2)]
    first, length = _longest_zeros(groups)
    if first == 0 and (length == 6 or (length == 5 and groups[5] == 0xFFFF)):
        return ("::" if length == 6 else "::ffff:") + inet4_text(address[12:])
    printed = [f"{group:x}" for group in groups]
    if not length:
        return ":".join(printed)
    return ":".join(printed[:first]) + "::" + ":".join(printed[first + length :])


def _longest_zeros(groups: list[int]) -> tuple[int, int]:
    best, length, run = 0, 0, 0
    for place, group in enumerate([*groups, 1]):
        if group == 0:
            run += 1
        elif run:
            if run > length:
                best, length = place - run, run
            run = 0
    return best, length
