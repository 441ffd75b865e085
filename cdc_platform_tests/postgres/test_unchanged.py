"""Cells that an update leaves as they are, and so out of the log; and truncations, which log no rows at all."""

from __future__ import annotations

import pytest

from cdc_platform.model.change import ChangeBatch, Entry, Truncated, Unlogged
from cdc_platform.model.position import Position
from cdc_platform.sources.postgres.stream import Pace
from cdc_platform_tests.postgres.conftest import Database, entries_of, follow, images, rows_of, table

A, B, C = table("a"), table("b"), table("c")

LONG = "(select string_agg(md5(i::text), '') from generate_series(1, 1000) i)"  # 32 kB that compress badly


@pytest.fixture(params=["full", "default", "using index other"])
def wide(database: Database, request: pytest.FixtureRequest) -> tuple[Database, str]:
    """Table a with two columns of long values, of each replica identity; an index's column is one of them."""
    database.run("create table a (id int primary key, key text not null, x text, y text, n int)")
    database.run("create unique index other on a (id, key)")  # a key too long for a btree is refused below
    database.run("alter table a alter key set storage external")
    database.run(f"alter table a replica identity {request.param}")
    database.source().prepare([A])
    return database, request.param


def holes(entries: list[Entry]) -> list[dict[str, list[bool]]]:
    return [{n: s.to_list() for n, s in e.holes.items()} for e in entries if isinstance(e, ChangeBatch)]


def test_an_unchanged_long_value(wide: tuple[Database, str]) -> None:
    database, identity = wide
    ((long,),) = database.run(f"select {LONG}")
    source = database.source()
    start = source.head()
    database.run(f"insert into a values (1, 'k', {LONG}, 'short', 0), (2, 'k', 'short', {LONG}, 0)")
    database.run("update a set n = 1")
    database.run(f"update a set x = {LONG} where id = 2; update a set y = {LONG} || 'z' where id = 1")
    captured = follow(source, [A], start)
    entries = entries_of(captured, A)
    after = [row for _, _, row in images(captured)]
    full = identity == "full"
    assert [(row["x"], row["y"], row["n"]) for row in after] == [
        (long, "short", 0),
        ("short", long, 0),
        (long if full else None, "short", 1),
        ("short", long if full else None, 1),
        (long, long if full else None, 1),
        (long if full else None, long + "z", 1),
    ]
    lost = {"x": [False, False, True, False, False, True], "y": [False, False, False, True, True, False]}
    assert holes(entries) == [{} if full else lost]
    # However the log is cut, holes stay with their rows, and only where there are any.
    pieces = entries_of(follow(database.source(Pace(1, 1, 1, 1)), [A], start), A)
    assert holes(pieces) == [{} if full else {c: [lost[c][i]] for c in "xy" if lost[c][i]} for i in range(6)]


def test_an_unchanged_long_value_beside_a_key_that_changes(wide: tuple[Database, str]) -> None:
    database, identity = wide
    ((long,),) = database.run(f"select {LONG}")
    source = database.source()
    start = source.head()
    database.run(f"insert into a values (1, 'k', {LONG}, null, 0)")
    database.run("update a set id = 2; delete from a")
    captured = follow(source, [A], start)
    _, update, delete = images(captured)
    logged = {"id": 1, "key": "k", "x": long, "y": None, "n": 0}
    old = {"full": logged, "default": dict.fromkeys(logged) | {"id": 1}}.get(
        identity, dict.fromkeys(logged) | {"id": 1, "key": "k"}
    )
    new = {**logged, "id": 2, "x": long if identity == "full" else None}
    assert update == ("UPDATE", old, new)
    assert delete[:2] == ("DELETE", {n: 2 if n == "id" else v for n, v in old.items()})
    assert holes(entries_of(captured, A)) == [{} if identity == "full" else {"x": [False, True, False]}]


def test_a_long_key_is_taken_from_the_old_key(database: Database) -> None:
    """The old key is logged whole when a cell of it is stored apart, even if it does not change."""
    database.run("create table a (id text primary key, n int); alter table a alter id set storage external")
    source = database.source()
    source.prepare([A])
    start = source.head()
    database.run("insert into a values (repeat('k', 2500), 0); update a set n = 1; delete from a")
    captured = follow(source, [A], start)
    key = "k" * 2500
    assert images(captured) == [
        ("INSERT", None, {"id": key, "n": 0}),
        ("UPDATE", {"id": key, "n": None}, {"id": key, "n": 1}),
        ("DELETE", {"id": key, "n": None}, None),
    ]
    assert holes(entries_of(captured, A)) == [{}]


def test_truncations_stand_between_the_rows(database: Database) -> None:
    database.run("create table a (id int primary key); create table b (id int primary key references a)")
    database.run("create table c (id int primary key)")
    source = database.source()
    source.prepare([A, B, C])
    start = source.head()
    database.run("insert into a values (1), (2); insert into b values (1); insert into c values (1)")
    database.run("begin; insert into b values (2); truncate a cascade; insert into a values (3); commit")
    database.run("truncate c; truncate c, b; insert into c values (4)")
    until = source.head()

    def told(entries: list[Entry]) -> list[object]:
        found: list[object] = []
        for entry in entries:
            assert not isinstance(entry, Unlogged)
            if isinstance(entry, ChangeBatch):
                found += [(row["ordinal"], row["after"]["id"]) for row in entry.frame.to_dicts()]
            else:
                assert isinstance(entry, Truncated)
                found.append(entry.place.ordinal)
        return found

    for pace in (Pace(), Pace(2, 1, 1, 1)):
        captured = follow(database.source(pace), [A, B, C], start, until)
        assert told(entries_of(captured, A)) == [(0, 1), (1, 2), 1, (2, 3)]
        assert told(entries_of(captured, B)) == [(2, 1), (0, 2), 1, 1]
        assert told(entries_of(captured, C)) == [(3, 1), 0, 1, (2, 4)]
        (truncated,) = [e for e in entries_of(captured, A) if isinstance(e, Truncated)]
        before, after = rows_of(captured, B)[1], rows_of(captured, A)[2]
        place = truncated.place
        assert place.at == before["at"] == after["at"]
        assert before["lsn"] < place.lsn < after["lsn"]
        assert (place.transaction_id, place.source_ts) == (after["transaction_id"], after["source_ts"])
    # A place inside a transaction, just behind the truncation and just before it.
    behind = Position(place.at, 2)
    assert told(entries_of(follow(source, [A, B], behind, until), B)) == [1]
    assert told(entries_of(follow(source, [A, B], Position(place.at, 1), until), A)) == [1, (2, 3)]
