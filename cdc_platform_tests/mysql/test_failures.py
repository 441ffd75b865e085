"""What cannot be followed stops its table, with one clear line; the others go on. Nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cdc_platform.errors import CdcError, InvalidRow, NotUnderstood, SchemaConflict
from cdc_platform.model.position import Position
from cdc_platform_tests.mysql.conftest import Database, connect, events


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
    database.run("insert into good values (1, 'before')", *statements, "insert into good values (2, 'after')")
    captured = database.changes("good", "bad", start=start)
    assert events(captured, database.table("good"))["after"].struct.field("id").to_list() == [1, 2]
    assert captured[-1].upto == database.source().head()
    failures = [one.failures for one in captured if one.failures]
    assert [list(one) for one in failures] == [[database.table("bad")]]
    assert not events(captured, database.table("bad")).height
    return failures[0][database.table("bad")]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("truncate table bad", "TRUNCATE"),
        ("truncate bad", "TRUNCATE"),
        ("drop table if exists absent, bad", "DROP TABLE"),
        ("rename table bad to worse", "RENAME"),
        ("alter table bad add column w int, rename to worse", "ALTER TABLE ... RENAME"),
        ("/* a comment */ rename table good to best, bad to `worse`, best to good", "RENAME"),
    ],
)
def test_rows_that_vanish_without_row_events(pair: Database, statement: str, words: str) -> None:
    if "good" in statement:
        captured = pair.source()
        start = captured.head()
        pair.run(statement)
        (one,) = pair.changes("good", "bad", start=start)
        assert set(one.failures) == {pair.table("good"), pair.table("bad")}
        return
    start = pair.source().head()
    error = failure(pair, start, "insert into bad values (5, 'lost', null)", statement)
    assert isinstance(error, NotUnderstood)
    assert words in str(error)
    assert "anew" in str(error)


def test_a_dropped_partition_is_not_passed_over(pair: Database) -> None:
    pair.run("drop table bad", "create table bad (id int primary key) partition by hash (id) partitions 2")
    pair.run("alter table bad remove partitioning")
    pair.run("alter table bad partition by range (id) (partition p0 values less than (10))")
    start = pair.source().head()
    assert "TRUNCATE PARTITION" in str(failure(pair, start, "alter table bad truncate partition p0"))


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
    assert len(events([one], pair.table("bad"))) == 1


def test_a_statement_before_the_start_counts_no_more(pair: Database) -> None:
    pair.run("truncate table bad")
    start = pair.source().head()
    pair.run("insert into bad values (3, 'z', null)")
    until = pair.source().head()
    pair.run("truncate table bad")
    (one,) = pair.changes("bad", start=start, until=until)
    assert not one.failures
    assert len(events([one], pair.table("bad"))) == 1


def test_statement_based_changes(pair: Database) -> None:
    start = pair.source().head()
    pair.run("set session binlog_format = 'STATEMENT'", "insert into bad values (9, 'unseen', null)")
    pair.run("set session binlog_format = 'ROW'")
    captured = pair.changes("good", "bad", start=start)
    assert set(captured[0].failures) == {
        pair.table("good"),
        pair.table("bad"),
    }  # which one, only a SQL parser could say
    assert "a statement-based INSERT" in str(captured[0].failures[pair.table("bad")])
    assert captured[-1].upto == pair.source().head()


def test_partial_images(pair: Database) -> None:
    start = pair.source().head()
    error = failure(
        pair,
        start,
        "set session binlog_row_image = 'MINIMAL'",
        "update bad set v = 'changed' where id = 1",
        "set session binlog_row_image = 'FULL'",
    )
    assert isinstance(error, NotUnderstood)
    assert "binlog_row_image=FULL" in str(error)


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
    start, tables = pair.source().head(), [pair.table("good")]
    pair.run("insert into good values (1, 'short')", "set session binlog_transaction_compression = ON")
    pair.run("insert into bad values (7, repeat('long', 120), null)", "insert into good values (2, 'behind')")
    stretches = pair.source().changes(tables, start, pair.source().head())
    one = next(stretches)
    assert events([one], tables[0])["after"].struct.field("id").to_list() == [1]
    assert start < one.upto < pair.source().head()
    with pytest.raises(NotUnderstood, match="binlog_transaction_compression"):
        next(stretches)
    with pytest.raises(NotUnderstood, match="binlog_transaction_compression"):
        next(pair.source().changes(tables, one.upto, pair.source().head()))


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


def test_xa_transactions(pair: Database) -> None:
    """They are logged when prepared, and take effect or not later on."""
    start = pair.source().head()
    error = failure(
        pair, start, "xa start 'x1'", "insert into bad values (7, 'maybe', null)", "xa end 'x1'", "xa prepare 'x1'",
        "xa rollback 'x1'",
    )  # fmt: skip
    assert "XA" in str(error)


def test_an_xa_commit_whose_changes_are_behind_us(pair: Database) -> None:
    pair.run("xa start 'x2'", "insert into bad values (7, 'maybe', null)", "xa end 'x2'", "xa prepare 'x2'")
    start = pair.source().head()
    pair.run("xa commit 'x2'")
    (one,) = pair.changes("good", "bad", start=start)
    assert set(one.failures) == {pair.table("good"), pair.table("bad")}


def test_xa_transactions_of_other_tables_are_harmless(pair: Database) -> None:
    pair.run("create table other (id int primary key)")
    start = pair.source().head()
    pair.run("xa start 'x3'", "insert into other values (7)", "xa end 'x3'", "xa prepare 'x3'", "xa commit 'x3'")
    (one,) = pair.changes("good", "bad", start=start)
    assert not one.failures


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
        pair.source().snapshot([]) as snapshot,
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
    with pair.source().snapshot([]) as snapshot, pytest.raises(InvalidRow):
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
