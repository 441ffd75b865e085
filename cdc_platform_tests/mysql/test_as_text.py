"""Dates that no calendar has: a stop by default, the server's own text where the column is named in `as_text`."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.images import images, opened
from cdc_platform_tests.mysql.test_types import decimals

COLUMNS = {
    "d": "date", "m": "datetime", "m3": "datetime(3)", "m6": "datetime(6)", "s": "timestamp null",
    "s2": "timestamp(2) null", "s6": "timestamp(6) null", "y": "year", "p": "decimal(10,2)", "w": "decimal(38,0)",
    "h": "decimal(65,30)", "f": "decimal(9,9)", "z": "decimal(12,3) unsigned zerofill",
}  # fmt: skip


def dates(first: int = 0) -> st.SearchStrategy[str]:
    """Also those that no calendar has: months and days 0, February 30, the year 0."""
    usual = st.tuples(st.integers(first, 9999), st.integers(0, 12), st.integers(0, 31))
    return (usual | st.just((0, 0, 0))).map(lambda parts: "{:04d}-{:02d}-{:02d}".format(*parts))


CLOCKS = st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999_999)).map(
    lambda parts: "{:02d}:{:02d}:{:02d}.{:06d}".format(*parts)
)
MOMENTS = st.tuples(dates(), CLOCKS).map(" ".join)
STAMPS = st.just("0000-00-00 00:00:00") | st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2038, 1, 18)).map(
    lambda moment: moment.isoformat(" ", "microseconds")
)
VALUES = st.tuples(
    dates(), MOMENTS, MOMENTS, MOMENTS, STAMPS, STAMPS, STAMPS, st.just(0) | st.integers(1901, 2155),
    decimals(10, 2), decimals(38, 0), decimals(65, 30), decimals(9, 9), decimals(12, 3).map(Decimal.copy_abs),
)  # fmt: skip


@pytest.fixture
def lenient(database: Database) -> Database:
    database.run("set sql_mode = 'ALLOW_INVALID_DATES'", "set time_zone = '+00:00'")
    return database


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(st.lists(VALUES | st.just((None,) * len(COLUMNS)), min_size=30, max_size=100))
def test_every_date_is_the_servers_text(lenient: Database, rows: list[tuple[object, ...]]) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    lenient.run(f"create table if not exists t ({columns}, n int not null default 0)")
    with opened(lenient) as source:
        start = source.head()
    names = ", ".join(COLUMNS)
    lenient.run("begin", f"insert into t ({names}) values ({', '.join(['%s'] * len(COLUMNS))})", rows=rows)
    lenient.run("commit")
    plain = [f"cast({name} as char)" if name != "z" else "cast(cast(z as decimal(12,3)) as char)" for name in COLUMNS]
    wanted = lenient.query(f"select {', '.join(plain)} from t")
    taken = images(lenient, "t", start, {lenient.table("t"): tuple(COLUMNS)})
    assert taken.rows() == wanted


def test_other_time_zones_change_nothing(lenient: Database) -> None:
    lenient.run("set time_zone = '+05:00'", "create table t (s timestamp(3) null, n int default 0)")
    with opened(lenient) as source:
        start = source.head()
    lenient.run("insert into t (s) values ('2024-02-29 03:00:00.125'), ('0000-00-00')")
    wanted = [("2024-02-28 22:00:00.125",), ("0000-00-00 00:00:00.000",)]
    assert images(lenient, "t", start, {lenient.table("t"): ["s"]}).rows() == wanted


@pytest.mark.parametrize("kind", ["date", "datetime(6)", "timestamp", "timestamp(3)"])
@pytest.mark.parametrize("value", ["0000-00-00", "2024-00-15", "2024-02-30"])
def test_without_the_option_such_dates_stop_the_table(lenient: Database, kind: str, value: str) -> None:
    lenient.run(f"create table t (m {kind} null)")
    with opened(lenient) as source:
        start = source.head()
    lenient.run("insert into t values ('2024-01-01')", f"insert ignore into t values ('{value}')")
    failures = [failure for one in lenient.changes("t", start=start) for failure in one.failures.values()]
    with opened(lenient) as source, source.snapshot([]) as snapshot, pytest.raises(InvalidRow) as error:
        list(snapshot.read(lenient.table("t")))
    for message in (*map(str, failures), str(error.value)):
        assert re.search(r"t, column m at .*: the value is a zero or impossible date", message)
        assert "source.tables[].as_text" in message
    assert [type(failure) for failure in failures] == [InvalidRow]


@pytest.mark.parametrize(
    ("column", "message"),
    [("x", r"as_text: .*\.t has no column 'x'; it has i, d, c"), ("i", "column i is int; only date, datetime, decimal"),
     ("c", r"column c is varchar\(9\)")],
)  # fmt: skip
def test_what_cannot_be_taken_as_text(database: Database, column: str, message: str) -> None:
    database.run("create table t (i int, d date, c varchar(9))")
    table = database.table("t")
    with opened(database, {table: ["d", column]}) as source:
        with pytest.raises(ConfigError, match=message):
            source.prepare([table])
        with pytest.raises(ConfigError, match=message):
            source.schemas([table])


def test_the_schema_says_text(database: Database) -> None:
    database.run("create table t (d date, e date)")
    table = database.table("t")
    with opened(database, {table: ["d"]}) as source:
        columns = source.schemas([table])[table].columns
    assert [(column.name, str(column.type), column.source_type) for column in columns] == [
        ("d", "string", "date"), ("e", "date32[day]", "date"),
    ]  # fmt: skip
