"""Every type through both paths, with the server as the oracle: the snapshot's value and the stream's are the same.

Where Arrow holds text it is the server's text of the value, else it is the value that was put in.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_platform.errors import InvalidRow
from cdc_platform.sources.cells import polars_type
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests.postgres.conftest import Database, follow, table

A = table("a")


@dataclass(frozen=True)
class Case:
    """A column's type, values for it and how they are written in SQL. `arrow` is what the type becomes.

    `same` gives the Python value that comes back; without it, what comes back is the server's text of the value.
    """

    type: str
    values: st.SearchStrategy[Any]
    write: Callable[[Any], str] = str
    arrow: str = "string"
    same: Callable[[Any], Any] | None = None


def itself(value: Any) -> Any:
    return value


def fixed(value: Decimal) -> str:
    return f"{value:f}"


def numbers(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda number: Decimal(f"{number}e{-scale}"))


def list_of(value: Sequence[Any]) -> str:
    return "{" + ",".join("NULL" if item is None else str(item) for item in value) + "}"


UNICODE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
INT = st.integers(-(2**31), 2**31 - 2)
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
ADDRESSES = st.ip_addresses().map(str)
CLOCK = st.times().map(dt.time.isoformat)
RANGES = st.tuples(INT, INT).map(lambda pair: f"[{min(pair)},{max(pair)}]")
SCALARS = st.none() | st.booleans() | INT | WORDS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner), max_leaves=6)
UTC = st.datetimes(timezones=st.just(dt.UTC))
ODD_NUMBERS = st.sampled_from(["NaN", "Infinity", "-Infinity", "0", "0.000", "-0.10", "1e40", "1e-40"])

CASES = [
    Case("boolean", st.booleans(), arrow="bool", same=itself),
    Case("smallint", st.integers(-(2**15), 2**15 - 1), arrow="int16", same=itself),
    Case("integer", st.integers(-(2**31), 2**31 - 1), arrow="int32", same=itself),
    Case("bigint", st.integers(-(2**63), 2**63 - 1), arrow="int64", same=itself),
    Case("real", st.floats(width=32), repr, "float", itself),
    Case("double precision", st.floats(), repr, "double", itself),
    Case("numeric(12,2)", numbers(12, 2), fixed, "decimal128(12, 2)", itself),
    Case("numeric(38,10)", numbers(38, 10), fixed, "decimal128(38, 10)", itself),
    Case("numeric(5)", numbers(5, 0), fixed, "decimal128(5, 0)", itself),
    Case("text", UNICODE, same=itself),
    Case("varchar(30)", UNICODE, same=itself),
    Case("char(30)", UNICODE, same=lambda value: value.ljust(30)),
    Case("bytea", st.binary(max_size=40), lambda value: "\\x" + value.hex(), "binary", itself),
    Case("date", st.dates(), dt.date.isoformat, "date32[day]", itself),
    Case("timestamp", st.datetimes(), dt.datetime.isoformat, "timestamp[us]", itself),
    Case("timestamp(0)", st.datetimes().map(lambda value: value.replace(microsecond=0)), str, "timestamp[us]", itself),
    Case("timestamptz", UTC, dt.datetime.isoformat, "timestamp[us, tz=UTC]", itself),
    Case("number", numbers(8, 3), fixed, "decimal128(8, 3)", itself),
    Case("word", WORDS, same=itself),
    Case("numeric", numbers(60, 20).map(fixed) | ODD_NUMBERS),
    Case("numeric(50,4)", numbers(46, 4), fixed),
    Case("numeric(3,-2)", st.integers(-999, 999).map(lambda value: value * 100)),
    Case("json", JSON, json.dumps),
    Case("jsonb", JSON, json.dumps),
    Case("uuid", st.uuids()),
    Case("mood", st.sampled_from(["so so", "good", "'quoted'"])),
    Case("inet", ADDRESSES),
    Case("cidr", ADDRESSES),
    Case("macaddr", st.binary(min_size=6, max_size=6), bytes.hex),
    Case("interval", st.timedeltas(), lambda value: f"{value.days} days {value.seconds}.{value.microseconds:06} sec"),
    Case("time", CLOCK),
    Case("timetz", CLOCK, lambda value: value + "+05:30"),
    Case("money", st.integers(-(2**50), 2**50).map(lambda value: Decimal(f"{value}e-2")), fixed),
    Case("integer[]", st.lists(st.none() | INT, max_size=5), list_of),
    Case("integer[][]", st.tuples(INT, INT).map(list_of), lambda value: f"{{{value},{value}}}"),
    Case("text[]", st.lists(WORDS, max_size=3), list_of),
    Case("timestamptz[]", UTC, lambda value: f'{{"{value.isoformat()}"}}'),
    Case("bytea[]", st.binary(max_size=9), lambda value: '{"\\\\x' + value.hex() + '"}'),
    Case("real[]", st.lists(st.floats(width=32), max_size=3), list_of),
    Case("int4range", RANGES),
    Case("int8multirange", RANGES, lambda value: "{" + value + "}"),
    Case("bit(5)", st.integers(0, 31), lambda value: f"{value:05b}"),
    Case("varbit", st.integers(0, 2**20), lambda value: f"{value:b}"),
    Case("tsvector", st.lists(WORDS), " ".join),
    Case("tsquery", WORDS),
    Case("point", st.tuples(INT, INT)),
    Case("box", st.tuples(INT, INT), lambda value: f"{value},(1,1)"),
    Case("oid", st.integers(0, 2**32 - 1)),
    Case("name", WORDS),
    Case('"char"', WORDS.map(lambda word: word[0])),
    Case("regclass", st.sampled_from(["public.a", "pg_class"])),
    Case("pg_lsn", st.integers(0, 2**31), lambda value: f"0/{value:X}"),
    Case("citext", WORDS),
    Case("hstore", WORDS, lambda value: f'"{value}"=>"x"'),
    Case("pair", st.tuples(INT, WORDS), lambda value: f"({value[0]},{value[1]})"),
    Case("moods", st.sampled_from(["{good}", '{"so so",good}', "{}"])),
]

SETUP = """
create type mood as enum ('so so', 'good', '''quoted''');
create type pair as (number int, label text);
create domain small_number as numeric(8,3);
create domain number as small_number;
create domain word as varchar(20) check (value <> '');
create domain moods as mood[];
create extension citext;
create extension hstore;
"""


def prepared(database: Database, types: Sequence[str]) -> PostgresSource:
    """Table a with columns c0, c1, ... of these types, and a source that follows it."""
    columns = ", ".join(f"c{place} {type_}" for place, type_ in enumerate(types))
    database.run(f"create table a (id int generated always as identity primary key, {columns})")
    source = database.source()
    source.prepare([A])
    return source


def both_paths(database: Database, source: PostgresSource, rows: Sequence[Sequence[str | None]]) -> list[pl.DataFrame]:
    """Table a as the stream and as the snapshot have it after its rows are replaced by `rows`, written as text."""
    places = range(len(rows[0]))
    names, row = ", ".join(f"c{place}" for place in places), "(" + ", ".join("%s" for _ in places) + ")"
    start = source.head()
    database.run("delete from a")
    database.run(f"insert into a ({names}) values " + ", ".join(row for _ in rows), *(v for r in rows for v in r))
    until = source.head()
    captured = follow(source, [A], start, until)
    assert not any(c.failures for c in captured)
    source.acknowledge(until)
    after = [b.frame.filter(pl.col("operation") == "INSERT")["after"] for c in captured for b in c.batches]
    with source.snapshot([A]) as snapshot:
        read = [batch.frame["after"] for batch in snapshot.read(A)]
    return [pl.concat(side).struct.unnest().sort("id").drop("id") for side in (after, read)]


def server_texts(database: Database, count: int) -> list[list[str | None]]:
    """Each column of table a as the server writes it in a session with the settings of those that read."""
    texts = ", ".join(f"case num_nonnulls(c{i}) when 1 then format('%s', c{i}) end" for i in range(count))
    with closing(database.connection().control()) as session, session.cursor() as cursor:
        cursor.execute(f"select {texts} from public.a order by id")
        return [list(column) for column in zip(*cursor.fetchall(), strict=True)]


def test_every_type_is_the_same_in_snapshot_and_stream(database: Database) -> None:
    database.run(SETUP)
    source = prepared(database, [case.type for case in CASES])
    shape = source.schemas([A])[A]
    assert [str(column.type) for column in shape.columns[1:]] == [case.arrow for case in CASES]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(*(st.none() | case.values for case in CASES)), min_size=1, max_size=12))
    def same(rows: list[tuple[Any, ...]]) -> None:
        texts = [[None if v is None else c.write(v) for c, v in zip(CASES, row, strict=True)] for row in rows]
        stream, snapshot = both_paths(database, source, texts)
        server = server_texts(database, len(CASES))
        for place, case in enumerate(CASES):
            got = stream[f"c{place}"]
            assert got.dtype == polars_type(shape.column(f"c{place}").type), case.type
            assert got.equals(snapshot[f"c{place}"], check_dtypes=True), case.type
            if case.same is None:
                assert got.to_list() == server[place], case.type
            else:
                put_in = (None if row[place] is None else case.same(row[place]) for row in rows)
                for one, other in zip(got.to_list(), put_in, strict=True):
                    assert identical(one, other), case.type

    same()


def identical(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return bool(one == other and str(one) == str(other))


def test_moments_that_python_has_not(database: Database) -> None:
    source = prepared(database, ["date", "timestamp", "timestamptz"])
    rows = [
        ("4714-11-24 BC", "4714-11-24 00:00:00 BC", "4714-11-24 00:00:00+00 BC"),
        ("0001-01-01 BC", "0044-03-15 12:34:56.789012 BC", "0044-03-15 12:34:56.7+00 BC"),
        ("10000-01-01", "10000-01-01 00:00:00.000001", "10000-01-01 00:00:00+00"),
        ("5874897-12-31", "294246-12-31 23:59:59.999999", "294246-12-31 23:59:59.999999+00"),
    ]
    stream, snapshot = both_paths(database, source, rows)
    assert stream.equals(snapshot)
    days = database.run("select c0 - date '1970-01-01' from a order by id")
    micros = database.run("select (extract(epoch from c1) * 1000000)::bigint from a order by id")
    assert stream["c0"].to_physical().to_list() == [day for (day,) in days]
    assert stream["c1"].to_physical().to_list() == [micro for (micro,) in micros]


REFUSED = [
    ("date", "infinity"),
    ("date", "-infinity"),
    ("timestamp", "infinity"),
    ("timestamp", "-infinity"),
    ("timestamp", "294276-12-31 23:59:59.999999"),  # Postgres' last moment is past 64 bits of us since 1970
    ("timestamptz", "infinity"),
    ("timestamptz", "-infinity"),
    ("numeric(10,2)", "NaN"),
    ("numeric(38,10)", "NaN"),
]


@pytest.mark.parametrize(("type_", "value"), REFUSED)
def test_what_arrow_cannot_hold_stops_either_path(database: Database, type_: str, value: str) -> None:
    source = prepared(database, [type_, "int"])
    start = source.head()
    database.run("insert into a (c0, c1) values (null, 1), (%s, 2)", value)
    (failure,) = [c.failures[A] for c in follow(source, [A], start) if c.failures]
    with source.snapshot([A]) as snapshot, pytest.raises(InvalidRow) as caught:
        list(snapshot.read(A))
    for error in (failure, caught.value):
        assert isinstance(error, InvalidRow)
        assert "public.a: column 'c0' of" in str(error)
        assert value not in str(error)


def test_settings_of_the_database_and_the_role_do_not_reach_values(database: Database) -> None:
    for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Asia/Tokyo'", "bytea_output = 'escape'",
                    "intervalstyle = 'iso_8601'", "extra_float_digits = 0", "statement_timeout = '1ms'"):  # fmt: skip
        database.run(f"alter database {database.state.database} set {setting}")
    source = prepared(database, ["date", "timestamptz", "bytea", "interval", "double precision"])
    rows = [("2020-12-31", "2020-12-31 12:00:00+00", "\\x0001ff", "1 mon 2 days 03:04:05", "0.1")]
    stream, snapshot = both_paths(database, source, rows)
    assert stream.equals(snapshot)
    moment = dt.datetime(2020, 12, 31, 12, tzinfo=dt.UTC)
    assert stream.row(0) == (moment.date(), moment, b"\0\1\xff", "1 mon 2 days 03:04:05", 0.1)
