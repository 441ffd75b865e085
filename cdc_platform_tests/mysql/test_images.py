"""Row images that lack columns: what is filled, what is a hole, what is a doubt, and what is a stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cdc_platform.errors import NeedsPerson, NotUnderstood
from cdc_platform.model.change import ChangeBatch, Entry, Unlogged
from cdc_platform.sources.mysql.partial import INSERTED, REPLACED, VIRTUAL
from cdc_platform_tests.mysql.conftest import Database, connect, entries
from cdc_platform_tests.mysql.test_failures import global_setting

Change = tuple[str, Any, Any, list[str]]


@pytest.fixture(params=["MINIMAL", "NOBLOB"])
def image(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def partial(database: Database, image: str) -> Iterator[Database]:
    """A server that logs partial images, and a session that was opened since."""
    with global_setting(database, "binlog_row_image", f"'{image}'"):
        renewed = Database(database.state, connect(database.state))
        renewed.run(
            "create table t (id int primary key, a int, b varchar(20), n int not null default 7, x text, y blob)"
        )
        yield renewed
        renewed.close()


def told(database: Database, *statements: str, table: str = "t", stretch_bytes: int = 1 << 20) -> list[Entry]:
    start = database.source().head()
    followed = database.followed(table, start=start)
    database.run(*statements)
    return entries(database.follow(followed, start=start, stretch_bytes=stretch_bytes), database.table(table))


def changes(found: list[Entry]) -> list[Change]:
    """Operation, before, after, and the columns that are holes, of all rows."""
    rows: list[Change] = []
    for entry in found:
        if isinstance(entry, ChangeBatch):
            for number, row in enumerate(entry.frame.select("operation", "before", "after").rows()):
                holes = [name for name, hole in entry.holes.items() if hole[number]]
                rows.append((*row, holes))
            assert all(len(hole) == len(entry) for hole in entry.holes.values())
    return rows


def doubts(found: list[Entry]) -> list[str]:
    return [entry.reason for entry in found if isinstance(entry, Unlogged)]


def filled(before: dict[str, Any], change: Change) -> dict[str, Any]:
    """The row after an update, its holes filled from the row before."""
    _, _, after, holes = change
    assert all(after[name] is None for name in holes)
    return {name: before[name] if name in holes else value for name, value in after.items()}


ROW = {"id": 1, "a": 5, "b": "b", "n": 8, "x": "text", "y": b"blob"}
INSERT = "insert into t values (1, 5, 'b', 8, 'text', 'blob')"


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
def test_an_update_leaves_holes_where_nothing_changed(partial: Database, image: str, stretch_bytes: int) -> None:
    partial.run(INSERT, "insert into t values (2, null, null, 0, null, null)")
    found = told(
        partial,
        "update t set a = 6 where id = 1",
        "update t set b = null, x = 'new'",
        "update t set n = id, a = null, b = 'c' where id = 1",
        "update t set id = 3 where id = 1",
        "delete from t where id = 3",
        stretch_bytes=stretch_bytes,
    )
    rows = changes(found)
    assert [row[0] for row in rows] == ["UPDATE"] * 5 + ["DELETE"]
    assert [row[1]["id"] for row in rows] == [1, 1, 2, 1, 1, 3]
    now: dict[int, dict[str, Any]] = {1: ROW, 2: {"id": 2, "a": None, "b": None, "n": 0, "x": None, "y": None}}
    for change in rows[:-1]:
        now[change[1]["id"]] = filled(now[change[1]["id"]], change)
    assert now == {
        1: {"id": 3, "a": None, "b": "c", "n": 1, "x": "new", "y": b"blob"},
        2: {"id": 2, "a": None, "b": None, "n": 0, "x": "new", "y": None},
    }
    missing = {"MINIMAL": ["b", "n", "x", "y"], "NOBLOB": ["x", "y"]}[image]
    assert rows[0][3] == missing
    assert rows[0][2]["id"] == 1  # in the image before only
    assert rows[1][3] == (["a", "n", "y"] if image == "MINIMAL" else ["y"])
    lacking = ["a", "b", "n"] if image == "MINIMAL" else []
    assert rows[0][1] == dict.fromkeys(ROW) | {name: ROW[name] for name in ROW if name not in (*lacking, "x", "y")}
    assert rows[-1][2:] == (None, [])


def test_whole_images_among_others_have_no_holes(partial: Database) -> None:
    found = told(
        partial,
        INSERT,
        "update t set a = 6",
        "set session binlog_row_image = 'FULL'",
        "update t set a = 7",
        "delete from t",
    )
    rows = changes(found)
    assert rows[0] == ("INSERT", None, ROW, [])
    assert rows[1][3]
    assert rows[2:] == [("UPDATE", ROW | {"a": 6}, ROW | {"a": 7}, []), ("DELETE", ROW | {"a": 7}, None, [])]
    assert doubts(found) == []


def image_of(database: Database) -> str:
    ((value,),) = database.query("select @@global.binlog_row_image")
    return str(value)


def test_an_insert_takes_its_defaults(partial: Database) -> None:
    found = told(partial, "insert into t (id) values (1)", "insert into t (id, b) values (2, 'b')")
    nothing = {"a": None, "b": None, "n": 7, "x": None, "y": None}
    assert changes(found) == [
        ("INSERT", None, {"id": 1} | nothing, []),
        ("INSERT", None, {"id": 2} | nothing | {"b": "b"}, []),
    ]
    assert doubts(found) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("varchar(20) default 'it''s'", "it's"), ("varchar(20) character set latin1 not null default 'é'", "é"),
        ("decimal(6,2) default -1.5", "-1.50"), ("double default 1.25", "1.25"), ("bit(3) default b'101'", "5"),
        ("enum('x','y') not null default 'y'", "y"), ("date default '2024-02-29'", "2024-02-29"),
        ("datetime(3) default '2024-02-29 01:02:03.5'", "2024-02-29 01:02:03.500000"), ("char(5) default 'a'", "a"),
        ("int unsigned not null default 4000000000", "4000000000"), ("timestamp null", "None"),
    ],
)  # fmt: skip
def test_constant_defaults(partial: Database, column: str, value: str) -> None:
    partial.run(f"alter table t add d {column}")
    found = told(partial, "insert into t (id) values (1)")
    ((_, _, after, _),) = changes(found)
    assert str(after["d"]) == value
    assert doubts(found) == []
    with partial.source().snapshot([partial.table("t")]) as snapshot:
        (taken,) = snapshot.read(partial.table("t"))
    assert taken.frame["after"].to_list() == [after]


def test_a_default_that_the_server_works_out_is_in_the_image(partial: Database) -> None:
    partial.run("alter table t add d varchar(40) default (concat('x', id)), add e timestamp default current_timestamp")
    found = told(partial, "insert into t (id) values (1)")
    ((_, _, after, _),) = changes(found)
    assert after["d"] == "x1"
    assert after["e"] is not None
    assert doubts(found) == []


@pytest.mark.parametrize("image", ["MINIMAL"], indirect=True)
def test_a_default_that_is_not_certain_is_a_doubt(partial: Database) -> None:
    partial.run("set session sql_mode = ''", "alter table t add d int not null")
    found = told(partial, "insert into t (id, d) values (1, 1)", "insert into t (id) values (2)", "delete from t")
    assert doubts(found) == [INSERTED]
    assert [row[0] for row in changes(found)] == ["INSERT", "INSERT", "DELETE", "DELETE"]
    (first, doubt, rest) = found
    assert isinstance(first, ChangeBatch)
    assert isinstance(rest, ChangeBatch)
    assert (len(first), len(rest)) == (1, 3)
    assert isinstance(doubt, Unlogged)
    assert doubt.start == rest.start


@pytest.mark.parametrize("image", ["MINIMAL"], indirect=True)
def test_rows_of_defaults_only_cannot_be_counted_and_are_a_doubt(partial: Database) -> None:
    partial.run("create table q (id int primary key default 7, b int default 5)")
    found = told(partial, "insert into q values (1, 1)", "insert into q values ()", "delete from q", table="q")
    assert [row[0] for row in changes(found)] == ["INSERT", "DELETE", "DELETE"]
    assert [type(entry) for entry in found] == [ChangeBatch, Unlogged, ChangeBatch]
    assert doubts(found) == [INSERTED]
    partial.run("delete from q")
    (only,) = told(partial, "insert into q values ()", table="q")
    assert isinstance(only, Unlogged)


@pytest.mark.parametrize("image", ["MINIMAL"], indirect=True)
def test_a_default_that_changes_is_a_doubt(partial: Database) -> None:
    """Rows before it were filled with what the catalogue says now."""
    found = told(partial, "insert into t (id) values (1)", "alter table t alter n set default 9")
    assert doubts(found) == ["another default of a column that row images may lack"]
    assert changes(found)[0][2]["n"] == 9


def test_partial_images_of_one_session_have_no_certain_defaults(database: Database) -> None:
    database.run("create table t (id int primary key, a int default 5)", "set session binlog_row_image = 'MINIMAL'")
    found = told(database, "insert into t (id) values (1)")
    assert doubts(found) == [INSERTED]
    assert changes(found) == [("INSERT", None, {"id": 1, "a": None}, [])]


@pytest.mark.parametrize("image", ["MINIMAL"], indirect=True)
def test_virtual_columns(partial: Database) -> None:
    """MySQL logs those that change; MariaDB logs none of them."""
    partial.run("create table v (id int primary key, a int, s int as (a + 1) stored, w int as (a + 2) virtual)")
    found = told(partial, "insert into v (id, a) values (1, 1)", "update v set a = 5", table="v")
    if partial.mariadb:
        assert set(doubts(found)) == {INSERTED, VIRTUAL}
        with pytest.raises(NeedsPerson, match="virtual column w"):
            partial.source().prepare([partial.table("v")])
    else:
        assert doubts(found) == []
        before = {"id": 1, "a": 1, "s": 2, "w": 3}
        inserted, updated = changes(found)
        assert inserted[2] == before
        assert filled(before, updated) == {"id": 1, "a": 5, "s": 6, "w": 7}
        partial.source().prepare([partial.table("v")])


@pytest.mark.parametrize(
    "statement",
    [
        "replace into t (id, a) values (1, 3)",
        "replace into t values (1, 3, default, default, default, default)",
        "insert into t (id, a) values (1, 3) on duplicate key update b = 'c'",
    ],
)
def test_a_replace_is_never_taken_for_an_update(partial: Database, statement: str) -> None:
    partial.run(INSERT)
    found = told(partial, statement)
    (change,) = changes(found)
    ((*now,),) = partial.query("select * from t")
    if partial.mariadb and statement.startswith("replace into t (id"):
        assert doubts(found) == [REPLACED]
    else:
        assert list(filled(ROW, change).values()) == now
        assert doubts(found) == []


def test_a_replace_by_a_trigger_is_never_taken_for_an_update(partial: Database) -> None:
    partial.run(
        INSERT,
        "create table u (id int primary key, v int)",
        "insert into u values (1, 1)",
        "create trigger u_b before update on u for each row replace into t (id, a) values (new.id, new.v)",
    )
    found = told(partial, "update u set v = 2")
    (change,) = changes(found)
    ((*now,),) = partial.query("select * from t")
    if partial.mariadb:
        assert doubts(found) == [REPLACED]
    else:
        assert list(filled(ROW, change).values()) == now


def test_without_the_statement_an_update_may_be_a_replace(partial: Database, image: str) -> None:
    partial.run(INSERT)
    if partial.mariadb:
        partial.run("set session binlog_annotate_row_events = 0")
    found = told(partial, "update t set a = 6 where id = 1")
    assert doubts(found) == ([REPLACED] if partial.mariadb and image == "NOBLOB" else [])


def test_what_triggers_and_the_clock_change_is_in_the_image(partial: Database) -> None:
    partial.run(
        "create table c (id int primary key, a int, b int, u timestamp(6) null on update current_timestamp(6))",
        "insert into c values (1, 1, 1, '2020-01-01')",
        "create trigger c_b before update on c for each row set new.b = new.a * 100",
    )
    (change,) = changes(told(partial, "update c set a = 2", table="c"))
    ((*now,),) = partial.query("select id, a, b from c")
    assert [change[2][name] for name in ("id", "a", "b")] == now == [1, 2, 200]
    assert change[2]["u"].year > 2020


def test_tables_without_a_key(partial: Database) -> None:
    """The server logs them whole, whatever the setting says; a table must have a key all the same."""
    partial.run("create table k (a int, x text)")
    found = told(partial, "insert into k (a) values (1)", "update k set a = 2", "delete from k", table="k")
    rows = [(row[0], row[1], row[2], row[3]) for row in changes(found)]
    one, two = {"a": 1, "x": None}, {"a": 2, "x": None}
    assert rows == [("INSERT", None, one, []), ("UPDATE", one, two, []), ("DELETE", two, None, [])]
    with pytest.raises(NeedsPerson, match="has no primary key"):
        partial.source().prepare([partial.table("k")])


@pytest.mark.parametrize("image", ["MINIMAL"], indirect=True)
def test_a_unique_key_alone_does_not_tell_rows_apart(partial: Database) -> None:
    partial.run("create table z (a int, b int not null unique)", "insert into z values (1, 2)")
    start = partial.source().head()
    followed = partial.followed("z", start=start)
    partial.run("update z set a = 2")
    (one,) = partial.follow(followed, start=start)
    if one.failures:
        error = one.failures[partial.table("z")]
        assert isinstance(error, NotUnderstood)
        assert "no primary key" in str(error)
        assert "binlog_row_image=FULL" in str(error)
    else:
        assert not any(batch.holes for batch in one.batches)


def test_such_a_server_passes(partial: Database) -> None:
    partial.source().prepare([partial.table("t")])


def test_wide_tables(partial: Database) -> None:
    columns = [f"c{number} {'int' if number % 3 else 'varchar(9)'}" for number in range(300)]
    partial.run(f"create table wide (id int primary key, {', '.join(columns)}, x text)")
    partial.run("insert into wide (id, c0, c1, c299) values (1, 'a', 2, 3)")
    found = told(partial, "update wide set c298 = id, c299 = null", table="wide")
    ((_, before, after, holes),) = changes(found)
    assert before["id"] == after["id"] == after["c298"] == 1
    assert after["c299"] is None
    assert "c299" not in holes
    assert "x" in holes
    assert ("c0" in holes) == (image_of(partial) == "MINIMAL")
