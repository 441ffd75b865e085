"""The first state of tables, and that it and the stream after it make a whole."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from psycopg2.extensions import connection

from cdc_platform.errors import ConfigError, Gap, InvalidRow, NeedsPerson, Unavailable
from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.sources.postgres.source import Patience, PostgresSource
from cdc_platform.sources.postgres.stream import Pace
from cdc_platform_tests.postgres.conftest import Database, follow, rows_of, table

A, B = table("a"), table("b")


@pytest.fixture
def filled(database: Database) -> Database:
    """Tables a (1,000 rows) and b (empty), prepared."""
    database.run("create table a (id int primary key, name text, balance int not null default 0)")
    database.run("alter table a replica identity full")
    database.run("insert into a select i, 'name ' || i, i from generate_series(1, 1000) i")
    database.run("create table b (id int primary key)")
    database.source().prepare([A, B])
    return database


def test_rows_are_inserts_just_before_the_position(filled: Database) -> None:
    source = filled.source()
    with source.snapshot([A, B]) as snapshot:
        assert (snapshot.count(A), snapshot.count(B)) == (1000, 0)
        (batch,) = snapshot.read(A)
        assert list(snapshot.read(B)) == []
        position = snapshot.position
    rows = batch.frame.to_dicts()
    assert [row["ordinal"] for row in rows] == list(range(1000))
    assert {(row["operation"], row["at"], row["transaction_id"]) for row in rows} == {("INSERT", position.at - 1, None)}
    assert {row["before"] for row in rows} == {None}
    assert rows[0]["after"] == {"id": 1, "name": "name 1", "balance": 1}
    (now,) = filled.run("select clock_timestamp()")[0]
    assert 0 <= (now - rows[0]["source_ts"]).total_seconds() < 10
    assert batch.schema == source.schemas([A])[A]


def test_frames_have_the_same_columns_and_types_as_the_stream(filled: Database) -> None:
    source = filled.source()
    with source.snapshot([A]) as snapshot:
        (read,) = snapshot.read(A)
    filled.run("update a set name = 'x' where id = 1")
    (streamed,) = [b for c in follow(source, [A], snapshot.position) for b in c.batches]
    assert read.frame.schema == streamed.frame.schema
    assert read.schema == streamed.schema


def test_some_columns_only(filled: Database) -> None:
    with filled.source().snapshot([A]) as snapshot:
        (batch,) = snapshot.read(A, ["name", "id"])
        assert batch.schema.names == ("name", "id")
        assert batch.schema.primary_key == ("id",)
        assert batch.frame["after"][0] == {"name": "name 1", "id": 1}
        (keyless,) = snapshot.read(A, ["name"])
        assert keyless.schema.primary_key == ()
        with pytest.raises(ConfigError, match="has no column 'nam'"):
            list(snapshot.read(A, ["nam"]))
        with pytest.raises(ConfigError, match="none of the tables that the snapshot was taken of"):
            list(snapshot.read(B))


def test_many_rows_come_in_several_batches(filled: Database) -> None:
    filled.run("insert into a select i, 'x', i from generate_series(1001, 300000) i")
    with filled.source().snapshot([A]) as snapshot:
        batches = list(snapshot.read(A))
    assert sum(map(len, batches)) == 300_000
    assert max(map(len, batches)) <= 262_144
    assert min(map(len, batches[:-1])) >= 65_536
    assert [o for b in batches for o in b.frame["ordinal"].to_list()] == list(range(300_000))


def test_what_happens_meanwhile_is_in_the_stream_and_not_in_the_snapshot(filled: Database) -> None:
    source = filled.source()
    with source.snapshot([A]) as snapshot:
        filled.run(
            "update a set balance = -1 where id = 1; delete from a where id = 2; insert into a values (0, 'new')"
        )
        (batch,) = snapshot.read(A)
        assert snapshot.count(A) == 1000
    assert {row["after"]["id"] for row in batch.frame.to_dicts()} == set(range(1, 1001))
    changes = rows_of(follow(source, [A], snapshot.position))
    assert [row["operation"] for row in changes] == ["UPDATE", "DELETE", "INSERT"]


def test_snapshot_and_stream_make_a_whole_under_load(filled: Database) -> None:
    """Transfers keep the total. Every snapshot has the total, and replaying the stream on it gives the last state."""
    done = threading.Event()

    def transfers() -> None:
        with closing(filled.other_session()) as session, session.cursor() as cursor:
            for turn in range(100_000):
                if done.is_set():
                    return
                one, other = turn * 7919 % 1000 + 1, turn * 104_729 % 1000 + 1
                cursor.execute("update a set balance = balance - 5 where id = %s", [one])
                cursor.execute("update a set balance = balance + 5 where id = %s", [other])
                session.commit()

    source = filled.source(Pace(500, 100, 1 << 20, 10_000))
    total = 1000 * 1001 // 2
    worker = threading.Thread(target=transfers)
    worker.start()
    states = []
    try:
        for _ in range(3):
            with source.snapshot([A]) as snapshot:
                (batch,) = snapshot.read(A)
            state = {row["after"]["id"]: (row["after"]["balance"], row["lsn"]) for row in batch.frame.to_dicts()}
            assert sum(balance for balance, _ in state.values()) == total
            states.append((snapshot.position, state))
    finally:
        done.set()
        worker.join()
    until = source.head()
    last = dict(filled.run("select id, balance from a"))
    for position, state in states:
        for row in rows_of(follow(source, [A], position, until)):
            key = row["after"]["id"]
            assert row["before"]["balance"] == state[key][0]
            assert row["lsn"] > state[key][1]  # text order of lsn is log order for each key, snapshot included
            state[key] = row["after"]["balance"], row["lsn"]
        assert {key: balance for key, (balance, _) in state.items()} == last


def test_a_record_from_before_the_snapshot_that_is_committed_after_it(filled: Database) -> None:
    """The snapshot's `lsn` is lower than its position: below the records of transactions that are open at it."""
    source = filled.source()
    first, second, third = (filled.other_session() for _ in range(3))
    taken: list[tuple[Position, str]] = []

    def take() -> None:
        with source.snapshot([A]) as snapshot:
            (batch,) = snapshot.read(A)
            taken.append((snapshot.position, batch.frame["lsn"][0]))

    def write(session: connection, key: int) -> None:
        with session.cursor() as cursor:
            cursor.execute("update a set name = 'x' where id = %s", [key])

    write(first, 1)
    worker = threading.Thread(target=take)
    worker.start()
    wait_for_blocker(filled, first)
    write(second, 2)
    first.commit()
    wait_for_blocker(filled, second)
    write(third, 3)  # the server decodes from here on, so it need not end for the snapshot to be taken
    second.commit()
    worker.join()
    third.commit()
    ((position, lsn),) = taken
    (change,) = rows_of(follow(source, [A], position))
    assert change["after"]["id"] == 3
    assert lsn <= change["lsn"] < source.format(position)
    for session in (first, second, third):
        session.close()


def wait_for_blocker(database: Database, session: connection) -> None:
    waiting = (
        "select from pg_locks where not granted and locktype = 'transactionid' and %s = any(pg_blocking_pids(pid))"
    )
    for _ in range(1000):
        if database.run(f"select exists ({waiting})", session.info.backend_pid) == [(True,)]:
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits for the session")


def temporary_slots(database: Database, expected: int) -> int:
    """How many there are; their sessions end a moment after they were closed."""
    for _ in range(200):
        count = "select count(*)::int from pg_replication_slots where database = current_database() and temporary"
        ((left,),) = database.run(count)
        if left == expected:
            break
        time.sleep(0.01)
    return int(left)


def test_the_temporary_slot_is_gone_afterwards(filled: Database) -> None:
    source = filled.source()
    with source.snapshot([A]):
        assert temporary_slots(filled, 1) == 1
    with pytest.raises(RuntimeError), source.snapshot([A]):
        raise RuntimeError
    assert temporary_slots(filled, 0) == 0


def test_an_open_transaction_is_waited_for_only_so_long(filled: Database) -> None:
    session = filled.other_session()
    with closing(session), session.cursor() as cursor:
        cursor.execute("insert into b values (1)")
        source = filled.source(wait=0.5)
        with pytest.raises(Unavailable, match=f"waiting for open transactions to end: pid {session.info.backend_pid}"):
            source.snapshot([A]).__enter__()
        session.commit()
    with source.snapshot([B]) as snapshot:
        assert snapshot.count(B) == 1
    assert temporary_slots(filled, 0) == 0


def test_one_unreadable_table_does_not_spoil_the_others(filled: Database) -> None:
    filled.run("alter table b add day date; insert into b values (1, 'infinity')")
    filled.run("create role reader login replication password 'reader'; grant select on b to reader")
    reader = filled.source(user="reader", password="reader")
    try:
        with reader.snapshot([A, B]) as snapshot:
            with pytest.raises(InvalidRow, match=r"public\.b: column 'day'"):
                list(snapshot.read(B))
            for attempt in (snapshot.schema, snapshot.count, lambda name: list(snapshot.read(name))):
                with pytest.raises(NeedsPerson, match=r"reading public\.a: user 'reader' lacks a privilege"):
                    attempt(A)
        filled.run("grant select on a to reader")
        with reader.snapshot([A]) as snapshot:
            assert sum(map(len, snapshot.read(A))) == 1000
    finally:
        filled.run("drop owned by reader; drop role reader")


CHANGES = [
    "alter table a alter balance type bigint",
    "alter table a rename name to title",
    "alter table a drop name",
    "truncate a",
    "vacuum full a",
    "drop table a",
]


@pytest.mark.parametrize("change", CHANGES)
def test_whoever_changes_a_table_waits_for_the_snapshot(filled: Database, change: str) -> None:
    def alter() -> None:
        with closing(filled.other_session()) as session, session.cursor() as cursor:
            session.autocommit = True
            cursor.execute(change)

    source = filled.source()
    shape = source.schemas([A])[A]
    worker = threading.Thread(target=alter)
    with source.snapshot([A, B]) as snapshot:
        worker.start()
        waiting = "select from pg_locks where not granted and relation = 'a'::regclass"
        for _ in range(1000):
            if filled.run(f"select exists ({waiting})") == [(True,)]:
                break
            time.sleep(0.01)
        filled.run("insert into b values (1)")
        # The change waits, and so would whoever comes after it: the reader has its place already.
        assert (snapshot.schema(A), snapshot.count(A), snapshot.count(B)) == (shape, 1000, 0)
        assert sum(map(len, snapshot.read(A))) == 1000
        assert worker.is_alive()
    worker.join(20)
    assert not worker.is_alive()


def test_two_tables_read_at_the_same_time(filled: Database) -> None:
    with filled.source().snapshot([A, B]) as snapshot:
        batches = snapshot.read(A)
        first = next(batches)
        assert list(snapshot.read(B)) == []
        assert snapshot.count(A) == 1000
        assert len(first) + sum(map(len, batches)) == 1000
        half_read = snapshot.read(A)
        next(half_read)
        half_read.close()  # type: ignore[attr-defined]
        assert (snapshot.count(A), snapshot.count(B)) == (1000, 0)


def test_who_keeps_a_table_locked_is_named(filled: Database) -> None:
    source = PostgresSource(filled.connection(), filled.slot, patience=Patience(20, 0.3))
    with closing(source), closing(filled.other_session()) as session, session.cursor() as cursor:
        cursor.execute("lock table a")
        pid = session.info.backend_pid
        with pytest.raises(Unavailable, match=rf"after 0\.3 s still waiting: public\.a is locked by pid {pid} "):
            source.snapshot([B, A]).__enter__()
        session.rollback()
        with source.snapshot([B, A]) as snapshot:
            assert snapshot.count(A) == 1000


@pytest.mark.parametrize("rewrite", ["alter table a alter balance type bigint", "truncate a", "vacuum full a"])
def test_a_table_rewritten_all_the_same_is_not_taken_for_empty(filled: Database, rewrite: str) -> None:
    with filled.source().snapshot([A]) as snapshot:
        filled.run("select pg_terminate_backend(pid, 5000) from pg_locks where relation = 'a'::regclass")
        filled.run(rewrite)
        with pytest.raises(Unavailable, match="ended by the server"):
            list(snapshot.read(A))
        with pytest.raises(Unavailable, match="rewritten"):
            list(snapshot.read(A))


def test_without_a_slot_there_is_no_snapshot(filled: Database) -> None:
    filled.run("select pg_drop_replication_slot(%s)", filled.slot)
    with pytest.raises(Gap, match="does not exist"):
        filled.source().snapshot([A]).__enter__()


def test_rows_of_inheriting_tables_are_their_own(database: Database) -> None:
    database.run("create table a (id int primary key); create table b (primary key (id)) inherits (a)")
    database.run("insert into a values (1); insert into b values (2)")
    source = database.source()
    source.prepare([A, B])
    with source.snapshot([A, B]) as snapshot:
        own = {name: [row["after"]["id"] for b in snapshot.read(name) for row in b.frame.to_dicts()] for name in (A, B)}
    assert own == {A: [1], B: [2]}
    assert snapshot.position > ORIGIN
