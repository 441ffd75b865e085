"""Every type through snapshot and stream, with the server as the oracle, and through the settings of others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import polars as pl
import psycopg2

from cdc_platform.sources.cells import polars_type
from cdc_platform_tests.postgres.conftest import Database
from cdc_platform_tests.postgres.type_cases import CASES, SETUP, Case
from cdc_platform_tests.postgres.typed_table import (
    A,
    as_texts,
    prepared,
    put,
    server_says,
    snapshot_of,
    stream_of,
)

ROWS = 64


def known_to(database: Database) -> list[Case]:
    """The cases of types that this server has."""
    lacking = set()
    for need, statement in {"xml": "select '<a/>'::xml", "vector": "create extension vector"}.items():
        try:
            database.run(statement)
        except psycopg2.Error:
            lacking.add(need)
    return [case for case in CASES if case.needs not in lacking]


def filled(case: Case) -> list[tuple[Any, str | None]]:
    """ROWS values of the case, each with its text; the odd ones, which have no Python value, come first."""
    values = case.examples(ROWS - len(case.odd))
    cells = [(None, text) for text in case.odd]
    cells += [(value, None if value is None else case.write(value)) for value in values]
    return list(islice(cycle(cells), ROWS))


def test_every_type_is_the_same_in_snapshot_stream_and_server(database: Database) -> None:
    """And its text is the value: read back by the server, it makes the same bytes again."""
    database.run(SETUP)
    cases = known_to(database)
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
    places = [place for place, case in enumerate(cases) if case.arrow == "string"]
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
