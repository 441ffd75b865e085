"""Key ranges on a real server: whole tables in pieces, whatever the key."""

from __future__ import annotations

import pytest

from cdc_platform.errors import InvalidRow
from cdc_platform.model.key_range import WHOLE, KeyRange
from cdc_platform.sources.mysql.ranges import step, where
from cdc_platform.sources.mysql.snapshot import MySQLSnapshot
from cdc_platform_tests.key_ranges import check_split, read
from cdc_platform_tests.mysql.conftest import Database

KEYS: dict[str, list[object]] = {
    "tinyint": [*range(-128, 128, 17)],
    "int": [-(2**31), -1, 0, 1, 2, 3, 5, 10**6, 2**31 - 1],
    "bigint": [-(2**63), -(2**53) - 1, -(2**53), 0, 2**63 - 1],
    "bigint unsigned": [0, 1, 2**63, 2**64 - 2, 2**64 - 1],
    "int unsigned": [0, 1, 2**31, 2**32 - 1],
    "int(12) zerofill": [0, 7, 2**32 - 1],
    "decimal(38,10)": [f"{n * 15}e26" for n in range(-6, 7)],
    "decimal(5,2)": [f"{n}.07" for n in range(-6, 7)],
    "date": ["0001-01-01", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"],
    "datetime": ["0001-01-01 00:00:00", "1969-12-31 23:59:59", "2024-02-29 12:00:00", "9999-12-31 23:59:59"],
    "datetime(6)": ["1969-12-31 23:59:59.999999", "2000-01-01", "2000-01-01 00:00:00.000001", "9999-12-31 23:59:59.9"],
    "timestamp(3)": ["1971-01-01 00:00:00.001", "2024-03-31 01:59:59.999", "2024-03-31 02:00:00", "2037-12-31"],
    "binary(3)": [b"", b"\0\0\1", b"'\\%", b"\xff\xff\xff", b"a"],
    "varbinary(20)": [b"", b"\0", b"a", b"a\0", b"a b", b"\xff" * 20],
}
UNORDERED: dict[str, list[object]] = {
    "varchar(20)": ["a", "B"],
    "double": [1.5, 2.5],
    "year": [1970, 2070],
    "time": ["-01:00:00", "25:00:00"],
    "decimal(65,30)": ["1", "2"],
    "enum('b','a')": ["a", "b"],
}


@pytest.fixture
def keyed(database: Database) -> Database:
    database.run("set sql_mode = 'STRICT_ALL_TABLES'", "set time_zone = '+00:00'")
    return database


def test_each_orderly_key_is_split_without_loss(keyed: Database) -> None:
    tables = []
    for number, (kind, keys) in enumerate(KEYS.items()):
        keyed.run(f"create table t{number} (`the ``key` {kind} primary key, v int default 1)")
        keyed.run(f"insert into t{number} (`the ``key`) values (%s)", rows=[(key,) for key in keys])
        tables.append(keyed.table(f"t{number}"))
    with keyed.source().snapshot(tables) as snapshot:
        for name in tables:
            for rows in (1, 3):
                ranges = check_split(snapshot, name, rows)
                assert len(ranges) == -(-snapshot.count(name) // rows)


def test_other_keys_are_one_range(keyed: Database) -> None:
    tables = []
    for number, (kind, keys) in enumerate(UNORDERED.items()):
        keyed.run(f"create table t{number} (k {kind} primary key)")
        keyed.run(f"insert into t{number} values (%s)", rows=[(key,) for key in keys])
        tables.append(keyed.table(f"t{number}"))
    keyed.run("create table none (k int)")
    tables.append(keyed.table("none"))
    with keyed.source().snapshot(tables) as snapshot:
        for name in tables:
            assert snapshot.split(name, 1) == [WHOLE]
            assert read(snapshot, name, WHOLE).height == snapshot.count(name)


def test_a_skewed_leading_column(keyed: Database) -> None:
    """Rows that share it stay together; half of them have one, and it is neither the first nor the last."""
    keyed.run("create table a (shop int, id int, primary key (shop, id))")
    keyed.run(
        "begin", "insert into a values (%s, %s)",
        rows=[(7 if n % 2 == 0 else n - 500, n) for n in range(1, 1001)],
    )  # fmt: skip
    keyed.run("commit")
    a = keyed.table("a")
    with keyed.source().snapshot([a]) as snapshot:
        ranges = check_split(snapshot, a, 100)
    assert KeyRange(("shop",), (7,), (9,)) in ranges
    assert len(ranges) in (6, 7, 8)


def test_an_impossible_date_stops_as_when_it_is_read(keyed: Database) -> None:
    keyed.run("set sql_mode = 'ALLOW_INVALID_DATES'", "create table a (d date primary key)")
    keyed.run("insert into a values ('2024-01-01'), ('2024-02-30'), ('2024-03-01')")
    a = keyed.table("a")
    with keyed.source().snapshot([a]) as snapshot:
        with pytest.raises(InvalidRow, match="zero or impossible date"):
            snapshot.split(a, 1)
        with pytest.raises(InvalidRow, match="zero or impossible date"):
            read(snapshot, a)


def test_the_index_serves_the_range(keyed: Database) -> None:
    """A range is not read by looking at the whole table."""
    for number, (kind, keys) in enumerate(KEYS.items()):
        keyed.run(f"create table t{number} (k {kind} primary key, v int default 1)")
        keyed.run(f"insert into t{number} (k) values (%s)", rows=[(key,) for key in keys])
        name = keyed.table(f"t{number}")
        with keyed.source().snapshot([name]) as snapshot:
            assert isinstance(snapshot, MySQLSnapshot)
            whole = snapshot.catalogue.tables([name])[name]
            for piece in snapshot.split(name, 1)[1:]:
                assert piece.low is not None
                for sql in (
                    f"select * from t{number} force index (primary){where(whole, piece)}",
                    step(whole, "k", piece.low[0], None, beyond=False, rows=1),
                ):
                    plan = keyed.query(f"explain {sql}")
                    assert "PRIMARY" in [str(cell) for cell in plan[0]], (kind, plan)
                    assert "ALL" not in [str(cell) for cell in plan[0]], (kind, plan)
