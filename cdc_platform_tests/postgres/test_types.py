"""Every type through snapshot and stream, with the server as the oracle, and through the settings of others."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import polars as pl
import psycopg2
import pytest

from cdc_platform.sources.cells import polars_type
from cdc_platform_tests.conftest import drop_slots
from cdc_platform_tests.postgres.conftest import Database
from cdc_platform_tests.postgres.type_cases import CASES, SETUP, Case
from cdc_platform_tests.postgres.typed_table import (
    A,
    as_texts,
    both_paths,
    prepared,
    put,
    server_says,
    snapshot_of,
    stream_of,
)

ROWS = 64


NEEDS = {
    "": "select",
    "xml": "select '<a/>'::xml",
    "vector": "create extension vector",
    "endless intervals": "select 'infinity'::interval",
}
"""What a server has to know, and how it is asked."""


def filled(case: Case) -> list[tuple[Any, str | None]]:
    """ROWS values of the case, each with its text; the odd ones, which have no Python value, come first."""
    values = case.examples(ROWS - len(case.odd))
    cells: list[tuple[Any, str | None]] = [(None, text) for text in case.odd]
    cells += [(value, None if value is None else case.write(value)) for value in values]
    return list(islice(cycle(cells), ROWS))


@pytest.mark.parametrize("needs", NEEDS)
def test_every_type_is_the_same_in_snapshot_stream_and_server(database: Database, needs: str) -> None:
    """And its text is the value: read back by the server, it makes the same bytes again."""
    database.run(SETUP)
    try:
        database.run(NEEDS[needs])
    except psycopg2.Error as error:
        pytest.skip(f"this server has no {needs}: {error.diag.message_primary}")
    cases = [case for case in CASES if case.needs == needs]
    source = prepared(database, [case.type for case in cases])
    shape = source.schemas([A])[A]
    assert [str(column.type) for column in shape.columns[1:]] == [case.arrow for case in cases]
    cells = [filled(case) for case in cases]
    names = [f"c{place}" for place in range(len(cases))]
    start = source.head()
    put(database, [[text for _, text in row] for row in zip(*cells, strict=True)])
    snapshot, stream = snapshot_of(source), stream_of(source, start)
    texts = server_says(database, as_texts(names))
    numbers = server_says(database, [case.number.format(name) or "0" for case, name in zip(cases, names, strict=True)])
    assert changed_by_their_texts(database, cases, stream) == []
    database.run("delete from a")
    gone = stream_of(source, start, "DELETE", "before")
    for case, name, put_in, text, number in zip(cases, names, cells, texts, numbers, strict=True):
        got = stream[name]
        assert got.dtype == polars_type(shape.column(name).type), case.type
        assert same_bits(got, snapshot[name]), case.type
        assert same_bits(got, gone[name]), case.type
        if case.number:
            assert got.to_physical().to_list() == number, case.type
        elif case.same is None:
            assert got.to_list() == text, case.type
        else:
            wanted = [None if value is None else case.same(value) for value, _ in put_in]
            assert all(map(identical, got.to_list(), wanted)), case.type


def changed_by_their_texts(database: Database, cases: Sequence[Case], stream: pl.DataFrame) -> list[str]:
    """The types whose values the server does not have again, byte for byte, when it is given our texts of them."""
    places = [place for place, case in enumerate(cases) if case.arrow == "string" and case.restores]
    if not places:
        return []
    columns = ", ".join(f"c{new} {cases[place].type}" for new, place in enumerate(places))
    database.run(f"create table b (id int generated always as identity, {columns})")
    put(database, stream.select(f"c{place}" for place in places).rows(), "b")
    differ = ", ".join(f"bool_or(not record_image_eq(row(a.c{old}), row(b.c{new})))" for new, old in enumerate(places))
    (row,) = database.run(f"select {differ} from a join b using (id)")
    return [cases[place].type for place, differs in zip(places, row, strict=True) if differs]


def same_bits(one: pl.Series, other: pl.Series) -> bool:
    """Equal, and NaNs and zeros of the same sign."""
    if one.dtype.is_float():
        bits = [series.fill_null(0).to_numpy().tobytes() for series in (one, other)]
        return bits[0] == bits[1] and one.is_null().equals(other.is_null())
    return one.equals(other, check_dtypes=True)


def identical(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return bool(one == other and str(one) == str(other))


def test_a_nan_has_no_sign(database: Database) -> None:
    """What inf - inf leaves on x86 is a NaN with one, and the stream's text has none."""
    source = prepared(database, ["double precision", "real"])
    start = source.head()
    database.run("insert into a (c0, c1) values ('inf'::float8 - 'inf'::float8, 'inf'::float4 - 'inf'::float4), (1, 2)")
    stream, snapshot = stream_of(source, start), snapshot_of(source)
    for name in ("c0", "c1"):
        assert same_bits(stream[name], snapshot[name])
        assert math.isnan(stream[name][0])


SETTINGS = {
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Tokyo",
    "bytea_output": "escape",
    "extra_float_digits": "0",
    "xmlbinary": "hex",
    "lc_monetary": "C.UTF-8",
    "lc_numeric": "C.UTF-8",
    "search_path": "public",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
    "standard_conforming_strings": "off",
    "statement_timeout": "1ms",
    "row_security": "on",
}
TEXTS_OF = {
    "date": ("2020-12-31", dt.date(2020, 12, 31)),
    "timestamptz": ("2020-12-31 12:00:00+00", dt.datetime(2020, 12, 31, 12, tzinfo=dt.UTC)),
    "bytea": (r"\x00ff5c", b"\0\xff\\"),
    "interval": ("1 mon 2 days 03:04:05",) * 2,
    "double precision": ("0.30000000000000004", 0.30000000000000004),
    "text": ("é\\'",) * 2,
    "money": ("$1,234.50",) * 2,
    "bytea[]": (r'{"\\x00ff"}',) * 2,
    "float8[]": ("{0.30000000000000004}",) * 2,
    "point": ("(0.30000000000000004,1)",) * 2,
    "tstzrange": ('["2020-12-31 12:00:00+00",)',) * 2,
    "daterange": ("[2020-12-01,2020-12-31)",) * 2,
    "day_and_span": ('(2020-12-31,"1 mon")',) * 2,
    "regclass": ("public.a",) * 2,
    "regtype": ("integer",) * 2,
}


@pytest.mark.parametrize(
    "level", ["alter database {database}", "alter role {role}", "alter role {role} in database {database}"]
)
def test_settings_of_the_database_and_the_role_do_not_reach_values(database: Database, level: str) -> None:
    database.run("create type day_and_span as (day date, span interval)")
    prepared(database, list(TEXTS_OF))
    role = f"{database.slot}_reader"
    database.run(f"create role {role} superuser login password 'secret'")
    try:
        for name, value in SETTINGS.items():
            whose = level.format(database=database.state.database, role=role)
            database.run(f"{whose} set {name} = {value if ',' in value else repr(value)}")
        source = database.source(user=role, password="secret")
        stream, snapshot = both_paths(database, source, [[text for text, _ in TEXTS_OF.values()]])
        assert stream.equals(snapshot)
        assert dict(zip(TEXTS_OF, stream.row(0), strict=True)) == {name: value for name, (_, value) in TEXTS_OF.items()}
        source.close()
    finally:
        database.run(f"drop role {role}")


def test_a_database_of_another_encoding(database: Database) -> None:
    name = f"{database.state.database}_latin1"
    database.run(f"create database {name} encoding 'LATIN1' locale 'C' template template0")
    try:
        with closing(psycopg2.connect(replace(database.state, database=name).dsn())) as session:
            session.autocommit = True
            other = Database(replace(database.state, database=name), session, f"{database.slot}_latin1")
            other.run("create type mood as enum ('ü', 'ä'); create domain word as text")
            row = ("£é\xa0ÿ", "ü", '{"é": "\\u00ff"}', "{ä,NULL}", "ß", "é  ")
            source = prepared(other, ["text", "mood", "json", "mood[]", "word", "char(3)"])
            stream, snapshot = both_paths(other, source, [row])
            assert stream.row(0) == snapshot.row(0) == row
            source.close()
    finally:
        with database.session.cursor() as cursor:
            drop_slots(cursor, name)
        database.run(f"drop database {name} with (force)")
