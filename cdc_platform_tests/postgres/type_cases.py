"""What the type tests put into columns: one case a type, with values that hypothesis makes and those that hurt.

No tests here. A case is a column's type, values for it and how they are written in SQL.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st


@dataclass(frozen=True)
class Case:
    """`values` are written by `write`, `odd` are SQL texts as they stand. `arrow` is what the type becomes.

    What comes back is the server's text of the value; or `same` of the value; or, where `number` is given, what the
    server says that this SQL expression of `{}` is, as the integer inside the Arrow value. `line` is the type's name
    in docs/types.md, where it is not its own. `needs` is what a server has to know for it. `restores` says that the
    server makes the same bytes of the text again.
    """

    type: str
    values: st.SearchStrategy[Any]
    write: Callable[[Any], str] = str
    arrow: str = "string"
    same: Callable[[Any], Any] | None = None
    also: Sequence[Any] = ()
    odd: Sequence[str] = ()
    number: str = ""
    line: str = ""
    needs: str = ""
    restores: bool = True

    @property
    def name(self) -> str:
        return self.line or self.type

    def examples(self, count: int) -> list[Any]:
        """A null, the odd ones, and the first values that hypothesis thinks of: always the same ones."""
        found: list[Any] = [None, *self.also]

        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(self.values)
        def collect(value: Any) -> None:
            found.append(value)

        collect()
        return found


def itself(value: Any) -> Any:
    return value


def fixed(value: Decimal) -> str:
    return f"{value:f}"


def numbers(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    limit = 10**precision - 1
    return st.integers(-limit, limit).map(lambda number: Decimal(f"{number}e{-scale}"))


def quoted(text: str) -> str:
    """As an element of an array, a composite or an hstore."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def array(items: Sequence[Any]) -> str:
    return "{" + ",".join("NULL" if item is None else quoted(str(item)) for item in items) + "}"


def composite(items: Sequence[Any]) -> str:
    return "(" + ",".join("" if item is None else quoted(str(item)) for item in items) + ")"


def pairs_of(value: dict[str, str | None]) -> str:
    return ",".join(f"{quoted(k)}=>{'NULL' if v is None else quoted(v)}" for k, v in value.items())


def span(pair: tuple[Any, Any]) -> str:
    return f"[{min(pair)},{max(pair)}]"


def point(pair: tuple[float, float]) -> str:
    return f"({pair[0]!r},{pair[1]!r})"


def points(pairs: Sequence[tuple[float, float]]) -> str:
    return ",".join(map(point, pairs))


def lexemes(words: Sequence[str | None]) -> str:
    return " ".join("'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words if word)


def interval(parts: tuple[int, int, int]) -> str:
    return f"{parts[0]} months {parts[1]} days {parts[2]} microseconds"


def single(value: float) -> float:
    """The nearest 32-bit float."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


UNICODE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
INT = st.integers(-(2**31), 2**31 - 2)
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
CLOCK = st.times().map(dt.time.isoformat)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e300, 1e300) | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UNICODE, inner, max_size=4),
    max_leaves=6,
)  # fmt: skip
OFFSETS = st.integers(-15 * 60, 15 * 60).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)))
ZONED = st.datetimes(timezones=OFFSETS)
FLOATS = st.floats(allow_nan=False)
PLACES = st.tuples(FLOATS, FLOATS)
FINITE = st.floats(-1e100, 1e100)
FINITE_PLACES = st.tuples(FINITE, FINITE)
HOSTS = st.ip_addresses().flatmap(lambda ip: st.integers(0, ip.max_prefixlen).map(lambda bits: f"{ip}/{bits}"))
MOODS = ["so so", "good", "'quoted'", 'a,b{}"\\', "Ü"]
MOOD = st.sampled_from(MOODS)
TEXTS = st.lists(st.none() | UNICODE, max_size=4)
JSONB = JSON.filter(lambda value: "\\u0000" not in json.dumps(value))
DATES = st.dates().map(dt.date.isoformat)
MOMENTS = st.datetimes().map(dt.datetime.isoformat)

SETUP = r"""
create type mood as enum ('so so', 'good', '''quoted''', 'a,b{}"\', 'Ü');
create type pair as (number int, label text);
create type nest as (inside pair, moods mood[], "a t" timestamptz);
create type floatrange as range (subtype = float8);
create domain small_number as numeric(8,3);
create domain number as small_number;
create domain word as varchar(20) check (value <> '');
create domain moods as mood[];
create domain whole as pair;
create domain day as date;
create extension citext; create extension hstore; create extension ltree; create extension cube;
"""

_EPOCH = "(extract(epoch from {}) * 1000000)::bigint"
_DAYS = "{} - date '1970-01-01'"

NUMBERS = [
    Case("boolean", st.booleans(), arrow="bool", same=itself),
    Case("smallint", st.integers(-(2**15), 2**15 - 1), arrow="int16", same=itself, also=[-(2**15), 2**15 - 1]),
    Case("integer", st.integers(-(2**31), 2**31 - 1), arrow="int32", same=itself, also=[-(2**31), 2**31 - 1]),
    Case("bigint", st.integers(-(2**63), 2**63 - 1), arrow="int64", same=itself, also=[-(2**63), 2**63 - 1]),
    Case("oid", st.integers(0, 2**32 - 1), arrow="int64", same=itself),
    Case("real", st.floats(width=32), repr, "float", itself, also=[
        float("nan"), float("-inf"), -0.0, *map(single, (1e-45, 1.1754942e-38, 7.038531e-26, 3.4028235e38, 0.1))]),
    Case("double precision", st.floats(), repr, "double", itself, also=[
        float("nan"), float("-inf"), -0.0, 5e-324, 2.225073858507201e-308, 1.7976931348623157e308, 0.1]),
    Case("numeric(12,2)", numbers(12, 2), fixed, "decimal128(12, 2)", itself, line="numeric(p, s)"),
    Case("numeric(38,10)", numbers(38, 10), fixed, "decimal128(38, 10)", itself, line="numeric(p, s)"),
    Case("numeric(38,38)", numbers(38, 38), fixed, "decimal128(38, 38)", itself, line="numeric(p, s)"),
    Case("numeric(5)", numbers(5, 0), fixed, "decimal128(5, 0)", itself, line="numeric(p, s)"),
    Case("numeric(3,-2)", numbers(3, -2), fixed, "decimal128(5, 0)", lambda v: Decimal(int(v)), line="numeric(p, s)"),
    Case("numeric(3,5)", numbers(3, 5), fixed, "decimal128(5, 5)", itself, line="numeric(p, s)"),
    Case("number", numbers(8, 3), fixed, "decimal128(8, 3)", itself, line="domain"),
    Case("numeric(39,4)", numbers(39, 4), fixed, odd=["NaN"], line="numeric"),
    Case("numeric(37,-2)", numbers(37, -2), fixed, line="numeric"),
    Case("numeric", numbers(60, 20), fixed, odd=[
        "NaN", "Infinity", "-Infinity", "0.000", "-0.10", "1e131071", "1e-16383", "9" * 400 + ".1"]),
    Case("money", st.integers(-(2**63), 2**63 - 1).map(lambda value: Decimal(f"{value}e-2")), fixed),
]  # fmt: skip

TEXT = [
    Case("text", UNICODE, same=itself),
    Case("varchar", UNICODE, same=itself),
    Case("varchar(20)", UNICODE, same=itself, line="varchar"),
    Case("char(20)", UNICODE, same=lambda value: value.ljust(20), line="char(n)"),
    Case("word", WORDS, same=itself, line="domain"),
    Case("citext", UNICODE, same=itself),
    Case("name", UNICODE.filter(lambda text: len(text.encode()) < 64), same=itself),
    Case('"char"', st.sampled_from(["", "a", '"', "\\", "\x01"]), odd=["\\200", "\\377"]),
    Case("bytea", st.binary(max_size=40), lambda value: "\\x" + value.hex(), "binary", itself),
    Case("uuid", st.uuids()),
    Case("json", JSON, json.dumps, odd=[
        '{"b":1, "a" : 2,"b":3}', '{"n":12345678901234567890.10e-5}', r'"\u00e9\ud83d\ude00"', " -0 ", "1E400"]),
    Case("jsonb", JSONB, json.dumps, odd=['{"b":1,"b":1.00}']),
    Case("jsonpath", st.sampled_from(["$", "lax $.a[*] ? (@.b > 1)", 'strict $."x y"'])),
    Case("xml", WORDS, lambda word: f"<a b='{word}'>é</a>", odd=['<?xml version="1.0"?><a/>', "no document"],
         needs="xml", restores=False),  # the server keeps a declaration that it does not show
    Case("mood", MOOD, line="enum"),
    Case("hstore", st.dictionaries(UNICODE, st.none() | UNICODE, max_size=3), pairs_of),
    Case("ltree", st.lists(WORDS, max_size=4).map(".".join)),
    Case("tsvector", TEXTS, lexemes, odd=["a:1A,2B fat:3,16383C"]),
    Case("tsquery", WORDS, odd=["a & !b | (c <-> d:*A)", "'it''s'", ""]),
    Case("bit(5)", st.integers(0, 31), lambda value: f"{value:05b}", line="bit(n)"),
    Case("varbit", st.integers(0, 2**90), lambda value: f"{value:b}", odd=[""]),
]  # fmt: skip

TIMES = [
    Case("date", DATES, arrow="date32[day]", number=_DAYS, odd=[
        "4714-11-24 BC", "0001-12-31 BC", "0001-01-01", "1582-10-10", "1969-12-31", "10000-01-01", "5874897-12-31"]),
    Case("day", DATES, arrow="date32[day]", number=_DAYS, line="domain"),
    Case("timestamp", MOMENTS, arrow="timestamp[us]", number=_EPOCH, odd=[
        "4714-11-24 00:00:00 BC", "0044-03-15 12:34:56.789012 BC", "0001-12-31 23:59:59.999999 BC",
        "1969-12-31 23:59:59.999999", "10000-01-01 00:00:00.000001", "294247-01-10 04:00:54.775806"]),
    Case("timestamp(0)", MOMENTS, arrow="timestamp[us]", number=_EPOCH, line="timestamp"),
    Case("timestamptz", ZONED, dt.datetime.isoformat, "timestamp[us, tz=UTC]", number=_EPOCH, odd=[
        "4714-11-24 00:00:00+00 BC", "0044-03-15 12:34:56.7+05:30:15 BC", "2020-01-01 00:00:00+14",
        "10000-01-01 00:00:00-12", "294247-01-10 04:00:54.775806+00"]),
    Case("timestamptz(3)", ZONED, dt.datetime.isoformat, "timestamp[us, tz=UTC]", number=_EPOCH, line="timestamptz"),
    Case("time", CLOCK, odd=["24:00:00", "23:59:59.999999", "00:00:00"]),
    Case("time(1)", CLOCK, line="time"),
    Case("timetz", CLOCK, lambda value: value + "+05:30", odd=["24:00:00-15:59:59", "00:00:00+15:59"]),
    Case("interval", st.tuples(INT, INT, st.integers(-(2**62), 2**62)), interval, odd=[
        "0", "1 mon -1 day +00:00:00.000001", "178000000 years"]),
    Case("interval", st.timedeltas(), odd=["infinity", "-infinity"], needs="endless intervals"),
    Case("interval day to second(2)", st.tuples(st.just(0), INT, INT), interval, line="interval"),
]  # fmt: skip

NESTED = [
    Case("integer[]", st.lists(st.none() | INT, max_size=5), array, odd=["[-2:0]={1,2,NULL}", "{}"], line="array"),
    Case("integer[][]", st.tuples(INT, INT).map(lambda p: array(p).replace('"', "")),
         lambda value: f"{{{value},{value}}}", odd=["[0:1][5:5]={{1},{NULL}}"], line="array"),
    Case("text[]", TEXTS, array, odd=['{"NULL",NULL," ","a,b",""}'], line="array"),
    Case("timestamptz[]", ZONED, lambda value: array([value.isoformat(), None]), odd=["{infinity}"], line="array"),
    Case("bytea[]", st.binary(max_size=9), lambda value: array(["\\x" + value.hex()]), line="array"),
    Case("real[]", st.lists(st.floats(width=32), max_size=3), array, line="array"),
    Case("numeric(6,2)[]", st.lists(numbers(6, 2), max_size=3), array, line="array"),
    Case("mood[]", st.lists(MOOD, max_size=3), array, line="array"),
    Case("jsonb[]", JSONB, lambda v: array([json.dumps(v)]), line="array"),
    Case("pair[]", st.lists(st.tuples(INT, UNICODE).map(composite), max_size=3), array, line="array"),
    Case("moods", st.lists(MOOD, max_size=3), array, line="domain"),
    Case("pair", st.tuples(st.none() | INT, st.none() | UNICODE), composite, line="composite"),
    Case("nest", st.tuples(st.tuples(INT, UNICODE).map(composite), st.lists(MOOD).map(array), ZONED), composite,
         odd=["(,,)"], line="composite"),
    Case("whole", st.tuples(INT, UNICODE), composite, line="domain"),
    Case("int4range", st.tuples(INT, INT), span, odd=["empty", "(,)", "[5,)"], line="range"),
    Case("int8range", st.tuples(INT, INT), span, line="range"),
    Case("numrange", st.tuples(numbers(9, 3), numbers(9, 3)), span, odd=["[1.10,NaN]"], line="range"),
    Case("daterange", st.tuples(DATES, DATES), span, odd=["[2020-01-01,infinity]", "[2020-01-01,)"], line="range"),
    Case("tsrange", st.tuples(MOMENTS, MOMENTS), span, odd=["[-infinity,10000-01-01 00:00:00)"], line="range"),
    Case("tstzrange", st.tuples(MOMENTS, MOMENTS), span, line="range"),
    Case("floatrange", st.tuples(FLOATS, FLOATS), span, odd=["(-Infinity,-0]"], line="range"),
    Case("int8multirange", st.tuples(INT, INT), lambda pair: "{" + span(pair) + ",[9000000000,)}", odd=["{}"],
         line="multirange"),
    Case("datemultirange", st.tuples(DATES, DATES), lambda pair: "{" + span(pair) + "}", line="multirange"),
    Case("tstzmultirange", st.tuples(MOMENTS, MOMENTS), lambda pair: "{" + span(pair) + "}", line="multirange"),
]  # fmt: skip

OTHERS = [
    Case("inet", HOSTS),
    Case("cidr", HOSTS.map(lambda host: ipaddress.ip_network(host, strict=False))),
    Case("macaddr", st.binary(min_size=6, max_size=6), bytes.hex),
    Case("macaddr8", st.binary(min_size=8, max_size=8), bytes.hex),
    Case("point", PLACES, point, odd=["(NaN,-Infinity)", "(-0,5e-324)"]),
    Case("line", st.tuples(FINITE, FINITE), lambda p: f"{{{p[0]!r},1,{p[1]!r}}}"),
    Case("lseg", st.tuples(PLACES, PLACES), lambda pairs: f"[{points(pairs)}]"),
    Case("box", st.tuples(PLACES, PLACES), points),
    Case("path", st.lists(PLACES, min_size=1, max_size=3), lambda pairs: f"[{points(pairs)}]", odd=["((1,2),(3,4))"]),
    Case("polygon", st.lists(FINITE_PLACES, min_size=1, max_size=3), lambda pairs: f"({points(pairs)})"),
    Case("circle", st.tuples(PLACES, st.floats(0)), lambda value: f"<{point(value[0])},{value[1]!r}>"),
    Case("regclass", st.sampled_from(["public.a", "pg_class", "-"])),
    Case("regtype", st.sampled_from(["integer", "public.pair", "text[]"]), line="regclass"),
    Case("xid", st.integers(0, 2**32 - 1)),
    Case("xid8", st.integers(0, 2**64 - 1)),
    Case("tid", st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1))),
    Case("pg_lsn", st.integers(0, 2**64 - 1), lambda value: f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"),
    Case("pg_snapshot", st.integers(10, 99), lambda value: f"10:{value}:"),
    Case("cube", st.lists(FINITE, min_size=1, max_size=3), lambda value: f"({','.join(map(repr, value))})"),
    Case("vector(3)", st.tuples(*[st.floats(-(2.0**90), 2.0**90, width=32)] * 3), lambda v: str(list(v)), line="vector",
         odd=["[1e-45,-0,3.4028235e38]"], needs="vector"),
    Case("halfvec(2)", st.tuples(*[st.floats(-6e4, 6e4, width=16)] * 2), lambda v: str(list(v)), line="halfvec",
         needs="vector"),
    Case("sparsevec(9)", st.floats(1, 9, width=32), lambda v: f"{{1:{v!r},9:-1}}/9", line="sparsevec", needs="vector"),
]  # fmt: skip

CASES = [*NUMBERS, *TEXT, *TIMES, *NESTED, *OTHERS]
