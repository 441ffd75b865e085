"""What cannot be followed stops its table, with one clear line; the others go on. Nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdc_platform.errors import CdcError, Gap, InvalidRow, Lost, NotUnderstood, SchemaConflict
from cdc_platform.model.change import ChangeBatch, Followed
from cdc_platform.model.evolution import carried
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform_tests.mysql.conftest import Database, connect, entries, events


@pytest.fixture
def pair(database: Database) -> Database:
    database.run(
        "create table good (id int primary key, v varchar(500))",
        "create table bad (id int primary key, v varchar(500), d date null)",
        "insert into bad values (1, 'x', '2024-01-01'), (2, 'y', null)",
    )
    return database


@contextmanager
def global_setting(database: Database, name: str, value: str) -> Iterator[None]:
    ((before,),) = database.query(f"select @@global.{name}")
    database.run(f"set global {name} = {value}")
    try:
        yield
    finally:
        with database.connection.cursor() as cursor:
            cursor.execute(f"set global {name} = %s", (before,))


def failure(database: Database, start: Position, *statements: str) -> CdcError:
    """Run the statements between two changes of `good`; both must arrive, `bad` must fail, once."""
    followed = database.followed("good", "bad", start=start)
    database.run("insert into good values (1, 'before')", *statements, "insert into good values (2, 'after')")
    captured = database.follow(followed, start=start)
    assert events(captured, database.table("good"))["after"].struct.field("id").to_list() == [1, 2]
    assert captured[-1].upto == database.source().head()
    failures = [one.failures for one in captured if one.failures]
    assert [list(one) for one in failures] == [[database.table("bad")]]
    assert not events(captured, database.table("bad")).height
    return failures[0][database.table("bad")]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("drop table if exists absent, bad", "DROP TABLE"),
        ("rename table bad to worse", "RENAME"),
        ("alter table bad add column w int, rename to worse", "ALTER TABLE ... RENAME"),
        ("create or replace table bad (id int primary key)", "CREATE OR REPLACE TABLE"),
        ("/* a comment */ rename table good to best, bad to `worse`, best to good", "RENAME"),
    ],
)
def test_tables_that_go_or_are_replaced(pair: Database, statement: str, words: str) -> None:
    if "replace" in statement and not pair.mariadb:
        pytest.skip("is MariaDB's")
    if "good" in statement:
        start = pair.source().head()
        followed = pair.followed("good", "bad", start=start)
        pair.run(statement)
        (one,) = pair.follow(followed, start=start)
        assert set(one.failures) == {pair.table("good"), pair.table("bad")}
        return
    start = pair.source().head()
    error = failure(pair, start, "insert into bad values (5, 'lost', null)", statement)
    assert isinstance(error, Gap)
    assert error.lost is Lost.TABLE_REPLACED
    assert words in str(error)
    assert "cdc resync" in str(error)


def test_a_table_that_comes_back_is_another_one(pair: Database) -> None:
    start = pair.source().head()
    assert "DROP TABLE" in str(failure(pair, start, "drop table bad", "create table bad (id int)"))


def test_a_database_that_goes_takes_its_tables_along(pair: Database) -> None:
    other = pair.state.database + "_x"
    pair.run(f"create database {other}", f"create table {other}.t (id int primary key)")
    start = pair.source().head()
    table = TableName(other, "t")
    followed = {table: Followed(carried(None, pair.source().schemas([table])[table]), start)}
    pair.run(f"drop database {other}")
    (one,) = pair.follow(followed, start=start)
    assert "DROP DATABASE" in str(one.failures[table])


def test_nothing_before_a_tables_own_position_can_fail_it(pair: Database) -> None:
    start = pair.source().head()
    pair.run(
        "insert into good values (1, 'early')", "alter table bad add g geometry", "insert into bad (id) values (8)"
    )
    pair.run("alter table bad drop g", "rename table bad to worse", "create table bad (id int primary key)")
    pair.run("truncate table bad", "insert into bad values (1)")
    position = pair.source().head()
    pair.run("insert into bad values (2)", "insert into good values (2, 'late')")
    followed = pair.followed("good", start=start) | pair.followed("bad", start=position)
    captured = pair.follow(followed, start=start)
    assert events(captured, pair.table("bad"))["after"].to_list() == [{"id": 2}]
    assert events(captured, pair.table("good"))["after"].struct.field("id").to_list() == [1, 2]
    assert {type(entry) for entry in entries(captured, pair.table("bad"))} == {ChangeBatch}


@pytest.mark.parametrize(
    "statement",
    [
        "alter table bad add index (v)",
        "analyze table bad",
        "create table other (i int)",
        "create temporary table tmp (i int)",
        "alter table bad comment 'drop partition'",
    ],
)
def test_statements_that_keep_all_rows_are_harmless(pair: Database, statement: str) -> None:
    start = pair.source().head()
    pair.run(statement, "insert into bad values (3, 'z', null)")
    (one,) = pair.changes("good", "bad", start=start)
    assert not one.failures
    (batch,) = entries([one], pair.table("bad"))
    assert isinstance(batch, ChangeBatch)
    assert len(batch) == 1


def test_statements_out_of_bounds_do_not_count(pair: Database) -> None:
    pair.run("truncate table bad")
    start = pair.source().head()
    pair.run("insert into bad values (3, 'z', null)")
    until = pair.source().head()
    pair.run("truncate table bad")
    (batch,) = entries(pair.changes("bad", start=start, until=until), pair.table("bad"))
    assert isinstance(batch, ChangeBatch)
    assert len(batch) == 1


def test_compressed_rows(pair: Database) -> None:
    if not pair.mariadb:
        pytest.skip("MySQL compresses whole transactions")
    start = pair.source().head()
    with global_setting(pair, "log_bin_compress", "ON"):
        error = failure(pair, start, "insert into bad values (3, repeat('long', 120), null)")
    assert isinstance(error, NotUnderstood)
    assert "log_bin_compress=OFF" in str(error)


def test_compressed_transactions_stop_everything_behind_what_precedes_them(pair: Database) -> None:
    if pair.mariadb:
        pytest.skip("MariaDB compresses single events")
    start = pair.source().head()
    table, followed = pair.table("good"), pair.followed("good", start=start)
    pair.run("insert into good values (1, 'short')", "set session binlog_transaction_compression = ON")
    pair.run("insert into bad values (7, repeat('long', 120), null)", "insert into good values (2, 'behind')")
    stretches = pair.source().changes(followed, start, pair.source().head())
    one = next(stretches)
    assert events([one], table)["after"].struct.field("id").to_list() == [1]
    assert start < one.upto < pair.source().head()
    with pytest.raises(NotUnderstood, match="binlog_transaction_compression"):
        next(stretches)
    with pytest.raises(NotUnderstood, match="binlog_transaction_compression"):
        next(pair.source().changes(followed, one.upto, pair.source().head()))


def test_partial_json_of_other_tables_is_harmless(pair: Database) -> None:
    if pair.mariadb:
        pytest.skip("MariaDB logs whole values")
    pair.run(
        "create table docs (id int primary key, j json)", 'insert into docs values (1, \'{"a": [1, 2], "b": "xxxx"}\')'
    )
    start = pair.source().head()
    pair.run("set session binlog_row_value_options = 'PARTIAL_JSON'", "update docs set j = json_set(j, '$.b', 'y')")
    file, _, offset = pair.source().format(start).partition(":")
    assert "Update_rows_partial" in str(pair.query(f"show binlog events in '{file}' from {offset}"))
    (one,) = pair.changes("good", "bad", start=start)
    assert not one.failures
    (one,) = pair.changes("docs", start=start)
    assert "binlog_row_value_options" in str(one.failures[pair.table("docs")])


@pytest.mark.parametrize("value", ["0000-00-00", "2024-00-00", "2024-05-00"])
def test_zero_dates(pair: Database, value: str) -> None:
    start = pair.source().head()
    error = failure(pair, start, "set sql_mode = ''", f"insert into bad values (3, 'secret cell', '{value}')")
    assert isinstance(error, InvalidRow)
    message = str(error)
    assert "bad, column d at " in message
    assert value not in message
    assert "secret" not in message
    with (
        pair.source().snapshot([pair.table("bad")]) as snapshot,
        pytest.raises(InvalidRow, match=r"column d at .* row 2 of the snapshot: the value is a zero or impossible"),
    ):
        list(snapshot.read(pair.table("bad")))


@pytest.mark.parametrize("kind", ["datetime", "datetime(6)", "timestamp", "timestamp(3)"])
def test_zero_moments(pair: Database, kind: str) -> None:
    pair.run("set sql_mode = ''", f"create table z (id int primary key, m {kind} default '0000-00-00')")
    start = pair.source().head()
    pair.run("insert into z values (1, '2024-01-01'), (2, '0000-00-00')")
    (one,) = pair.changes("z", start=start)
    assert isinstance(one.failures[pair.table("z")], InvalidRow)
    with pair.source().snapshot([pair.table("z")]) as snapshot, pytest.raises(InvalidRow):
        list(snapshot.read(pair.table("z")))


def test_types_that_are_not_understood(pair: Database) -> None:
    """Moments as they were before MySQL 5.6, which MariaDB still makes when told to."""
    if not pair.mariadb:
        pytest.skip("MySQL has no such columns any more")
    with global_setting(pair, "mysql56_temporal_format", "OFF"):
        pair.run("create table odd (id int primary key, c datetime)")
    start = pair.source().head()
    pair.run("insert into odd values (1, '2024-02-29 01:02:03')")
    (one,) = pair.changes("odd", start=start)
    assert isinstance(one.failures[pair.table("odd")], NotUnderstood)
    assert "column c: binlog column type 12 is not understood" in str(one.failures[pair.table("odd")])


def test_a_column_that_comes_with_a_type_of_its_own(pair: Database) -> None:
    start = pair.source().head()
    pair.run("alter table bad add g geometry", "insert into bad (id, v, g) values (4, 'é', point(1, 2))")
    (one,) = pair.changes("bad", start=start)
    row = events([one], pair.table("bad"))["after"].struct.unnest().row(0, named=True)
    assert (row["id"], row["v"]) == (4, "é")
    assert row["g"][:9] == bytes(4) + b"\1" + (1).to_bytes(4, "little")


@pytest.mark.parametrize("metadata", ["less", "full"])
def test_without_names_in_the_log_only_the_present_shape_is_understood(pair: Database, metadata: str) -> None:
    less = "NO_LOG" if pair.mariadb else "MINIMAL"
    with global_setting(pair, "binlog_row_metadata", f"'{less if metadata == 'less' else 'FULL'}'"):
        renewed = Database(pair.state, connect(pair.state))
        start = renewed.source().head()
        renewed.run("insert into bad values (3, 'ünï', '2024-02-29')")
        (one,) = renewed.changes("good", "bad", start=start)
        after = events([one], pair.table("bad"))["after"].struct.unnest().rows()
        assert [row[:2] for row in after] == [(3, "ünï")]
        assert one.batches[0].schema.primary_key == ("id",)
        renewed.run("alter table bad drop column v")
        (one,) = renewed.changes("good", "bad", start=start)
        renewed.close()
    if metadata == "full":
        assert len(events([one], pair.table("bad"))) == 1
    else:
        assert isinstance(one.failures[pair.table("bad")], SchemaConflict)
