"""One workload through the native reader and through Debezium's engine: the same changes, but for where `at` lies.

Both read one server with slots of their own. What the native reader delivers is held against the server elsewhere.
"""

from __future__ import annotations

import random
from contextlib import suppress

import polars as pl
import psycopg2
import pytest

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.change import ChangeBatch, Entry
from cdc_platform.model.position import Position
from cdc_platform_tests.embedded.conftest import Bench, Pair, merged, needs_engine, table
from cdc_platform_tests.postgres.type_cases import CASES, SETUP, Case

pytestmark = needs_engine

# What Debezium has otherwise than the server writes it, or fails on: refused when a table is prepared.
REFUSED = {"money", "hstore", "bit(5)", "varbit", "point", "line", "lseg", "box", "path", "polygon", "circle",
           "numeric(37,-2)", "timetz", "interval", "interval day to second(2)", "moods"}  # fmt: skip


def assert_same(pair: Pair) -> dict[str, int]:
    """Changes, holes and shapes; returns rows by table."""
    native, engine = pair.entries(pair.native), pair.entries(pair.engine)
    counts = {}
    for name in pair.followed:
        assert [type(e) for e in engine[name]] == [type(e) for e in native[name]], name
        for ours, theirs in zip(native[name], engine[name], strict=True):
            _assert_same_entry(ours, theirs)
        counts[name.name] = sum(len(e) for e in native[name] if isinstance(e, ChangeBatch))
    return counts


def _assert_same_entry(ours: Entry, theirs: Entry) -> None:
    if isinstance(ours, ChangeBatch):
        assert isinstance(theirs, ChangeBatch)
        assert theirs.schema == ours.schema
        assert theirs.frame.schema == ours.frame.schema
        for column in ("operation", "ordinal", "lsn", "transaction_id", "source_ts", "before", "after"):
            assert theirs.frame[column].equals(ours.frame[column]), f"{ours.table}: {column}"
        assert {n: s.to_list() for n, s in theirs.holes.items()} == {n: s.to_list() for n, s in ours.holes.items()}
        # The commit record's last byte instead of its first: one each, in the same order.
        places = pl.DataFrame([ours.frame["at"].alias("native"), theirs.frame["at"].alias("engine")]).unique()
        assert places["native"].is_unique().all()
        assert places["engine"].is_unique().all()
        distance = (places["engine"] - places["native"]).to_list()
        assert all(0 < d < 10_000 for d in distance), distance
    else:
        assert type(theirs) is type(ours)
        assert theirs.start.ordinal == ours.start.ordinal


def test_a_random_workload_in_many_transactions(bench: Bench) -> None:
    bench.run(
        "create table a (id int primary key, label text, amount numeric(12, 2), seen timestamptz default now())",
        "alter table a alter label set storage external",
        "create table b (x int, y varchar(40))",
        "alter table b replica identity full",
        "create table aside (x int)",
    )
    pair, rng = bench.pair("a", "b"), random.Random(5)
    for _ in range(120):
        statements = []
        for _ in range(rng.randint(1, 6)):
            key, other = rng.randint(1, 40), rng.randint(1, 60)
            statements.append(
                rng.choice(
                    [
                        f"insert into a values ({key}, repeat('long', 900), {key}.5) on conflict do nothing",
                        f"update a set amount = amount + 1 where id = {key}",
                        f"update a set id = {other} where id = {key} and {other} not in (select id from a)",
                        f"update a set label = null where id = {key}",
                        f"delete from a where id = {key}",
                        f"insert into b values ({key}, 'x'), ({other}, null)",
                        f"update b set y = y || 'y' where x = {key}",
                        f"delete from b where x = {key}",
                        f"insert into aside values ({key})",
                    ]
                )
            )
        end = "rollback" if rng.random() < 0.1 else "commit"
        bench.run("begin; " + "; ".join(statements) + f"; {end}")
    bench.run("truncate a", "insert into a (id) values (1), (2)")
    counts = assert_same(pair)
    assert counts["a"] > 50
    assert counts["b"] > 50


def test_a_table_that_changes_its_shape_again_and_again(bench: Bench) -> None:
    bench.run("create table a (id int primary key, n int)")
    pair = bench.pair("a")
    bench.run(
        "insert into a values (1, 1)",
        "alter table a add column t text",
        "insert into a values (2, 2, 'two')",
        "alter table a add column d date",
        "insert into a values (3, 3, 'three', '2026-01-01')",
        "alter table a rename column t to words",
        "update a set words = 'zwei' where id = 2",
        "alter table a drop column n",
        "insert into a values (4, 'four', null)",
    )
    native, engine = pair.entries(pair.native)[table("a")], pair.entries(pair.engine)[table("a")]
    ours = [e for e in native if isinstance(e, ChangeBatch)]
    theirs = [e for e in engine if isinstance(e, ChangeBatch)]
    assert [e.schema.names for e in theirs] == [e.schema.names for e in ours]
    assert [[c.source_id for c in e.schema.columns] for e in theirs] == [
        [c.source_id for c in e.schema.columns] for e in ours
    ]
    assert [e.frame["after"].to_list() for e in theirs] == [e.frame["after"].to_list() for e in ours]


def test_every_type_is_the_same_or_refused(bench: Bench) -> None:
    bench.run(*(part for part in SETUP.split(";\n") if part.strip()))
    cases = {f"t{n}": case for n, case in enumerate(CASES) if _possible(case)}
    for name, case in cases.items():
        bench.run(f"create table {name} (id int generated always as identity primary key, c {case.type})")
        bench.run(f"alter table {name} replica identity full")
    pair = bench.pair(*cases)
    for name, case in cases.items():
        written = [None if value is None else case.write(value) for value in case.examples(6)]
        values = [value for value in [*written, *case.odd] if value is None or _readable(case, value)]
        with bench.session.cursor() as cursor:
            for value in values:
                with suppress(psycopg2.Error):  # a regclass of a table that is not there, xml of another version
                    cursor.execute(f"insert into {name} (c) values (%s)", [value])
        bench.run(f"update {name} set c = null where id = 2", f"delete from {name} where id = 3")
    assert sum(assert_same(pair).values()) > 500


def test_types_that_debezium_has_otherwise_are_refused(bench: Bench) -> None:
    bench.run(*(part for part in SETUP.split(";\n") if part.strip()))
    types = sorted({*REFUSED, *(case.type for case in CASES if case.type.endswith("]"))} - {"pair[]"})
    for number, type_ in enumerate(types):
        bench.run(f"create table r{number} (id int primary key, c {type_})")
        with pytest.raises(NotUnderstood, match="column 'c': Debezium does not have"):
            bench.pair(f"r{number}")


def _possible(case: Case) -> bool:
    arrays = case.type.endswith("]")
    return case.type not in REFUSED and not arrays and not case.needs and "vec" not in case.type


def _readable(case: Case, value: str) -> bool:
    """Dates outside of the years 1 to 9999 are refused one by one; a number of thousands of digits takes long."""
    far = case.type in ("date", "day") or case.type.startswith("timestamp")
    return len(value) < 3000 and not (far and ("BC" in value or value[:1] + value[4:5] not in ("0-", "1-", "2-")))


def test_a_transaction_larger_than_a_stretch_comes_in_parts(bench: Bench) -> None:
    bench.run("create table a (id int primary key, t text)", "create table b (id int primary key)")
    pair = bench.pair("a", "b", stretch_bytes=200_000)
    bench.run("insert into a select n, 'before' from generate_series(1, 10) n")
    bench.run(
        "begin; insert into a select n, 'large' from generate_series(11, 6000) n; insert into b values (1);"
        " update a set t = 'last' where id = 1; commit"
    )
    bench.run("delete from a where id = 2")
    captured = pair.read(pair.engine)
    inside = [c.upto for c in captured if c.upto.ordinal]
    assert len(inside) > 3
    assert inside == sorted(inside)
    assert_same(pair)
    # Inside the large transaction: what is left of it, and the rest.
    middle = inside[len(inside) // 2]
    left = pair.read(pair.engine, middle)
    rest = merged([e for c in left for e in c.entries if e.table == table("a")])
    everything = merged([e for c in captured for e in c.entries if e.table == table("a")])
    (whole,), (part,) = everything, rest
    assert isinstance(whole, ChangeBatch)
    assert isinstance(part, ChangeBatch)
    behind = whole.frame.filter(
        (pl.col("at") > middle.at) | ((pl.col("at") == middle.at) & (pl.col("ordinal") >= middle.ordinal))
    )
    assert part.frame.filter(
        pl.struct("at", "ordinal").is_in(behind.select(pl.struct("at", "ordinal")).to_series().implode())
    ).equals(behind)


def test_the_slot_moves_when_it_is_told_to_and_never_into_a_transaction(bench: Bench) -> None:
    bench.run("create table a (id int primary key)")
    pair = bench.pair("a")
    bench.run("insert into a values (1)", "insert into a values (2)")
    batch = pair.read(pair.engine)[0].batches[0]
    with bench.session.cursor() as cursor:
        mark = "select (confirmed_flush_lsn - '0/0')::bigint, active from pg_replication_slots where slot_name = %s"
        cursor.execute(mark, [f"{bench.state.database}_e"])
        (untouched, active) = cursor.fetchone() or (0, True)
        assert untouched <= pair.start.at
        assert not active
        second = int(batch.frame["at"][1])
        pair.engine.acknowledge(Position(second))  # as a log says that took on a shape before the change
        cursor.execute(mark, [f"{bench.state.database}_e"])
        assert (cursor.fetchone() or (0,))[0] == untouched
        pair.engine.acknowledge(Position(second + 1))
        cursor.execute(mark, [f"{bench.state.database}_e"])
        assert (cursor.fetchone() or (0,))[0] == second + 1
    assert [c.entries for c in pair.read(pair.engine, Position(second + 1))] == [()]
