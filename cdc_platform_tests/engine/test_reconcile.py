"""Tables compared with their source: whatever differs is logged once, and the destinations are the source again.

Rows change without a word in the log by a column's default; and where a table's log was bent, by events of rows that
never were.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import polars as pl
import pytest

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import live_rows
from cdc_platform.engine.record import deletes
from cdc_platform.model.change import INSERT, OPERATION, ChangeBatch, Place
from cdc_platform.model.event import events
from cdc_platform.model.position import Position
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World

Follow = Callable[..., Pipelines]


@pytest.fixture
def follow(empty_world: World) -> Iterator[Follow]:
    """Pipelines on the table `things` that these statements make."""
    opened: list[Origin] = []

    def followed(system: str, *statements: str, primary_key: tuple[str, ...] = (), only: str = "") -> Pipelines:
        origin = PostgresOrigin(empty_world.postgres) if system == "postgres" else MySQLOrigin(empty_world.mysql)
        opened.append(origin)
        for statement in statements:
            origin.run("writer", statement)
        empty_world.folder = empty_world.home.parent / "pipelines"
        found = Pipelines(empty_world, origin, table={"primary_key": list(primary_key)} if primary_key else {})
        found.follow("things", keyed=bool(origin.key("things")))
        found.targets = [target for target in found.targets if only in ("", target.lake.format)]
        found.write()
        empty_world.run()
        return found

    yield followed
    for origin in opened:
        origin.close()


def do(pipelines: Pipelines, *statements: str) -> None:
    for statement in statements:
        pipelines.origin.run("writer", statement)


def assert_mended(pipelines: Pipelines) -> None:
    """The next run makes all equal, and the one after it finds nothing to do."""
    pipelines.world.run()
    for target in pipelines.targets:
        equality.assert_equal_now(pipelines, target)
    found = {(v.type, v.status) for v in pipelines.world.check() if v.status != "PASS"}
    assert found <= {("checksum", "WARNING")}, found
    before = log_of(pipelines).version()
    pipelines.world.run()
    assert log_of(pipelines).version() == before


def log_of(pipelines: Pipelines) -> ChangeLog:
    (path,) = (pipelines.world.home / "change_log").glob("*/things")
    return ChangeLog(path)


def bend(pipelines: Pipelines, more: pl.DataFrame) -> None:
    """Events of the log's own rows: half of them go, and `more` rows come; then the log's word is doubted."""
    log = log_of(pipelines)
    position = log.position()
    assert position is not None
    origin, schema, version = log.origin(), log.schema(), log.shapes()[-1].number
    place = Place(position.at, position.ordinal, log.format(position), None, datetime.now(UTC))
    rows = pl.concat([frame["row"] for frame in live_rows(log)])
    gone = deletes(rows.gather_every(2), place, schema)
    come = deletes(more.select(schema.names).to_struct("row").cast(rows.dtype), place, schema).select(
        pl.lit(INSERT, OPERATION).alias("operation"),
        pl.exclude("operation", "before", "after"),
        pl.col("after").alias("before"),
        pl.col("before").alias("after"),
    )
    upto = position
    for lsn, part in ((position.at + 1, gone), (position.at + 2, come.select(gone.columns))):
        part = part.with_columns(pl.lit(log.format(Position(lsn))).alias("lsn"))
        numbered = part.with_columns(
            pl.int_range(upto.ordinal, upto.ordinal + pl.len(), dtype=pl.Int64).alias("ordinal")
        )
        made = events(ChangeBatch(schema, numbered), origin, version, datetime.now(UTC), snapshot=False)
        then = Position(upto.at, upto.ordinal + part.height)
        log.append([made], then, upto)
        upto = then
    log.mark_unlogged("a log that was bent", upto, upto)
    # The source's log goes on behind those places.
    do(pipelines, "create table others (id int primary key)", "insert into others values (1)", "drop table others")


KEYS = {
    "composite": ("a int, b int, v int, primary key (b, a)", "(1, 1, 1), (1, 2, 2), (2, 1, null)"),
    "collation": ("a varchar(9) primary key, b int, v int", "('a', 1, 1), ('b ', 2, 2), ('ß', 3, 3)"),
    "float": ("a double precision primary key, b int, v int", "(0.1, 1, 1), (-0.0, 2, 2), (1e300, 3, 3)"),
    "decimal": ("a decimal(20, 4) primary key, b int, v int", "(0.1, 1, 1), (-1.5, 2, 2), (12345678901234.5, 3, null)"),
    "date": ("a date primary key, b int, v int", "('2020-02-29', 1, 1), ('0999-01-01', 2, 2)"),
    "none": ("a int, b int, v int", "(1, 1, 1), (1, 1, 1), (2, null, null), (3, 3, 3), (3, 3, 3)"),
    "none, one row": ("a int, b int, v int", "(1, 1, 1)"),
}


@pytest.mark.parametrize("system", ["postgres", "mysql"])
@pytest.mark.parametrize("kind", KEYS)
def test_rows_by_every_kind_of_key(follow: Follow, kind: str, system: str) -> None:
    columns, rows = KEYS[kind]
    full = ["alter table things replica identity full"] if system == "postgres" and "none" in kind else []
    only = "delta" if kind == "float" else ""  # Iceberg takes no such key
    made = f"create table things ({columns})", *full, f"insert into things values {rows}"
    pipelines = follow(system, *made, only=only)
    do(pipelines, "alter table things add column d int default 5", "update things set v = 9 where b = 1")
    assert_mended(pipelines)
    log = log_of(pipelines)
    more = pl.concat([frame["row"] for frame in live_rows(log)]).struct.unnest()
    first = more.columns[0]
    if first not in log.schema().primary_key:
        bend(pipelines, more)
        assert_mended(pipelines)
    do(pipelines, "delete from things where b = 1", "alter table things add column e int default 6")
    assert_mended(pipelines)
    do(pipelines, "delete from things", "alter table things add column f int default 7")
    assert_mended(pipelines)
    do(pipelines, f"insert into things (a, b, v) values {rows}", "alter table things add column g int default 8")
    assert_mended(pipelines)


def test_nan_is_a_key_like_another(follow: Follow) -> None:
    pipelines = follow(
        "postgres",
        "create table things (a float8 primary key, v int)",
        "insert into things values ('NaN', 1)",
        only="delta",
    )
    do(pipelines, "alter table things add column d int default 5")
    assert_mended(pipelines)
    do(pipelines, "update things set v = 2", "alter table things add column e int default 5")
    assert_mended(pipelines)


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_row_that_went_in_a_form_it_was_never_logged_in(follow: Follow, system: str) -> None:
    """Without a key, the log counts rows: one that got a default unlogged, and then went, has to be evened out."""
    full = ["alter table things replica identity full"] if system == "postgres" else []
    pipelines = follow(system, "create table things (a int)", *full, "insert into things values (1), (2), (3), (3)")
    do(
        pipelines,
        "alter table things add column b int default 5",
        "delete from things where a = 1",
        "update things set a = 9 where a = 2",
    )
    assert_mended(pipelines)
    bag: dict[tuple[int, int | None], int] = {}
    for event in equality.events_of(pipelines, pipelines.targets[0]):
        for image, count in ((event["before"], -1), (event["after"], 1)):
            if image is not None:
                row = image["a"], image.get("b")
                bag[row] = bag.get(row, 0) + count
    assert {row: count for row, count in bag.items() if count} == {(9, 5): 1, (3, 5): 2}


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_bent_log_and_its_destinations_are_mended(follow: Follow, system: str) -> None:
    series = "generate_series(1, 9) s(seq)" if system == "postgres" else "seq_1_to_9"
    pipelines = follow(
        system, "create table things (id int primary key, v int)", f"insert into things select seq, seq from {series}"
    )
    bend(pipelines, pl.DataFrame({"id": [1, 100, 101], "v": [77, 1, 2]}))
    assert_mended(pipelines)
    do(pipelines, "update things set v = 5 where id = 1", "insert into things values (100, 8)")
    assert_mended(pipelines)


def test_a_key_of_ones_own_stays_where_the_tables_key_changed_unlogged(follow: Follow) -> None:
    """The row goes under its old primary key and comes under the new one; for the pipeline it is one row."""
    pipelines = follow(
        "mysql",
        "create table things (id int primary key, code varchar(9) not null unique, v int)",
        "insert into things values (1, 'a', 1), (2, 'b', 2)",
        primary_key=("code",),
    )
    do(pipelines, "set session binlog_format = 'STATEMENT'", "update things set id = 101 where id = 1")
    pipelines.world.run()
    for target in pipelines.targets:
        order = "_cdc_binlog_file, _cdc_binlog_position"
        last = f"qualify row_number() over (partition by code order by {order} desc) = 1"
        query = f"select id, code from (from it {last}) where _cdc_operation <> 'DELETE' order by id"
        assert target.lake.read().query(query) == [(2, "b"), (101, "a")]
    assert {v.status for v in pipelines.world.check()} == {"PASS"}


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_table_of_many_columns(follow: Follow, system: str) -> None:
    columns = ", ".join(f"c{n} int default {n}" for n in range(300))
    pipelines = follow(
        system, f"create table things (id int primary key, {columns})", "insert into things (id) values (1), (2)"
    )
    do(pipelines, "alter table things add column d int default 5", "delete from things where id = 2")
    assert_mended(pipelines)


def test_many_differences_in_bounded_memory(follow: Follow) -> None:
    pipelines = follow(
        "postgres",
        "create table things (id int primary key, v text)",
        "insert into things select i, repeat('x', 50) || i from generate_series(1, 200000) i",
    )
    pipelines.targets = pipelines.targets[:2]
    do(pipelines, "alter table things add column d int default 5", "delete from things where id % 10 = 0")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_mended(pipelines)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # kilobytes
