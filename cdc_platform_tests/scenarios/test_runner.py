"""The runner itself: what it must call red, it calls red; files that are not in its language are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc_platform.servers.state import ServerState
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import PostgresOrigin
from cdc_platform_tests.scenarios.play import Player
from cdc_platform_tests.scenarios.script import parse, split
from cdc_platform_tests.world import World

_TABLES = """
-- table: people
-- table: readings
create table people (id int primary key, name text, amount numeric(10, 2), seen timestamp);
create table readings (sensor text, value float8);
alter table readings replica identity full;
insert into people values (1, 'Ada', 1.50, '2026-01-01 12:00:00.000001'), (2, '', 2, null), (3, null, null, null);
insert into readings values ('a', 1.5), ('a', 1.5), (null, 'NaN');
-- run
"""


class Stage:
    """A database and a world for scenarios that are written down in a test."""

    def __init__(self, folder: Path, state: ServerState) -> None:
        self.folder, self.origin = folder, PostgresOrigin(state)
        self.world = World(folder / "home", state, state, folder=folder / "pipelines")

    def play(self, text: str) -> Player:
        file = self.folder / "scenario.sql"
        file.write_text(text)
        player = Player(parse(file), self.world, self.origin)
        player.play()
        return player


@pytest.fixture
def stage(tmp_path: Path, postgres_database: ServerState) -> Iterator[Stage]:
    made = Stage(tmp_path, postgres_database)
    with closing(made.origin):
        yield made


@pytest.mark.parametrize(
    "change",
    [
        "update people set name = '' where id = 3",
        "update people set name = null where id = 2",
        "update people set amount = 1.51 where id = 1",
        "update people set seen = seen + interval '1 microsecond' where id = 1",
        "update people set id = 4 where id = 3",
        "delete from people where id = 1",
        "insert into people values (9)",
    ],
)
def test_the_smallest_difference_is_seen_in_each_destination(stage: Stage, change: str) -> None:
    player = stage.play(_TABLES)
    targets = [target for target in player.pipelines.targets if target.table == "people"]
    assert len(targets) == 4
    for target in targets:
        equality.assert_equal(player.pipelines, target, target.lake.read(), equality.Sources(stage.origin))
    stage.origin.run("a", change)
    for target in targets:
        with pytest.raises(AssertionError, match="rows lack"):
            equality.assert_equal(player.pipelines, target, target.lake.read(), equality.Sources(stage.origin))


@pytest.mark.parametrize(
    "change", ["delete from readings where ctid = (select min(ctid) from readings)", "update readings set value = 1.5"]
)
def test_a_history_without_a_key_is_held_against_its_table(stage: Stage, change: str) -> None:
    player = stage.play(_TABLES)
    (target, _) = (target for target in player.pipelines.targets if target.table == "readings")
    events, types = equality.events_of(player.pipelines, target), target.lake.read().types
    equality.assert_history_is_replay(player.pipelines, target, types, events)
    stage.origin.run("a", change)
    with pytest.raises(AssertionError, match="rows lack"):
        equality.assert_history_is_replay(player.pipelines, target, types, events)


@pytest.mark.parametrize(
    ("expectation", "complaint"),
    [
        ('-- expect events\n--   INSERT  null  {"id": 1}', "events of people"),
        ("-- expect rows\n--   id | name\n--   1  | Eve", "holds"),
        ("-- expect columns: id, name", "has the columns"),
        ("-- expect stop 4 people iceberg: key", "went on"),
        ("-- expect nothing written upsert", "was written to"),
    ],
)
def test_an_expectation_that_is_not_met_is_red(stage: Stage, expectation: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        stage.play(_TABLES + expectation)


def test_a_stop_that_is_not_expected_is_red(stage: Stage) -> None:
    with pytest.raises(AssertionError, match="stopped"):
        stage.play("-- table: people\ncreate table people (id int primary key);\n-- run\ndrop table people;\n-- run")


def test_events_that_break_the_rules_are_red(stage: Stage) -> None:
    player = stage.play(_TABLES + "update people set name = 'b' where id = 1;\n-- run")
    events = equality.events_of(player.pipelines, player.pipelines.targets[0])
    equality.assert_events_keep_rules(events, "people")
    with pytest.raises(AssertionError, match="twice"):
        equality.assert_events_keep_rules([*events, events[0]], "people")
    late = events[-1]
    assert late["operation"] == "UPDATE"
    for broken in (
        {**late, "before": None},
        {**late, "after": None},
        {**late, "after": {**late["after"], "id": 7}},
        {**late, "timestamp": {**late["timestamp"], "capture_ts": "1999-01-01T00:00:00Z"}},
    ):
        with pytest.raises(AssertionError):
            equality.assert_events_keep_rules([broken], "people")


@pytest.mark.parametrize(
    "text",
    [
        "-- expect rows\n--   a\n--   1",
        "-- table: a\n-- run\n-- expect everything",
        "-- table: a\n-- run\n-- expect events b\n",
        "-- table: a\n-- run\n-- expect events\n--   INSERT  null  {]",
    ],
)
def test_what_is_not_in_the_language_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "wrong.sql"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.sql:\d"):
        parse(file)


def test_statements_end_at_semicolons_that_are_none_of_a_text() -> None:
    text = "a 'x;''y'; b \"q;\" -- c;\n; do $$ d; $$; $x$ e;$$; $x$; /* f; */ g - 1 / 2; -- nothing\n"
    assert split(text) == ("a 'x;''y'", 'b "q;" -- c;', "do $$ d; $$", "$x$ e;$$; $x$", "/* f; */ g - 1 / 2")
