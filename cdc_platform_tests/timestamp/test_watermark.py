"""From where on a poll reads, whatever clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.errors import NeedsPerson
from cdc_platform.model.schema import Column
from cdc_platform.sources.timestamp.watermark import Clock, Watermark

ZONE = ZoneInfo("Europe/Berlin")
WINDOW = 300_000_000
NAIVE, AWARE = (Column("changed", pa.timestamp("us", zone), True, "timestamp") for zone in (None, "UTC"))


def times(*values: datetime | None) -> pl.Series:
    return pl.Series("changed", values, dtype=pl.Datetime("us"))


def micros(time: datetime) -> int:
    return (time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def test_it_rises_with_what_is_read_and_never_falls_nor_overtakes_the_clock() -> None:
    now = datetime(2026, 11, 24, 12)
    mark = Watermark().raised(times(now - timedelta(hours=1), None, datetime(9999, 12, 31)), micros(now))
    assert mark.high == micros(now)
    mark = Watermark().raised(times(now - timedelta(hours=1)), micros(now))
    assert mark.high == micros(now - timedelta(hours=1))
    assert mark.raised(times(now - timedelta(hours=2), None), micros(now)) == mark
    assert mark.raised(times(None), micros(now)) == mark
    assert Watermark.parse(mark.text) == mark
    assert Watermark.parse(Watermark().text) == Watermark()
    with pytest.raises(NeedsPerson, match="no value of a column of times"):
        Watermark.parse('{"partition": 3}')


def test_reading_goes_back_by_the_window_and_with_a_clock_that_is_set_back() -> None:
    now = micros(datetime(2026, 11, 24, 12))
    assert Watermark().since(now, WINDOW) is None
    assert Watermark(now).since(now, WINDOW) == now - WINDOW
    assert Watermark(now).since(now - 3 * WINDOW, WINDOW) == now - 4 * WINDOW
    assert Watermark(micros(datetime(1, 1, 1))).since(now, WINDOW) == micros(datetime(1, 1, 1))


def test_the_hour_that_comes_twice_is_read_again() -> None:
    """On 2026-10-25 at 01:00 UTC, clocks in Berlin go from 03:00 back to 02:00."""
    clock = Clock.of(NAIVE, ZONE)
    before, behind = (datetime(2026, 10, 25, 0, 59, tzinfo=UTC) + timedelta(minutes=n) for n in (0, 2))
    assert clock.shows(before) == micros(datetime(2026, 10, 25, 2, 59))
    assert clock.shows(behind) == micros(datetime(2026, 10, 25, 2, 1))
    mark = Watermark().raised(times(datetime(2026, 10, 25, 2, 59)), clock.shows(before))
    since = mark.since(clock.shows(behind), WINDOW)
    assert since is not None
    assert since < micros(datetime(2026, 10, 25, 2, 0, 30))


def test_when_rows_changed() -> None:
    taken = datetime(2026, 10, 25, 12, tzinfo=UTC)
    shown = (
        datetime(2026, 10, 25, 13, 0),  # that very moment
        datetime(2026, 7, 1, 14),
        datetime(2026, 10, 25, 2, 30),  # twice; the first is meant
        datetime(2026, 3, 29, 2, 30),  # never
        datetime(9999, 12, 31),
        None,
    )
    local = Clock.of(NAIVE, ZONE).moments(times(*shown), taken)
    assert local.to_list() == [
        taken,
        datetime(2026, 7, 1, 12, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        taken,
        taken,
        taken,
    ]
    plain = Clock.of(NAIVE, ZoneInfo("UTC")).moments(times(*shown), taken)
    assert plain.to_list()[1:3] == [moment.replace(tzinfo=UTC) for moment in shown[1:3] if moment]
    assert plain.to_list()[0] == taken
    aware = times(*shown).dt.replace_time_zone("UTC")
    assert Clock.of(AWARE, ZONE).moments(aware, taken).to_list() == plain.to_list()
