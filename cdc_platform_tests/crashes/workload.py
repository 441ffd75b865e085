"""A seeded workload on two tables: what sessions do to rows and shapes, as SQL, one transaction after the other.

`one` changes its shape while its rows change, and is emptied once; `two` has a key of two columns, and changes its
shape at the end without any row following. Between them: rows inserted, updated, deleted, moved to another key and
back, long values that an UPDATE leaves out, transactions of both tables, of many rows, and rolled back in whole or in
part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

TABLES = ("one", "two")

_LONG = "repeat('long', 2500)"
_FIRST = {
    "postgres": (
        "create table one (id int primary key, name varchar(20), n int, body text)",
        "alter table one alter column body set storage external",
        "create table two (id int, part int, amount decimal(12, 2), note text, primary key (id, part))",
        f"insert into one select i, 'first', i, {_LONG} || i from generate_series(1, 9) i",
        "insert into two select i / 3, i % 3, i * 1.25, 'first' from generate_series(1, 9) i",
    ),
    "mysql": (
        "create table one (id int primary key, name varchar(20), n int, body text)",
        "create table two (id int, part int, amount decimal(12, 2), note text, primary key (id, part))",
        f"insert into one select seq, 'first', seq, concat({_LONG}, seq) from seq_1_to_9",
        "insert into two select seq div 3, seq % 3, seq * 1.25, 'first' from seq_1_to_9",
    ),
}
_WIDEN = {"postgres": "alter table one alter column n type bigint", "mysql": "alter table one modify column n bigint"}


def first(system: str) -> list[list[str]]:
    """The tables and their rows before the snapshot, as transactions."""
    return [[statement] for statement in _FIRST[system]]


@dataclass(slots=True)
class Workload:
    """`transactions` gives some; more of them may be asked for, they go on from the last ones."""

    system: str
    chance: Random
    _extra: list[str] = field(default_factory=list)
    _added: int = 0

    def transactions(self, *, shapes: bool = True) -> list[list[str]]:
        """Lists of statements; a last one of `rollback` says what becomes of them. A change of shape stands alone."""
        done = [self._transaction() for _ in range(4)]
        if shapes:
            more = self.chance.choice(([self._widen], [self._rename], [self._drop], [self._rename, self._widen]))
            changes: list[Callable[[], list[str]]] = [self._truncate, self._add, *more]
            if self.chance.random() < 0.5:
                changes = [*changes[1:], changes[0]]
            for change in changes:
                done += [change(), *(self._transaction() for _ in range(self.chance.randint(1, 2)))]
            done += [["insert into one (id, name, n) values (101, 'kept', 1) on " + self._conflict("id")]]
            done += [[f"alter table two add column late_{self._added} int default 5"]]
        return done

    def _transaction(self) -> list[str]:
        statements = [self._change(self.chance.choice(TABLES)) for _ in range(self.chance.choice((1, 1, 2, 3, 6)))]
        end = self.chance.random()
        if end < 0.15:
            return [*statements, "rollback"]
        if end < 0.3:
            return [*statements, "savepoint here", self._change("one"), "rollback to savepoint here"]
        if end < 0.4:
            return [*statements, self._many()]
        return statements

    def _change(self, table: str) -> str:
        kind = self.chance.choice(("insert", "insert", "update", "update", "delete", "move"))
        return self._of_one(kind) if table == "one" else self._of_two(kind)

    def _of_one(self, kind: str) -> str:
        key, word = self.chance.randint(1, 30), f"'w{self.chance.randint(0, 999)}'"
        match kind:
            case "insert":
                body = self.chance.choice(("null", "'short'", _LONG))
                values = f"{key}, {word}, {self.chance.randint(-9, 9)}, {body}"
                return f"insert into one (id, name, n, body) values ({values}) on {self._conflict('id')}"
            case "update":
                column = self.chance.choice(["name", "body", *self._extra])
                value = word if column in ("name", "body") else str(self.chance.randint(0, 99))
                return f"update one set {column} = {value} where id between {key} and {key + self.chance.randint(0, 4)}"
            case "delete":
                return f"delete from one where id = {key}"
        free = f"not exists (select 1 from (select id from one) taken where taken.id = {key + 40})"
        return f"update one set id = {key + 40} where id = {key} and {free}"

    def _of_two(self, kind: str) -> str:
        key, part = self.chance.randint(0, 8), self.chance.randint(0, 3)
        amount = self.chance.randint(-99999, 99999) / 100
        match kind:
            case "insert":
                values = f"{key}, {part}, {amount}, 'new'"
                return f"insert into two (id, part, amount, note) values ({values}) on {self._conflict('amount')}"
            case "update":
                return f"update two set amount = {amount}, note = null where part = {part} and id < {key}"
            case "delete":
                return f"delete from two where id = {key} and part = {part}"
        taken = f"select 1 from (select id, part from two) taken where taken.id = {key} and taken.part >= 10"
        return f"update two set part = part + 10 where id = {key} and part < 10 and not exists ({taken})"

    def _conflict(self, column: str) -> str:
        """What an INSERT does where the key is taken: nothing, or a change of the row."""
        if self.system == "mysql":
            return f"duplicate key update {column} = {'amount + 1' if column == 'amount' else column}"
        if column == "amount":
            return "conflict (id, part) do update set amount = two.amount + 1"
        return "conflict do nothing"

    def _many(self) -> str:
        start = self.chance.randint(200, 900)
        if self.system == "mysql":
            return f"insert ignore into one (id, name, n) select seq, 'many', 1 from seq_{start}_to_{start + 24}"
        rows = f"select i, 'many', 1 from generate_series({start}, {start + 24}) i"
        return f"insert into one (id, name, n) {rows} on conflict do nothing"

    def _add(self) -> list[str]:
        self._added += 1
        self._extra.append(f"extra_{self._added}")
        return [f"alter table one add column {self._extra[-1]} int not null default {self._added}"]

    def _rename(self) -> list[str]:
        old = self._extra.pop()
        self._extra.append(f"{old}_renamed")
        return [f"alter table one rename column {old} to {old}_renamed"]

    def _drop(self) -> list[str]:
        return [f"alter table one drop column {self._extra.pop()}"]

    def _widen(self) -> list[str]:
        return [_WIDEN[self.system]]

    def _truncate(self) -> list[str]:
        return ["truncate table one"]
