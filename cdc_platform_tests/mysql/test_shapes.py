"""Tables that change while they are followed: which column is which, and where the shape changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest

from cdc_platform.errors import Unavailable
from cdc_platform.model.change import ChangeBatch, Entry, Followed, Reshaped, Truncated, Unlogged
from cdc_platform.model.evolution import carried
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.mysql import snapshot as snapshots
from cdc_platform_tests.mysql.conftest import Database, connect, entries
from cdc_platform_tests.mysql.test_failures import global_setting

Said = tuple[Any, ...]


def ids(schema: TableSchema) -> dict[str, int | None]:
    return {column.name: column.source_id for column in schema.columns}


def said(found: Sequence[Entry]) -> list[Said]:
    """Each entry in short: rows with their ids, shapes, truncations, doubts."""
    short: list[Said] = []
    for entry in found:
        if isinstance(entry, ChangeBatch):
            images = entry.frame.select(pl.coalesce("after", "before"))["after"].struct.unnest().rows()
            short.append(("rows", ids(entry.schema), images))
        elif isinstance(entry, Reshaped):
            short.append(("shape", ids(entry.schema)))
        elif isinstance(entry, Truncated):
            short.append(("truncated",))
        elif isinstance(entry, Unlogged):
            short.append(("doubt", entry.reason))
        else:
            raise TypeError(entry)
    return short


@pytest.fixture
def table(database: Database) -> Database:
    database.run("create table t (id int primary key, a int, b varchar(20))", "insert into t values (1, 1, 'x')")
    return database


def told(database: Database, *statements: str, stretch_bytes: int = 1 << 20) -> list[Said]:
    """What the stream says of t, which is followed with ids 1, 2, 3 from before the statements on."""
    start = database.source().head()
    followed = database.followed("t", start=start)
    database.run(*statements)
    captured = database.follow(followed, start=start, stretch_bytes=stretch_bytes)
    found = entries(captured, database.table("t"))
    places = [entry.start for entry in found]
    assert places == sorted(places)
    assert all(start <= place < captured[-1].upto for place in places)
    return said(found)


FIRST = {"id": 1, "a": 2, "b": 3}


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
def test_a_rename_keeps_the_id(table: Database, stretch_bytes: int) -> None:
    renamed = {"id": 1, "z": 2, "b": 3}
    assert told(
        table,
        "insert into t values (2, 2, 'y')",
        "alter table t rename column a to z",
        "insert into t values (3, 3, 'z')",
        "alter table t change b c varchar(20), change z a int",
        "update t set a = 9 where id = 3",
        stretch_bytes=stretch_bytes,
    ) == [
        ("rows", FIRST, [(2, 2, "y")]),
        ("shape", renamed),
        ("rows", renamed, [(3, 3, "z")]),
        ("shape", {"id": 1, "a": 2, "c": 3}),
        ("rows", {"id": 1, "a": 2, "c": 3}, [(3, 9, "z")]),
    ]


def test_a_rename_is_said_where_no_row_follows(table: Database) -> None:
    assert told(table, "alter table t rename column a to z") == [("shape", {"id": 1, "z": 2, "b": 3})]


def test_a_column_dropped_and_made_again_is_another_one(table: Database) -> None:
    for statements in (
        ["alter table t drop a, add a int"],
        ["alter table t drop column a", "alter table t add column a int after id"],
    ):
        start = table.source().head()
        followed = table.followed("t", start=start)
        table.run("insert into t (id, a) values (2, 2)", *statements, "update t set a = 5 where id = 2")
        found = entries(table.follow(followed, start=start), table.table("t"))
        shapes = [ids(entry.schema) for entry in found if isinstance(entry, ChangeBatch | Reshaped)]
        assert shapes[:2] == [FIRST, {"id": 1, "b": 3}]
        assert shapes[-1] == {"id": 1, "b": 3, "a": 4}
        assert not [entry for entry in found if isinstance(entry, Unlogged)]
        table.run("delete from t where id = 2", "alter table t modify a int after id")


def test_columns_that_come_and_move(table: Database) -> None:
    assert told(
        table,
        "alter table t add column n int null first, add column m varchar(5) after a",
        "insert into t values (7, 2, 2, 'm', 'b')",
        "alter table t modify column b varchar(20) first",
        "insert into t values ('b', 8, 3, 3, 'm')",
    ) == [
        ("rows", {"n": 4, "id": 1, "a": 2, "m": 5, "b": 3}, [(7, 2, 2, "m", "b")]),
        ("rows", {"b": 3, "n": 4, "id": 1, "a": 2, "m": 5}, [("b", 8, 3, 3, "m")]),
    ]


def test_a_type_that_changes_is_a_doubt(table: Database) -> None:
    assert told(table, "alter table t modify a bigint", "insert into t values (2, 1 << 40, null)") == [
        ("doubt", "ALTER TABLE ... a column of another type"),
        ("rows", FIRST, [(2, 1 << 40, None)]),
    ]
    start = table.source().head()
    table.run("alter table t change a z varchar(30)")
    found = entries(table.changes("t", start=start), table.table("t"))
    # Followed with the shape that it has by now, there is nothing left to rename.
    assert said(found) == [("doubt", "ALTER TABLE ... a column of another type")]


@pytest.mark.parametrize(
    "column",
    ["int not null", "int default 7", "int not null default 7", "int as (a + 1) stored", "int as (a + 1) virtual",
     "timestamp default current_timestamp", "varchar(40) default (concat('x', id))", "int auto_increment unique"],
)  # fmt: skip
def test_a_column_that_comes_with_values_is_a_doubt(table: Database, column: str) -> None:
    assert told(table, f"alter table t add c {column}") == [
        ("doubt", "ALTER TABLE ... ADD COLUMN with a value in the rows that are there")
    ]


def test_a_conversion_of_the_character_set_is_a_doubt(table: Database) -> None:
    assert told(table, "alter table t convert to character set latin1") == [("doubt", "ALTER TABLE ... CONVERT TO")]


def test_partitions(database: Database) -> None:
    database.run(
        "create table t (id int primary key, a int, b varchar(20)) partition by range (id)"
        " (partition p0 values less than (10), partition p1 values less than (20))",
        "create table u like t", "alter table u remove partitioning",
    )  # fmt: skip
    assert told(
        database,
        "alter table t add partition (partition p2 values less than (30))",
        "alter table t truncate partition p1",
        "alter table t exchange partition p1 with table u",
        "alter table t drop partition p0",
    ) == [
        ("doubt", "ALTER TABLE ... TRUNCATE PARTITION"),
        ("doubt", "ALTER TABLE ... EXCHANGE PARTITION"),
        ("doubt", "ALTER TABLE ... DROP PARTITION"),
    ]


def test_truncated(table: Database) -> None:
    assert told(
        table, "insert into t values (2, 2, 'y')", "truncate table t", "insert into t values (3, 3, 'z')", "truncate t"
    ) == [("rows", FIRST, [(2, 2, "y")]), ("truncated",), ("rows", FIRST, [(3, 3, "z")]), ("truncated",)]


def test_a_truncation_takes_one_ordinal(table: Database) -> None:
    start = table.source().head()
    followed = table.followed("t", start=start)
    table.run("truncate table t", "insert into t values (3, 3, 'z')")
    (first, _) = entries(table.follow(followed, start=start), table.table("t"))
    assert isinstance(first, Truncated)
    behind = Position(first.start.at, 1)
    assert entries(table.follow(followed, start=start, until=first.start), table.table("t")) == []
    assert entries(table.follow(followed, start=start, until=behind), table.table("t")) == [first]
    (rest,) = entries(table.follow(followed, start=behind), table.table("t"))
    assert isinstance(rest, ChangeBatch)
    (again, _) = entries(table.follow(followed, start=first.start), table.table("t"))
    assert again == first


def test_what_a_statement_says_of_itself(table: Database) -> None:
    start = table.source().head()
    table.run("truncate table t")
    (entry,) = entries(table.changes("t", start=start), table.table("t"))
    assert isinstance(entry, Truncated)
    file, offset = entry.place.lsn.split(":")
    ((_, place, _, _, _, info),) = table.query(f"show binlog events in '{file}' from {offset} limit 1")
    assert place == int(offset)
    assert "truncate" in info
    assert entry.place.transaction_id is not None
    assert entry.place.transaction_id.count("-" if table.mariadb else ":") == (2 if table.mariadb else 1)
    assert abs(entry.place.source_ts.timestamp() - time.time()) < 30


def test_alters_in_two_phases_count_once_and_where_they_end(table: Database) -> None:
    if not table.mariadb:
        pytest.skip("is MariaDB's")
    table.run("set session binlog_alter_two_phase = 1")
    found = told(
        table, "alter table t drop a", "insert into t values (2, 'y')", "alter table t rename column b to c, force"
    )
    assert found == [
        ("shape", {"id": 1, "b": 3}),
        ("rows", {"id": 1, "b": 3}, [(2, "y")]),
        ("shape", {"id": 1, "c": 3}),
    ]
    start = table.source().head()
    followed = table.followed("t", start=start)
    table.run("insert into t values (3, 'y')")
    with pytest.raises(Exception, match="Duplicate entry"):
        table.run("alter table t drop id, add unique (c)")  # announced, then taken back
    (batch,) = entries(table.follow(followed, start=start), table.table("t"))
    assert isinstance(batch, ChangeBatch)


def test_several_tables_change_in_the_middle_of_transactions_on_others(table: Database) -> None:
    table.run("create table u (id int primary key, v int)")
    start = table.source().head()
    followed = table.followed("t", "u", start=start)
    table.run("begin", "insert into t values (2, 2, 'y')", "insert into u values (1, 1)", "commit")
    table.run(
        "alter table u rename column v to w", "begin", "update t set a = 0", "insert into u values (2, 2)", "commit"
    )
    captured = table.follow(followed, start=start)
    assert said(entries(captured, table.table("t"))) == [("rows", FIRST, [(2, 2, "y"), (1, 0, "x"), (2, 0, "y")])]
    assert said(entries(captured, table.table("u"))) == [
        ("rows", {"id": 1, "v": 2}, [(1, 1)]),
        ("shape", {"id": 1, "w": 2}),
        ("rows", {"id": 1, "w": 2}, [(2, 2)]),
    ]


def test_reading_can_go_on_between_a_change_of_shape_and_the_next_row(table: Database) -> None:
    start = table.source().head()
    followed = table.followed("t", start=start)
    table.run("insert into t values (2, 2, 'y')", "alter table t rename column a to z")
    middle = table.source().head()
    table.run("insert into t values (3, 3, 'z')")
    found = entries(table.follow(followed, start=start, until=middle), table.table("t"))
    last = found[-1]
    assert isinstance(last, Reshaped)
    name = table.table("t")
    (batch,) = entries(table.follow({name: Followed(last.schema, middle)}, start=middle), name)
    assert isinstance(batch, ChangeBatch)
    assert batch.schema == last.schema


def test_names_are_compared_as_the_server_does(table: Database) -> None:
    ((folds,),) = table.query("select @@lower_case_table_names")
    found = told(table, "alter table t rename column A to Z", *(["truncate table T"] if folds else []))
    assert found == [("shape", {"id": 1, "Z": 2, "b": 3}), *([("truncated",)] if folds else [])]


def test_temporary_tables_are_other_tables(table: Database) -> None:
    found = told(
        table,
        "set session binlog_format = 'STATEMENT'",
        "create temporary table t (i int)",
        "truncate table t",
        "alter table t add column a int",
        "drop table t",
        "set session binlog_format = 'ROW'",
        "insert into t values (2, 2, 'y')",
    )
    assert found == [("rows", FIRST, [(2, 2, "y")])]


def test_shapes_have_no_ids_where_the_server_says_them(table: Database) -> None:
    assert ids(table.source().schemas([table.table("t")])[table.table("t")]) == dict.fromkeys(FIRST)


def test_fingerprints_are_of_the_tables_that_are_there(table: Database) -> None:
    found = table.source().fingerprints([table.table("t"), table.table("absent")])
    assert list(found) == [table.table("t")]
    assert (found[table.table("t")].identity, found[table.table("t")].storage) == ("", "")
    assert table.source().fingerprints([]) == {}


# --- snapshots ------------------------------------------------------------------------------------------------------


def test_a_table_cannot_be_altered_while_it_is_read(table: Database) -> None:
    source, name = table.source(), table.table("t")
    with connect(table.state) as other, source.snapshot([name]) as snapshot:
        altering = threading.Thread(
            target=lambda: other.cursor().execute("alter table t rename column a to z, add c int")
        )
        altering.start()
        time.sleep(0.3)
        assert altering.is_alive()
        (batch,) = snapshot.read(name)
        assert batch.schema.names == snapshot.schema(name).names == ("id", "a", "b")
        followed = {name: Followed(carried(None, batch.schema), snapshot.position)}
    altering.join(timeout=10)
    assert not altering.is_alive()
    table.run("insert into t values (2, 2, 'y', 5)")
    found = entries(table.follow(followed, start=followed[name].position), name)
    assert said(found) == [
        ("shape", {"id": 1, "z": 2, "b": 3}),
        ("rows", {"id": 1, "z": 2, "b": 3, "c": 4}, [(2, 2, "y", 5)]),
    ]


@pytest.fixture
def altering(table: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """These statements run, one in each attempt, when a snapshot has begun and before its tables are touched."""
    statements: list[str] = []
    hold = snapshots._hold

    def altered(*arguments: Any) -> None:
        if statements:
            with connect(table.state) as other, other.cursor() as cursor:
                cursor.execute(statements.pop(0))
        hold(*arguments)

    monkeypatch.setattr(snapshots, "_hold", altered)
    if not table.mariadb:
        pytest.skip("there, a lock keeps ALTERs away until the tables are held")
    return statements


@pytest.mark.parametrize(
    "statement",
    [
        "alter table t add column c int",
        "alter table t rename column a to b, rename column b to a",
        "alter table t drop column a, add column a int after id",
        "alter table t force",
        "truncate table t",
    ],
)
def test_a_table_altered_too_early_makes_another_attempt(table: Database, altering: list[str], statement: str) -> None:
    altering += [statement, "alter table t comment 'again'"]
    name = table.table("t")
    with table.source().snapshot([name]) as snapshot:
        rows = sum(len(batch) for batch in snapshot.read(name))
        shape, position = snapshot.schema(name), snapshot.position
    assert altering == []
    assert [(rows,)] == table.query("select count(*) from t")
    assert entries(table.follow({name: Followed(carried(None, shape), position)}, start=position), name) == []


def test_a_table_altered_again_and_again_can_be_tried_later(table: Database, altering: list[str]) -> None:
    altering += ["alter table t comment 'x'"] * 20
    with pytest.raises(Unavailable, match="run again"), table.source().snapshot([table.table("t")]):
        pass
    assert len(altering) == 15


def test_without_names_in_the_log_a_server_is_not_followed(table: Database) -> None:
    less = "NO_LOG" if table.mariadb else "MINIMAL"
    with (
        global_setting(table, "binlog_row_metadata", f"'{less}'"),
        pytest.raises(Exception, match="run: set global binlog_row_metadata"),
    ):
        table.source().prepare([table.table("t")])


def test_generated_and_invisible_columns_are_columns_like_others(database: Database) -> None:
    database.run(
        "create table t (id int primary key, v int, s int as (v + 1) stored, w int as (v + 2) virtual,"
        " i int default 5 invisible)"
    )
    start = database.source().head()
    followed = database.followed("t", start=start)
    database.run("insert into t (id, v) values (1, 1)", "alter table t rename column i to x", "update t set v = 2")
    found = entries(database.follow(followed, start=start), database.table("t"))
    names = {"id": 1, "v": 2, "s": 3, "w": 4, "x": 5}
    assert said(found) == [
        ("rows", {"id": 1, "v": 2, "s": 3, "w": 4, "i": 5}, [(1, 1, 2, 3, 5)]),
        ("shape", names),
        ("rows", names, [(1, 2, 3, 4, 5)]),
    ]
    with database.source().snapshot([database.table("t")]) as snapshot:
        (taken,) = snapshot.read(database.table("t"))
    assert taken.frame["after"].to_list() == events_of(found[-1])["after"].to_list()


def events_of(entry: Entry) -> pl.DataFrame:
    assert isinstance(entry, ChangeBatch)
    return entry.frame
