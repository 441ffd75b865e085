"""What a person does to tables, and the changes that come of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from cdc_platform.errors import Gap, InvalidRow, Unavailable
from cdc_platform.model.position import Position
from cdc_platform.sources.postgres.stream import Pace
from cdc_platform_tests.postgres.conftest import Database, follow, following, images, rows_of, table

A, B = table("a"), table("b")


@pytest.fixture
def followed(database: Database) -> Database:
    """Tables a (replica identity full) and b (default), prepared."""
    database.run("create table a (id int primary key, name text, price numeric(10,2))")
    database.run("alter table a replica identity full")
    database.run("create table b (id int primary key, note text)")
    database.source().prepare([A, B])
    return database


def test_insert_update_delete_with_whole_images(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("insert into a values (1, 'one', 1.50), (2, null, null)")
    followed.run("update a set name = 'uno' where id = 1")
    followed.run("delete from a where id = 2")
    captured = follow(source, [A], start)
    one = {"id": 1, "name": "one", "price": Decimal("1.50")}
    two = {"id": 2, "name": None, "price": None}
    assert images(captured) == [
        ("INSERT", None, one),
        ("INSERT", None, two),
        ("UPDATE", one, {**one, "name": "uno"}),
        ("DELETE", two, None),
    ]


def test_one_changes_identity_default_logs_keys_only(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("insert into b values (1, 'x')")
    followed.run("update b set note = 'y' where id = 1")
    followed.run("update b set id = 2 where id = 1")
    followed.run("delete from b where id = 2")
    assert images(follow(source, [B], start)) == [
        ("INSERT", None, {"id": 1, "note": "x"}),
        ("UPDATE", {"id": 1, "note": None}, {"id": 1, "note": "y"}),
        ("UPDATE", {"id": 1, "note": None}, {"id": 2, "note": "y"}),
        ("DELETE", {"id": 2, "note": None}, None),
    ]


def test_metadata_of_changes(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    with followed.other_session() as session, session.cursor() as cursor:
        cursor.execute("select txid_current()::text")
        (xid,) = cursor.fetchone() or ("",)
        cursor.execute("insert into a values (1, 'one', 1); insert into b values (1, 'x'); update a set name = 'two'")
    (now,) = followed.run("select clock_timestamp()")[0]
    captured = follow(source, [A, B], start)
    changes = sorted(rows_of(captured), key=lambda row: row["ordinal"])
    assert [row["ordinal"] for row in changes] == [0, 1, 2]
    assert {row["transaction_id"] for row in changes} == {xid}
    assert len({row["at"] for row in changes}) == 1
    assert [row["lsn"] for row in changes] == sorted(row["lsn"] for row in changes)
    assert all(row["lsn"] < source.format(Position(row["at"])) for row in changes)
    assert abs((now - changes[0]["source_ts"]).total_seconds()) < 5


def test_ordinals_do_not_depend_on_which_tables_are_followed(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("insert into b values (1, 'x'); insert into a values (1, 'y', 1); insert into b values (2, 'z')")
    assert [row["ordinal"] for row in rows_of(follow(source, [A], start))] == [1]
    both = follow(source, [A, B], start)
    assert [row["ordinal"] for row in rows_of(both, B)] == [0, 2]


def test_transactions_come_in_commit_order(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    early = followed.other_session()
    with early.cursor() as cursor:
        cursor.execute("insert into a values (1, 'began first', 1)")
        followed.run("insert into a values (2, 'committed first', 1)")
        middle = source.head()
        early.commit()
    early.close()
    first, second = rows_of(follow(source, [A], start))
    assert (first["after"]["id"], second["after"]["id"]) == (2, 1)
    assert first["lsn"] > second["lsn"]  # a change's own place in the log, where it lies before its commit
    assert [row["after"]["id"] for row in rows_of(follow(source, [A], start, middle))] == [2]
    assert [row["after"]["id"] for row in rows_of(follow(source, [A], middle))] == [1]


def test_rolled_back_changes_do_not_come(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("begin; insert into a values (1, 'x', 1); savepoint s; insert into a values (2, 'y', 1);"
                 "rollback to s; insert into a values (3, 'z', 1); commit")  # fmt: skip
    followed.run("begin; insert into a values (4, 'x', 1); rollback")
    assert [after["id"] for _, _, after in images(follow(source, [A], start))] == [1, 3]


def _mixture(database: Database) -> None:
    for turn in range(6):
        database.run(f"insert into a select i, 'name ' || i, i from generate_series({turn * 20}, {turn * 20 + 19}) i;"
                     f"insert into b values ({turn}, 'b'); update a set price = price + 1 where id % 7 = {turn};"
                     f"delete from a where id % 11 = {turn}")  # fmt: skip


def test_any_batch_size_gives_the_same_changes(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    _mixture(followed)
    until = source.head()
    whole = follow(source, [A, B], start, until)
    for pace in (Pace(1, 1, 1, 1), Pace(10, 1, 1 << 20, 200), Pace(50, 3, 1 << 20, 1000), Pace(7, 1000, 300, 64)):
        pieces = follow(followed.source(pace), [A, B], start, until)
        assert len(pieces) > 6
        for name in (A, B):
            assert rows_of(pieces, name) == rows_of(whole, name)


def test_resuming_from_any_stretch_and_any_place_in_a_transaction(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    _mixture(followed)
    until = source.head()
    whole = rows_of(follow(source, [A], start, until))
    cuts = [Position(row["at"], row["ordinal"]) for row in whole[:: len(whole) // 12]]
    for cut in cuts:
        before, after = follow(source, [A], start, cut), follow(source, [A], cut, until)
        assert rows_of(before) + rows_of(after) == whole


def test_acknowledging_between_stretches(followed: Database) -> None:
    source = followed.source(Pace(20, 5, 1 << 20, 300))
    start = source.head()
    _mixture(followed)
    until = source.head()
    whole = rows_of(follow(followed.source(), [A, B], start, until))
    pieces = []
    for captured in source.changes(following(source, [A, B], start), start, until):
        pieces.append(captured)
        source.acknowledge(captured.upto)
    assert sorted(rows_of(pieces), key=_place) == sorted(whole, key=_place)
    assert pieces[-1].upto == until
    (confirmed,) = followed.run("select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = %s",
                                followed.slot)[0]  # fmt: skip
    assert confirmed == until.at


def _place(row: dict[str, int]) -> tuple[int, int]:
    return row["at"], row["ordinal"]


def test_what_is_acknowledged_is_not_lost_inside_a_transaction(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("insert into a select i, 'x', i from generate_series(1, 10) i")
    inside = Position(rows_of(follow(source, [A], start))[4]["at"], 5)
    source.acknowledge(inside)
    source.check_resumable(inside)
    assert [after["id"] for _, _, after in images(follow(source, [A], inside))] == [6, 7, 8, 9, 10]


def test_acknowledging_again_or_backwards_changes_nothing(followed: Database) -> None:
    source = followed.source()
    head = source.head()
    followed.run("insert into a values (1, 'x', 1)")
    later = source.head()
    source.acknowledge(later)
    source.acknowledge(later)
    source.acknowledge(head)
    source.check_resumable(later)


def test_nothing_changed(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("create table elsewhere (id int)")
    until = source.head()
    assert until > start
    (captured,) = follow(source, [A, B], start, until)
    assert (captured.batches, captured.failures) == ((), {})


def test_commits_without_waiting_for_the_disk_are_below_the_head(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run("set synchronous_commit = off")
    for number in range(20):
        followed.run(f"insert into a values ({number}, 'x', 1)")
        assert len(rows_of(follow(source, [A], start))) == number + 1


def test_a_bound_past_the_log_is_not_claimed(followed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_platform.sources.postgres.stream._FLUSH_SECONDS", 0.1)
    source = followed.source()
    head = source.head()
    with pytest.raises(Unavailable, match="not on disk"):
        list(source.changes(following(source, [A], head), head, replace(head, at=head.at + (1 << 40))))


# --- tables that cannot be followed on ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [("date", "infinity"), ("timestamp", "-infinity"), ("timestamptz", "infinity"), ("numeric(8,2)", "NaN")],
)
def test_a_value_that_cannot_be_held_stops_the_table_in_front_of_it(
    followed: Database, column: str, value: str
) -> None:
    followed.run(f"alter table a add bad {column}")
    source = followed.source()
    start = source.head()
    followed.run(f"insert into a values (1, 'x', 1); insert into a values (2, 'x', 1, '{value}'); delete from a")
    followed.run("insert into b values (1, 'x')")
    captured = follow(source, [A, B], start)
    assert [after["id"] for _, _, after in images(captured, A)] == [1]
    assert len(rows_of(captured, B)) == 1
    (failure,) = [c.failures for c in captured if c.failures]
    assert isinstance(failure[A], InvalidRow)
    assert "public.a: column 'bad' of the change at 0" in str(failure[A])
    assert value not in str(failure[A])


def test_a_table_taken_out_of_the_publication_is_a_gap(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    followed.run(f"alter publication {followed.slot} drop table a")
    followed.run("insert into a values (1, 'x', 1); insert into b values (1, 'x')")
    captured = follow(source, [A, B], start)
    assert isinstance(captured[0].failures[A], Gap)
    assert len(rows_of(captured)) == 1


def test_a_dropped_table_fails_alone(followed: Database) -> None:
    source = followed.source()
    start = source.head()
    both = following(source, [A, B], start)
    followed.run("drop table a; insert into b values (1, 'x')")
    captured = follow(source, both, start)
    assert "there is no table public.a" in str(captured[0].failures[A])
    assert len(rows_of(captured)) == 1


# --- tables of all kinds ----------------------------------------------------------------------------------------------


def test_names_with_quotes_spaces_and_letters_of_any_script(database: Database) -> None:
    name = table('Straße "x" %s {0} 客户', "Sch'e\"ma\\")
    quoted = '"Sch\'e""ma\\"."Straße ""x"" %s {0} 客户"'
    database.run('create schema "Sch\'e""ma\\"')
    database.run(f"""create table {quoted} ("Id" int primary key, "a ""b"" %' \\ é" text)""")
    source = database.source()
    source.prepare([name])
    start = source.head()
    with source.snapshot([name]) as snapshot:
        assert list(snapshot.read(name)) == []
    database.run(f"insert into {quoted} values (1, 'ü')")
    expected = {"Id": 1, 'a "b" %\' \\ é': "ü"}
    assert images(follow(source, [name], start)) == [("INSERT", None, expected)]
    with source.snapshot([name]) as snapshot:
        assert [row["after"] for b in snapshot.read(name) for row in b.frame.to_dicts()] == [expected]


def test_a_table_without_a_key(database: Database) -> None:
    database.run("create table a (x int, y text); alter table a replica identity full")
    source = database.source()
    source.prepare([A])
    start = source.head()
    database.run("insert into a values (1, 'x'), (1, 'x'); update a set y = 'z'; delete from a")
    assert source.schemas([A])[A].primary_key == ()
    assert [op for op, _, _ in images(follow(source, [A], start))] == ["INSERT"] * 2 + ["UPDATE"] * 2 + ["DELETE"] * 2
