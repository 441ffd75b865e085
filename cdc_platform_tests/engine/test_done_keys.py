"""Changes of an unfinished snapshot, against the same played row by row: what the log is given keeps what it holds."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.engine.done_keys import BeginAgain, of_done_keys, same_key
from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform_tests.model.changes import SCHEMA, Row, batch

KEYS = st.integers(-5, 5)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "move", "drop"]), KEYS, KEYS), max_size=30)


def changes_of(steps: list[tuple[str, int, int]], rows: dict[int, str]) -> list[tuple[int, int, Row, Row]]:
    """The steps that are possible, as changes (at, ordinal, before, after); `rows` becomes what is there after them."""
    changes: list[tuple[int, int, Row, Row]] = []
    for number, (what, key, other) in enumerate(steps):
        name = f"n{number}"
        match what:
            case "put":
                before = {"id": key, "name": rows[key]} if key in rows else None
                changes.append((8, number, before, {"id": key, "name": name}))
                rows[key] = name
            case "move" if key in rows and other not in rows:
                changes.append((8, number, {"id": key, "name": rows.pop(key)}, {"id": other, "name": name}))
                rows[other] = name
            case "drop" if key in rows:
                changes.append((8, number, {"id": key, "name": rows.pop(key)}, None))
    return changes


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, present=st.sets(KEYS), below=KEYS)
def test_what_is_logged_is_what_happened_below_the_bound(
    steps: list[tuple[str, int, int]], present: set[int], below: int
) -> None:
    rows = dict.fromkeys(present, "first")
    held = {key: name for key, name in rows.items() if key < below}
    changes = changes_of(steps, rows)
    if not changes:
        return
    for change in of_done_keys(batch(*changes), below).frame.iter_rows(named=True):
        before, after = change["before"], change["after"]
        assert (before is None, after is None) == (change["operation"] == "INSERT", change["operation"] == "DELETE")
        if before is not None:
            assert held.pop(before["id"]) == before["name"]
        if after is not None:
            assert after["id"] not in held
            assert after["id"] < below
            held[after["id"]] = after["name"]
    assert held == {key: name for key, name in rows.items() if key < below}


@pytest.mark.parametrize(("old", "new", "raises"), [(1, 2, False), (9, 8, False), (1, 9, False), (9, 1, True)])
def test_unchanged_cells_of_a_row_that_comes_over_the_bound(old: int, new: int, raises: bool) -> None:

    plain = batch((8, 0, {"id": old, "name": "x"}, {"id": new, "name": None}))
    moved = ChangeBatch(plain.schema, plain.frame, {"name": pl.Series([True])})
    if raises:
        with pytest.raises(BeginAgain, match="leaves unchanged values out"):
            of_done_keys(moved, 5)
        return
    kept = of_done_keys(moved, 5)
    assert len(kept) == (1 if old < 5 else 0)
    assert set(kept.holes) == ({"name"} if new < 5 else set())


def test_a_key_is_the_same_under_another_name() -> None:
    def key(name: str, kind: pa.DataType, number: int) -> TableSchema:
        return TableSchema(TableName("public", "t"), (Column(name, kind, False, "int", number),), (name,))

    assert same_key(key("id", pa.int64(), 1), key("number", pa.int64(), 1))
    assert not same_key(key("id", pa.int64(), 1), key("id", pa.int32(), 1))
    assert not same_key(key("id", pa.int64(), 1), key("id", pa.int64(), 2))
    assert not same_key(SCHEMA, TableSchema(SCHEMA.table, SCHEMA.columns, ()))
