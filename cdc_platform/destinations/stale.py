"""Which of two rows of one key is older, by their `_cdc_*` source positions.

The version rule of `Applied` already applies every change once and in order. This guard is for the rest: a table
that somebody rewound or wrote to. Rows whose positions cannot be compared (other binlog base name: another
server; or null) are never called older.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from cdc_platform.destinations.rows import BINLOG_FILE, BINLOG_POSITION, LSN


def position_columns(columns: Collection[str]) -> tuple[str, ...]:
    """The columns among `columns` that order changes; empty when the table keeps none."""
    if LSN in columns:
        return (LSN,)
    if BINLOG_FILE in columns and BINLOG_POSITION in columns:
        return (BINLOG_FILE, BINLOG_POSITION)
    return ()


def is_older(columns: tuple[str, ...], suffix: str) -> pl.Expr:
    """True where the position in `columns` lies before the one in the same columns with `suffix`."""
    if columns == (LSN,):
        return (pl.col(LSN) < pl.col(LSN + suffix)).fill_null(False)
    file, other = pl.col(BINLOG_FILE), pl.col(BINLOG_FILE + suffix)
    number = r"\.\d+$"
    length, other_length = file.str.len_bytes(), other.str.len_bytes()
    earlier = (
        (length < other_length)
        | ((length == other_length) & (file < other))
        | ((file == other) & (pl.col(BINLOG_POSITION) < pl.col(BINLOG_POSITION + suffix)))
    )
    return (earlier & (file.str.replace(number, "") == other.str.replace(number, ""))).fill_null(False)
