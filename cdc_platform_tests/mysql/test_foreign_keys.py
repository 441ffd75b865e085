"""Rows that a foreign key's action changes: told where it acted, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.errors import NeedsPerson
from cdc_platform.model.change import ChangeBatch, Followed, Unlogged
from cdc_platform.model.evolution import carried
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.connection import MySQLConnection
from cdc_platform.sources.mysql.foreign_keys import ForeignKey, Origins, foreign_keys
from cdc_platform.sources.mysql.source import MySQLSource
from cdc_platform_tests.mysql.conftest import Database, entries
from cdc_platform_tests.mysql.test_shapes import said

T = TableName("d", "t")


@pytest.fixture
def family(database: Database) -> Database:
    """c ──set null──> b ──cascade──> a; only c is followed unless a test says otherwise."""
    native = database.query("show global variables like 'innodb_native_foreign_keys'")
    if native and native[0][1] == "OFF":
        pytest.skip("this server logs what foreign keys do")
    database.run(
        "create table a (id int primary key, code varchar(20) unique, n int)",
        "create table b (id int primary key, a int, code varchar(20) unique, n int,"
        " foreign key (a) references a (id) on delete cascade on update cascade,"
        " foreign key (code) references a (code) on delete set null on update cascade)",
        "create table c (id int primary key, b int, code varchar(20),"
        " foreign key (b) references b (id) on delete set null on update cascade,"
        " foreign key (code) references b (code) on update set null)",
        "insert into a values (1, 'x', 1), (2, 'y', 2), (3, 'zz', 3), (4, null, 4)",
        "insert into b values (1, 1, 'x', 1), (2, 2, 'y', 2), (3, 3, 'zz', 3)",
        "insert into c values (1, 1, null), (2, 2, null), (3, 3, 'zz')",
    )
    return database


def doubts(database: Database, *statements: str, tables: str = "c", stretch_bytes: int = 1 << 20) -> list[str]:
    """What is doubted of the last of these tables, in the words that matter."""
    start = database.source().head()
    followed = database.followed(*tables, start=start)
    database.run(*statements)
    found = entries(database.follow(followed, start=start, stretch_bytes=stretch_bytes), database.table(tables[-1]))
    places = [entry.start for entry in found]
    assert places == sorted(places)
    return [entry.reason.replace(f"{database.state.database}.", "") for entry in found if isinstance(entry, Unlogged)]


DELETED, UPDATED = "a DELETE from {} that its foreign key passes on", "an UPDATE of {} that its foreign key passes on"
DROPPED = "an ALTER TABLE that changes foreign keys"


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("delete from b where id = 1", DELETED.format("b")),
        ("delete from a where id = 1", DELETED.format("a")),
        ("replace into a values (1, 'x', 7)", DELETED.format("a")),
        ("delete a, x from a join a x using (id) where id = 1", DELETED.format("a")),
        ("update b set id = 10 where id = 1", UPDATED.format("b")),
        ("update b set n = 5, id = 10 where id = 1", UPDATED.format("b")),
        ("update a set code = 'z' where id = 3", UPDATED.format("a")),  # a ──cascade──> b.code ──set null──> c.code
        ("update a set code = 'ZZ' where id = 3", UPDATED.format("a")),
        ("insert into b values (1, 1, 'x', 1) on duplicate key update id = 9", UPDATED.format("b")),
        ("update b set n = n + 1, a = 2", None),
        ("update b set id = id, n = n + 1", None),
        ("update a set n = n + 1", None),
        ("update a set id = 30 where id = 3", None),  # reaches b.a, which nobody refers to
        ("insert into a values (9, 'i', 1)", None),
        ("insert into b values (1, 1, 'x', 1) on duplicate key update n = 9", None),
        ("replace into a values (9, 'i', 1)", None),
    ],
)
@pytest.mark.parametrize("image", ["FULL", "MINIMAL", "NOBLOB"])
def test_what_is_passed_on(family: Database, statement: str, wanted: str | None, image: str) -> None:
    if image == "MINIMAL" and "n = 9" in statement:
        pytest.skip("says more than what changed")
    before = family.query("select * from c order by id")
    found = doubts(family, f"set session binlog_row_image = '{image}'", statement)
    assert found == ([wanted] if wanted else [])
    if family.query("select * from c order by id") != before:
        assert wanted


def test_an_image_that_lacks_what_was_there_before_is_taken_for_a_change(family: Database) -> None:
    statement = "insert into b values (1, 1, 'x', 1) on duplicate key update n = 9"
    assert doubts(family, "set session binlog_row_image = 'MINIMAL'", statement) in ([], [UPDATED.format("b")])


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
def test_once_a_stretch_and_where_the_last_one_stands(family: Database, stretch_bytes: int) -> None:
    start = family.source().head()
    followed = family.followed("c", start=start)
    family.run("delete from b where id = 1", "insert into c values (7, null, null)", "delete from b where id = 2")
    last = family.source().head()
    family.run("insert into c values (8, null, null)", "update b set n = 0")
    found = entries(family.follow(followed, start=start, stretch_bytes=stretch_bytes), family.table("c"))
    places = [entry.start for entry in found if isinstance(entry, Unlogged)]
    assert places[-1] < last
    if stretch_bytes > 1:
        assert [type(entry) for entry in found] == [ChangeBatch, Unlogged, ChangeBatch]
    else:
        assert len(places) == 2


def test_a_position_inside_the_parents_event_says_it_again(family: Database) -> None:
    start = family.source().head()
    followed = family.followed("c", start=start)
    family.run("delete from b where id in (1, 2)")
    (entry,) = entries(family.follow(followed, start=start), family.table("c"))
    inside = Position(entry.start.at, 1)
    followed = {table: Followed(one.schema, inside) for table, one in followed.items()}
    (again,) = entries(family.follow(followed, start=inside), family.table("c"))
    assert again.start == inside


def test_nothing_is_passed_on_while_checks_are_off(family: Database) -> None:
    assert doubts(family, "set foreign_key_checks = 0", "delete from b where id = 1", "update b set id = id + 20") == []
    assert family.query("select b from c order by id") == [(1,), (2,), (3,)]
    family.run("set foreign_key_checks = 1")


def test_a_table_that_refers_to_itself(database: Database) -> None:
    database.run(
        "create table t (id int primary key, up int, foreign key (up) references t (id) on delete cascade)",
        "insert into t values (1, null), (2, 1), (3, null)",
    )
    start = database.source().head()
    followed = database.followed("t", start=start)
    database.run("update t set id = 4 where id = 3", "delete from t where id = 1")
    found = entries(database.follow(followed, start=start), database.table("t"))
    logged = [entry.frame["operation"].to_list() for entry in found if isinstance(entry, ChangeBatch)]
    if any(isinstance(entry, Unlogged) for entry in found):
        assert logged == [["UPDATE"], ["DELETE"]]
        assert [type(entry) for entry in found] == [ChangeBatch, Unlogged, ChangeBatch]
    else:
        assert logged == [["UPDATE", "DELETE", "DELETE"]]


def test_transactions_that_do_not_count(family: Database) -> None:
    assert doubts(family, "begin", "delete from b where id = 1", "rollback") == []
    family.run("xa start 'x'", "delete from b where id = 1", "xa end 'x'", "xa prepare 'x'")
    assert doubts(family, "xa rollback 'x'") in ([], ["an XA transaction"])
    rows = ["xa start 'y'", "delete from b where id = 1", "xa end 'y'", "xa prepare 'y'", "xa commit 'y'"]
    assert doubts(family, *rows) == ["an XA transaction"]


def test_statements_on_a_parent(family: Database) -> None:
    other = family.state.database + "_o"
    family.run(f"create database {other}", f"use {other}")
    try:
        found = doubts(
            family, "set session binlog_format = 'STATEMENT'", f"delete from {family.state.database}.b where id = 1",
            "set session binlog_format = 'ROW'",
        )  # fmt: skip
        assert found == ["a statement-based DELETE"]
    finally:
        family.run(f"use {family.state.database}", f"drop database {other}")


def named(database: Database, table: str, column: str) -> str:
    ((name,),) = database.query(
        "select constraint_name from information_schema.key_column_usage where table_schema = database()"
        f" and table_name = '{table}' and column_name = '{column}' and referenced_table_name is not null"
    )
    return str(name)


def test_keys_that_are_dropped_afterwards(family: Database) -> None:
    """By the time of reading nobody knows any more what they did: the ALTER is the doubt, also of a key far up."""
    for table, column in (("b", "code"), ("b", "a"), ("c", "b")):
        statement = f"alter table {table} drop foreign key {named(family, table, column)}"
        assert doubts(family, "delete from b where id = 2", statement) == [
            *([DELETED.format("b")] if table == "b" else []), DROPPED,
        ]  # fmt: skip
        family.run("replace into b values (2, 2, null, 2)")


def test_keys_and_names_that_change_before_they_are_read(family: Database) -> None:
    start = family.source().head()
    followed = family.followed("c", start=start)
    family.run("delete from b where id = 1")
    for column in ("b", "code"):
        family.run(f"alter table c drop foreign key {named(family, 'c', column)}")
    found = entries(family.follow(followed, start=start), family.table("c"))
    assert [entry.reason for entry in found if isinstance(entry, Unlogged)] == [DROPPED]
    again = "alter table c add foreign key (b) references b (id) on delete cascade"
    assert doubts(family, again, "delete from b where id = 2") == [DELETED.format("b")]
    found_now = doubts(family, "delete from b where id = 3", "rename table b to bb")
    assert found_now[-1] == "a foreign key's other table that goes"
    assert doubts(family, "update bb set n = 1", "alter table bb rename column id to no")[-1:] in ([], [DROPPED])


def test_keys_that_come_while_following(database: Database) -> None:
    database.run("create table p (id int primary key)", "create table c (id int primary key, p int)")
    database.run("insert into p values (1), (2)", "insert into c values (1, 1), (2, 2)")
    start = database.source().head()
    followed = database.followed("c", start=start)
    source = database.source()
    database.run("insert into c values (3, null)")
    middle = source.head()
    (first,) = entries(list(source.changes(followed, start, middle)), database.table("c"))
    assert isinstance(first, ChangeBatch)
    database.run("alter table c add foreign key (p) references p (id) on delete cascade", "delete from p where id = 1")
    found = entries(list(source.changes(followed, middle, source.head())), database.table("c"))
    rows = database.query("show global variables like 'innodb_native_foreign_keys'")
    assert any(isinstance(entry, Unlogged) for entry in found) != bool(rows and rows[0][1] == "OFF")


@pytest.fixture
def reader(family: Database) -> Iterator[MySQLSource]:
    """A source whose user may read c alone."""
    user = f"u{family.state.database[-8:]}"
    with family.connection.cursor() as cursor:
        cursor.execute(f"create user {user}@'%' identified by 'Pass-1word'")
        cursor.execute(f"grant replication slave, replication client, reload on *.* to {user}@'%'")
        if family.mariadb:
            cursor.execute(f"grant binlog monitor on *.* to {user}@'%'")
        cursor.execute(f"grant select on c to {user}@'%'")
    state = family.state
    source = MySQLSource(MySQLConnection(state.host, state.port, state.database, user, "Pass-1word"))
    yield source
    source.close()
    family.run(f"drop user {user}@'%'")


def test_a_parent_whose_keys_cannot_be_seen(family: Database, reader: MySQLSource) -> None:
    table = family.table("c")
    with pytest.raises(NeedsPerson, match=r"run: grant select on `.*`.`b`"):
        reader.prepare([table])
    start = reader.head()
    followed = {table: Followed(carried(None, reader.schemas([table])[table]), start)}
    family.run("insert into c values (9, null, null)")
    (one,) = reader.changes(followed, start, reader.head())
    assert "grant select" in str(one.failures[table])
    user = reader._target.user
    family.run(f"grant select on a to {user}@'%'", f"grant select on b to {user}@'%'")
    reader.prepare([table])
    start = reader.head()
    family.run("delete from a where id = 1")
    (one,) = reader.changes({table: Followed(followed[table].schema, start)}, start, reader.head())
    assert [type(entry) for entry in one.entries] == [Unlogged]


@settings(
    max_examples=15, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(data=st.data())
def test_just_the_updates_that_change_what_is_referred_to(family: Database, data: st.DataObject) -> None:
    """Rows of any width, null or not, several a statement, next to columns of any width."""
    texts = st.none() | st.text("ab", max_size=12)
    family.run(
        "create table if not exists p (id int primary key, pre varchar(400), ref varchar(12), ref2 int,"
        " post varchar(400), key (ref, ref2))",
        "create table if not exists k (id int primary key, ref varchar(12), ref2 int,"
        " foreign key (ref, ref2) references p (ref, ref2) on update cascade)",
        "truncate table k", "delete from p",
    )  # fmt: skip
    rows = st.lists(st.tuples(texts, texts, st.integers(0, 1), texts), min_size=3, max_size=3)
    old, new = data.draw(rows), data.draw(rows)
    if data.draw(st.booleans()):
        new = [(b[0], a[1], a[2], b[3]) for a, b in zip(old, new, strict=True)]
    image = data.draw(st.sampled_from(["FULL", "MINIMAL"]))
    family.run("insert into p values (%s, %s, %s, %s, %s)", rows=[(i, *row) for i, row in enumerate(old)])
    start = family.source().head()
    followed = family.followed("k", start=start)
    family.run(f"set session binlog_row_image = '{image}'", "begin")
    for i, row in enumerate(new):
        family.run("update p set pre = %s, ref = %s, ref2 = %s, post = %s where id = %s", rows=[(*row, i)])
    family.run("commit")
    found = entries(family.follow(followed, start=start), family.table("k"))
    changed = [i for i in range(3) if old[i][1:3] != new[i][1:3]]
    if image == "FULL":
        assert bool(found) == bool(changed)
    elif changed:  # such images may lack what was there before
        assert found


def test_create_statements() -> None:
    statement = """CREATE TABLE `t` (
      `id` int(11) NOT NULL COMMENT 'a ) CONSTRAINT `n` FOREIGN KEY (`x`) REFERENCES `y` (`z`) ON DELETE CASCADE,',
      `a` int(11) DEFAULT NULL, `B,c` varchar(3) DEFAULT '(',
      PRIMARY KEY (`id`),
      KEY `a` (`a`),
      CONSTRAINT `c1` CHECK (`a` > (1 + 2)),
      CONSTRAINT `t_ibfk_1` FOREIGN KEY (`a`, `B,c`) REFERENCES `on``e` (`X`, `y`) ON DELETE SET NULL,
      CONSTRAINT `t_ibfk_2` FOREIGN KEY (`a`) REFERENCES `o`.`two` (`id`) ON DELETE NO ACTION ON UPDATE CASCADE,
      CONSTRAINT `t_ibfk_3` FOREIGN KEY (`a`) REFERENCES `t` (`id`) ON DELETE CASCADE ON UPDATE SET DEFAULT,
      CONSTRAINT `t_ibfk_4` FOREIGN KEY (`a`) REFERENCES `three` (`id`)
    ) ENGINE=InnoDB COMMENT='FOREIGN KEY (`a`)'"""
    a, i = frozenset(["a"]), frozenset(["id"])
    assert foreign_keys(statement, T) == (
        ForeignKey(frozenset(["a", "b,c"]), TableName("d", "on`e"), frozenset(["x", "y"]), "set", "nothing"),
        ForeignKey(a, TableName("o", "two"), i, "nothing", "cascade"),
        ForeignKey(a, T, i, "cascade", "set"),
    )


def test_tables_in_a_circle_are_found_once() -> None:
    other, i = TableName("d", "u"), frozenset(["id"])
    keys = {T: [ForeignKey(i, other, i, "cascade", "cascade")], other: [ForeignKey(i, T, i, "cascade", "cascade")]}
    found = Origins()
    for key in keys[T]:
        found.follow(key, lambda table: keys[table])
    assert (found.deletes, found.updates) == ({T, other}, {T: {"id"}, other: {"id"}})


def test_the_words_of_a_doubt_come_with_rows(family: Database) -> None:
    """The child's own changes keep their order around it."""
    start = family.source().head()
    followed = family.followed("b", "c", start=start)
    family.run("begin", "insert into c values (7, 3, null)", "delete from b where id = 2", "delete from c where id = 7")
    family.run("commit")
    captured = family.follow(followed, start=start)
    assert [entry[0] for entry in said(entries(captured, family.table("c")))] == ["rows", "doubt", "rows"]
    assert [entry[0] for entry in said(entries(captured, family.table("b")))] == ["rows"]


def test_a_refused_delete_says_nothing(family: Database) -> None:
    family.run("create table r (id int primary key, c int, foreign key (c) references c (id))")
    family.run("insert into r values (1, 1)")
    start = family.source().head()
    with pytest.raises(pymysql.err.IntegrityError):
        family.run("delete from c where id = 1")
    assert entries(family.changes("r", start=start), family.table("r")) == []
