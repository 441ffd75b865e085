"""Unchanged long values that Postgres leaves out of its log: found wherever, in whatever shape, the row was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from cdc_platform.change_log.log import ChangeLog
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World

LONG = "repeat('long', 3000)"
TABLE = (
    "create table things (a int, b text, n int, body text, more text, primary key (b, a))",
    "alter table things alter column body set storage external, alter column more set storage external",
    f"insert into things select i, 'k' || i % 2, i, {LONG} || i, {LONG} || 'more' || i from generate_series(1, 6) i",
)


@pytest.fixture
def pipelines(empty_world: World) -> Iterator[Pipelines]:
    with closing(PostgresOrigin(empty_world.postgres)) as origin:
        for statement in TABLE:
            origin.run("writer", statement)
        empty_world.folder = empty_world.home.parent / "pipelines"
        found = Pipelines(empty_world, origin)
        found.follow("things", keyed=True)
        found.targets = [t for t in found.targets if t.lake.format == "delta"]
        found.write()
        empty_world.run()
        yield found


TOUCH = "update things set n = n + 1"
CASES = {
    "the last event is a snapshot row": (TOUCH,),
    "a comparison's event": ("alter table things add column d int default (random() * 9)::int", "-- run", TOUCH),
    "another shape": ("alter table things add column d int", TOUCH, "-- run", TOUCH),
    "the column has another name": ("alter table things rename column body to text", TOUCH, "-- run", TOUCH),
    "two columns changed names": (
        "alter table things rename column body to third",
        "alter table things rename column more to body",
        "alter table things rename column third to more",
        TOUCH,
    ),
    "the column has another type of the same values": ("alter table things alter column body type varchar", TOUCH),
    "the column is new under an old name": (
        "alter table things drop column body",
        "alter table things add column body text",
        "alter table things alter column body set storage external",
        f"update things set body = {LONG} || 'new' where a < 4",
        TOUCH,
    ),
    "the column was rewritten, and compared": (
        "alter table things alter column body type text using upper(body)",
        "-- run",
        TOUCH,
    ),
    "the column was rewritten, and not compared yet": (
        "alter table things alter column body type text using upper(body)",
        TOUCH,
    ),
    "the key moves from batch to batch": (
        "update things set a = a + 10",
        "-- run",
        "update things set b = 'moved' || a, n = 0",
        "update things set a = a + 100",
        "-- run",
        "update things set a = a - 100; update things set b = 'again' || a; " + TOUCH,
    ),
    "keys that are given on": (
        "update things set a = 100 where a = 1",
        "update things set a = 1 where a = 3",
        "update things set a = 3 where a = 100",
        "-- run",
        TOUCH,
    ),
    "a key that went and came": (
        "delete from things where a = 1",
        f"insert into things values (1, 'k1', 0, {LONG} || 'new', null)",
        TOUCH,
        "-- run",
        TOUCH,
    ),
    "after a truncate": ("truncate things", TABLE[2], TOUCH, "-- run", TOUCH),
}


@pytest.mark.parametrize("case", CASES)
def test_unchanged_values_are_found(pipelines: Pipelines, case: str) -> None:
    for statement in (*CASES[case], "-- run"):
        if statement != "-- run":
            pipelines.origin.run("writer", statement)
            continue
        pipelines.world.run()
        for target in pipelines.targets:
            equality.assert_equal_now(pipelines, target)
    (path,) = (pipelines.world.home / "change_log").glob("*/things")
    for part in ChangeLog(path).read(0):
        for frame in part.frames():
            rows = frame.filter(frame["operation"] == "UPDATE")["after"].struct.unnest()
            if {"body", "more"} <= set(rows.columns) and "new" not in case:
                assert rows["body"].null_count() == 0, case
