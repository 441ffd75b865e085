"""Partitioned tables by root and by leaf, inheritance, and what tells that a table is not the one that it was."""

from __future__ import annotations

import pytest

from cdc_platform.errors import NeedsPerson, NotUnderstood
from cdc_platform.model.change import Truncated
from cdc_platform.model.schema import Fingerprint
from cdc_platform_tests.postgres.conftest import Database, entries_of, follow, following, images, table

A, A1, A2, B = table("a"), table("a1"), table("a2"), table("b")


@pytest.fixture
def partitioned(database: Database) -> Database:
    database.run("create table a (id int primary key, name text) partition by range (id)")
    database.run("create table a1 partition of a for values from (0) to (10)")
    database.run("create table a2 partition of a for values from (10) to (20)")
    return database


def test_partitions_are_one_table(partitioned: Database) -> None:
    source = partitioned.source()
    source.prepare([A])
    start = source.head()
    partitioned.run("insert into a select i, 'x' from generate_series(8, 11) i; update a set id = 12 where id = 8")
    assert [(op, after and after["id"]) for op, _, after in images(follow(source, [A], start))] == [
        *(("INSERT", i) for i in range(8, 12)),
        ("DELETE", None),
        ("INSERT", 12),
    ]
    with source.snapshot([A]) as snapshot:
        assert snapshot.count(A) == 4
        assert sorted(row["after"]["id"] for b in snapshot.read(A) for row in b.frame.to_dicts()) == [9, 10, 11, 12]
    partitioned.run("truncate a")
    assert isinstance(entries_of(follow(source, [A], start), A)[-1], Truncated)


def test_partitions_with_columns_in_another_order(partitioned: Database) -> None:
    partitioned.run("create table a3 (junk int, name text, id int not null); alter table a3 drop junk")
    partitioned.run("alter table a attach partition a3 for values from (20) to (30)")
    source = partitioned.source()
    source.prepare([A])
    start = source.head()
    partitioned.run("insert into a values (1, 'x'), (21, 'y')")
    (batch,) = [b for c in follow(source, [A], start) for b in c.batches]
    assert batch.frame["after"].to_list() == [{"id": 1, "name": "x"}, {"id": 21, "name": "y"}]
    assert [column.source_id for column in batch.schema.columns] == [1, 2]


def test_a_partition_alone(partitioned: Database) -> None:
    source = partitioned.source()
    source.prepare([A1])
    start = source.head()
    partitioned.run("insert into a values (1, 'x'), (11, 'y'); truncate a1; insert into a1 values (2, 'z')")
    captured = follow(source, [A1], start)
    assert [after["id"] for _, _, after in images(captured)] == [1, 2]
    assert [type(entry) for entry in entries_of(captured, A1)].count(Truncated) == 1
    with source.snapshot([A1]) as snapshot:
        assert snapshot.count(A1) == 1


SILENT = r"public\.a1 is a partition of public\.a, and publication '\w+' gives its rows as rows of public\.a; follow"


def test_a_partition_of_a_published_root_is_silent_and_refused(partitioned: Database) -> None:
    source = partitioned.source()
    with pytest.raises(NotUnderstood, match=SILENT):
        source.prepare([A, A1])
    source.prepare([A])
    with pytest.raises(NotUnderstood, match=SILENT):
        source.prepare([A1])


def test_a_partition_whose_root_is_published_later_stops(partitioned: Database) -> None:
    source = partitioned.source()
    source.prepare([A1])
    start = source.head()
    partitioned.run("insert into a values (1, 'x')")
    source.prepare([A])
    partitioned.run("insert into a values (2, 'y')")
    captured = follow(source, [A1, A], start)
    (failure,) = [c.failures for c in captured if c.failures]
    assert set(failure) == {A1}
    assert isinstance(failure[A1], NotUnderstood)
    assert "follow public.a instead" in str(failure[A1])


def test_a_partition_beside_its_root_where_partitions_are_published(partitioned: Database) -> None:
    partitioned.run(f"create publication {partitioned.slot} for table a")
    source = partitioned.source()
    source.prepare([A1, A2])
    start = source.head()
    partitioned.run("insert into a values (1, 'x'), (11, 'y')")
    captured = follow(source, [A1, A2], start)
    assert [[after["id"] for _, _, after in images(captured, name)] for name in (A1, A2)] == [[1], [11]]


def test_partitions_must_log_old_rows_as_their_root_does(partitioned: Database) -> None:
    partitioned.run("alter table a replica identity full; alter table a1 replica identity full")
    source = partitioned.source()
    with pytest.raises(NeedsPerson, match=r'run: alter table "public"\."a2" replica identity full'):
        source.prepare([A])
    partitioned.run("alter table a2 replica identity full")
    source.prepare([A])
    start = source.head()
    partitioned.run("insert into a values (1, 'x'); update a set name = 'y'; create table a3 partition of a default")
    partitioned.run("insert into a values (30, 'x')")
    assert [op for op, _, _ in images(follow(source, [A], start))] == ["INSERT", "UPDATE", "INSERT"]
    partitioned.run("update a set name = 'z' where id = 30; insert into a values (2, 'x')")
    captured = follow(source, [A], start)
    assert [op for op, _, _ in images(captured)] == ["INSERT", "UPDATE", "INSERT"]
    (failure,) = [c.failures[A] for c in captured if c.failures]
    assert "is of a partition whose replica identity is not the table's" in str(failure)


def test_another_index_of_a_partition_is_refused_while_it_is_followed(partitioned: Database) -> None:
    source = partitioned.source()
    source.prepare([A])
    start = source.head()
    partitioned.run("alter table a1 alter name set not null; create unique index other on a1 (name)")
    partitioned.run("alter table a1 replica identity using index other")
    (failure,) = [c.failures[A] for c in follow(source, [A], start) if c.failures]
    assert isinstance(failure, NeedsPerson)
    assert "public.a1, a partition of public.a, does not log" in str(failure)


def test_a_partitioned_table_without_a_key_can_still_be_written(database: Database) -> None:
    database.run("create table a (id int, name text) partition by range (id)")
    database.run("create table a1 partition of a for values from (0) to (10)")
    source = database.source()
    source.prepare([A])
    start = source.head()
    database.run("insert into a values (1, 'x'); update a set name = 'y'; delete from a")
    assert [op for op, _, _ in images(follow(source, [A], start))] == ["INSERT", "UPDATE", "DELETE"]


# --- fingerprints ------------------------------------------------------------------------------------------------


def fingerprint(database: Database) -> Fingerprint:
    return database.source().fingerprints([A])[A]


@pytest.mark.parametrize(
    "change",
    [
        "insert into a values (1, 'x'); update a set id = 2; delete from a",
        "alter table a add x int; alter table a rename x to y; alter table a drop y",
        "create table b (id int); drop table b; analyze a; alter table a rename to b; alter table b rename to a",
    ],
)
def test_what_leaves_a_table_the_same(partitioned: Database, change: str) -> None:
    partitioned.source().prepare([A])
    before = fingerprint(partitioned)
    partitioned.run(change)
    assert fingerprint(partitioned) == before
    assert before.identity
    assert before.storage


@pytest.mark.parametrize(
    "change",
    [
        "alter publication {0} drop table a; alter publication {0} add table a",
        "alter publication {0} set table a (id)",
        "drop publication {0}; create publication {0} for table a",
        "drop publication {0}; create publication {0} for all tables",
        "drop publication {0}",
        "drop table a; create table a (id int primary key, name text); alter publication {0} add table a",
    ],
)
def test_what_makes_it_another(database: Database, change: str) -> None:
    database.run("create table a (id int primary key, name text)")
    database.source().prepare([A])
    before = fingerprint(database)
    database.run(change.format(database.slot))
    assert fingerprint(database).identity != before.identity


@pytest.mark.parametrize("publication", ["for all tables", "for tables in schema public", "for table a"])
def test_every_way_of_publishing_is_known(partitioned: Database, publication: str) -> None:
    name = partitioned.slot
    partitioned.run(f"create publication {name} {publication} with (publish_via_partition_root = true)")
    before = partitioned.source().fingerprints([A, A1, B])
    assert before.keys() == {A, A1}
    partitioned.run(f"drop publication {name}")
    partitioned.run(f"create publication {name} {publication} with (publish_via_partition_root = true)")
    after = partitioned.source().fingerprints([A, A1, B])
    for same in (A, A1):
        assert after[same].identity != before[same].identity
        assert "held by nothing" not in before[same].identity


@pytest.mark.parametrize(
    "change",
    [
        "truncate a1",
        "alter table a detach partition a1",
        "create table a3 partition of a default",
        "alter table a alter name type bytea using null",
        "vacuum full a2",
    ],
)
def test_what_replaces_the_rows_of_a_partition(partitioned: Database, change: str) -> None:
    partitioned.source().prepare([A])
    before = fingerprint(partitioned)
    partitioned.run(change)
    after = fingerprint(partitioned)
    assert after.identity == before.identity
    assert after.storage != before.storage


@pytest.mark.parametrize("change", ["truncate a", "alter table a alter id type bigint using -id", "vacuum full a"])
def test_what_replaces_the_rows_of_a_table(database: Database, change: str) -> None:
    database.run("create table a (id int primary key)")
    database.source().prepare([A])
    before = fingerprint(database)
    database.run(change)
    assert fingerprint(database).storage != before.storage
    assert fingerprint(database).identity == before.identity


def test_children_that_inherit_are_tables_of_their_own(database: Database) -> None:
    database.run("create table a (id int primary key); create table b (primary key (id)) inherits (a)")
    source = database.source()
    source.prepare([A, B])
    start = source.head()
    both = following(source, [A, B], start)
    database.run("insert into a values (1); insert into b values (2)")
    database.run("alter table a add x int; insert into b values (3, 4)")
    captured = follow(source, both, start)
    assert [after for _, _, after in images(captured, A)] == [{"id": 1}]
    assert [after for _, _, after in images(captured, B)] == [{"id": 2}, {"id": 3, "x": 4}]
    database.run("truncate a")
    captured = follow(source, both, start)
    assert [isinstance(entries_of(captured, name)[-1], Truncated) for name in (A, B)] == [True, True]
