"""What makes timestamps hard: equal ones, late ones, none, those of the future; other zones; tables that change."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from cdc_platform.engine.at import as_of
from cdc_platform.engine.events import event_lines
from cdc_platform.engine.feeds import open_flow
from cdc_platform.engine.moment import moment, parse_asked, source_ahead
from cdc_platform.engine.status import status
from cdc_platform.errors import ConfigError, NeedsPerson
from cdc_platform_tests.timestamp.ground import COLUMNS, Ground, when

NOW = timedelta()
HOUR = timedelta(hours=1)


@pytest.fixture
def one(things: Ground) -> Ground:
    """With one pipeline: what is told by the log needs no more."""
    for name in things.pipelines:
        (things.world.folder / f"{name}.yaml").unlink()
    things.pipelines = ("delta_upsert",)
    things.configure()
    return things


def told(things: Ground) -> list[tuple[str, int]]:
    """The operation and key of every event."""
    events = things.events()
    return [(e["operation"], (e["after"] or e["before"])["id"]) for e in events.iter_rows(named=True)]


def test_equal_times_across_pages(one: Ground) -> None:
    one.polling = {"page_rows": 7}
    one.configure()
    at = datetime.now(UTC) - HOUR
    one.put(*((n, "a", at) for n in range(100)))
    assert one.run() == {"SNAPSHOT": 100}
    at = datetime.now(UTC).replace(microsecond=0)  # whole seconds, as a DATETIME has them
    one.put(*((n, "b", at) for n in range(50, 150)))
    assert one.run() == {"UPDATE": 50, "INSERT": 50}
    one.put(*((n, "c", at) for n in range(200, 220)))  # the same second goes on
    assert one.run() == {"INSERT": 20}
    one.assert_lake_is_source()
    one.assert_log_holds_each_change_once()
    places = one.events().select("_at", "_ordinal")
    assert places.is_unique().all()


def test_a_row_of_the_future_does_not_blind_it(one: Ground) -> None:
    one.put((1, "a", -HOUR), (2, "b", datetime(9999, 12, 31, tzinfo=UTC)), (3, "c", HOUR))
    assert one.run() == {"SNAPSHOT": 3}
    one.put((4, "d", NOW))
    assert one.run() == {"INSERT": 1}
    one.put((2, "B", datetime(9999, 12, 31, tzinfo=UTC)))
    assert one.run() == {"UPDATE": 1}
    one.put((5, "e", NOW))
    assert one.run() == {"INSERT": 1}
    times = one.events()["timestamp"].struct.unnest()
    assert (times["source_ts"] <= times["capture_ts"]).all()
    assert (times["source_ts"] <= datetime.now(UTC)).all()


def test_what_is_committed_late(one: Ground) -> None:
    """By less than the window: the next poll has it. By more: the next comparison does, and nothing says it is well."""
    one.put((1, "a", -HOUR), (2, "b", NOW))
    assert one.run() == {"SNAPSHOT": 2}
    with one.session() as session, one.session() as other:
        session("begin")
        session(one.putting((3, "late", timedelta(seconds=-200))))
        other("begin")
        other(one.putting((4, "too late", -HOUR)))
        one.put((5, "c", NOW))
        assert one.run() == {"INSERT": 1}
        session("commit")
        other("commit")
    assert one.run() == {"INSERT": 1}
    assert one.run() == {}
    one.assert_lake_is_source(without=[4])
    one.do("update things set id = 6 where id = 1")  # a key that moves, with its time as it was
    assert {v.status for v in one.world.check()} == {"PASS"}
    one.assert_lake_is_source()
    assert sorted(told(one)[-3:]) == [("DELETE", 1), ("INSERT", 4), ("INSERT", 6)]


def test_what_leaves_the_time_as_it_was_is_found_by_verification_alone(one: Ground) -> None:
    one.put((1, "a", -HOUR), (2, "b", NOW))
    one.run()
    one.do("update things set body = 'silent' where id = 1")
    assert one.run() == {}
    assert {v.status for v in one.world.check()} == {"FAIL", "PASS"}
    (found,) = one.verify()
    assert (found.missing, found.unexpected, found.different) == (0, 0, 1)
    (found,) = one.verify(repair=True)
    assert found.repaired
    assert one.verify()[0].equal
    one.assert_lake_is_source()


def test_truncate(one: Ground) -> None:
    one.put((1, "a", -HOUR), (2, "b", NOW))
    one.run()
    one.do("truncate table things")
    one.put((2, "new", NOW))
    one.run()
    if one.system == "mysql":  # whose catalogue may not tell, or to the second only
        assert {v.status for v in one.world.check()} == {"PASS"}
    one.assert_lake_is_source()
    assert sorted(told(one)[-2:]) == [("DELETE", 1), ("UPDATE", 2)]


def test_times_without_a_zone_in_local_time(one: Ground) -> None:
    kind = "timestamp" if one.system == "postgres" else "datetime(6)"
    one.do(f"alter table things drop column changed, add column changed {kind}")
    behind, ahead = timedelta(hours=-8), timedelta(hours=9)
    for local in (behind, ahead):
        one.do("delete from things")
        one.put((1, "a", local - HOUR), (2, "b", local))
        one.run()
        one.put((1, "A", local))
        assert one.run() == {"UPDATE": 1}
        one.verify()
    one.assert_lake_is_source()


def test_shapes(one: Ground) -> None:
    one.put((1, "a", -HOUR), (2, "b", NOW))
    one.run()
    one.do("alter table things add column more int default 7", "alter table things drop column flag")
    one.run()
    columns = ("id", "body", "amount", "changed", "more")
    one.assert_lake_is_source(columns)
    assert one.log.unlogged() is None
    one.do(f"update things set more = 8, changed = {when(NOW)} where id = 2")
    assert one.run() == {"UPDATE": 1}
    one.assert_lake_is_source(columns)
    if one.system == "postgres":
        one.do("alter table things rename column body to text")
        one.do(f"update things set text = 'x', changed = {when(NOW)} where id = 2")
        assert one.run() == {"UPDATE": 1}
        one.assert_lake_is_source(("id", "text", "amount", "changed", "more"))


def test_columns_that_tell_nothing(one: Ground) -> None:
    for table, error, words in (
        ({"cdc_column": "chnged"}, ConfigError, "has no column 'chnged'; did you mean 'changed'"),
        ({"cdc_column": "body"}, NeedsPerson, "cdc_column 'body' is text; a timestamp"),
        ({"as_text": ["changed"]}, NeedsPerson, "that is not read as text"),
    ):
        one.table = table
        one.configure()
        with pytest.raises(error, match=words):
            one.run()


def test_a_table_without_a_key(one: Ground) -> None:
    one.do(
        "alter table things drop constraint things_pkey"
        if one.system == "postgres"
        else "alter table things drop primary key"
    )
    one.do(f"insert into things values (1, 'a', 1, {one.true}, {when(-HOUR)}), (2, 'b', 2, {one.true}, {when(NOW)})")
    with pytest.raises(
        NeedsPerson, match=r"has no primary key, .* write columns that do as source\.tables\[\]\.primary_key"
    ):
        one.run()
    one.table = {"primary_key": ["id"]}
    one.configure()
    assert one.run() == {"SNAPSHOT": 2}
    one.do(f"update things set body = 'B', changed = {when(NOW)} where id = 2", "delete from things where id = 1")
    assert one.run() == {"UPDATE": 1}
    assert all(found.equal for found in one.verify())
    one.assert_lake_is_source()
    one.do(f"insert into things values (2, 'twice', 2, {one.true}, {when(NOW)})")
    with pytest.raises(NeedsPerson, match="several rows have the same id, which are named as its key"):
        one.run()


def test_the_column_goes(one: Ground) -> None:
    one.put((1, "a", NOW))
    one.run()
    one.do("alter table things rename column changed to touched")
    with pytest.raises(NeedsPerson, match="has no column 'changed' any more"):
        one.run()
    one.table = {"cdc_column": "touched"}
    one.configure()
    one.do(f"update things set body = 'b', touched = {when(NOW)}")
    assert one.run() == {"UPDATE": 1}
    one.assert_lake_is_source((*COLUMNS[:-1], "touched"))


def test_a_column_without_an_index_is_told(one: Ground) -> None:
    one.put((1, "a", NOW))
    one.run()

    def told_by_status() -> tuple[str, tuple[str, ...]]:
        everything = one.world.pipelines()
        (found,) = status(one.world.settings, one.world.variables, everything, everything)
        return found.state, found.warnings

    assert told_by_status() == ("current", ())
    one.do("drop index on_changed" if one.system == "postgres" else "drop index on_changed on things")
    one.put((2, "b", NOW))
    state, (warning,) = told_by_status()
    assert state == "behind"
    assert "no index begins with 'changed'" in warning


def test_the_past_by_its_places(one: Ground) -> None:
    """Events, and what the table was, by the times that positions are."""
    one.put((1, "a", -HOUR))
    one.run()
    one.put((1, "b", NOW))
    one.run()
    everything = one.world.pipelines()
    flow = open_flow(one.world.settings, one.world.variables, everything[0])
    first, second = (json.loads(line) for line in event_lines(flow))
    system = "postgres" if one.system == "postgres" else "mysql"
    assert (second["source"]["connector"], second["source"]["system"]) == ("timestamp-based", system)
    places = [event["metadata"]["lsn"] for event in (first, second)]
    assert places == sorted(places)
    assert (second["before"]["body"], second["after"]["body"]) == ("a", "b")
    ahead = source_ahead(one.world.settings, one.world.variables, everything, flow)

    def body(asked: str, *, place: bool = False) -> str:
        then = moment(flow, parse_asked(asked, flow.log.notation(), datetime.now(UTC), place=place), ahead)
        (row,) = as_of(flow, then, 10).shown.to_dicts()
        return str(row["body"])

    assert body(places[1]) == body(places[1].partition("#")[0], place=True) == "a"
    assert body("now") == "b"
    assert [row["_cdc_source_lsn"] for row in one.lake("delta_upsert")] == [places[1]]
