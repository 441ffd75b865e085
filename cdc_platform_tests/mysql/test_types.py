"""Every type: the same row through snapshot and stream is the same Arrow value, and that is what the server says."""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.model.evolution import carried
from cdc_platform.sources.cells import polars_type
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.images import images, opened
from cdc_platform_tests.mysql.test_failures import global_setting


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    return st.integers(-(10**precision) + 1, 10**precision - 1).map(
        lambda n: Decimal((n < 0, tuple(map(int, str(abs(n)))), -scale))
    )


def moments(first: int, last: int, digits: int) -> st.SearchStrategy[str]:
    step = 10 ** (6 - digits)
    return st.datetimes(dt.datetime(first, 1, 1), dt.datetime(last, 12, 31)).map(
        lambda m: m.replace(microsecond=m.microsecond // step * step).isoformat(" ", "microseconds")
    )


def times(digits: int) -> st.SearchStrategy[str]:
    def text(parts: tuple[bool, int, int, int, int]) -> str:
        negative, hours, minutes, seconds, fraction = parts
        after = f".{fraction:0{digits}d}" if digits else ""
        return f"{'-' if negative else ''}{hours:02d}:{minutes:02d}:{seconds:02d}{after}"

    sixty = st.integers(0, 59)
    return st.tuples(st.booleans(), st.integers(0, 837), sixty, sixty, st.integers(0, 10**digits - 1)).map(text)


def texts(most: int, alphabet: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8") if alphabet is None else alphabet, max_size=most)


LATIN1 = st.characters(codec="cp1252")
CYRILLIC = st.characters(codec="cp1251", exclude_characters="\x98")
LABELS = ("small", "it's", "a,b", "ünïcode ✓", "back\\slash", 'quo"te')
MANY = ", ".join(f"'m{number}'" for number in range(300))
MEMBERS = tuple(f"m{number}" for number in range(60))
ENUM = ", ".join("'" + label.replace("\\", "\\\\").replace("'", "''") + "'" for label in LABELS)
SET = ", ".join(f"'{member}'" for member in MEMBERS)

COORDINATES = st.floats(-1e9, 1e9).map(lambda number: number + 0.0)


def shape(kind: int, *places: tuple[float, float]) -> bytes:
    """A point or line in the server's own form: reference system 0, then WKB."""
    count = struct.pack("<I", len(places)) if kind > 1 else b""
    return struct.pack("<IBI", 0, 1, kind) + count + b"".join(struct.pack("<dd", *place) for place in places)


# What the driver makes of a cell is what Polars makes of it; of the others `expected` knows.
SAME_AS_PYMYSQL = {
    *("tiny", "small", "medium", "plain", "big", "tiny_unsigned", "plain_unsigned", "big_unsigned", "year", "day"),
    *("price", "whole", "wide", "moment", "moment6", "letters", "short", "prose", "western", "cyrillic", "member"),
    *("members", "of_many", "some_bytes", "lump", "place", "any_shape", "filled", "filled_big", "double"),
}
PRINTED = {"double": "`double` * 1e0"}

GROUPS: dict[str, tuple[str, ...]] = {
    "signed": ("tiny_flag", "tiny", "small", "medium", "plain", "big"),
    "unsigned": ("tiny_unsigned", "small_unsigned", "year", "medium_unsigned", "plain_unsigned", "big_unsigned"),
    "floats": ("single", "double"),
    "decimals": ("price", "whole", "fraction", "middle", "wide", "huge", "huge_fraction"),
    "bits": ("bit1", "bit13", "bit63", "bit64"),
    "moments": ("day", "moment", "moment3", "moment6", "stamp", "stamp1", "stamp6"),
    "times": ("clock", "clock2", "clock3", "clock6"),
    "texts": ("letters", "long_letters", "short", "longer", "prose", "small_prose", "long_prose"),
    "charsets": ("western", "cyrillic", "plain_ascii", "three_bytes"),
    "bytes": ("fixed_bytes", "long_fixed_bytes", "some_bytes", "lump", "long_lump"),
    "labels": ("member", "of_many", "members"),
    "zero filled": ("filled", "filled_big", "filled_price", "filled_double"),
    "shapes": ("place", "any_shape"),
}  # fmt: skip

TYPES: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "tiny_flag": ("tinyint(1)", integers(8)),
    "tiny": ("tinyint", integers(8)),
    "tiny_unsigned": ("tinyint unsigned", st.integers(0, 255)),
    "small": ("smallint", integers(16)),
    "small_unsigned": ("smallint unsigned", st.integers(0, 2**16 - 1)),
    "year": ("year", st.just(0) | st.integers(1901, 2155)),
    "medium": ("mediumint", integers(24)),
    "medium_unsigned": ("mediumint unsigned", st.integers(0, 2**24 - 1)),
    "plain": ("int", integers(32)),
    "plain_unsigned": ("int(10) unsigned zerofill", st.integers(0, 2**32 - 1)),
    "big": ("bigint", integers(64)),
    "big_unsigned": ("bigint unsigned", st.integers(0, 2**64 - 1)),
    "single": ("float", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "double": ("double", st.floats(allow_nan=False, allow_infinity=False)),
    "price": ("decimal(10,2)", decimals(10, 2)),
    "whole": ("decimal(18,0)", decimals(18, 0)),
    "fraction": ("decimal(9,9)", decimals(9, 9)),
    "wide": ("decimal(38,10)", decimals(38, 10)),
    "middle": ("decimal(19,4)", decimals(19, 4)),
    "huge": ("decimal(65,30)", decimals(65, 30)),
    "huge_fraction": ("decimal(40,30)", decimals(40, 30)),
    "bit1": ("bit(1)", st.integers(0, 1)),
    "bit13": ("bit(13)", st.integers(0, 2**13 - 1)),
    "bit63": ("bit(63)", st.integers(0, 2**63 - 1)),
    "bit64": ("bit(64)", st.integers(0, 2**64 - 1)),
    "day": ("date", st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "moment": ("datetime", moments(1, 9999, 0)),
    "moment3": ("datetime(3)", moments(1, 9999, 3)),
    "moment6": ("datetime(6)", moments(1, 9999, 6)),
    "stamp": ("timestamp null", moments(1971, 2037, 0)),
    "stamp1": ("timestamp(1) null", moments(1971, 2037, 1)),
    "stamp6": ("timestamp(6) null", moments(1971, 2037, 6)),
    "clock": ("time", times(0)),
    "clock2": ("time(2)", times(2)),
    "clock3": ("time(3)", times(3)),
    "clock6": ("time(6)", times(6)),
    "letters": ("char(10)", texts(10)),
    "long_letters": ("char(255)", texts(255)),
    "short": ("varchar(20)", texts(20)),
    "longer": ("varchar(300)", texts(300)),
    "prose": ("text", texts(400)),
    "small_prose": ("tinytext", texts(60)),
    "long_prose": ("longtext", texts(50)),
    "western": ("varchar(50) character set latin1", texts(50, LATIN1)),
    "cyrillic": ("varchar(50) character set cp1251", texts(50, CYRILLIC)),
    "plain_ascii": ("varchar(20) character set ascii", texts(20, st.characters(codec="ascii"))),
    "three_bytes": ("varchar(20) character set utf8mb3", texts(20, st.characters(max_codepoint=0xFFFF, codec="utf-8"))),
    "fixed_bytes": ("binary(6)", st.binary(max_size=6)),
    "some_bytes": ("varbinary(300)", st.binary(max_size=300)),
    "lump": ("blob", st.binary(max_size=300)),
    "long_lump": ("longblob", st.binary(max_size=30)),
    "long_fixed_bytes": ("binary(255)", st.binary(max_size=255)),
    "of_many": (f"enum({MANY})", st.integers(0, 299).map("m{}".format)),
    "member": (f"enum({ENUM})", st.sampled_from(LABELS)),
    "filled": ("int(255) zerofill", st.integers(0, 2**32 - 1)),
    "filled_big": ("bigint(30) zerofill", st.integers(0, 2**64 - 1)),
    "filled_price": ("decimal(65,30) zerofill", decimals(65, 30).map(Decimal.copy_abs)),
    "filled_double": ("double zerofill", st.floats(0, allow_nan=False, allow_infinity=False)),
    "place": ("point", st.tuples(COORDINATES, COORDINATES).map(lambda place: shape(1, place))),
    "any_shape": (
        "geometry",
        st.lists(st.tuples(COORDINATES, COORDINATES), min_size=2, max_size=9).map(lambda line: shape(2, *line)),
    ),
    "members": (f"set({SET})", st.sets(st.sampled_from(MEMBERS)).map(lambda s: ",".join(m for m in MEMBERS if m in s))),
}  # fmt: skip

NO_FRESH_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
def typed(database: Database) -> Database:
    database.run("set sql_mode = 'STRICT_ALL_TABLES'", "set time_zone = '+00:00'")
    return database


@pytest.mark.parametrize("group", GROUPS)
@settings(max_examples=12, deadline=None, suppress_health_check=NO_FRESH_FIXTURE)
@given(data=st.data())
def test_snapshot_stream_and_server_agree(typed: Database, group: str, data: st.DataObject) -> None:
    # One table for all examples: each leaves it empty, and DDL is what takes time.
    make_table(typed, GROUPS[group])
    columns = st.tuples(*(st.none() | TYPES[name][1] for name in GROUPS[group]))
    round_trip(typed, GROUPS[group], data.draw(st.lists(columns, min_size=1, max_size=30)))


@settings(max_examples=3, deadline=None, suppress_health_check=NO_FRESH_FIXTURE, phases=[Phase.generate])
@given(data=st.data())
def test_all_types_in_one_table(typed: Database, data: st.DataObject) -> None:
    make_table(typed, tuple(TYPES))
    rows = [tuple(data.draw(st.none() | strategy) for _, strategy in TYPES.values()) for _ in range(7)]
    round_trip(typed, tuple(TYPES), rows)


def test_the_groups_hold_every_type() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(TYPES)


def make_table(database: Database, names: tuple[str, ...]) -> None:
    columns = ", ".join(f"`{name}` {TYPES[name][0]}" for name in names)
    database.run(f"create table if not exists t ({columns}, n int not null default 0) character set utf8mb4")


def round_trip(database: Database, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Put rows in: snapshot and log must hold what the server was given, and what it prints."""
    wanted = [{name: expected(TYPES[name][0], value) for name, value in zip(names, row, strict=True)} for row in rows]
    with opened(database) as source:
        start = source.head()
    columns = ", ".join(f"`{name}`" for name in names)
    database.run("begin", f"insert into t ({columns}) values ({', '.join(['%s'] * len(names))})", rows=rows)
    database.run("commit")
    printed = database.query(f"select {', '.join(f'{PRINTED.get(name, name)}' for name in names)} from t")
    taken = images(database, "t", start)
    assert taken.to_dicts() == wanted
    for name, cells in zip(names, zip(*printed, strict=True), strict=True):
        if name in SAME_AS_PYMYSQL:
            assert taken[name].to_list() == list(cells)


def expected(kind: str, value: Any) -> Any:
    """What the server makes of a value that went in, in terms of Polars' Python values."""
    if value is None:
        return None
    base = kind.split("(")[0].split()[0]
    if base in ("datetime", "timestamp"):
        moment = dt.datetime.fromisoformat(value)
        return moment.replace(tzinfo=dt.UTC) if base == "timestamp" else moment
    if base == "time":
        return value if any(digit in value for digit in "123456789") else value.lstrip("-")
    if base == "char":
        return value.rstrip(" ")
    if base == "binary":
        return value.ljust(int(kind[7:-1]), b"\0")
    if kind == "bit(64)":
        return value.to_bytes(8, "big")
    if kind.startswith(("decimal(65,30)", "decimal(40,30)")):
        text = format(value, "f")
        return text[1:] if value == 0 and text.startswith("-") else text
    return value


def test_schema_says_the_types_that_are_delivered(typed: Database) -> None:
    make_table(typed, tuple(TYPES))
    table = typed.table("t")
    source = typed.source()
    schema = source.schemas([table])[table]
    start = source.head()
    typed.run("insert into t () values ()")
    with source.snapshot([]) as snapshot:
        (taken,) = snapshot.read(table)
    ((streamed,),) = [one.batches for one in typed.changes("t", start=start)]
    wanted = {column.name: polars_type(column.type) for column in schema.columns}
    for batch in (taken, streamed):
        assert dict(batch.frame["after"].struct.unnest().schema) == wanted
        assert carried(None, batch.schema) == carried(None, schema)  # ids come with the stream
    declared = {column.name: column.source_type for column in schema.columns}
    assert declared["plain_unsigned"] == "int unsigned"
    assert declared["letters"] == "char(10)"
    assert declared["moment3"] == "datetime(3)"
    assert declared["member"].startswith("enum('small','it''s'")


def test_generated_and_invisible_columns(typed: Database) -> None:
    typed.run(
        "create table t (id int primary key, a int, twice int as (a * 2) virtual, thrice int as (a * 3) stored,"
        " hidden varchar(9) default 'unseen' invisible, n int default 0)"
    )
    with opened(typed) as source:
        start = source.head()
    typed.run("insert into t (id, a) values (1, 5), (2, null)", "insert into t (id, hidden) values (3, 'seen')")
    assert images(typed, "t", start).rows() == [
        (1, 5, 10, 15, "unseen"), (2, None, None, None, "unseen"), (3, None, None, None, "seen"),
    ]  # fmt: skip


@pytest.mark.parametrize("metadata", ["less", "FULL"])
def test_character_sets_beside_geometry(typed: Database, metadata: str) -> None:
    """The log counts columns with collations; MariaDB counts geometry among them, MySQL does not."""
    less = "NO_LOG" if typed.mariadb else "MINIMAL"
    with global_setting(typed, "binlog_row_metadata", f"'{less if metadata == 'less' else metadata}'"):
        typed.run(
            "create table t (g point, l varchar(9) character set latin1, h geometry, x varchar(9),"
            " a blob, b blob, c blob, d blob, e blob, n int default 0) character set utf8mb4"
        )
        with opened(typed) as source:
            start = source.head()
        typed.run("insert into t (l, x, a) values ('é', 'é', 'é')")
        assert images(typed, "t", start).rows() == [(None, "é", None, "é", "é".encode(), *[None] * 4)]


def test_a_refused_label_is_the_empty_text(typed: Database) -> None:
    typed.run("set sql_mode = ''", "create table t (e enum('a', 'b'), s set('a', 'b'), n int default 0)")
    with opened(typed) as source:
        start = source.head()
    typed.run("insert ignore into t (e, s) values ('z', 'z'), ('b', 'a,b'), (0, 0)")
    assert images(typed, "t", start).rows() == [("", ""), ("b", "a,b"), ("", "")]


def test_a_minus_nought_is_kept(typed: Database) -> None:
    """Where the server keeps it: MariaDB makes nought of it."""
    typed.run("create table t (d double, f float, n int default 0)")
    with opened(typed) as source:
        start = source.head()
    typed.run("insert into t (d, f) values (-0e0, -0e0)")
    (row,) = images(typed, "t", start).rows()
    assert [math.copysign(1, cell) for cell in row] == [1 if typed.mariadb else -1] * 2


@pytest.mark.parametrize("zone", ["-11:30", "+13:00"])
def test_the_sessions_time_zones_change_nothing(typed: Database, zone: str) -> None:
    typed.run(f"set time_zone = '{zone}'", "create table t (s timestamp(6) null, m datetime(6), n int default 0)")
    with opened(typed) as source:
        start = source.head()
    typed.run("insert into t (s, m) values ('2024-02-29 12:00:00.000001', '2024-02-29 12:00:00.000001')")
    moment = dt.datetime(2024, 2, 29, 12, 0, 0, 1)
    wanted = moment.replace(
        tzinfo=dt.timezone(dt.timedelta(hours=-11, minutes=-30) if zone[0] == "-" else dt.timedelta(hours=13))
    )
    assert images(typed, "t", start).rows() == [(wanted.astimezone(dt.UTC), moment)]


@pytest.fixture
def vectors(typed: Database) -> Database:
    if typed.mariadb:
        pytest.skip("MariaDB has vectors from 11.7 on")
    typed.run("create table t (v vector(300), t text, g geometry, n int default 0)")
    return typed


@settings(max_examples=3, deadline=None, suppress_health_check=NO_FRESH_FIXTURE, phases=[Phase.generate])
@given(
    st.lists(
        st.none() | st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=300),
        min_size=20,
    )
)
def test_vectors_are_their_bytes(vectors: Database, rows: list[list[float] | None]) -> None:
    """Four bytes a number, lowest first: also beside texts, whose character sets are told by their number."""
    wanted = [(row and struct.pack(f"<{len(row)}f", *row), "é", None) for row in rows]
    with opened(vectors) as source:
        start = source.head()
    vectors.run("begin", "insert into t (v, t, g) values (%s, %s, %s)", rows=wanted)
    vectors.run("commit")
    assert images(vectors, "t", start).rows() == wanted


def test_a_narrowed_snapshot_has_only_the_wanted_columns(typed: Database) -> None:
    typed.run("create table t (id int primary key, a int, b text)", "insert into t values (1, 2, 'x'), (2, 3, null)")
    with typed.source().snapshot([]) as snapshot:
        (batch,) = snapshot.read(typed.table("t"), ["b", "id"])
    assert batch.schema.names == ("id", "b")
    assert batch.schema.primary_key == ("id",)
    assert batch.frame["after"].struct.unnest().rows() == [(1, "x"), (2, None)]
