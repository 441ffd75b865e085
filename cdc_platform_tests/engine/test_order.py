"""`_cdc_source_lsn` (binlog file and position) orders the changes of one key, whatever the sessions did meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World


@pytest.fixture
def pipelines(empty_world: World) -> Iterator[Pipelines]:
    with closing(PostgresOrigin(empty_world.postgres)) as origin:
        empty_world.folder = empty_world.home.parent / "pipelines"
        found = Pipelines(empty_world, origin)
        found.follow("things", keyed=True)
        found.write()
        yield found


def do(pipelines: Pipelines, *statements: str) -> None:
    for statement in statements:
        pipelines.origin.run("writer", statement)


def assert_equal(pipelines: Pipelines) -> None:
    pipelines.world.run()
    for target in pipelines.targets:
        equality.assert_equal_now(pipelines, target)
    assert {v.status for v in pipelines.world.check()} == {"PASS"}


TAKEN = {
    "insert": "insert into things values (1, 2, 'new')",
    "update": "update things set id = 1, x = 2, name = 'new' where id = 3",
}
RUNS_BETWEEN = {"one run": (), "after the delete": ("deleted",), "after the update": ("updated",)}


@pytest.mark.parametrize("taking", TAKEN)
@pytest.mark.parametrize("runs", RUNS_BETWEEN)
def test_a_key_taken_over_while_its_taker_waits_elsewhere(pipelines: Pipelines, taking: str, runs: str) -> None:
    """The taker's record comes first in the log, the end of the row that had the key after it."""
    world = pipelines.world
    do(
        pipelines,
        "create table things (id int, x int, name text)",
        "create unique index first_index on things (x)",
        "alter table things add primary key (id)",
        "insert into things values (1, 1, 'old'), (2, 2, 'two'), (3, 3, 'three')",
    )
    world.run()
    dsn = world.postgres.dsn()
    with closing(psycopg2.connect(dsn)) as holder, closing(psycopg2.connect(dsn)) as taker:
        holder.cursor().execute("delete from things where id = 2")
        thread = threading.Thread(target=_commit, args=(taker, TAKEN[taking]))
        thread.start()
        _wait_until_blocked(pipelines, taker)
        do(pipelines, "update things set name = 'older' where id = 1")
        if "updated" in RUNS_BETWEEN[runs]:
            world.run()
        do(pipelines, "delete from things where id = 1")
        if "deleted" in RUNS_BETWEEN[runs]:
            world.run()
        holder.commit()
        thread.join()
    assert_equal(pipelines)
    do(pipelines, "update things set name = 'newer' where id = 1", "insert into things values (7, 9, 'x')")
    assert_equal(pipelines)


def _commit(connection: psycopg2.extensions.connection, statement: str) -> None:
    connection.cursor().execute(statement)
    connection.commit()


def _wait_until_blocked(pipelines: Pipelines, session: psycopg2.extensions.connection) -> None:
    query = f"select wait_event_type from pg_stat_activity where pid = {session.info.backend_pid}"
    for _ in range(500):
        if pipelines.world.postgres_rows(query) == [("Lock",)]:
            return
        threading.Event().wait(0.01)
    raise AssertionError("the taker does not wait")


def test_comparisons_in_a_row_and_transactions_that_are_open_meanwhile(pipelines: Pipelines) -> None:
    """Keys change, go and come back before, between and after comparisons, in transactions of every kind."""
    do(
        pipelines,
        "create table things (id int primary key, name text)",
        "insert into things select i, 'first' from generate_series(1, 9) i",
    )
    pipelines.world.run()
    dsn = pipelines.world.postgres.dsn()
    for number in range(4):
        with closing(psycopg2.connect(dsn)) as subtransactions, closing(psycopg2.connect(dsn)) as prepared:
            subtransactions.cursor().execute(
                f"update things set name = 'outer {number}' where id = 1; savepoint a; "
                f"delete from things where id = 2; insert into things (id, name) values (2, 'inner {number}'); "
                "savepoint b; delete from things where id = 3; rollback to savepoint b; "
                f"update things set name = 'after {number}' where id = 3"
            )
            prepared.tpc_begin(f"{pipelines.world.postgres.database} {number}")
            prepared.cursor().execute(f"update things set name = 'two phases {number}' where id = 4")
            prepared.tpc_prepare()
            # Both wrote their records already, and commit behind what follows.
            do(
                pipelines,
                f"delete from things where id = 5; insert into things (id, name) values (5, 'again {number}')",
                f"update things set name = 'plain {number}' where id = 6",
            )
            pipelines.world.run()
            prepared.tpc_commit()
            subtransactions.commit()
        # Volatile: every row differs, also those that changed a moment ago.
        do(pipelines, f"alter table things add column c{number} int default (random() * 1000)::int")
        if number % 2:
            do(pipelines, "delete from things where id = 7", "update things set name = 'x' where id = 8")
        assert_equal(pipelines)
        if number % 2:
            do(pipelines, "insert into things (id, name) values (7, 'back')")
            assert_equal(pipelines)


def test_a_run_while_writers_never_pause(pipelines: Pipelines) -> None:
    """Comparisons take their snapshots while transactions on the same keys begin and end all the time."""
    do(
        pipelines,
        "create table things (id int primary key, name int)",
        "insert into things select i, 0 from generate_series(1, 5) i",
    )
    pipelines.world.run()
    over = threading.Event()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with closing(psycopg2.connect(pipelines.world.postgres.dsn())) as connection, connection.cursor() as cursor:
            while not over.is_set():
                key = chance.randint(1, 5)
                cursor.execute("delete from things where id = %s", [key])
                over.wait(chance.random() / 50)
                cursor.execute("insert into things (id, name) values (%s, %s) on conflict do nothing", [key, seed])
                cursor.execute("update things set name = name + 1 where id = %s", [key])
                connection.commit()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    try:
        for number in range(3):
            do(pipelines, f"alter table things add column c{number} int default (random() * 1000)::int")
            pipelines.world.run()
    finally:
        over.set()
        for writer in writers:
            writer.join()
    assert_equal(pipelines)
