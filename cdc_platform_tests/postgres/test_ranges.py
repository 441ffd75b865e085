"""Key ranges on a real server: whole tables in pieces, whatever the key."""

from __future__ import annotations

import datetime as dt

import psycopg2
import pytest

from cdc_platform.model.key_range import WHOLE, Bound, KeyRange
from cdc_platform.sources.postgres.ranges import ranged, step, where
from cdc_platform.sources.postgres.snapshot import PostgresSnapshot
from cdc_platform_tests.key_ranges import check_split, read
from cdc_platform_tests.postgres.conftest import Database, table

A = table("a")

KEYS = {
    "smallint": "select generate_series(-32768, 32767, 2111)",
    "int": "values (-2147483648), (-1), (0), (1), (2), (3), (5), (1000000), (2147483646), (2147483647)",
    "bigint": "values (-9223372036854775808), (-9007199254740993), (-9007199254740992), (0), (9223372036854775807)",
    "oid": "values (0::oid), (1), (2147483648), (4294967295)",
    "numeric(38,10)": "select n * 1.5e26 + 0.0000000001 from generate_series(-6, 6) n",
    "numeric(3,-2)": "select n * 700 from generate_series(-7, 7) n",
    "numeric(5)": "select n from generate_series(-7, 7) n",
    "date": "select date '4714-11-24 BC' + n * 100000001 from generate_series(0, 21) n",
    "timestamp": "values ('4714-11-24 00:00:00 BC'::timestamp), ('1969-12-31 23:59:59.999999'), ('2000-01-01'),"
    " ('2000-01-01 00:00:00.000001'), ('2000-01-01 00:00:00.000002'), ('294247-01-10 04:00:54.775806')",
    "timestamptz": "select timestamptz '2024-03-30 20:00+00' + n * interval '17 minutes 0.000001 seconds'"
    " from generate_series(-7, 7) n",
    "uuid": "select md5(n::text)::uuid from generate_series(1, 15) n",
    "bytea": r"select distinct decode(left(md5((n % 50)::text), n % 5 * 2), 'hex') from generate_series(1, 200) n",
    "number": "select n / 1000.0 from generate_series(-7, 7) n",
}
"""Types, with a statement that gives keys of them."""

UNORDERED = {
    "text": "values ('a'), ('B'), ('b')",
    "numeric": "values (1.0), (2.00)",
    "double precision": "values (1), ('NaN'::float8)",
    "boolean": "values (true), (false)",
    "time": "values ('24:00'::time), ('01:00')",
}


@pytest.fixture
def keyed(database: Database) -> Database:
    database.run("create domain number as numeric(8,3)")
    return database


def test_each_orderly_key_is_split_without_loss(keyed: Database) -> None:
    for number, (kind, keys) in enumerate(KEYS.items()):
        keyed.run(f'create table t{number} ("the ""key" {kind} primary key, v int default 1)')
        keyed.run(f'insert into t{number} ("the ""key") select * from ({keys}) keys (k)')
    tables = [table(f"t{number}") for number in range(len(KEYS))]
    source = keyed.source()
    source.prepare(tables)
    with source.snapshot(tables) as snapshot:
        for name in tables:
            for rows in (1, 3):
                ranges = check_split(snapshot, name, rows)
                assert len(ranges) == -(-snapshot.count(name) // rows)


def test_other_keys_are_one_range(keyed: Database) -> None:
    for number, (kind, keys) in enumerate(UNORDERED.items()):
        keyed.run(f"create table t{number} (k {kind} primary key)")
        keyed.run(f"insert into t{number} select * from ({keys}) keys (k)")
    keyed.run("create table none (k int)")
    tables = [*(table(f"t{number}") for number in range(len(UNORDERED))), table("none")]
    source = keyed.source()
    source.prepare(tables)
    with source.snapshot(tables) as snapshot:
        for name in tables:
            assert snapshot.split(name, 1) == [WHOLE]
            assert read(snapshot, name, WHOLE).height == snapshot.count(name)


def test_a_skewed_leading_column(keyed: Database) -> None:
    """Rows that share it stay together; half of them have one, and it is neither the first nor the last."""
    keyed.run("create table a (shop int, id int, primary key (shop, id))")
    keyed.run("insert into a select case when n % 2 = 0 then 7 else n - 500 end, n from generate_series(1, 1000) n")
    source = keyed.source()
    source.prepare([A])
    with source.snapshot([A]) as snapshot:
        ranges = check_split(snapshot, A, 100)
    assert KeyRange(("shop",), (7,), (9,)) in ranges
    assert len(ranges) in (6, 7, 8)


def test_infinite_keys_are_in_the_outermost_ranges(keyed: Database) -> None:
    """They stop the table when they are read, and only then."""
    keyed.run("create table a (d date primary key)")
    keyed.run("insert into a values ('-infinity'), ('infinity'), ('2020-01-01'), ('2020-01-02'), ('2020-01-03')")
    source = keyed.source()
    source.prepare([A])
    with source.snapshot([A]) as snapshot:
        first, middle, last = snapshot.split(A, 1)
        assert (first.low, last.high) == (None, None)
        assert read(snapshot, A, middle)["d"].to_list() == [dt.date(2020, 1, 2)]


def test_an_index_that_is_the_replica_identity(keyed: Database) -> None:
    """The key is its columns, which are not to be null, and stay so."""
    keyed.run("create table a (id int primary key, code int not null, unique (code))")
    keyed.run("alter table a replica identity using index a_code_key")
    keyed.run("insert into a select n, -n from generate_series(1, 10) n")
    source = keyed.source()
    source.prepare([A])
    with source.snapshot([A]) as snapshot:
        assert check_split(snapshot, A, 4)[0].columns == ("code",)
    with pytest.raises(psycopg2.Error, match="replica identity"):
        keyed.run("alter table a alter code drop not null")


def test_a_partitioned_table(keyed: Database) -> None:
    keyed.run("create table a (id int primary key, v int) partition by range (id)")
    keyed.run("create table a1 partition of a for values from (0) to (50);"
              " create table a2 partition of a for values from (50) to (100)")  # fmt: skip
    keyed.run("insert into a select n, n from generate_series(0, 99) n")
    source = keyed.source()
    source.prepare([A])
    with source.snapshot([A]) as snapshot:
        assert len(check_split(snapshot, A, 30)) == 4


def test_the_index_serves_range_and_step(keyed: Database) -> None:
    """A range is not read by looking at the whole table."""
    for number, (kind, _) in enumerate(KEYS.items()):
        keyed.run(f"create table t{number} (k {kind} primary key)")
    tables = [table(f"t{number}") for number in range(len(KEYS))]
    source = keyed.source()
    source.prepare(tables)
    with source.snapshot(tables) as snapshot:
        for name in tables:
            assert isinstance(snapshot, PostgresSnapshot)
            shape = snapshot.tables.shapes[name]
            column = ranged(shape)
            assert column is not None
            low: Bound = {"uuid": "00000000-0000-0000-0000-000000000000", "bytea": "00"}.get(column.source_type, 0)
            keyed.run("set enable_seqscan = off")
            plans = [
                keyed.run(f"explain select * from public.{name.name}{where(shape, KeyRange((column.name,), (low,)))}"),
                keyed.run(f"explain {step(shape, column, low, None, beyond=False, rows=10)}"),
            ]
            for plan in plans:
                assert any("Index Cond" in line for (line,) in plan), (column.source_type, plan)
