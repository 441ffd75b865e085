"""Cells against the obvious Python of each type: same values, and a typed error for what is not of the type."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.sources.cells import MARGIN, BadCell, Cells, binary_column, column, padded, polars_type


def cells_of(texts: Sequence[str | bytes | None]) -> Cells:
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    lengths = np.array([0 if item is None else len(item) for item in raw], np.int64)
    starts = MARGIN + np.cumsum(lengths) - lengths
    data = np.frombuffer(b"".join(item or b"" for item in raw), np.uint8)
    return Cells(padded(data), starts, lengths, np.array([item is not None for item in raw], np.bool_))


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=1, max_size=40)


def assert_read(values: list[Any], wanted: pa.DataType, write: Callable[[Any], str] = str) -> None:
    series = column(cells_of([None if value is None else write(value) for value in values]), wanted)
    assert series.to_list() == values
    assert series.dtype == polars_type(wanted)


@given(optional(st.text()))
def test_text(values: list[str | None]) -> None:
    assert_read(values, pa.string())


@given(optional(st.binary(max_size=40)))
def test_bytes(values: list[bytes | None]) -> None:
    assert binary_column(cells_of(values)).to_list() == values


@given(optional(st.booleans()))
def test_booleans(values: list[bool | None]) -> None:
    assert_read(values, pa.bool_(), lambda value: "t" if value else "f")
    assert_read(values, pa.bool_(), lambda value: "1" if value else "0")


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
@pytest.mark.parametrize("signed", [True, False])
def test_integers_of_every_width(bits: int, signed: bool) -> None:
    wanted = getattr(pa, f"{'' if signed else 'u'}int{bits}")()
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    @given(optional(st.integers(low, high)))
    def read(values: list[int | None]) -> None:
        assert_read(values, wanted)

    read()
    assert_read([low, high, None, 0], wanted)
    for outside in (low - 1, high + 1):
        with pytest.raises(BadCell, match="row 1"):
            column(cells_of(["1", str(outside)]), wanted)


@given(optional(st.floats(allow_nan=False)))
def test_doubles(values: list[float | None]) -> None:
    assert_read(values, pa.float64(), repr)


DECIMALS = [(12, 2), (5, 0), (18, 18), (17, 16), (19, 2), (38, 10), (38, 0), (38, 38), (1, 1)]


@pytest.mark.parametrize(("precision", "scale"), DECIMALS)
def test_decimals(precision: int, scale: int) -> None:
    wanted = pa.decimal128(precision, scale)
    limit = 10**precision - 1

    def exact(unscaled: int) -> Decimal:
        return Decimal(f"{unscaled}e-{scale}")

    @given(optional(st.integers(-limit, limit).map(exact)))
    def read(values: list[Decimal | None]) -> None:
        assert_read(values, wanted, lambda value: f"{value:f}")

    read()
    assert_read([None], wanted)
    assert_read([exact(limit), exact(-limit)], wanted, lambda value: f"{value:f}")
    with pytest.raises(BadCell):
        column(cells_of([f"{exact(limit + 1):f}"]), wanted)


@given(optional(st.dates()))
def test_dates(values: list[dt.date | None]) -> None:
    assert_read(values, pa.date32(), dt.date.isoformat)


def moment(value: dt.datetime, zone: str = "") -> str:
    text = value.replace(tzinfo=None).isoformat(" ")
    return (text.rstrip("0") if "." in text else text) + zone


@given(optional(st.datetimes()))
def test_timestamps(values: list[dt.datetime | None]) -> None:
    assert_read(values, pa.timestamp("us"), moment)


@given(optional(st.datetimes(timezones=st.just(dt.UTC))))
def test_timestamps_in_utc(values: list[dt.datetime | None]) -> None:
    assert_read(values, pa.timestamp("us", "UTC"), lambda value: moment(value, "+00"))
    assert_read(values, pa.timestamp("us", "UTC"), moment)


def test_years_that_python_has_not() -> None:
    """Before Christ and after 9999; the numbers are Postgres' `extract(epoch from ...)`."""
    days = column(cells_of(["0044-03-15 BC", "0001-12-31 BC", "10000-01-01", "5874897-12-31"]), pa.date32())
    assert days.to_physical().to_list() == [-735_160, -719_163, 2_932_897, 2_145_042_905]
    micros = column(cells_of(["0001-12-31 23:59:59.5 BC", "10000-01-01 00:00:00"]), pa.timestamp("us"))
    assert micros.to_physical().to_list() == [-62_135_596_800_500_000, 253_402_300_800_000_000]


DAY_WRONG = ["infinity", "2020-13-01", "2021-02-29", "2020-00-01", "0000-00-00", "2020-1-1", "2020-01-01 00:00:00"]
MOMENT_WRONG = [
    "infinity",
    "-infinity",
    "2020-01-01",
    "2020-01-01 24:00:00",
    "2020-01-01 00:60:00",
    "2020-01-01T00:00:00",
    "2020-01-01 00:00:00.",
    "2020-01-01 00:00:00.1234567",
    "2020-01-01 00:00:00+02",
    "0000-00-00 00:00:00",
    "300000-01-01 00:00:00",
]
WRONG: list[tuple[pa.DataType, list[str]]] = [
    (pa.bool_(), ["x", "", "tt", "true"]),
    (pa.int32(), ["", "-", "1.5", "abc", "1 ", "١", "0x1", "+1", "1e3", "123456789012345678901"]),
    (pa.float64(), ["", "abc", "1,5"]),
    (pa.decimal128(12, 2), ["", "NaN", "Infinity", "1", "1.5", "1.555", "-.55x", "12345678901.00", ".", "1.-5", "-"]),
    (pa.decimal128(38, 2), ["NaN", "123456789012345678901234567890.5"]),
    (pa.date32(), ["", *DAY_WRONG]),
    (pa.timestamp("us"), ["", *MOMENT_WRONG]),
]


@pytest.mark.parametrize(("wanted", "text"), [(wanted, text) for wanted, texts in WRONG for text in texts])
def test_what_is_not_of_the_type_is_refused_by_row_and_without_its_value(wanted: pa.DataType, text: str) -> None:
    good = {pa.bool_(): "t", pa.int32(): "1", pa.float64(): "1", pa.date32(): "2020-01-01"}.get(wanted, "1.00")
    good = "2020-01-01 00:00:00" if wanted == pa.timestamp("us") else good
    with pytest.raises(BadCell) as caught:
        column(cells_of([good, None, text, good]), wanted)
    assert caught.value.row == 2
    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize("wanted", [wanted for wanted, _ in WRONG] + [pa.string(), pa.binary()])
def test_no_rows(wanted: pa.DataType) -> None:
    series = column(cells_of([]), wanted)
    assert series.len() == 0
    assert series.dtype == polars_type(wanted)


def test_an_unknown_type_is_a_programming_error() -> None:
    with pytest.raises(TypeError):
        column(cells_of(["1"]), pa.list_(pa.int32()))
