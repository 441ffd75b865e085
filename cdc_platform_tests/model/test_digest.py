from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.digest import digest, latest_digest

ROWS = st.lists(st.tuples(st.integers(0, 9), st.one_of(st.none(), st.text(max_size=3))), max_size=30)
TYPES = {"id": pl.Int64, "name": pl.String}


def frame(rows: list[Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TYPES, orient="row")


@given(ROWS, st.randoms(), st.integers(1, 7))
def test_order_and_batching_do_not_matter(rows: list[Any], random: Any, size: int) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    parts = [frame(shuffled[i : i + size]) for i in range(0, len(rows), size)]
    assert digest([frame(rows)]) == digest(parts)


@given(ROWS, ROWS)
def test_different_rows_have_different_digests(a: list[Any], b: list[Any]) -> None:
    same = sorted(a, key=repr) == sorted(b, key=repr)
    assert (digest([frame(a)]) == digest([frame(b)])) == same


HISTORY = st.lists(
    st.tuples(st.integers(0, 4), st.text(max_size=2), st.sampled_from(["INSERT", "UPDATE", "DELETE"])), max_size=30
)


@given(HISTORY, st.integers(1, 5), st.randoms())
def test_the_latest_state_of_a_history(steps: list[tuple[int, str, str]], size: int, random: Any) -> None:
    state: dict[int, str] = {}
    rows = []
    for number, (key, name, operation) in enumerate(steps):
        rows.append((key, name, operation, f"{number:05}"))
        if operation == "DELETE":
            state.pop(key, None)
        else:
            state[key] = name
    random.shuffle(rows)
    types = {**TYPES, "_cdc_operation": pl.String, "_cdc_source_lsn": pl.String}
    frames = [pl.DataFrame(rows[i : i + size], schema=types, orient="row") for i in range(0, len(rows), size)]
    found = latest_digest(frames, ["id"], ["_cdc_source_lsn"], ["id", "name"])
    expected = digest([frame(list(state.items()))])
    assert found == expected
