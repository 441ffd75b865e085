"""The stream: order, bounds, cuts, rotation, shapes that change; whatever the bounds, the same changes."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from cdc_platform.errors import Gap, Unavailable
from cdc_platform.model.change import Captured
from cdc_platform.model.position import Position, binlog_at, binlog_parts
from cdc_platform.servers.embedded import up
from cdc_platform.sources.mysql import source as sources
from cdc_platform_tests.conftest import temporary_home
from cdc_platform_tests.mysql.conftest import Database, connect, events

Row = tuple[Any, ...]


def flat(captured: Sequence[Captured]) -> list[Row]:
    """(table, at, ordinal, operation, transaction, before, after) of all changes, in log order."""
    rows: list[Row] = []
    for one in captured:
        assert not one.failures
        for batch in one.batches:
            columns = ("at", "ordinal", "operation", "transaction_id", "lsn", "before", "after")
            rows += [(batch.schema.table.name, *row) for row in batch.frame.select(columns).rows()]
    return sorted(rows, key=lambda row: row[1:3])


@pytest.fixture
def two_tables(database: Database) -> Database:
    database.run(
        "create table a (id int primary key, name varchar(50))",
        "create table b (id bigint primary key, amount decimal(8,2), note text)",
        "create table unfollowed (id int primary key, v varchar(100))",
    )
    return database


def workload(database: Database) -> None:
    """Transactions of one row and of many, over both tables and beside them, across three log files."""
    database.run(
        "insert into a values (1, 'one')",
        "insert into unfollowed values (1, repeat('x', 100))",
        "begin",
        "insert into a values (2, 'two'), (3, null), (4, '')",
        "insert into b values (1, 1.50, 'first'), (2, -2.25, null)",
        "insert into unfollowed values (2, 'y')",
        "update a set name = concat(name, '!') where id > 1",
        "delete from b where id = 1",
        "commit",
        "flush binary logs",
        "update a set name = null",
        "insert into b select seq, seq / 10, repeat('n', seq) from (select 10 seq union select 11 union select 12) s",
        "begin", "insert into b values (77, 0, 'never')", "rollback",
        "flush binary logs",
        "flush binary logs",
        "alter table unfollowed add column w int",
        "begin", "delete from a where id < 3", "update b set amount = amount + 1", "commit",
    )  # fmt: skip


def test_changes_come_whole_and_in_order(two_tables: Database) -> None:
    start = two_tables.source().head()
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=2)
    workload(two_tables)
    captured = two_tables.changes("a", "b", start=start)
    rows = flat(captured)
    images = [
        (table, kind, old and tuple(old.values()), new and tuple(new.values()))
        for table, _, _, kind, _, _, old, new in rows
    ]
    assert [image for image in images if image[0] == "a"][:4] == [
        ("a", "INSERT", None, (1, "one")),
        ("a", "INSERT", None, (2, "two")),
        ("a", "INSERT", None, (3, None)),
        ("a", "INSERT", None, (4, "")),
    ]
    assert ("a", "UPDATE", (4, ""), (4, "!")) in images
    assert [image[1] for image in images if image[0] == "b"] == ["INSERT"] * 2 + ["DELETE"] + ["INSERT"] * 3 + [
        "UPDATE"
    ] * 4
    assert len({row[1:3] for row in rows}) == len(rows)
    assert not any("never" in str(row) for row in rows)
    for one in captured:
        for batch in one.batches:
            assert batch.frame["at"].is_sorted()
            assert batch.frame["source_ts"].is_between(before, dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)).all()
            assert batch.schema.primary_key == ("id",)


def test_a_transaction_has_one_name_in_all_its_tables(two_tables: Database) -> None:
    start = two_tables.source().head()
    workload(two_tables)
    names: dict[str, set[str]] = {}
    for table, *_, transaction, _, _, _ in flat(two_tables.changes("a", "b", start=start)):
        names.setdefault(transaction, set()).add(table)
    assert sorted(map(sorted, names.values())) == [["a"], ["a"], ["a", "b"], ["a", "b"], ["b"]]


def test_rows_are_placed_where_their_event_begins(two_tables: Database) -> None:
    source = two_tables.source()
    start = source.head()
    two_tables.run("insert into a values (1, 'x')")
    ((row,),) = [flat(two_tables.changes("a", start=start))]
    file, offset = row[5].split(":")
    ((log, place, kind, *_),) = two_tables.query(f"show binlog events in '{file}' from {offset} limit 1")
    assert (log, place) == (file, binlog_parts(row[1])[1])
    assert kind.lower().startswith("write_rows")


@pytest.mark.parametrize("stretch_bytes", [1, 100, 700, 5000])
def test_small_stretches_give_the_same_changes(two_tables: Database, stretch_bytes: int) -> None:
    start = two_tables.source().head()
    workload(two_tables)
    whole = two_tables.changes("a", "b", start=start)
    parts = two_tables.changes("a", "b", start=start, stretch_bytes=stretch_bytes)
    assert flat(parts) == flat(whole)
    assert [one.upto for one in parts] == sorted({one.upto for one in parts})
    assert parts[-1].upto == whole[-1].upto == two_tables.source().head()
    bounds = [start, *(one.upto for one in parts)]
    for low, high, one in zip(bounds, bounds[1:], parts, strict=False):
        assert all(low <= Position(row[1], row[2]) < high for row in flat([one]))


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
def test_reading_can_stop_and_go_on_at_every_change(two_tables: Database, stretch_bytes: int) -> None:
    start = two_tables.source().head()
    workload(two_tables)
    until = two_tables.source().head()
    whole = flat(two_tables.changes("a", "b", start=start, until=until))
    for index, row in enumerate(whole):
        middle = Position(row[1], row[2])
        first = two_tables.changes("a", "b", start=start, until=middle, stretch_bytes=stretch_bytes)
        assert flat(first) == whole[:index]
        assert first[-1].upto == middle
        rest = two_tables.changes("a", "b", start=middle, until=until, stretch_bytes=stretch_bytes)
        assert flat(rest) == whole[index:]
        assert rest[-1].upto == until


def test_reading_can_go_on_at_every_cut(two_tables: Database) -> None:
    start = two_tables.source().head()
    workload(two_tables)
    until = two_tables.source().head()
    parts = two_tables.changes("a", "b", start=start, until=until, stretch_bytes=1)
    whole = flat(parts)
    for index, part in enumerate(parts):
        rest = flat(two_tables.changes("a", "b", start=part.upto, until=until))
        assert rest == whole[len(flat(parts[: index + 1])) :]


def test_small_transactions_are_not_cut(two_tables: Database) -> None:
    """Only what is larger than a stretch is: all other cuts are between transactions."""
    start = two_tables.source().head()
    for number in range(40):
        two_tables.run(
            "begin", f"insert into a values ({number}, 'x')", f"insert into b values ({number}, 1, 'y')", "commit"
        )
    parts = two_tables.changes("a", "b", start=start, stretch_bytes=1500)
    names = [{row[4] for row in flat([one])} for one in parts]
    assert len(parts) > 5
    assert sum(map(len, names)) == 40


def test_a_huge_transaction_comes_in_parts(two_tables: Database) -> None:
    start = two_tables.source().head()
    rows = [(number, "v" * 40) for number in range(3000)]
    two_tables.run("begin", "insert into a values (0, 'first')")
    with two_tables.connection.cursor() as cursor:
        cursor.executemany("insert into a values (%s, %s)", [(number + 1, name) for number, name in rows])
    two_tables.run("commit", "insert into a values (99999, 'after')")
    parts = two_tables.changes("a", start=start, stretch_bytes=20_000)
    assert len(parts) > 3
    assert all(len(batch) < 2000 for one in parts for batch in one.batches)
    frame = events(parts, two_tables.table("a"))
    assert frame["after"].struct.field("id").to_list() == [*range(3001), 99999]
    assert frame["transaction_id"].n_unique() == 2
    assert frame["transaction_id"].null_count() == 0
    # A cut inside the transaction, taken up again, names it the same.
    again = events(two_tables.changes("a", start=parts[2].upto, stretch_bytes=20_000), two_tables.table("a"))
    assert again.equals(events(parts[3:], two_tables.table("a")))


def test_a_transaction_of_two_hundred_thousand_rows(two_tables: Database) -> None:
    """It comes in stretches of bounded size, each change once, under one name, from wherever reading begins."""
    digits = "(select 0 d " + " ".join(f"union select {digit}" for digit in range(1, 10)) + ")"
    numbers = " + ".join(f"{10**place} * n{place}.d" for place in range(5))
    two_tables.run(
        "begin",
        f"insert into a select {numbers}, repeat('v', 40) from "
        + ", ".join(f"{digits} n{place}" for place in range(5)),
        "update b set amount = 0",
    )
    start = two_tables.source().head()
    two_tables.run("update a set name = 'w'", "commit")
    parts = two_tables.changes("a", start=start, stretch_bytes=1 << 19)
    assert len(parts) > 10
    sizes = [sum(len(batch) for batch in one.batches) for one in parts]
    assert sum(sizes) == 200_000
    assert max(sizes) < 30_000
    frame = events(parts, two_tables.table("a"))
    assert frame.select("at", "ordinal").n_unique() == 200_000
    assert frame["transaction_id"].n_unique() == 1
    for kind in ("INSERT", "UPDATE"):
        ids = frame.filter(pl.col("operation") == kind)["after"].struct.field("id")
        assert ids.n_unique() == len(ids) == 100_000
    inside = parts[len(parts) // 2].upto
    again = two_tables.changes("a", start=inside, stretch_bytes=1 << 22)
    assert events(again, two_tables.table("a")).equals(events(parts[len(parts) // 2 + 1 :], two_tables.table("a")))


def test_a_transaction_is_named_by_its_gtid(two_tables: Database) -> None:
    start = two_tables.source().head()
    two_tables.run("insert into a values (1, 'x')")
    if two_tables.mariadb:
        ((wanted,),) = two_tables.query("select @@last_gtid")
    else:
        ((executed,),) = two_tables.query("select @@global.gtid_executed")
        ((on,),) = two_tables.query("select @@global.gtid_mode")
        wanted = re.sub(r":1-", ":", executed.replace("\n", "")) if on == "ON" else None
    frame = events(two_tables.changes("a", start=start), two_tables.table("a"))
    if wanted is None:
        wanted = two_tables.source().format(start)
    assert frame["transaction_id"].to_list() == [wanted]


def test_another_server_has_another_identity_and_its_positions_are_a_gap(two_tables: Database) -> None:
    """As after a failover: before anything is read, and where identities were the same, by the log itself."""
    with temporary_home("cdc-other-") as settings:
        started = up(settings, environ={})["mysql"]
        other = Database(started, connect(started))
        try:
            other.run("create table a (id int primary key, name varchar(50))", "flush binary logs")
            other.run("insert into a values (1, repeat('x', 40))")
            there, here = other.source(), two_tables.source()
            assert there.identity() != here.identity()
            assert there.identity() == other.source().identity()
            two_tables.run("insert into a values (1, 'x')", "insert into a values (2, 'y')")
            place = Position(binlog_at(binlog_parts(there.head().at)[0], binlog_parts(there.head().at)[1] - 11))
            with pytest.raises(Gap):
                other.changes("a", start=place, until=there.head())
        finally:
            other.close()


def test_rows_larger_than_a_packet(two_tables: Database) -> None:
    """Packets of the protocol end at 16 MiB; longer rows come in several."""
    two_tables.run("create table big (id int primary key, v longblob)")
    start = two_tables.source().head()
    sizes = [1, (1 << 24) - 1000, 1 << 24, (1 << 24) + 5, 40 << 20, 3]
    for number, size in enumerate(sizes):
        two_tables.run(f"insert into big values ({number}, repeat('{number}', {size}))")
    changes = events(two_tables.changes("big", start=start), two_tables.table("big"))["after"].struct.unnest()
    with two_tables.source().snapshot([two_tables.table("big")]) as snapshot:
        taken = pl.concat([batch.frame["after"].struct.unnest() for batch in snapshot.read(two_tables.table("big"))])
    for frame in (changes, taken):
        assert frame["v"].bin.size().to_list() == sizes
        assert all(value == str(number).encode() * len(value) for number, value in enumerate(frame["v"]))


def test_a_changed_table_begins_a_new_batch(two_tables: Database) -> None:
    start = two_tables.source().head()
    two_tables.run(
        "insert into a values (1, 'x')",
        "alter table a add column extra int unsigned default 7",
        "insert into a values (2, 'y', 8)",
        "alter table a rename column name to title, modify extra bigint",
        "update a set extra = -1",
        "alter table a drop column title",
        "insert into a values (3, 9)",
    )
    (one,) = two_tables.changes("a", start=start)
    assert not one.failures
    found = [(batch.schema.names, batch.frame["after"].struct.unnest().rows()) for batch in one.batches]
    assert found == [
        (("id", "name"), [(1, "x")]),
        (("id", "name", "extra"), [(2, "y", 8)]),
        (("id", "title", "extra"), [(1, "x", -1), (2, "y", -1)]),
        (("id", "extra"), [(3, 9)]),
    ]
    declared = [[column.source_type for column in batch.schema.columns][-1] for batch in one.batches]
    assert declared == ["varchar(50)", "int unsigned", "bigint", "bigint"]
    assert all(batch.schema.primary_key == ("id",) for batch in one.batches)


def test_reopening_a_table_does_not_begin_a_new_batch(two_tables: Database) -> None:
    start = two_tables.source().head()
    two_tables.run(
        "insert into a values (1, 'x')", "flush tables", "insert into a values (2, 'y')", "flush binary logs"
    )
    two_tables.run("insert into a values (3, 'z')")
    ((batch,),) = [one.batches for one in two_tables.changes("a", start=start)]
    assert len(batch) == 3


def test_odd_names(database: Database) -> None:
    name = "Tä`ble \"x\" — 'y'; drop"
    quoted = "`" + name.replace("`", "``") + "`"
    database.run(f"create table {quoted} (`sélect` int primary key, `a``b %s` varchar(10), `—` int)")
    start = database.source().head()
    with database.connection.cursor() as cursor:
        cursor.execute(f"insert into {quoted} values (1, 'x', 2)")
    table = database.table(name)
    database.source().prepare([table])
    frame = events(database.changes(name, start=start), table)
    with database.source().snapshot([table]) as snapshot:
        (taken,) = snapshot.read(table)
        assert snapshot.count(table) == 1
    assert taken.frame["after"].to_list() == frame["after"].to_list() == [{"sélect": 1, "a`b %s": "x", "—": 2}]


def test_generated_columns_and_partitions(database: Database) -> None:
    database.run(
        "create table g (id int primary key, v varchar(20), twice int generated always as (id * 2) stored,"
        " loud varchar(30) generated always as (concat(v, '!')) virtual, seen int default 5 invisible)"
        " partition by hash (id) partitions 3"
    )
    start = database.source().head()
    database.run(
        "insert into g (id, v) values (1, 'a'), (2, null)", "update g set v = 'b', id = id + 10", "delete from g"
    )
    frame = events(database.changes("g", start=start), database.table("g"))
    first = [
        {"id": 1, "v": "a", "twice": 2, "loud": "a!", "seen": 5},
        {"id": 2, "v": None, "twice": 4, "loud": None, "seen": 5},
    ]
    second = [{"id": i, "v": "b", "twice": 2 * i, "loud": "b!", "seen": 5} for i in (11, 12)]
    by_operation = frame.sort("operation", pl.coalesce("before", "after").struct.field("id"))
    assert by_operation["before"].to_list() == [None, None, *first, *second]
    assert by_operation["after"].to_list() == [*first, *second, None, None]


@pytest.mark.parametrize("checksum", ["NONE", "CRC32"])
def test_checksums_may_come_and_go(two_tables: Database, checksum: str) -> None:
    ((before,),) = two_tables.query("select @@global.binlog_checksum")
    start = two_tables.source().head()
    two_tables.run("insert into a values (1, 'before')", f"set global binlog_checksum = {checksum}")
    try:
        two_tables.run("insert into a values (2, 'during')")
        middle = two_tables.source().head()
        assert len(flat(two_tables.changes("a", start=start))) == 2
    finally:
        two_tables.run(f"set global binlog_checksum = {before}")
    two_tables.run("insert into a values (3, 'after')")
    assert len(flat(two_tables.changes("a", start=start))) == 3
    assert len(flat(two_tables.changes("a", start=middle))) == 1


def test_a_bound_that_the_log_does_not_reach_can_be_tried_again(
    two_tables: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_CATCH_UP_SECONDS", 0.2)
    start = two_tables.source().head()
    two_tables.run("insert into a values (1, 'x')")
    end = two_tables.source().head()
    stretches = two_tables.source().changes(two_tables.followed("a", start=start), start, Position(end.at + 500))
    assert len(flat([next(stretches)])) == 1
    with pytest.raises(Unavailable, match="run again"):
        next(stretches)


def test_nothing_new_is_one_empty_stretch(two_tables: Database) -> None:
    head = two_tables.source().head()
    assert two_tables.changes("a", start=head, until=head) == [Captured((), head)]
    two_tables.run("insert into unfollowed values (1, 'x')")
    (one,) = two_tables.changes("a", start=head)
    assert not one.batches
    assert one.upto == two_tables.source().head()


def test_tables_of_many_columns(database: Database) -> None:
    columns = [f"c{number} {'int' if number % 3 else 'varchar(9)'}" for number in range(300)]
    database.run(f"create table wide (id int primary key, {', '.join(columns)})")
    start = database.source().head()
    database.run(
        "insert into wide (id, c0, c1, c299) values (1, 'a', 2, 3), (2, null, null, 4)", "update wide set c298 = id"
    )
    frame = events(database.changes("wide", start=start), database.table("wide"))
    after = frame["after"].struct.unnest()
    assert after.select("id", "c0", "c1", "c298", "c299").rows() == [
        (1, "a", 2, None, 3), (2, None, None, None, 4), (1, "a", 2, 1, 3), (2, None, None, 2, 4),
    ]  # fmt: skip
    with database.source().snapshot([database.table("wide")]) as snapshot:
        (taken,) = snapshot.read(database.table("wide"))
    assert taken.frame["after"].struct.unnest().equals(after[2:])


def test_a_purged_log_is_a_gap(two_tables: Database) -> None:
    source = two_tables.source()
    start = source.head()
    source.check_resumable(start)
    two_tables.run("insert into a values (1, 'x')", "flush binary logs", "flush binary logs")
    ((last, *_),) = two_tables.query("show binary logs")[-1:]
    deadline = time.monotonic() + 10  # files that the engine may still need to recover stay for a moment
    while len(two_tables.query("show binary logs")) > 1 and time.monotonic() < deadline:
        two_tables.run(f"purge binary logs to '{last}'")
    with pytest.raises(Gap, match="no longer has binlog file"):
        source.check_resumable(start)
    with pytest.raises(Gap):
        two_tables.changes("a", start=start)


def test_a_position_beyond_the_log_is_a_gap(two_tables: Database) -> None:
    source = two_tables.source()
    head = source.head()
    for place in (Position(head.at + 1000), Position(binlog_at(binlog_parts(head.at)[0] + 5, 4))):
        with pytest.raises(Gap, match="was reset or the server replaced"):
            source.check_resumable(place)


def test_a_position_inside_an_event_is_a_gap(two_tables: Database) -> None:
    start = two_tables.source().head()
    two_tables.run("insert into a values (1, repeat('x', 50)), (2, repeat('y', 50))")
    with pytest.raises(Gap):
        two_tables.changes("a", start=Position(start.at + 7))
