"""A table that changes its shape while its rows change, in stages, and what must hold of its four pipelines after them.

Each stage is a list of statements, for Postgres or MariaDB. What they hold between them: columns added (with a default,
too: rows change without a word in the log), renamed, dropped, made again under the same name, widened; TRUNCATE; long
values that an UPDATE leaves out; keys that change and come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import open_flow
from cdc_platform.engine.history import history
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World

_LONG = "repeat('long', 3000)"

FIRST = {
    "postgres": (
        "create table things (id int primary key, name varchar(20), n int, body text)",
        "alter table things alter column body set storage external",
        f"insert into things select i, 'first', i, {_LONG} || i from generate_series(1, 6) i",
    ),
    "mysql": (
        "create table things (id int primary key, name varchar(20), n int, body text)",
        f"insert into things select seq, 'first', seq, concat({_LONG}, seq) from seq_1_to_6",
    ),
}

ROWS_AND_SHAPES = (
    "update things set name = 'untouched body' where id in (1, 2)",
    "alter table things add column score int not null default 7",
    "update things set n = 20 where id = 2",
    "delete from things where id = 3",
    "alter table things rename column body to text",
    "update things set id = 10, name = 'moved' where id = 4",
    "alter table things {widen}",
    "insert into things (id, name, n, text) values (3, 'again', 5000000000, 'short')",
    "alter table things drop column name",
    "update things set n = n + 1 where id = 10",
    "alter table things add column name int",
    "update things set name = 5 where id in (1, 3)",
)
EMPTIED = (
    "truncate table things",
    "insert into things (id, n, text) values (1, 1, 'after'), (7, 7, 'after')",
    "alter table things add column late int default 3",
    "update things set n = 8 where id = 7",
)
_WIDEN = {"postgres": "alter column n type bigint", "mysql": "modify column n bigint"}


def statements(system: str) -> list[str]:
    """The stages behind the first, one after the other."""
    return [text.format(widen=_WIDEN[system]) for text in (*ROWS_AND_SHAPES, *EMPTIED)]


@contextmanager
def changing_table(world: World, system: str, *formats: str) -> Iterator[Pipelines]:
    """Its pipelines, {Delta, Iceberg} x {append, upsert}, or those of some formats; the table has its first rows."""
    state = world.postgres if system == "postgres" else world.mysql
    origin: Origin = PostgresOrigin(state) if system == "postgres" else MySQLOrigin(state)
    with closing(origin):
        for statement in FIRST[system]:
            origin.run("writer", statement)
        world.folder = world.home.parent / "pipelines"
        pipelines = Pipelines(world, origin)
        pipelines.follow("things", keyed=True)
        pipelines.targets = [t for t in pipelines.targets if not formats or t.lake.format in formats]
        pipelines.write()
        yield pipelines


def log_of(pipelines: Pipelines) -> ChangeLog:
    (path,) = (pipelines.world.home / "change_log").glob("*/things")
    return ChangeLog(path)


def assert_exact(pipelines: Pipelines) -> None:
    """Every destination is its source; the log holds each event once, its shapes and its events in order."""
    for target in pipelines.targets:
        equality.assert_equal_now(pipelines, target)
    equality.assert_events_keep_rules(equality.events_of(pipelines, pipelines.targets[0]), "things")
    log = log_of(pipelines)
    shapes = log.shapes()
    assert [shape.number for shape in shapes] == list(range(1, len(shapes) + 1))
    commits = [shape.commit for shape in shapes]
    assert commits == sorted(set(commits))
    for part in log.read(0):
        for frame in part.frames():
            assert set(frame["metadata"].struct.field("schema_version")) == {str(part.shape.number)}
    assert log.unlogged() is None
    for target in pipelines.targets:
        (pipeline,) = pipelines.world.pipelines(target.pipeline)
        told = history(open_flow(pipelines.world.settings, pipelines.world.variables, pipeline))
        assert [one.version for one in told] == [shape.number for shape in shapes]
        assert {one.state for one in told} == {"applied"}


def assert_histories_are_the_log(pipelines: Pipelines) -> None:
    """Each event of the log is in each history once."""
    events = [f["operation"] for part in log_of(pipelines).read(0) for f in part.frames(["operation"])]
    count = sum(map(len, events))
    for target in pipelines.targets:
        if target.mode == "append":
            assert target.lake.read().query("select count(*) from it") == [(count,)]
