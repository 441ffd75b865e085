"""How `cdc events` prints moments outside of the years that Python and Polars print."""

from __future__ import annotations

from datetime import date, datetime

import polars as pl
import pytest

from cdc_platform.engine.events import _readable
from cdc_platform.model.event import BOOKKEEPING


def _printed(cell: pl.Series) -> str:
    row = pl.DataFrame({"row": pl.DataFrame([cell.alias("cell")]).to_struct()})
    bookkeeping = [pl.lit(0).alias(name) for name in BOOKKEEPING]
    events = row.select(pl.col("row").alias("before"), pl.col("row").alias("after"), *bookkeeping)
    text: str = _readable(events)["after"].struct.field("cell")[0]
    return text


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0, "1970-01-01"),
        (11016, "2000-02-29"),
        ((date(9999, 12, 31) - date(1970, 1, 1)).days, "9999-12-31"),
        ((date(9999, 12, 31) - date(1970, 1, 1)).days + 1, "+10000-01-01"),
        (-719_528, "0000-01-01"),
        (-719_529, "-0001-12-31"),
        (2**31 - 1, "+5881580-07-11"),  # the ends are those of java.time.LocalDate.ofEpochDay
        (-(2**31), "-5877641-06-23"),
    ],
)
def test_a_date_is_printed_in_any_year(days: int, text: str) -> None:
    assert _printed(pl.Series([days], dtype=pl.Int32).cast(pl.Date)) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (-1, "1969-12-31T23:59:59.999999"),
        (2**63 - 1, "+294247-01-10T04:00:54.775807"),
        (-(2**63) + 1, "-290308-12-21T19:59:05.224193"),
    ],
)
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_moment_is_printed_in_any_year(micros: int, text: str, zone: str | None) -> None:
    cell = pl.Series([micros], dtype=pl.Int64).cast(pl.Datetime("us", zone))
    assert _printed(cell) == text + ("Z" if zone else "")


def test_the_usual_years_are_printed_as_python_prints_them() -> None:
    moment = datetime(2024, 2, 29, 23, 59, 59, 1)
    assert _printed(pl.Series([moment])) == moment.isoformat()
