"""Transactions of every kind: prepared, rolled back in part, empty, and larger than what is held at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from cdc_platform.errors import Unavailable
from cdc_platform.model.position import Position
from cdc_platform.servers.embedded import up
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.postgres.stream import Pace
from cdc_platform_tests.conftest import temporary_home
from cdc_platform_tests.postgres.conftest import Database, follow, following, images, rows_of, table

A, B = table("a"), table("b")


@pytest.fixture
def followed(database: Database) -> Database:
    """Tables a and b, prepared."""
    database.run("create table a (id int primary key, name text); create table b (id int primary key)")
    database.source().prepare([A, B])
    return database


@pytest.fixture(scope="module")
def preparing() -> Iterator[ServerState]:
    """A server that allows two-phase commit, which is off by default."""
    with temporary_home() as settings:
        yield up(settings, options={"postgres": {"max_prepared_transactions": "8"}}, environ={})["postgres"]


@pytest.fixture
def two_phase(preparing: ServerState) -> Iterator[Database]:
    with closing(psycopg2.connect(preparing.dsn())) as session:
        session.autocommit = True
        database = Database(preparing, session, "two_phase")
        database.run("create table a (id int primary key, name text)")
        database.source().prepare([A])
        try:
            yield database
        finally:
            for (name,) in database.run("select gid from pg_prepared_xacts"):
                database.run("rollback prepared %s", name)
            for source in database.sources:
                source.close()
            database.run("select pg_drop_replication_slot('two_phase'); drop publication two_phase; drop table a")


def test_a_prepared_transaction_comes_where_it_is_committed(two_phase: Database) -> None:
    source = two_phase.source()
    start = source.head()
    two_phase.run("begin; insert into a values (1, 'prepared first'), (2, 'x'); prepare transaction 'one'")
    two_phase.run("insert into a values (3, 'committed first')")
    middle = source.head()
    assert [after["id"] for _, _, after in images(follow(source, [A], start, middle))] == [3]
    two_phase.run("commit prepared 'one'")
    until = source.head()
    captured = follow(source, [A], start, until)
    assert [after["id"] for _, _, after in images(captured)] == [3, 1, 2]
    prepared = rows_of(captured)[1:]
    assert [row["ordinal"] for row in prepared] == [0, 1]
    assert prepared[0]["at"] >= middle.at
    assert prepared[0]["lsn"] < rows_of(captured)[0]["lsn"]
    # Read again from behind what was read before, as after an acknowledgement.
    source.acknowledge(middle)
    assert rows_of(follow(source, [A], middle, until)) == prepared
    inside = Position(prepared[1]["at"], 1)
    assert rows_of(follow(source, [A], inside, until)) == prepared[1:]


def test_a_prepared_transaction_that_is_rolled_back_does_not_come(two_phase: Database) -> None:
    source = two_phase.source()
    start = source.head()
    two_phase.run("begin; insert into a values (1, 'x'); prepare transaction 'one'")
    two_phase.run("insert into a values (2, 'x')")
    two_phase.run("rollback prepared 'one'")
    assert [after["id"] for _, _, after in images(follow(source, [A], start))] == [2]


def test_a_snapshot_waits_for_a_prepared_transaction_and_says_so(two_phase: Database) -> None:
    two_phase.run("begin; insert into a values (1, 'x'); prepare transaction 'one'")
    with pytest.raises(
        Unavailable, match=r"waiting for open transactions to end: a prepared transaction \(see pg_prep"
    ):
        two_phase.source(wait=0.5).snapshot([A]).__enter__()
    two_phase.run("commit prepared 'one'")
    with two_phase.source().snapshot([A]) as snapshot:
        assert snapshot.count(A) == 1


def test_a_table_that_a_prepared_transaction_altered(two_phase: Database) -> None:
    source = two_phase.source()
    start = source.head()
    before = following(source, [A], start)
    two_phase.run("begin; insert into a values (1, 'x'); alter table a add n int; insert into a values (2, 'x', 3);"
                  "prepare transaction 'one'")  # fmt: skip
    (middle,) = two_phase.run("select pg_current_wal_flush_lsn() - '0/0'")[0]
    # The table is locked until the transaction ends, and so even its catalogue entry cannot be read.
    with pytest.raises(Unavailable, match="a table is locked by another session"):
        source.schemas([A])
    two_phase.run("commit prepared 'one'")
    captured = follow(source, before, start)
    assert rows_of(captured)[0]["at"] >= middle
    assert [after for _, _, after in images(captured)] == [
        {"id": 1, "name": "x"},
        {"id": 2, "name": "x", "n": 3},
    ]


def test_savepoints_that_are_rolled_back(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("begin; insert into a values (1, 'x'); savepoint s; update a set name = 'y'; alter table a add n int;"
                 "insert into a values (2, 'x', 3); rollback to s; insert into a values (3, 'z'); savepoint s;"
                 "insert into a values (4, 'z'); release s; commit")  # fmt: skip
    captured = follow(source, [A], start)
    assert images(captured) == [("INSERT", None, {"id": i, "name": n}) for i, n in [(1, "x"), (3, "z"), (4, "z")]]
    assert [row["ordinal"] for row in rows_of(captured)] == [0, 1, 2]
    assert len({row["transaction_id"] for row in rows_of(captured)}) == 1


def test_transactions_without_a_change(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("begin; savepoint s; insert into a values (1, 'x'); rollback to s; commit")
    followed.run("begin; select txid_current(); commit; begin; create table c (id int); commit")
    followed.run("begin; insert into c values (1); commit; select pg_logical_emit_message(true, 'p', 'm')")
    for pace in (Pace(), Pace(1, 1, 1, 1)):
        captured = follow(followed.source(pace), [A, B], start)
        assert all(not c.entries and not c.failures for c in captured)


def test_a_transaction_of_200_000_rows_in_bounded_stretches(followed: Database) -> None:
    source = followed.source(Pace(500_000, 20_000, 8 << 20, 1 << 20))
    start = source.head()
    followed.run("insert into b values (1)")
    followed.run("begin; insert into a select i, 'name ' || i from generate_series(1, 200000) i;"
                 "insert into b values (2); commit")  # fmt: skip
    until = source.head()
    captured = follow(source, [A, B], start, until)
    sizes = [sum(len(b) for b in c.batches) for c in captured]
    assert sum(sizes) == 200_002
    assert len(sizes) > 5
    assert max(sizes) < 60_000
    assert sum(c.upto.ordinal > 0 for c in captured) > 5  # most bounds lie inside the transaction
    ordinals = [o for c in captured for b in c.batches if b.table == A for o in b.frame["ordinal"].to_list()]
    assert ordinals == list(range(200_000))
    assert [row["ordinal"] for row in rows_of(captured, B)] == [0, 200_000]
    # From the middle on, as after a crash between two stretches.
    middle = captured[len(captured) // 2].upto
    rest = follow(source, [A, B], middle, until)
    before = sum(len(b) for c in captured if c.upto <= middle for b in c.batches)
    assert sum(len(b) for c in rest for b in c.batches) == 200_002 - before
