"""Digests computed by MySQL and MariaDB: the canonical text of model/canonical.py in SQL, hashed and summed.

    select count(*), sum(word 1), sum(word 2) from (select sha2(cells with commas, 256) ...)

One statement a range: a table lies in the order of its primary key, so a range is a stretch of it. A sum is exact, a
decimal. A row that is larger than max_allowed_packet has no hash here: then the range is read and digested there.

Not in SQL, so that a table of which such a column is wanted is read and digested here (`in_sql` says so):

- float and double: no function gives their bits, and text is rounded or printed by each server in its own way;
- texts in a character set of several bytes a character other than UTF-8, or of a single byte where some have no
  Unicode character: the server would make question marks of what stops the table otherwise.

Dates are numbers of days and moments of microseconds, both as hexadecimal. An impossible date, which the lake cannot
hold, is an `x`. Layer: sources; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from cdc_platform.model.key_range import KeyRange
from cdc_platform.sources.mysql.catalogue import Table, quoted
from cdc_platform.sources.mysql.characters import NONE, UTF8, Codepage
from cdc_platform.sources.mysql.connection import quote
from cdc_platform.sources.mysql.ranges import where
from cdc_platform.sources.mysql.textrows import expression
from cdc_platform.sources.mysql.types import LABELLED, STRINGS, MySQLType

Codepages = Callable[[str], Codepage | None]

_ASCII = "ascii"  # its bytes are UTF-8 as they are
_DAYS_TO_2000 = 730_485  # to_days('2000-01-01')
_WORD = "cast(conv(hex(substr(h, {0}, 8)), 16, 10) as unsigned)"
_KEPT = " limit 18446744073709551615"  # so that the hashes are made once and kept, not made again at each mention

NO_HASH = 10**30
"""More than the words of all rows that there can be add up to."""


def in_sql(kind: MySQLType, codepages: Codepages) -> bool:
    """Whether the server can write the canonical text of such a column."""
    if kind.base in ("float", "double"):
        return False
    if kind.base not in STRINGS | LABELLED or kind.charset in UTF8 | {_ASCII}:
        return True
    codepage = codepages(kind.charset)
    return codepage is not None and codepage.form == "single" and not (codepage.table[:256] == NONE).any()


def statement(table: Table, columns: Sequence[str], within: KeyRange) -> str:
    """Select (rows, first, second) of one range; sums are text, null without rows.

    `first` is at least NO_HASH where a row has no hash. The hashes of a range, 16 bytes a row, are kept in a temporary
    table of the server; those of a whole table, which may be any number, are made anew for each word.
    """
    kinds = dict(zip(table.schema.names, table.types, strict=True))
    cells = ", ',', ".join(_cell(quote(name), kinds[name]) for name in columns)
    condition = where(table, within)
    source = f"{quoted(table.schema.table)}{condition}{_KEPT if condition else ''}"
    row = f"left(unhex(sha2(concat({cells}), 256)), 16)"
    return (
        f"select count(*), {_sum(f'ifnull({_WORD.format(1)}, {NO_HASH})')}, {_sum(_WORD.format(9))}"
        f" from (select {row} as h from {source}) as hashes"
    )


def _sum(words: str) -> str:
    return f"cast(sum({words}) as char)"


def _cell(operand: str, kind: MySQLType) -> str:
    """The canonical text; null only where it would be larger than max_allowed_packet, and then so is the row's."""
    if pa.types.is_string(kind.arrow):
        made = _text(operand, kind)
        return f"if({operand} is null, ':', concat(length({made}), ':', {made}))"
    if pa.types.is_binary(kind.arrow):
        digits = f"lpad(hex({operand} + 0), 16, '0')" if kind.base == "bit" else f"hex({operand})"
        return f"if({operand} is null, '', concat('x', lower({digits})))"
    if kind.base == "date":
        return _moment(operand, f"hex((to_days({operand}) - {_DAYS_TO_2000}) & 0xffffffff)", 8)
    if kind.base in ("datetime", "timestamp"):
        return _moment(operand, f"hex(timestampdiff(microsecond, timestamp'2000-01-01 00:00:00', {operand}))", 16)
    number = f"{operand} + 0" if kind.base == "year" else expression(operand, kind)
    return f"ifnull({number}, '')"


def _text(operand: str, kind: MySQLType) -> str:
    """What the column's string is, as bytes of UTF-8."""
    if kind.base in STRINGS | LABELLED:
        utf8 = kind.charset in UTF8 | {_ASCII}
        return f"cast({operand if utf8 else f'convert({operand} using utf8mb4)'} as binary)"
    return f"cast(convert({expression(operand, kind)} using utf8mb4) as binary)"


def _moment(operand: str, number: str, digits: int) -> str:
    return f"if({operand} is null, '', ifnull(lower(lpad({number}, {digits}, '0')), 'x'))"
