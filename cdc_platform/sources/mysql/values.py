"""Cells of row images become typed columns: MySQL's binary forms, for all rows of a column at once.

Formats: https://dev.mysql.com/doc/dev/mysql-server/latest/field_8cc.html (pack and unpack of the fields). Here are
numbers, bytes and labels, and which file knows the rest: `moments.py`, `decimals.py`, `characters.py`,
`binary_json.py`, `addresses.py`, `compressed.py`. What text of a result set means is `sources/cells.py`; the two agree
by test. A cell that has no value in the column's Arrow type (a zero date, an enum's unknown member) is a `BadCell`.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from cdc_platform.sources.cells import Cells, Mask, binary_column, laid_out, series_of
from cdc_platform.sources.mysql.addresses import address_column
from cdc_platform.sources.mysql.binary_json import json_column
from cdc_platform.sources.mysql.binlog import little
from cdc_platform.sources.mysql.characters import UTF8, Codepage, recoded_column, utf8_column
from cdc_platform.sources.mysql.compressed import uncompressed
from cdc_platform.sources.mysql.decimals import decimal_column
from cdc_platform.sources.mysql.layout import big_endian, flat, gathered, require
from cdc_platform.sources.mysql.moments import (
    date_column,
    datetime_column,
    time_column,
    timestamp_column,
    year_column,
)
from cdc_platform.sources.mysql.types import ADDRESSES, LABELLED, STRINGS, MySQLType

_WIDTHS = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}


def value_column(cells: Cells, kind: MySQLType, codepage: Codepage | None = None) -> pl.Series:
    """The cells as a series of the Polars type that belongs to `kind.arrow`; raises BadCell.

    `codepage` is needed for texts in a character set other than UTF-8.
    """
    if kind.compressed:
        cells = uncompressed(cells)
    if kind.base in STRINGS:
        return string_column(cells, kind, codepage)
    if kind.base in LABELLED:
        return (_enum if kind.base == "enum" else _set)(cells, kind)
    if kind.base in _WIDTHS:
        return _integer(cells, kind)
    reader = _READERS.get(kind.base)
    return reader(cells, kind) if reader else binary_column(cells)


def string_column(cells: Cells, kind: MySQLType, codepage: Codepage | None) -> pl.Series:
    """Texts (or labels) in the column's character set, as row images and unconverted result sets hold them."""
    if codepage is None or kind.charset in UTF8:
        return utf8_column(cells)
    return recoded_column(cells, codepage)


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
    return laid_out(wide, cells.valid, kind.arrow)


def _float(cells: Cells, kind: MySQLType) -> pl.Series:
    return series_of(little(cells.buffer, "<f4" if kind.base == "float" else "<f8")[cells.starts], cells.valid)


def _bit(cells: Cells, kind: MySQLType) -> pl.Series:
    """An int64 up to 63 bits, the eight bytes themselves for 64."""
    if kind.length > 63:
        return binary_column(cells)
    return series_of(big_endian(cells.buffer, cells.starts, (kind.length + 7) // 8), cells.valid)


# --- bytes and labels ---------------------------------------------------------------------------------------------


def _fixed_binary(cells: Cells, kind: MySQLType) -> pl.Series:
    """BINARY(n): the log leaves out zero bytes at the end."""
    if (cells.lengths[cells.valid] == kind.length).all():
        return binary_column(cells)
    text = np.zeros((len(cells), kind.length), np.uint8)
    text[np.arange(kind.length) < cells.lengths[:, None]] = flat(cells)
    return binary_column(gathered(text[cells.valid].ravel(), cells.valid * kind.length, cells.valid))


def _enum(cells: Cells, kind: MySQLType) -> pl.Series:
    """The number of the member, from 1; 0 is the empty string that stands for a refused value."""
    width = 1 if len(kind.labels) < 256 else 2
    members = little(cells.buffer, f"<u{width}")[cells.starts].astype(np.int64)
    require(cells, members <= len(kind.labels), "is no member of the enum")
    labels = pl.Series(["", *kind.labels], dtype=pl.String)
    return _masked(labels.gather(np.where(cells.valid, members, 0)), cells.valid)


def _set(cells: Cells, kind: MySQLType) -> pl.Series:
    """One bit a member, the first one lowest; members in the set's order with commas between."""
    width = (len(kind.labels) + 7) // 8
    width = width if width <= 4 else 8
    words = little(cells.buffer, "<u8")[cells.starts] & np.uint64(2 ** (8 * width) - 1)
    words = np.where(cells.valid, words, np.uint64(0))
    require(cells, words >> np.uint64(len(kind.labels)) == 0 if len(kind.labels) < 64 else cells.valid, "is no set")
    distinct, which = np.unique(words, return_inverse=True)
    texts = [",".join(label for i, label in enumerate(kind.labels) if word >> i & 1) for word in distinct.tolist()]
    return _masked(pl.Series(texts, dtype=pl.String).gather(which), cells.valid)


def _masked(series: pl.Series, valid: Mask) -> pl.Series:
    if valid.all():
        return series
    return pl.select(pl.when(pl.Series(values=valid)).then(series)).to_series()


_READERS: dict[str, Callable[[Cells, MySQLType], pl.Series]] = {
    "float": _float, "double": _float, "bit": _bit, "binary": _fixed_binary,
    "decimal": decimal_column, "date": date_column, "datetime": datetime_column, "timestamp": timestamp_column,
    "time": time_column, "year": year_column, "json": lambda cells, kind: json_column(cells),
    **dict.fromkeys(ADDRESSES, address_column),
}  # fmt: skip
