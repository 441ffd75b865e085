"""Which tables' rows change by the action of a foreign key, when those of which others do.

    c ──set null──> b ──cascade──> a       a DELETE from b, and one from a, changes rows of c
    child            parent

InnoDB does what ON DELETE and ON UPDATE say by itself, and the server does not write it into the binlog (MySQL does
from 9.6 on, unless innodb_native_foreign_keys is set). What makes rows of a table change is found by going from its own
keys to its parents, and on to theirs, as long as one key's action is what another key looks at.

The keys are read as they are *now*, from SHOW CREATE TABLE, which a user with SELECT sees all of, other than the
information schema's rules. They are read again when the log shows a statement that may change them. What that means
for keys that changed between an event and its reading: one that was added since makes a comparison too many. One that
was dropped, or whose parent got other names, is seen by the statement that did it, which `cascades.py` takes for a
doubt: whatever went before is compared after it. Only what sessions with sql_log_bin=0 do to keys is not seen.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from cdc_platform.errors import ConfigError, NeedsPerson
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.connection import Session, quote
from cdc_platform.sources.mysql.words import Token, Words, tokens

NATIVE = "innodb_native_foreign_keys"
"""The variable of servers that can log what foreign keys do: they do unless it is ON."""

Action = Literal["nothing", "cascade", "set"]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`columns` of a table refer to the `referenced` ones of `parent`; their names are in lower case.

    An action that is `set` writes null or the default into `columns`.
    """

    columns: frozenset[str]
    parent: TableName
    referenced: frozenset[str]
    on_delete: Action
    on_update: Action


@dataclass(slots=True)
class Origins:
    """What changes rows of a table through foreign keys: DELETEs from the one tables, UPDATEs of these columns of the
    others."""

    deletes: set[TableName] = field(default_factory=set)
    updates: dict[TableName, set[str]] = field(default_factory=dict)

    def follow(self, key: ForeignKey, keys_of: Callable[[TableName], Iterable[ForeignKey]]) -> None:
        """What makes this key act on its table, and what makes the parent's keys act so that it does."""
        if key.on_delete != "nothing":
            self._follow_delete(key.parent, keys_of)
        if key.on_update != "nothing":
            self._follow_update(key.parent, key.referenced, keys_of)

    def _follow_delete(self, parent: TableName, keys_of: Callable[[TableName], Iterable[ForeignKey]]) -> None:
        if parent in self.deletes:
            return
        self.deletes.add(parent)
        for key in keys_of(parent):
            if key.on_delete == "cascade":
                self._follow_delete(key.parent, keys_of)

    def _follow_update(
        self, parent: TableName, columns: frozenset[str], keys_of: Callable[[TableName], Iterable[ForeignKey]]
    ) -> None:
        known = self.updates.setdefault(parent, set())
        if columns <= known:
            return
        known |= columns
        for key in keys_of(parent):
            if key.columns & columns and key.on_delete == "set":
                self._follow_delete(key.parent, keys_of)
            if key.columns & columns and key.on_update != "nothing":
                self._follow_update(key.parent, key.referenced, keys_of)


@dataclass(slots=True)
class ForeignKeys:
    """The keys of tables, asked for when they are needed and kept while the log is read on from there."""

    _session: Callable[[], Session]
    _known: dict[TableName, tuple[ForeignKey, ...]] = field(default_factory=dict)
    _logged: bool | None = None
    _upto: Position | None = None

    def begin(self, start: Position) -> None:
        """The log is about to be read from `start`: what is known counts if no statement was left out before it."""
        if self._upto is None or start > self._upto:
            self.forget()
            self._upto = start

    def reached(self, position: Position) -> None:
        """All statements before `position` were seen."""
        if self._upto is not None and position > self._upto:
            self._upto = position

    def forget(self) -> None:
        """A statement may have changed keys."""
        self._known.clear()

    @property
    def logged(self) -> bool:
        """Whether the server, as it runs now, logs what foreign keys do. Each row event says so of itself, too."""
        if self._logged is None:
            self._logged = self._session().variables(NATIVE).get(NATIVE, "ON").upper() in ("OFF", "0")
        return self._logged

    def origins(self, table: TableName) -> Origins:
        """What changes rows of this table; NeedsPerson where the keys of a table on the way cannot be seen."""
        found = Origins()
        for key in self._of(table):
            found.follow(key, lambda parent: self._of(parent, table))
        return found

    def _of(self, table: TableName, below: TableName | None = None) -> tuple[ForeignKey, ...]:
        if table not in self._known:
            self._known[table] = self._read(table, below)
        return self._known[table]

    def _read(self, table: TableName, below: TableName | None) -> tuple[ForeignKey, ...]:
        try:
            ((_, statement, *_),) = self._session().rows(f"show create table {quote(table.schema, table.name)}")
        except ConfigError:
            return ()  # there is no such table any more
        except NeedsPerson as error:
            if below is None:
                raise
            if self.logged:
                return ()
            raise NeedsPerson(
                f"{below} has rows that foreign keys change when {table} changes, whose own foreign keys the user may"
                f" not see; run: grant select on {quote(table.schema, table.name)} to the user"
            ) from error
        return foreign_keys(str(statement), table)


def foreign_keys(statement: str, table: TableName) -> tuple[ForeignKey, ...]:
    """The foreign keys with an action, of a table that the server wrote this CREATE TABLE for."""
    words = Words(table.schema, tokens(statement))
    while words.more() and words.peek() != "(":
        words.text()
    found = []
    for part in Words(table.schema, words.bracket() or []).parts():
        spec = Words(table.schema, part)
        if spec.skip("CONSTRAINT"):
            spec.text()
        if not spec.skip("FOREIGN", "KEY"):
            continue
        columns = _names(spec.bracket())
        spec.skip("REFERENCES")
        parent, referenced = spec.name(), _names(spec.bracket())
        actions: dict[str, Action] = {}
        while spec.more():
            if spec.skip("ON"):
                event = spec.text().upper()
                actions[event] = _action(spec)
            else:
                spec.text()
        key = ForeignKey(
            columns, parent, referenced, actions.get("DELETE", "nothing"), actions.get("UPDATE", "nothing")
        )
        if actions:
            found.append(key)
    return tuple(found)


def _action(spec: Words) -> Action:
    if spec.skip("CASCADE"):
        return "cascade"
    return "set" if spec.skip("SET") else "nothing"


def _names(inside: list[Token] | None) -> frozenset[str]:
    return frozenset(token.text.lower() for token in inside or () if token.quoted or token.text != ",")


@dataclass(frozen=True, slots=True)
class Reach:
    """What row events of one table reach: tables by a DELETE, and tables by an UPDATE of one of these columns."""

    by_delete: frozenset[TableName]
    by_update: Mapping[TableName, frozenset[str]]

    @property
    def tables(self) -> frozenset[TableName]:
        return self.by_delete | self.by_update.keys()


def reaches(origins: Mapping[TableName, Origins]) -> dict[TableName, Reach]:
    """By parent, from what changes rows of each table."""
    parents = {name for one in origins.values() for name in (*one.deletes, *one.updates)}
    return {
        parent: Reach(
            frozenset(table for table, one in origins.items() if parent in one.deletes),
            {table: frozenset(one.updates[parent]) for table, one in origins.items() if parent in one.updates},
        )
        for parent in parents
    }
