"""Rows that change without row events that count: statements, two-phase transactions, what the log undoes itself."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest

from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.position import Position
from cdc_platform_tests.mysql.conftest import Database, connect, entries
from cdc_platform_tests.mysql.test_shapes import FIRST, Said, said

XA = ("doubt", "an XA transaction")
NO_ROWS: list[Said] = []


@pytest.fixture
def pair(database: Database) -> Database:
    database.run(
        "create table t (id int primary key, a int, b varchar(20))",
        "create table u (id int primary key, a int, b varchar(20))",
        "create table m (id int primary key) engine=MyISAM",
    )
    return database


def both(
    database: Database, start: Position, stretch_bytes: int = 1 << 20, tables: str = "tu"
) -> tuple[list[Said], ...]:
    """What is said of t, and of u."""
    captured = database.changes(*tables, start=start, stretch_bytes=stretch_bytes)
    return tuple(said(entries(captured, database.table(name))) for name in tables)


@pytest.mark.parametrize("word", ["insert into t values (9, 9, 'unseen')", "update t set a = 5", "delete from t"])
def test_statements_in_the_log(pair: Database, word: str) -> None:
    pair.run("insert into t values (1, 1, 'x')")
    start = pair.source().head()
    pair.run("insert into t values (2, 2, 'y')", "set session binlog_format = 'STATEMENT'", word)
    pair.run("set session binlog_format = 'ROW'", "insert into u values (3, 3, 'z')")
    doubt = ("doubt", f"a statement-based {word.split()[0].upper()}")
    # Which tables a statement changes, by triggers and functions, only a server could say.
    assert both(pair, start) == ([("rows", FIRST, [(2, 2, "y")]), doubt], [doubt, ("rows", FIRST, [(3, 3, "z")])])


def test_the_same_said_twice_is_said_once(pair: Database) -> None:
    start = pair.source().head()
    pair.run("set session binlog_format = 'STATEMENT'", *[f"insert into t values ({i}, 1, 'x')" for i in range(5)])
    pair.run("set session binlog_format = 'ROW'", "insert into t values (7, 3, 'z')")
    assert both(pair, start)[0] == [("doubt", "a statement-based INSERT"), ("rows", FIRST, [(7, 3, "z")])]


@pytest.mark.parametrize("form", ["ROW", "STATEMENT"])
def test_load_data(pair: Database, tmp_path: Path, form: str) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("1,1,x\n2,2,y\n")
    state = pair.state

    with pymysql.connect(
        host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
        autocommit=True, local_infile=True,
    ) as loading, loading.cursor() as cursor:  # fmt: skip
        start = pair.source().head()
        cursor.execute(f"set session binlog_format = '{form}'")
        cursor.execute(f"load data local infile '{rows}' into table t fields terminated by ','")
    wanted = ("rows", FIRST, [(1, 1, "x"), (2, 2, "y")]) if form == "ROW" else ("doubt", "a statement-based LOAD")
    assert both(pair, start)[0] == [wanted]


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
@pytest.mark.parametrize("outcome", ["commit", "rollback"])
def test_two_phase_transactions(pair: Database, outcome: str, stretch_bytes: int) -> None:
    """Rows that are prepared count when they are committed; other transactions go on in between."""
    start = pair.source().head()
    with connect(pair.state) as other, other.cursor() as cursor:
        for statement in ("xa start 'x', 'y', 3", "insert into t values (1, 1, 'a'), (2, 1, 'a')", "xa end 'x', 'y', 3",
                          "xa prepare 'x', 'y', 3"):  # fmt: skip
            cursor.execute(statement)
        pair.run("insert into t values (5, 5, 'y')", "insert into u values (5, 5, 'y')")
        cursor.execute(f"xa {outcome} 'x', 'y', 3")
    pair.run("insert into t values (6, 6, 'z')")
    first, last = ("rows", FIRST, [(5, 5, "y")]), ("rows", FIRST, [(6, 6, "z")])
    t, u = both(pair, start, stretch_bytes)
    if outcome == "commit":
        assert t == [first, XA, last]
    else:
        assert [row for entry in t for row in entry[2]] == [(5, 5, "y"), (6, 6, "z")]
    assert u == [first]


def test_a_two_phase_commit_whose_rows_are_behind_us_is_a_doubt_of_all_tables(pair: Database) -> None:
    pair.run("xa start 'x'", "insert into t values (7, 7, 'maybe')", "xa end 'x'", "xa prepare 'x'")
    start = pair.source().head()
    pair.run("xa commit 'x'")
    assert both(pair, start) == ([XA], [XA])


def test_a_two_phase_commit_after_a_tables_own_position_is_a_doubt(pair: Database) -> None:
    """Its snapshot holds none of the rows, wherever they were prepared."""
    start = pair.source().head()
    with connect(pair.state) as other, other.cursor() as cursor:
        for statement in ("xa start 'x'", "insert into t values (7, 7, 'maybe')", "xa end 'x'", "xa prepare 'x'"):
            cursor.execute(statement)
        position = pair.source().head()
        cursor.execute("xa commit 'x'")
    followed = pair.followed("t", start=position) | pair.followed("u", start=start)
    captured = pair.follow(followed, start=start)
    assert said(entries(captured, pair.table("t"))) == [XA]
    assert said(entries(captured, pair.table("u"))) == NO_ROWS


def test_two_phase_transactions_of_other_tables_do_not_matter(pair: Database) -> None:
    start = pair.source().head()
    pair.run("xa start 'x'", "insert into u values (7, 7, 'x')", "xa end 'x'", "xa prepare 'x'", "xa commit 'x'")
    assert both(pair, start, tables="t") == (NO_ROWS,)


def test_an_identifier_that_is_used_again(pair: Database) -> None:
    start = pair.source().head()
    for name, end in (("t", "commit"), ("u", "rollback"), ("u", "commit")):
        pair.run(
            "xa start 'x'", f"insert into {name} values (7, 7, 'x')", "xa end 'x'", "xa prepare 'x'", f"xa {end} 'x'"
        )
    assert both(pair, start) == ([XA], [XA])


def test_one_phase_is_an_ordinary_transaction(pair: Database) -> None:
    start = pair.source().head()
    pair.run("xa start 'x'", "insert into t values (7, 7, 'x')", "xa end 'x'", "xa commit 'x' one phase")
    pair.run("insert into t values (8, 8, 'y')")
    assert both(pair, start)[0] == [("rows", FIRST, [(7, 7, "x"), (8, 8, "y")])]


def test_savepoints_and_transactions_that_are_rolled_back_leave_nothing(pair: Database) -> None:
    start = pair.source().head()
    pair.run(
        "begin", "insert into t values (1, 1, 'x')", "savepoint s", "insert into t values (2, 2, 'never')",
        "rollback to s", "insert into t values (3, 3, 'z')", "commit",
        "begin", "insert into t values (4, 4, 'never')", "rollback",
        "begin", "commit", "begin", "update t set a = a", "commit",
        "begin", "insert into t values (5, 5, 'a')", "update t set id = 6 where id = 5",
        "update t set b = 'b' where id = 6", "delete from t where id = 6", "insert into t values (5, 5, 'c')", "commit",
    )  # fmt: skip
    captured = pair.changes("t", start=start)
    (batch,) = entries(captured, pair.table("t"))
    assert isinstance(batch, ChangeBatch)
    changes = [
        (kind, old and tuple(old.values()), new and tuple(new.values()))
        for kind, old, new in batch.frame.select("operation", "before", "after").rows()
    ]
    assert changes == [
        ("INSERT", None, (1, 1, "x")), ("INSERT", None, (3, 3, "z")), ("INSERT", None, (5, 5, "a")),
        ("UPDATE", (5, 5, "a"), (6, 5, "a")), ("UPDATE", (6, 5, "a"), (6, 5, "b")), ("DELETE", (6, 5, "b"), None),
        ("INSERT", None, (5, 5, "c")),
    ]  # fmt: skip


def test_what_the_log_undoes_is_not_delivered_and_a_doubt(pair: Database) -> None:
    if not pair.mariadb:
        pytest.skip("MySQL with GTIDs does not mix tables with and without transactions")
    start = pair.source().head()
    pair.run(
        "begin", "insert into t values (1, 1, 'x')", "insert into m values (1)", "savepoint s",
        "insert into t values (2, 2, 'never')", "insert into m values (2)", "rollback to s",
        "insert into t values (3, 3, 'z')", "commit",
    )  # fmt: skip
    assert both(pair, start)[0] == [
        ("rows", FIRST, [(1, 1, "x")]),
        ("doubt", "a ROLLBACK TO SAVEPOINT that is in the log"),
        ("rows", FIRST, [(3, 3, "z")]),
    ]
    pair.run("create table n (id int primary key) engine=MyISAM")
    start = pair.source().head()
    pair.run(
        "set session binlog_format = 'MIXED'", "begin", "insert into t values (uuid_short() % 1000 + 50, 1, 'never')"
    )
    pair.run(
        "insert into m values (3)", "insert into n select id from m", "rollback", "set session binlog_format = 'ROW'"
    )
    found = both(pair, start)[0]
    assert not [entry for entry in found if entry[0] == "rows"]
