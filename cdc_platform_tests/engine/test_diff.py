"""`cdc diff` against the difference of two states that were written down at the source."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from cdc_platform.engine.diff import Difference, difference
from cdc_platform.errors import ConfigError
from cdc_platform_tests.engine.time_machine import State, TimeMachine, time_machine
from cdc_platform_tests.world import World

KEYLESS = "create table things (id int, n int)"
SYSTEMS = pytest.mark.parametrize("system", ["postgres", "mysql"])


def between(machine: TimeMachine, start: str, end: str, limit: int = 10_000) -> Difference:
    target = machine.targets[0]
    return difference(machine.flow(target).log, machine.moment(target, start), machine.moment(target, end), limit)


def by_id(state: State) -> dict[int, dict[str, Any]]:
    rows = [dict(zip(state.columns, map(_as_json, row), strict=True)) for row in state.rows]
    return {row["id"]: row for row in rows}


def _as_json(cell: Any) -> Any:
    return cell if cell is None or isinstance(cell, int) else str(cell)


def expected(start: State, end: State) -> Iterator[tuple[str, int, dict[str, Any] | None, dict[str, Any] | None]]:
    """What the two states say: operation, key, cells before and after (of an UPDATE those that differ)."""
    old, new = by_id(start), by_id(end)
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before is None:
            yield "INSERT", key, None, after
        elif after is None:
            yield "DELETE", key, before, None
        elif before != after:
            names = [name for name in after if before.get(name) != after[name]]
            yield "UPDATE", key, {n: before.get(n) for n in names}, {n: after[n] for n in names}


@SYSTEMS
def test_it_is_the_difference_of_the_states(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=11) as machine:
        machine.churn(4)
        machine.run()
        machine.churn(3)
        # What is changed back is no difference.
        machine.transaction("update things set n = n + 1")
        machine.transaction("update things set n = n - 1", "insert into things (id) values (90)")
        machine.transaction("delete from things where id = 90")
        machine.run()
        seen = set()
        for start, end in combinations(machine.states, 2):
            found = between(machine, start.position, end.position)
            wanted = list(expected(start, end))
            assert [(c.operation, c.key["id"], c.before, c.after) for c in found.changes] == wanted
            assert sum(found.counts.values()) == len(wanted)
            seen |= {operation for operation, *_ in wanted}
            assert found.shapes == ()
        assert seen == {"INSERT", "UPDATE", "DELETE"}
        start, end = machine.states[0], machine.states[-1]
        assert len(between(machine, start.position, end.position, limit=1).changes) == 1
        with pytest.raises(ConfigError, match="lies before"):
            between(machine, end.position, start.position)


@SYSTEMS
def test_shapes_that_came_in_between_are_told(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=12) as machine:
        (start,) = machine.states
        machine.transaction("alter table things rename column name to title", "update things set n = 10 where id = 1")
        machine.transaction("alter table things drop column amount", "delete from things where id = 2")
        machine.transaction("alter table things add column extra int", "update things set extra = 4 where id = 3")
        machine.run()
        found = between(machine, start.position, machine.states[-1].position)
        assert [shape.number for shape in found.shapes] == [2, 3, 4]
        assert [change for shape in found.shapes for change in shape.changes] == [
            change for shape in machine.flow(machine.targets[0]).log.shapes() for change in shape.changes
        ]
        assert [(c.operation, c.key, c.before, c.after) for c in found.changes] == [
            ("UPDATE", {"id": 1}, {"n": 1}, {"n": 10}),
            ("DELETE", {"id": 2}, {"id": 2, "title": "two", "n": 2, "extra": None}, None),
            ("UPDATE", {"id": 3}, {"extra": None}, {"extra": 4}),
        ]


@SYSTEMS
def test_rows_without_a_key_are_counted(empty_world: World, system: str) -> None:
    full = ["alter table things replica identity full"] if system == "postgres" else []
    with time_machine(
        empty_world, system, seed=13, create=[KEYLESS, "insert into things values (100, 1)", *full]
    ) as machine:
        (start,) = machine.states
        machine.transaction("insert into things values (1, 1), (1, 1), (1, 1), (2, 2)")
        machine.transaction("delete from things where id = 2", "update things set n = 9 where id = 100")
        machine.run()
        found = between(machine, start.position, machine.states[-1].position)
        assert found.counts == {"INSERT": 4, "UPDATE": 0, "DELETE": 1}
        changes = [(c.operation, c.after or c.before) for c in found.changes]
        assert sorted(changes, key=str) == [
            ("DELETE", {"id": 100, "n": 1}),
            ("INSERT", {"id": 1, "n": 1}),
            ("INSERT", {"id": 1, "n": 1}),
            ("INSERT", {"id": 1, "n": 1}),
            ("INSERT", {"id": 100, "n": 9}),
        ]
        state = machine.states[-1]
        shown = machine.at(machine.targets[0], state.position).shown
        assert state.seen(shown) == state.rows


def test_the_command(empty_world: World) -> None:
    with time_machine(empty_world, "mysql", seed=14) as machine:
        machine.transaction("update things set n = 10 where id = 1")
        machine.run()
        target = next(t for t in machine.targets if t.lake.format == "delta" and t.mode == "append")
        first, last = (machine.at(target, state.position).version for state in machine.states)
        assert first is not None
        assert last is not None
        asked = (target.pipeline, f"version:{first.number}", f"version:{last.number}")
        found = machine.world.cdc("diff", *asked, "--json")
        assert found["events"] == {"INSERT": 0, "UPDATE": 1, "DELETE": 0}
        assert found["changes"] == [{"operation": "UPDATE", "key": {"id": 1}, "before": {"n": 1}, "after": {"n": 10}}]
