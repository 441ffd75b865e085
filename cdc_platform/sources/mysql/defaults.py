"""What a column holds in a new row whose INSERT does not name it, as the table is now: for row images that lack it.

Only constants count, and of those not the moments, which depend on the inserting session's time zone. The value is
asked for as text with DEFAULT(column) and typed as a snapshot's cells are. Layer: sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import BadCell, column, polars_type
from cdc_platform.sources.mysql.connection import Session, quote
from cdc_platform.sources.mysql.packets import COM_QUERY, PacketReader
from cdc_platform.sources.mysql.textrows import expression, walk_text_rows
from cdc_platform.sources.mysql.types import BINARIES, NUMBERS, STRINGS, MySQLType

_ANSWER_BYTES = 1 << 16
_LITERAL = re.compile(r"-?[\d.]+(e[+-]?\d+)?|[bx]?'(?:[^'\\]|''|\\.)*'", re.DOTALL | re.IGNORECASE)
_CONSTANT = NUMBERS | STRINGS | BINARIES | {"enum", "set", "bit", "date", "datetime", "year"}


@dataclass(frozen=True, slots=True)
class Rules:
    """What is known of the columns that an image may lack, as the table is now.

    `defaults` holds, for columns whose default is a constant, a series of that one value. `stored` are the columns
    that are not virtual ones. `replaces` says that the server logs a REPLACE as an UPDATE of some columns.
    """

    defaults: Mapping[str, pl.Series] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()
    replaces: bool = False


@dataclass(frozen=True, slots=True)
class Defaults:
    """`constants` holds a series of one value for each column whose default is certain; `virtual` names the virtual
    columns.
    """

    constants: dict[str, pl.Series]
    virtual: frozenset[str]


def read_defaults(ask: Session, table: TableName, types: dict[str, MySQLType], mariadb: bool) -> Defaults:
    rows = ask.rows(
        "select column_name, column_default, extra, is_nullable from information_schema.columns"
        " where table_schema = %s and table_name = %s",
        [table.schema, table.name],
    )
    virtual = frozenset(str(name) for name, _, extra, _ in rows if "VIRTUAL" in str(extra).upper())
    constants: dict[str, pl.Series] = {}
    wanted = []
    for name, default, extra, nullable in rows:
        kind = types.get(str(name))
        if kind is None or "GENERATED" in str(extra).upper() or "AUTO_INCREMENT" in str(extra).upper():
            continue
        text = None if default is None or (mariadb and default == "NULL") else str(default)
        if text is None:
            if nullable == "YES":
                constants[str(name)] = pl.Series(str(name), [None], polars_type(kind.arrow))
        elif kind.base in _CONSTANT and (not mariadb or _LITERAL.fullmatch(text)):
            wanted.append(str(name))
    return Defaults(constants | _values(ask, table, wanted, types), virtual)


def _values(ask: Session, table: TableName, names: Sequence[str], types: dict[str, MySQLType]) -> dict[str, pl.Series]:
    """The defaults of these columns. DEFAULT needs a row: without any, that of a NOT NULL column stays unknown."""
    if not names:
        return {}
    select = ", ".join(expression(f"default({quote('t', name)})", types[name]) for name in names)
    sql = f"select {select} from (select 1) as o left join {quote(table.schema, table.name)} as t on true limit 1"
    ask.run("set session sql_mode = ''")
    reader = PacketReader(ask.connection, COM_QUERY, sql.encode(), _ANSWER_BYTES)
    reader.preamble()
    packets = reader.read()
    if not len(packets):
        return {}
    found = {}
    for name, cells in zip(names, walk_text_rows(packets.buffer, packets.starts, len(names)), strict=True):
        try:
            series = column(cells, types[name].arrow)
        except BadCell:  # a zero date: not certain is what is left out
            continue
        if series.null_count() == 0:
            found[name] = series.alias(name)
    while not reader.ended:
        reader.keep(len(packets))
        packets = reader.read()
    return found
