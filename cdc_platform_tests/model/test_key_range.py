"""Keys find their range, whatever their type and wherever the bounds lie."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.key_range import WHOLE, Bound, KeyRange, bounds_of, cut, decimal_text, places

LARGEST = 10**38 - 1
KINDS: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pl.Int8(), st.integers(-128, 127)),
    "int64": (pl.Int64(), st.sampled_from([-(2**63), 2**63 - 1]) | st.integers(-5, 5)),
    "decimal": (pl.Decimal(38, 3), st.sampled_from([-LARGEST, LARGEST, 0, 1]).map(lambda n: Decimal((n < 0, tuple(
        map(int, str(abs(n)))), -3)))),
    "date": (pl.Date(), st.dates()),
    "timestamp": (pl.Datetime("us"), st.datetimes()),
    "timestamptz": (pl.Datetime("us", "UTC"), st.datetimes()),
    "uuid": (pl.String(), st.uuids().map(str)),
    "bytes": (pl.Binary(), st.binary(max_size=3)),
}  # fmt: skip


def ranges_of(bounds: Sequence[Bound | None]) -> list[KeyRange]:
    ends = [None if bound is None else (bound,) for bound in bounds]
    return [KeyRange(("k",), low, high) for low, high in pairwise(ends)]


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_each_key_has_the_one_range_that_python_finds(kind: str, data: st.DataObject) -> None:
    dtype, values = KINDS[kind]
    keys = pl.Series("k", data.draw(st.lists(st.none() | values, max_size=12)), dtype=dtype)
    bounds = sorted(set(bounds_of(pl.Series(data.draw(st.lists(values, max_size=5)), dtype=dtype)).to_list()))
    ranges = ranges_of([None, *bounds, None])
    kept = data.draw(st.sets(st.sampled_from(range(len(ranges)))).map(sorted))
    wanted: list[int | None] = []
    for key in bounds_of(keys).to_list():
        holding = [
            n
            for n, one in enumerate(ranges)
            if (one.high is None if key is None else (not one.low or one.low[0] <= key))
            and (one.high is None or (key is not None and key < one.high[0]))
        ]
        assert len(holding) == 1
        wanted.append(kept.index(holding[0]) if holding[0] in kept else None)
    found = places(keys, [ranges[n] for n in kept])
    assert found.dtype == pl.UInt32
    assert found.to_list() == wanted


def test_whole_holds_every_key_of_any_type() -> None:
    assert places(pl.Series(["b", None, ""]), [WHOLE]).to_list() == [0, 0, 0]
    assert places(pl.Series([0.5, None]), [WHOLE]).to_list() == [0, 0]
    assert places(pl.Series([1]), []).to_list() == [None]


def test_a_wider_column_of_the_lake_is_ranged_alike() -> None:
    ranges = ranges_of([None, -3, 7, None])
    assert places(pl.Series([-4, -3, 7], dtype=pl.Int32), ranges).to_list() == [0, 1, 2]
    assert places(pl.Series([2**40], dtype=pl.Int64), ranges).to_list() == [2]


@given(st.lists(st.integers(0, 9), max_size=60).map(sorted), st.integers(1, 7))
def test_pieces_have_about_as_many_rows(keys: list[int], rows: int) -> None:
    """Except where a key is shared by more: then it alone is one."""

    def step(low: Bound | None, beyond: bool) -> Bound | None:
        rest = [key for key in keys if low is None or (key > int(low) if beyond else key >= int(low))]
        return next(iter(rest[0 if beyond else rows :]), None)

    pieces = cut("k", WHOLE, step)
    assert pieces[0].low is None
    assert pieces[-1].high is None
    assert all(one.high == other.low for one, other in pairwise(pieces))
    counts = places(pl.Series(keys, dtype=pl.Int64), pieces).value_counts(name="rows")
    assert counts["rows"].sum() == len(keys)
    for piece, count in counts.iter_rows():
        inside = {k for k in keys if places(pl.Series([k]), pieces)[0] == piece}
        assert count <= rows or len(inside) == 1


@given(st.integers(-(10**40), 10**40), st.integers(0, 38))
def test_decimals_are_written_with_all_their_digits(units: int, scale: int) -> None:
    text = decimal_text(units, scale)
    assert Decimal(text).as_tuple().exponent == -scale
    assert int(text.replace(".", "")) == units
