"""Collapsing compared with a replay, change by change, into a dict."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.collapse import history, last_changes
from cdc_platform.model.event import events
from cdc_platform_tests.model.changes import ORIGIN, Row, batch

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "move"]), st.integers(1, 5), st.integers(1, 5), st.text(max_size=3)),
    max_size=40,
)


def changes_of(steps: list[tuple[str, int, int, str]]) -> tuple[list[tuple[int, int, Row, Row]], dict[int, Any]]:
    """A valid sequence of changes from random wishes, and the state it leads to."""
    state: dict[int, Any] = {}
    changes: list[tuple[int, int, Row, Row]] = []
    for number, (wish, key, other, name) in enumerate(steps):
        at, ordinal = number // 3 * 8, number % 3
        old = state.get(key)
        if wish == "put":
            state[key] = {"id": key, "name": name}
            changes.append((at, ordinal, old, state[key]))
        elif wish == "delete" and old:
            changes.append((at, ordinal, state.pop(key), None))
        elif wish == "move" and old and other not in state:
            state[other] = {"id": other, "name": name}
            changes.append((at, ordinal, state.pop(key), state[other]))
    return changes, state


def as_events(changes: list[tuple[int, int, Row, Row]]) -> pl.DataFrame:
    return events(batch(*changes), ORIGIN, 1, datetime.now(UTC), snapshot=False)


@given(STEPS, st.randoms(), st.integers(1, 9))
def test_last_changes_lead_to_the_state_of_a_replay(
    steps: list[tuple[str, int, int, str]], random: Any, size: int
) -> None:
    changes, state = changes_of(steps)
    shuffled = list(changes)
    random.shuffle(shuffled)
    last = last_changes([as_events(shuffled[i : i + size]) for i in range(0, len(changes) + 1, size)], ["id"])
    keys = last["row"].struct.field("id").to_list()
    assert len(keys) == len(set(keys))
    touched = {image["id"] for _, _, b, a in changes for image in (b, a) if image}
    assert set(keys) == touched
    kept = {r["row"]["id"]: r["row"] for r in last.rows(named=True) if r["operation"] != "DELETE"}
    assert kept == state


@given(STEPS)
def test_history_keeps_every_change_in_order(steps: list[tuple[str, int, int, str]]) -> None:
    changes, _ = changes_of(steps)
    expected: list[tuple[str, Row]] = []
    for _, _, before, after in changes:
        if before and after and before["id"] != after["id"]:
            expected += [("DELETE", before), ("INSERT", after)]
        else:
            expected.append(("INSERT" if before is None else "DELETE" if after is None else "UPDATE", after or before))
    rows = history(as_events(changes)).rows(named=True)
    assert [(r["operation"], r["row"]) for r in rows] == expected
