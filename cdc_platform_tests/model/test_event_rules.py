"""Each rule of events (data model, section 8.2) seen kept, and broken."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from cdc_platform.errors import BrokenEvent
from cdc_platform.model import event
from cdc_platform.model.event import events
from cdc_platform.model.event_rules import kept
from cdc_platform_tests.model.changes import ORIGIN, WHEN, batch

ONE, TWO = {"id": 1, "name": "secret"}, {"id": 1, "name": "other"}


def three() -> pl.DataFrame:
    changes = batch((8, 0, None, ONE), (8, 1, ONE, TWO), (8, 2, TWO, None))
    return events(changes, ORIGIN, 1, WHEN, snapshot=False)


def test_good_events_pass_as_they_are() -> None:
    frame = three()
    assert kept(frame, ["id"]) is frame
    assert kept(frame.clear(), ["id"]).is_empty()


def where(number: int, value: pl.Expr, column: str) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) == number).then(value).otherwise(column).alias(column)


def field(column: str, name: str, value: pl.Expr) -> pl.Expr:
    return pl.col(column).struct.with_fields(value.alias(name)).alias(column)


TIME = pl.lit(WHEN - timedelta(seconds=1), pl.Datetime("us", "UTC"))
BROKEN = {
    "event_id is a UUID of version 4": where(1, pl.lit("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), "event_id"),
    "event_id is unique": where(1, pl.col("event_id").first(), "event_id"),
    "source.system is there": field("source", "system", pl.lit("")),
    "source.table is there": field("source", "table", pl.lit(None, pl.String)),
    "operation is INSERT, UPDATE or DELETE": where(1, pl.lit("TRUNCATE"), "operation"),
    "source_ts <= capture_ts": field("timestamp", "capture_ts", TIME),
    "capture_ts <= process_ts": field("timestamp", "process_ts", TIME),
    "before is null exactly in an INSERT": where(0, pl.col("after"), "before"),
    "after is null exactly in a DELETE": where(2, pl.col("before"), "after"),
    "key column 'id' is the same before and after": where(
        1, pl.col("after").struct.with_fields(pl.lit(2, pl.Int32).alias("id")), "after"
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_is_named_with_its_place_and_no_value(rule: str) -> None:
    frame = three().with_columns(BROKEN[rule])
    with pytest.raises(BrokenEvent) as caught:
        kept(frame, ["id"])
    assert f"'{rule}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_an_update_without_its_old_image_is_broken() -> None:
    frame = three().with_columns(where(1, pl.lit(None), "before"))
    with pytest.raises(BrokenEvent, match="before is null exactly in an INSERT"):
        kept(frame, ["id"])


def test_events_are_asked_as_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "event_ids", lambda salt, at, ordinal: pl.Series(["same"] * len(at)))
    with pytest.raises(BrokenEvent, match="00000000/00000008"):
        three()


def test_a_clock_that_was_set_back_breaks_no_rule() -> None:
    later = WHEN + timedelta(days=365 * 50)
    times = events(batch((8, 0, None, ONE)), ORIGIN, 1, later, snapshot=False)["timestamp"][0]
    assert times["capture_ts"] == times["process_ts"] == later
