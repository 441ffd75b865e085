"""What a statement in the binlog does to rows that no row event tells of.

With row-based logging, statements in the log are DDL and transaction control. Some take rows away (TRUNCATE, DROP,
RENAME), and a session may have switched to statement-based logging. Each such effect must be seen; ALTERs that
keep the rows are none. This is no SQL parser: it reads the first words and the names after them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.binlog import Query

Kind = Literal["gone", "written", "rolled back", "prepared", "prepared commit"]


@dataclass(frozen=True, slots=True)
class Effect:
    """`what` happened, in a word or two, to `tables` and to all tables of `databases`; `written` statements may
    also have touched any table that is named in `words`. For XA transactions `words` holds their identifier.
    """

    kind: Kind
    what: str
    tables: frozenset[TableName] = frozenset()
    databases: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    def touches(self, table: TableName) -> bool:
        return table in self.tables or table.schema in self.databases or table.name in self.words


_TOKEN = re.compile(
    r"""(?P<open>/\*M?!\d*)|(?P<comment>/\*.*?\*/|\#[^\n]*|--(?=\s|$)[^\n]*)|(?P<close>\*/)
      | `(?P<tick>(?:[^`]|``)*)` | "(?P<double>(?:[^"\\]|""|\\.)*)" | (?P<string>'(?:[^'\\]|''|\\.)*')
      | (?P<word>[\w$\u0080-\uffff]+) | (?P<sign>\S)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    quoted: bool

    @property
    def word(self) -> str:
        """Upper case for comparison with key words; quoted identifiers are none."""
        return "" if self.quoted else self.text.upper()


def _tokens(statement: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(statement):
        if match["tick"] is not None:
            found.append(_Token(match["tick"].replace("``", "`"), True))
        elif match["double"] is not None:
            found.append(_Token(match["double"].replace('""', '"'), True))
        elif match["word"] or match["sign"] or match["string"]:
            found.append(_Token(match[0], False))
    return found


def effect_of(query: Query) -> Effect | None:
    """None for a statement that takes no row away and writes none."""
    tokens = _tokens(query.statement)
    words = [token.word for token in tokens[:6]]
    if not words:
        return None
    reader = _READERS.get(words[0])
    return reader(_Statement(query.database, tokens)) if reader else None


class _Statement:
    """Tokens with a cursor."""

    def __init__(self, database: str, tokens: list[_Token]) -> None:
        self.database, self.tokens, self.place = database, tokens, 0

    def skip(self, *words: str) -> bool:
        """Step over these words if they come next, in this order."""
        here = [token.word for token in self.tokens[self.place : self.place + len(words)]]
        if here != list(words):
            return False
        self.place += len(words)
        return True

    def name(self) -> TableName:
        """`table` or `database.table`."""
        first = self._text()
        if self.skip("."):
            return TableName(first, self._text())
        return TableName(self.database, first)

    def _text(self) -> str:
        text = self.tokens[self.place].text if self.place < len(self.tokens) else ""
        self.place += 1
        return text

    def names(self) -> Iterator[TableName]:
        yield self.name()
        while self.skip(","):
            yield self.name()

    def rest(self) -> list[str]:
        return [token.word for token in self.tokens[self.place :]]


def _written(statement: _Statement) -> Effect:
    what = f"a statement-based {statement.tokens[0].text.upper()}"
    words = frozenset(token.text for token in statement.tokens)
    return Effect("written", what, databases=frozenset([statement.database]), words=words)


def _truncate(statement: _Statement) -> Effect:
    statement.skip("TRUNCATE")
    statement.skip("TABLE")
    return Effect("gone", "TRUNCATE", frozenset([statement.name()]))


def _drop(statement: _Statement) -> Effect | None:
    if statement.skip("DROP", "TABLE") or statement.skip("DROP", "TABLES"):
        statement.skip("IF", "EXISTS")
        return Effect("gone", "DROP TABLE", frozenset(statement.names()))
    if statement.skip("DROP", "DATABASE") or statement.skip("DROP", "SCHEMA"):
        statement.skip("IF", "EXISTS")
        return Effect("gone", "DROP DATABASE", databases=frozenset([statement.name().name]))
    return None


def _rename(statement: _Statement) -> Effect | None:
    if not (statement.skip("RENAME", "TABLE") or statement.skip("RENAME", "TABLES")):
        return None
    statement.skip("IF", "EXISTS")
    names = {statement.name()}
    while statement.rest():
        if statement.skip("TO") or statement.skip(","):
            names.add(statement.name())
        else:
            statement.place += 1  # WAIT n, NOWAIT
    return Effect("gone", "RENAME", frozenset(names))


def _create(statement: _Statement) -> Effect | None:
    if not statement.skip("CREATE", "OR", "REPLACE", "TABLE"):
        return None
    return Effect("gone", "CREATE OR REPLACE TABLE", frozenset([statement.name()]))


_LOSSY_PAIRS = {
    ("DROP", "PARTITION"), ("TRUNCATE", "PARTITION"), ("EXCHANGE", "PARTITION"), ("CONVERT", "PARTITION"),
    ("CONVERT", "TABLE"), ("DISCARD", "TABLESPACE"), ("IMPORT", "TABLESPACE"), ("DISCARD", "PARTITION"),
    ("IMPORT", "PARTITION"),
}  # fmt: skip


def _alter(statement: _Statement) -> Effect | None:
    statement.skip("ALTER")
    statement.skip("ONLINE")
    ignore = statement.skip("IGNORE")
    if not statement.skip("TABLE"):
        return None
    statement.skip("IF", "EXISTS")
    names = {statement.name()}
    rest = statement.rest()
    begin = statement.place
    for index, pair in enumerate(zip(rest, [*rest[1:], ""], strict=True)):
        if pair in _LOSSY_PAIRS:
            return Effect("gone", f"ALTER TABLE ... {' '.join(pair)}", frozenset(names))
        if pair[0] == "RENAME" and pair[1] not in ("COLUMN", "INDEX", "KEY"):
            statement.place = begin + index + 1
            if not (statement.skip("TO") or statement.skip("AS")):
                statement.skip("=")
            names.add(statement.name())
            return Effect("gone", "ALTER TABLE ... RENAME", frozenset(names))
    return Effect("gone", "ALTER IGNORE TABLE", frozenset(names)) if ignore else None


def _rollback(statement: _Statement) -> Effect:
    return Effect("rolled back", "ROLLBACK")


def _xa(statement: _Statement) -> Effect | None:
    """XA START (not on MariaDB) and XA END are around the rows of a transaction that XA COMMIT makes take effect."""
    identifier = frozenset(["".join(token.text for token in statement.tokens[2:])])
    if statement.skip("XA", "START") or statement.skip("XA", "END"):
        return Effect("prepared", "an XA transaction", words=identifier)
    if statement.skip("XA", "COMMIT"):
        return Effect("prepared commit", "an XA transaction", words=identifier)
    return None


_WRITING = ("INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "WITH", "SELECT", "DO", "CALL", "IMPORT")

_READERS: dict[str, Callable[[_Statement], Effect | None]] = {
    "TRUNCATE": _truncate, "DROP": _drop, "RENAME": _rename, "CREATE": _create, "ALTER": _alter,
    "ROLLBACK": _rollback, "XA": _xa,
    **dict.fromkeys(_WRITING, _written),
}  # fmt: skip
