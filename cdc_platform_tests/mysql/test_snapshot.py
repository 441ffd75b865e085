"""Snapshots: bound to their position under load, bounded chunks, several tables, broken off and failed reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import polars as pl
import pytest

from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform.model.position import Position
from cdc_platform.sources.mysql import snapshot as snapshots
from cdc_platform_tests.mysql.conftest import Database, connect, events


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 500)


@pytest.fixture
def busy(database: Database) -> Iterator[Database]:
    """A table that a thread keeps changing, in transactions that keep the sum of `v`."""
    database.run("create table t (id int primary key auto_increment, v bigint not null, note varchar(20))")
    database.run("insert into t (v) values " + ", ".join(["(100)"] * 200))
    stop = threading.Event()

    def work() -> None:
        with connect(database.state) as connection, connection.cursor() as cursor:
            connection.autocommit(False)
            number = 0
            while not stop.is_set():
                number += 1
                one, other = number * 7 % 200 + 1, number * 13 % 200 + 1
                cursor.execute("update t set v = v - 5, note = %s where id = %s", (f"n{number}", one))
                cursor.execute("update t set v = v + 5 where id = %s", (other,))
                if number % 5 == 0:
                    cursor.execute("insert into t (v, note) values (0, 'new')")
                    cursor.execute("delete from t where note = 'new' and id < %s", (200 + number // 10,))
                connection.commit()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield database
    finally:
        stop.set()
        thread.join()


def read(database: Database) -> tuple[Position, dict[int, Any]]:
    """A snapshot's position, and its rows by id."""
    table, source = database.table("t"), database.source()
    with source.snapshot([table]) as snapshot:
        time.sleep(0.05)  # the load goes on; the snapshot must not see it
        batches = list(snapshot.read(table))
        count, position = snapshot.count(table), snapshot.position
    assert len(batches) > 1
    frame = pl.concat([batch.frame for batch in batches])
    assert frame["ordinal"].to_list() == list(range(count))
    assert frame["at"].unique().to_list() == [position.at - 1]
    assert frame["lsn"].unique().to_list() == [source.format(position)]
    assert frame["operation"].unique().to_list() == ["INSERT"]
    assert frame["transaction_id"].null_count() == frame["before"].null_count() == count
    return position, {row["id"]: row for row in frame["after"].to_list()}


def test_snapshot_and_stream_meet_exactly(busy: Database, small_chunks: None) -> None:
    """One snapshot and the changes up to the next one are the next one."""
    position, rows = read(busy)
    for _ in range(4):
        assert sum(row["v"] for row in rows.values()) == 20_000
        until, wanted = read(busy)
        changes = events(busy.changes("t", start=position, until=until), busy.table("t"))
        assert changes.height > 0
        for before, after in changes.select("before", "after").iter_rows():
            if before is not None:
                assert rows.pop(before["id"]) == before
            if after is not None:
                assert after["id"] not in rows
                rows[after["id"]] = after
        assert rows == wanted
        position = until


def test_a_read_that_is_broken_off_leaves_the_next_one_alone(database: Database, small_chunks: None) -> None:
    database.run("create table t (id int primary key, v varchar(200))", "create table u (id int primary key)")
    database.run("begin", "insert into t values (%s, repeat('v', 150))", rows=[(number,) for number in range(3000)])
    database.run("insert into u values (1), (2)", "commit")
    with database.source().snapshot([database.table("t"), database.table("u")]) as snapshot:
        (first,) = islice(snapshot.read(database.table("t")), 1)
        assert 0 < len(first) < 10
        (other,) = snapshot.read(database.table("u"))
        assert len(other) == 2
        unfinished = snapshot.read(database.table("t"))
        next(unfinished)
        assert snapshot.count(database.table("t")) == 3000
        whole = pl.concat([batch.frame for batch in snapshot.read(database.table("t"))])
        assert whole["after"].struct.field("id").to_list() == list(range(3000))


def test_a_table_that_fails_leaves_the_next_one_alone(database: Database, small_chunks: None) -> None:
    database.run(
        "set sql_mode = ''", "create table bad (id int primary key, d date)", "create table good (id int primary key)"
    )
    database.run("begin", "insert into bad values (%s, '0000-00-00')", rows=[(number,) for number in range(2000)])
    database.run("insert into good values (1)", "commit")
    with database.source().snapshot([database.table("bad"), database.table("good")]) as snapshot:
        with pytest.raises(InvalidRow):
            list(snapshot.read(database.table("bad")))
        with pytest.raises(ConfigError, match="there is no table"):
            list(snapshot.read(database.table("absent")))
        with pytest.raises(ConfigError, match="has no column 'x'"):
            list(snapshot.read(database.table("good"), ["x"]))
        (batch,) = snapshot.read(database.table("good"))
        assert batch.frame["after"].to_list() == [{"id": 1}]


def test_an_empty_table(database: Database) -> None:
    database.run("create table t (id int primary key)")
    with database.source().snapshot([database.table("t")]) as snapshot:
        assert list(snapshot.read(database.table("t"))) == []
        assert snapshot.count(database.table("t")) == 0


def test_the_session_does_not_depend_on_the_servers_settings(database: Database) -> None:
    """Values print the same under any sql_mode and time zone of the server's own choosing."""
    database.run("set time_zone = '+00:00'", "create table t (id int primary key, c char(5), m timestamp)")
    database.run("insert into t values (1, 'a', '2024-06-01 12:00:00')")
    ((mode, zone),) = database.query("select @@global.sql_mode, @@global.time_zone")
    start = database.source().head()
    database.run("set global sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'", "set global time_zone = '+05:00'")
    try:
        with database.source().snapshot([database.table("t")]) as snapshot:
            (taken,) = snapshot.read(database.table("t"))
        database.run("update t set id = 2")
        changed = events(database.changes("t", start=start), database.table("t"))
    finally:
        with database.connection.cursor() as cursor:
            cursor.execute("set global sql_mode = %s", (mode,))
            cursor.execute("set global time_zone = %s", (zone,))
    assert taken.frame["after"].to_list() == changed["before"].to_list()
    assert taken.frame["after"].struct.field("c").to_list() == ["a"]
