"""What a statement in the binlog does that no row event tells of.

With row-based logging, statements in the log are DDL and transaction control. Some take a table away (DROP, RENAME),
or its rows (TRUNCATE), some rename columns or rewrite rows (ALTER, see `alter.py`), and a session may have switched to
statement-based logging. Each such effect must be seen. This is no SQL parser: it reads the first words and the names
after them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.alter import Alteration, read_alter
from cdc_platform.sources.mysql.binlog import QUERY, Events, Query, begins_transaction
from cdc_platform.sources.mysql.words import Words, tokens

Kind = Literal[
    "gone", "truncated", "unlogged", "altered", "savepoint", "rolled back", "prepared", "prepared commit",
    "prepared rollback",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Effect:
    """`what` happened, in a few words, to `tables` and to all tables of `databases`; statements that wrote rows may
    also have touched any table that is named in `words`. For XA transactions `words` holds their identifier, for
    savepoints and going back to one its name in lower case.
    """

    kind: Kind
    what: str
    tables: frozenset[TableName] = frozenset()
    databases: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    alteration: Alteration | None = None

    def touches(self, table: TableName) -> bool:
        return table in self.tables or table.schema in self.databases or table.name in self.words

    def folded(self) -> Effect:
        """With all names in lower case, for servers that do not tell them apart (lower_case_table_names)."""
        return replace(
            self,
            tables=frozenset(folded(table) for table in self.tables),
            databases=frozenset(name.lower() for name in self.databases),
            words=frozenset(word.lower() for word in self.words),
        )


def folded(table: TableName) -> TableName:
    return TableName(table.schema.lower(), table.name.lower())


def effects_of(query: Query) -> tuple[Effect, ...]:
    """Nothing for a statement that takes no row away, writes none and renames nothing."""
    found = tokens(query.statement, query.sql_mode)
    reader = _READERS.get(found[0].word) if found else None
    effects = reader(Words(query.database, found), query) if reader else ()
    if query.exact or not any(effect.tables or effect.databases for effect in effects):
        return effects
    # The names may be others than they seem.
    doubt = Effect("unlogged", "a statement that is not in UTF-8", databases=frozenset([query.database]))
    return (*effects, doubt)


_DEFINING = re.compile(rb"\b(?:ALTER|CREATE|DROP|RENAME)\b", re.IGNORECASE)


def defines(events: Events) -> bool:
    """Whether a statement among these events may define a table or its keys anew."""
    queries = events.of(QUERY)
    queries = queries[~begins_transaction(events, queries)]
    return any(_DEFINING.search(events.body(index)) for index in queries.tolist())


def _written(words: Words, _query: Query) -> tuple[Effect, ...]:
    what = f"a statement-based {words.tokens[0].text.upper()}"
    texts = frozenset(token.text for token in words.tokens)
    return (Effect("unlogged", what, databases=frozenset([words.database]), words=texts),)


def _truncate(words: Words, _query: Query) -> tuple[Effect, ...]:
    words.skip("TRUNCATE")
    words.skip("TABLE")
    return (Effect("truncated", "TRUNCATE", frozenset([words.name()])),)


def _drop(words: Words, _query: Query) -> tuple[Effect, ...]:
    if words.skip("DROP", "TABLE") or words.skip("DROP", "TABLES"):
        words.skip("IF", "EXISTS")
        return (Effect("gone", "DROP TABLE", frozenset(words.names())),)
    if words.skip("DROP", "DATABASE") or words.skip("DROP", "SCHEMA"):
        words.skip("IF", "EXISTS")
        return (Effect("gone", "DROP DATABASE", databases=frozenset([words.name().name])),)
    return ()


def _rename(words: Words, _query: Query) -> tuple[Effect, ...]:
    if not (words.skip("RENAME", "TABLE") or words.skip("RENAME", "TABLES")):
        return ()
    words.skip("IF", "EXISTS")
    names = {words.name()}
    while words.more():
        if words.skip("TO") or words.skip(","):
            names.add(words.name())
        else:
            words.place += 1  # WAIT n, NOWAIT
    return (Effect("gone", "RENAME", frozenset(names)),)


def _create(words: Words, _query: Query) -> tuple[Effect, ...]:
    if not words.skip("CREATE", "OR", "REPLACE", "TABLE"):
        return ()
    return (Effect("gone", "CREATE OR REPLACE TABLE", frozenset([words.name()])),)


_VERSIONS = re.compile(r"/\*M?!(\d{5,6})")
_GATED = 50700  # from this version on, MySQL and MariaDB run each other's comments or not


def _alter(words: Words, query: Query) -> tuple[Effect, ...]:
    words.skip("ALTER")
    words.skip("ONLINE")
    ignore = words.skip("IGNORE")
    if not words.skip("TABLE"):
        return ()
    words.skip("IF", "EXISTS")
    table = words.name()
    found = read_alter(words, query.sql_mode)
    if found.moved:
        return (Effect("gone", "ALTER TABLE ... RENAME", frozenset([table, *found.others])),)
    if ignore:
        found.doubts.append("ALTER IGNORE TABLE")
    if any(int(version) >= _GATED for version in _VERSIONS.findall(query.statement)):
        found.doubts.append("an ALTER TABLE with parts for some versions only")
    effects = [Effect("altered", "ALTER TABLE", frozenset([table]), alteration=found)]
    if found.others:
        effects.append(Effect("unlogged", found.doubts[0], frozenset(found.others)))
    return tuple(effects)


def _savepoint(words: Words, _query: Query) -> tuple[Effect, ...]:
    words.skip("SAVEPOINT")
    return (Effect("savepoint", "SAVEPOINT", words=frozenset([words.text().lower()])),)


def _rollback(words: Words, _query: Query) -> tuple[Effect, ...]:
    """Stands in the log where it could not undo all: rows of tables without transactions."""
    if not words.skip("ROLLBACK", "TO"):
        return (Effect("rolled back", "a ROLLBACK that is in the log"),)
    words.skip("SAVEPOINT")
    what = "a ROLLBACK TO SAVEPOINT that is in the log"
    return (Effect("rolled back", what, words=frozenset([words.text().lower()])),)


_XA: dict[str, Kind] = {"START": "prepared", "COMMIT": "prepared commit", "ROLLBACK": "prepared rollback"}


def _xa(words: Words, _query: Query) -> tuple[Effect, ...]:
    """XA START (not on MariaDB) is before the rows of a transaction that XA COMMIT makes take effect."""
    words.skip("XA")
    kind = _XA.get(words.text().upper())
    identifier = "".join(token.text for token in words.tokens[2:]).upper()
    return (Effect(kind, "an XA transaction", words=frozenset([identifier])),) if kind else ()


_WRITING = ("INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "WITH", "SELECT", "DO", "CALL", "IMPORT")

_READERS: dict[str, Callable[[Words, Query], tuple[Effect, ...]]] = {
    "TRUNCATE": _truncate, "DROP": _drop, "RENAME": _rename, "CREATE": _create, "ALTER": _alter,
    "SAVEPOINT": _savepoint, "ROLLBACK": _rollback, "XA": _xa,
    **dict.fromkeys(_WRITING, _written),
}  # fmt: skip
