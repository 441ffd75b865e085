"""What the canonical form is, cell by cell, and what a digest tells apart."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import struct
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.canonical import SCHEMA, alike, canonical, digests, row_words
from cdc_platform.model.key_range import WHOLE, KeyRange

CELLS: list[tuple[pl.DataType, list[Any], list[str]]] = [
    (pl.Int8(), [-128, 0, None], ["-128", "0", ""]),
    (pl.Int64(), [-(2**63), 2**63 - 1], ["-9223372036854775808", "9223372036854775807"]),
    (pl.Decimal(38, 3), [Decimal("-0.001"), Decimal("0"), Decimal("9" * 35)], ["-0.001", "0.000", "9" * 35 + ".000"]),
    (pl.Decimal(20, 0), [Decimal(2**64 - 1), None], ["18446744073709551615", ""]),
    (pl.Boolean(), [True, False, None], ["t", "f", ""]),
    (pl.String(), ["", "é,", None, "1:"], ["0:", "3:é,", ":", "2:1:"]),
    (pl.Binary(), [b"", b"\0\xff", None], ["x", "x00ff", ""]),
    (pl.Float32(), [-0.0, 1.5, None], ["80000000", "3fc00000", ""]),
    (pl.Float64(), [math.nan, -math.inf, 5e-324], ["7ff8" + "0" * 12, "fff" + "0" * 13, "0" * 15 + "1"]),
    (pl.Date(), [dt.date(2000, 1, 1), dt.date(1999, 12, 31), None], ["00000000", "ffffffff", ""]),
    (pl.Datetime("us"), [dt.datetime(2000, 1, 1, 0, 0, 0, 1), None], ["0000000000000001", ""]),
    (pl.Datetime("us", "UTC"), [dt.datetime(1999, 12, 31, 23, 59, 59, 999999)], ["f" * 16]),
]


@pytest.mark.parametrize(("kind", "values", "texts"), CELLS, ids=lambda cell: str(cell)[:20])
def test_cells(kind: pl.DataType, values: list[Any], texts: list[str]) -> None:
    assert canonical(pl.Series(values, dtype=kind)).to_list() == texts
    assert canonical(pl.Series([], dtype=kind)).to_list() == []


def plain_words(row: tuple[str, ...]) -> tuple[int, int]:
    first, second = struct.unpack(">QQ", hashlib.sha256(",".join(row).encode()).digest()[:16])
    return first, second


@given(st.lists(st.tuples(st.none() | st.text(max_size=4), st.none() | st.integers(-9, 9)), max_size=9))
def test_digests_are_the_sums_of_the_rows_hashes(rows: list[tuple[str | None, int | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"text": pl.String, "n": pl.Int64}, orient="row")
    ranges = [KeyRange(("n",), None, (0,)), KeyRange(("n",), (3,), None)]
    bounds = [(None, 0), (3, None)]
    parts = [frame.head(2).with_columns(pl.lit(1).alias("other")), frame.slice(2).select("n", "text")]
    found = digests(parts, ["n", "text"], ranges)
    assert found.schema == SCHEMA
    texts = [("" if n is None else str(n), f"{'' if t is None else len(t.encode())}:{t or ''}") for t, n in rows]
    for number, (low, high) in enumerate(bounds):
        inside = [high is None if n is None else (n < high if high is not None else n >= (low or 0)) for _, n in rows]
        words = [plain_words(text) for text, there in zip(texts, inside, strict=True) if there]
        sums = [sum(word) % 2**64 for word in zip(*words, strict=True)] or [0, 0]
        assert found.row(number) == (number, len(words), *sums)
    if rows:
        assert digests([frame], ["n", "text"], [WHOLE])["rows"].to_list() == [len(rows)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc"), ("ab", "c")), (("", None), (None, "")), (("", ""), (None, None)), (("a,1:b", ""), ("a", "1:b,")),
        ((b"", b"\0"), (b"\0", b"")), ((b"", b"a"), (None, b"a")), ((b"x", b""), (b"x", None)),
        ((1, 11), (11, 1)), ((None, 1), (1, None)), ((0.0, 1.0), (-0.0, 1.0)), ((True, None), (None, True)),
        ((Decimal("1.0"), None), (None, Decimal("1.0"))),
    ],
)  # fmt: skip
def test_rows_that_look_alike_differ(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    frame = pl.DataFrame([one, other], schema=["a", "b"], orient="row")
    words = row_words(frame)
    assert words.row(0) != words.row(1)
    assert set(words.row(0)).isdisjoint(words.row(1))


def test_the_number_of_rows_counts() -> None:
    """Rows that are there twice do not cancel out."""
    frame = pl.DataFrame({"a": ["x", "x"]})
    twice, once = digests([frame], ["a"], [WHOLE]).row(0), digests([frame.head(1)], ["a"], [WHOLE]).row(0)
    assert twice == (0, 2, *(2 * word % 2**64 for word in once[2:]))
    assert digests([], ["a"], [WHOLE]).row(0) == (0, 0, 0, 0)
    assert digests([frame], ["a"], []).height == 0


def test_every_nan_is_one() -> None:
    bits = pl.Series([0x7FF8000000000000, 0xFFF8000000000001, 0x7FF0000000000001], dtype=pl.UInt64)
    nans = bits.reinterpret(dtype=pl.Float64)
    assert canonical(nans).unique().to_list() == ["7ff8000000000000"]


def test_types_that_digest_alike() -> None:
    assert alike(pa.int8(), pa.int64())
    assert alike(pa.int64(), pa.decimal128(20, 0))
    assert alike(pa.timestamp("us"), pa.timestamp("us", "UTC"))
    assert not alike(pa.float32(), pa.float64())
    assert not alike(pa.decimal128(5, 2), pa.decimal128(5, 3))
    assert not alike(pa.date32(), pa.timestamp("us"))
    assert not alike(pa.int32(), pa.string())


def test_a_type_without_a_form_is_refused() -> None:
    with pytest.raises(NotUnderstood, match="no canonical form of List"):
        row_words(pl.DataFrame({"a": [[1]]}))
