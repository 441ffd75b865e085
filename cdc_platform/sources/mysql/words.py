"""SQL text as words: enough of the language to find names and key words, whatever quotes and comments surround them.

What statements do is `statements.py`, what an ALTER does `alter.py`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.binlog import NO_BACKSLASH_ESCAPES

_PATTERN = r"""(?P<open>/\*M?!\d*)|(?P<comment>/\*.*?\*/|\#[^\n]*|--(?=\s|$)[^\n]*)|(?P<close>\*/)
  | `(?P<tick>(?:[^`]|``)*)` | "(?P<double>(?:[^"\\]|""|\\.)*)" | (?P<string>'(?:[^'\\]|''|\\.)*')
  | (?P<word>[\w$\u0080-\uffff]+) | (?P<sign>\S)"""
_TOKEN = re.compile(_PATTERN, re.VERBOSE | re.DOTALL)
_TOKEN_WITHOUT_ESCAPES = re.compile(_PATTERN.replace(r"\\|", "|").replace(r"|\\.", ""), re.VERBOSE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a sign, a string with its quotes, or a quoted identifier without them."""

    text: str
    quoted: bool

    @property
    def word(self) -> str:
        """Upper case for comparison with key words; quoted identifiers are none."""
        return "" if self.quoted else self.text.upper()


def tokens(statement: str, sql_mode: int = 0) -> list[Token]:
    """The tokens of a statement; what is inside `/*! ... */` counts, other comments do not."""
    found = []
    pattern = _TOKEN_WITHOUT_ESCAPES if sql_mode & NO_BACKSLASH_ESCAPES else _TOKEN
    for match in pattern.finditer(statement):
        if match["tick"] is not None:
            found.append(Token(match["tick"].replace("``", "`"), True))
        elif match["double"] is not None:
            found.append(Token(match["double"].replace('""', '"'), True))
        elif match["word"] or match["sign"] or match["string"]:
            found.append(Token(match[0], False))
    return found


class Words:
    """Tokens with a cursor."""

    def __init__(self, database: str, found: list[Token]) -> None:
        self.database, self.tokens, self.place = database, found, 0

    def skip(self, *words: str) -> bool:
        """Step over these words if they come next, in this order."""
        here = [token.word for token in self.tokens[self.place : self.place + len(words)]]
        if here != list(words):
            return False
        self.place += len(words)
        return True

    def skip_any(self, *words: str) -> bool:
        """Step over one word if it is one of these."""
        return any(self.skip(word) for word in words)

    def peek(self) -> str:
        """The next word, empty at the end and before a quoted name."""
        return self.tokens[self.place].word if self.more() else ""

    def more(self) -> bool:
        return self.place < len(self.tokens)

    def text(self) -> str:
        """The next token, whatever it is; empty at the end."""
        text = self.tokens[self.place].text if self.more() else ""
        self.place += 1
        return text

    def name(self) -> TableName:
        """`table` or `database.table`."""
        first = self.text()
        if self.skip("."):
            return TableName(first, self.text())
        return TableName(self.database, first)

    def names(self) -> Iterator[TableName]:
        yield self.name()
        while self.skip(","):
            yield self.name()

    def bracket(self) -> list[Token] | None:
        """What is inside the parentheses that begin here, stepped over; None when none do, or they do not end."""
        if self.peek() != "(":
            return None
        depth = 0
        for place in range(self.place, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.tokens[place].word, 0)
            if depth == 0:
                inside, self.place = self.tokens[self.place + 1 : place], place + 1
                return inside
        return None

    def parts(self) -> list[list[Token]]:
        """The rest, split at the commas that are in no parentheses."""
        return split(self.tokens[self.place :])


def split(found: list[Token]) -> list[list[Token]]:
    """Tokens split at the commas that are in no parentheses."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in found:
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
