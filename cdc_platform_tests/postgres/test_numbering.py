"""Columns of a streamed shape find their attribute numbers: against every history that a table may have had."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.sources.postgres.numbering import Numbering, Seen, numbering

Columns = dict[int, Seen]


@dataclass
class Table:
    """What a server does with attribute numbers."""

    columns: Columns = field(default_factory=dict)
    last: int = 0
    states: list[tuple[Columns, int]] = field(default_factory=list)

    def add(self, name: str, type_: str) -> None:
        if name not in {c.name for c in self.columns.values()}:
            self.last += 1
            self.columns[self.last] = Seen(name, type_)

    def keep(self) -> None:
        self.states.append((dict(self.columns), self.last))


TYPES = ("integer", "text", "numeric(10,2)")


@st.composite
def histories(draw: st.DrawFn, names_come_again: bool) -> Table:
    table, fresh = Table(), iter(range(1000))

    def name() -> str:
        return draw(st.sampled_from("abcde")) if names_come_again else f"n{next(fresh)}"

    for _ in range(draw(st.integers(1, 4))):
        table.add(name(), draw(st.sampled_from(TYPES)))
    table.keep()
    for _ in range(draw(st.integers(0, 9))):
        number = draw(st.sampled_from(sorted(table.columns))) if table.columns else 0
        what = draw(st.sampled_from(["add", "rename", "drop", "add", "rename", "retype"]))
        if what == "add" or not number:
            table.add(name(), draw(st.sampled_from(TYPES)))
        elif what == "drop":
            del table.columns[number]
        elif what == "rename":
            new = name()
            if new not in {c.name for c in table.columns.values()}:
                table.columns[number] = Seen(new, table.columns[number].type)
        else:
            table.columns[number] = Seen(table.columns[number].name, draw(st.sampled_from(TYPES)))
        table.keep()
    return table


def three(table: Table, data: st.DataObject) -> tuple[Columns, Columns, dict[int, Seen | None]]:
    """A shape before, one in the log and the catalogue later, from the table's history."""
    count = len(table.states)
    first, second, third = sorted(data.draw(st.tuples(*[st.integers(0, count - 1)] * 3)))
    later, last = table.states[third]
    return table.states[first][0], table.states[second][0], {n: later.get(n) for n in range(1, last + 1)}


def assignments(count: int, before: Columns, now: dict[int, Seen | None]) -> list[tuple[int, ...]]:
    """All that the docstring's four rules leave, by trying."""
    newest = max(before, default=0)
    found = []
    for numbers in combinations([n for n in now if n in before or n > newest or now[n]], count):
        needed = {n for n in before if now[n] is not None}
        waiting = [n for n in now if n > newest and now[n] is not None and n not in numbers]
        too_early = waiting and any(n > waiting[0] for n in numbers)
        if needed <= set(numbers) and not too_early:
            found.append(numbers)
    return found


@settings(max_examples=1500, deadline=None)
@given(histories(names_come_again=True), st.data())
def test_where_one_assignment_is_left_it_is_the_right_one_whatever_the_names(table: Table, data: st.DataObject) -> None:
    before, streamed, now = three(table, data)
    found = numbering([streamed[n] for n in sorted(streamed)], before, now)
    possible = assignments(len(streamed), before, now)
    assert tuple(sorted(streamed)) in possible
    assert found is not None
    assert found.numbers in possible
    if len(possible) == 1:
        assert found == Numbering(tuple(sorted(streamed)), True)


@settings(max_examples=1500, deadline=None)
@given(histories(names_come_again=False), st.data())
def test_where_no_name_moves_what_is_certain_is_right(table: Table, data: st.DataObject) -> None:
    before, streamed, now = three(table, data)
    found = numbering([streamed[n] for n in sorted(streamed)], before, now)
    assert found is not None
    if found.certain:
        assert found.numbers == tuple(sorted(streamed))
    unknown = [n for n, c in streamed.items() if c.name not in {s.name for s in (before.get(n), now[n]) if s}]
    if not unknown:
        assert found.certain


def seen(*columns: str) -> list[Seen]:
    return [Seen(*column.split(":")) if ":" in column else Seen(column, "integer") for column in columns]


def shape(**columns: str) -> Columns:
    """`_1="a"` is column a, number 1; of another type `a:text`."""
    return {int(number[1:]): seen(column)[0] for number, column in columns.items()}


def test_a_rename_by_place() -> None:
    before, now = shape(_1="id", _2="old", _3="x"), shape(_1="id", _2="new", _3="x")
    assert numbering(seen("id", "between", "x"), before, dict(now)) == Numbering((1, 2, 3), True)


def test_two_names_exchanged() -> None:
    before, now = shape(_1="a", _2="b"), shape(_1="b", _2="a")
    assert numbering(seen("b", "a"), before, dict(now)) == Numbering((1, 2), True)
    assert numbering(seen("a", "b"), before, dict(now)) == Numbering((1, 2), True)


def test_one_dropped_and_another_added_are_told_by_name() -> None:
    before, now = shape(_1="id", _2="old"), {**shape(_1="id", _3="new"), 2: None}
    assert numbering(seen("id", "old"), before, now) == Numbering((1, 2), True)
    assert numbering(seen("id", "new"), before, now) == Numbering((1, 3), True)
    assert numbering(seen("id", "old", "new"), before, now) == Numbering((1, 2, 3), True)
    assert numbering(seen("id"), before, now) == Numbering((1,), True)


def test_one_made_anew_under_its_name_is_told_by_type_and_never_certain() -> None:
    before, now = shape(_1="id", _2="x"), {**shape(_1="id", _3="x:text"), 2: None}
    assert numbering(seen("id", "x:text"), before, now) == Numbering((1, 3), False)
    assert numbering(seen("id", "x"), before, now) == Numbering((1, 2), False)
    same = {**shape(_1="id", _3="x"), 2: None}
    assert numbering(seen("id", "x"), before, same) == Numbering((1, 2), False)


def test_one_added_and_gone_again_has_the_number_that_its_place_allows() -> None:
    before, now = shape(_1="id"), {**shape(_1="id", _3="x"), 2: None}
    assert numbering(seen("id", "short", "x"), before, now) == Numbering((1, 2, 3), True)
    assert numbering(seen("id", "short"), before, now) == Numbering((1, 2), False)


def test_a_shape_that_the_table_never_had() -> None:
    before = shape(_1="id", _2="x")
    assert numbering(seen("id"), before, dict(before)) is None
    assert numbering(seen("id", "x", "y"), before, dict(before)) is None
    assert numbering(seen("id"), shape(_1="id", _3="x"), {**shape(_1="id"), 2: None, 3: None}) == Numbering((1,), True)


def test_columns_come_in_the_order_of_their_numbers_whatever_they_are_called_later() -> None:
    before, now = shape(_1="id"), shape(_1="id", _2="renamed", _3="x")
    assert numbering(seen("id", "x"), before, dict(now)) == Numbering((1, 2), True)
    assert numbering(seen("id", "neither"), before, dict(now)) == Numbering((1, 2), True)


def test_many_columns() -> None:
    before = {n: Seen(f"c{n}", "text") for n in range(1, 1601)}
    now: dict[int, Seen | None] = {n: None if n % 3 == 0 else c for n, c in before.items()}
    streamed = {n: c for n, c in before.items() if n % 6}
    assert numbering(list(streamed.values()), before, now) == Numbering(tuple(streamed), True)
