"""Values that a column's own type has not in Arrow: they stop, and the way out is to read the column as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform.model.change import Followed
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests.postgres.conftest import Database, follow
from cdc_platform_tests.postgres.typed_table import A, as_texts, both_paths, prepared, put, server_says

REFUSED = [
    ("date", "infinity", "is no finite date"),
    ("date", "-infinity", "is no finite date"),
    ("day", "infinity", "is no finite date"),
    ("timestamp", "infinity", "is no finite timestamp"),
    ("timestamp", "-infinity", "is no finite timestamp"),
    ("timestamp", "294247-01-10 04:00:54.775807", "is no timestamp that fits 64 bits"),  # 2**63 - 1 us since 1970
    ("timestamp", "294247-01-10 04:00:54.775808", "is no timestamp that fits 64 bits"),
    ("timestamp", "294276-12-31 23:59:59.999999", "is no timestamp that fits 64 bits"),  # Postgres' last moment
    ("timestamptz", "infinity", "is no finite timestamp"),
    ("timestamptz", "-infinity", "is no finite timestamp"),
    ("timestamptz", "294276-12-31 23:59:59.999999+00", "is no timestamp that fits 64 bits"),
    ("numeric(10,2)", "NaN", "is no finite decimal128(10, 2)"),
    ("numeric(38,10)", "NaN", "is no finite decimal128(38, 10)"),
    ("numeric(3,-2)", "NaN", "is no finite decimal128(5, 0)"),
]

AS_TEXT = {
    "boolean": ["t", "f"],
    "integer": ["-5"],
    "bigint": ["9223372036854775807"],
    "oid": ["4294967295"],
    "real": ["NaN", "-0", "1e-45"],
    "double precision": ["-Infinity", "0.30000000000000004"],
    "numeric(10,2)": ["NaN", "-1.50"],
    "date": ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01", "2020-02-29"],
    "day": ["infinity", "2020-02-29"],
    "timestamp": ["infinity", "294276-12-31 23:59:59.999999", "0044-03-15 12:00:00 BC", "2020-02-29 00:00:00.5"],
    "timestamptz": ["-infinity", "2020-02-29 12:00:00+00", "294276-12-31 23:59:59.999999+00"],
    "char(5)": ["x    "],
    "bytea": [r"\x00ff"],
    "text": ["", "é"],
    "interval": ["1 mon"],
    "integer[]": ["{1,NULL}"],
}


@pytest.fixture
def typed(database: Database) -> Database:
    database.run("create domain day as date")
    return database


@pytest.mark.parametrize(("type_", "value", "reason"), REFUSED)
def test_what_arrow_cannot_hold_stops_either_path(typed: Database, type_: str, value: str, reason: str) -> None:
    source = prepared(typed, [type_, "int"])
    start = source.head()
    typed.run("insert into a (c0, c1) values (null, 1), (%s, 2)", value)
    (failure,) = [c.failures[A] for c in follow(source, [A], start) if c.failures]
    with source.snapshot([A]) as snapshot, pytest.raises(InvalidRow) as caught:
        list(snapshot.read(A))
    for error in (failure, caught.value):
        assert isinstance(error, InvalidRow)
        assert re.match(
            r"public\.a: column 'c0' of (the change|a row in the snapshot) at 0[0-9A-F/]* is no ", str(error)
        )
        assert f" {reason}" in str(error)
        assert str(error).endswith("; put 'c0' into source.tables[].as_text and begin its pipeline anew")
        assert value not in str(error)


def test_as_text_every_value_is_the_servers_own_text(typed: Database) -> None:
    names = [f"c{place}" for place in range(len(AS_TEXT))]
    source = prepared(typed, list(AS_TEXT), as_text=names)
    assert {str(source.schemas([A])[A].column(name).type) for name in names} == {"string"}
    most = max(map(len, AS_TEXT.values()))
    columns = [[*texts, *[None] * (most - len(texts))] for texts in AS_TEXT.values()]
    stream, snapshot = both_paths(typed, source, list(zip(*columns, strict=True)))
    assert stream.equals(snapshot)
    for name, put_in, text in zip(names, columns, server_says(typed, as_texts(names)), strict=True):
        assert stream[name].to_list() == text == put_in


def test_only_the_columns_that_are_named_are_text(typed: Database) -> None:
    source = prepared(typed, ["date", "date"], as_text=["c1"])
    shape = source.schemas([A])[A]
    assert [str(shape.column(name).type) for name in ("c0", "c1")] == ["date32[day]", "string"]
    assert [shape.column(name).source_type for name in ("c0", "c1")] == ["date", "date"]
    start = source.head()
    put(typed, [("2020-02-29", "infinity")])
    (batch,) = [b for c in follow(source, [A], start) for b in c.batches]
    assert batch.schema == shape


def test_a_key_as_text(typed: Database) -> None:
    typed.run("create table a (day date primary key, v int)")
    source = PostgresSource(typed.connection(), typed.slot, as_text={A: ["day"]})
    typed.sources.append(source)
    source.prepare([A])
    start = source.head()
    typed.run("insert into a values ('infinity', 1); update a set day = '-infinity'; delete from a")
    (frame,) = [b.frame for c in follow(source, [A], start) for b in c.batches]
    assert frame["before"].struct.field("day").to_list() == [None, "infinity", "-infinity"]


def source_with(database: Database, columns: Sequence[str]) -> PostgresSource:
    source = PostgresSource(database.connection(), database.slot, as_text={A: columns})
    database.sources.append(source)
    return source


def test_a_column_that_the_table_has_not_is_an_error_of_configuration(typed: Database) -> None:
    plain = prepared(typed, ["date"])
    start = plain.head()
    followed = {A: Followed(plain.schemas([A])[A], start)}
    near, far = source_with(typed, ["c00"]), source_with(typed, ["valid_until"])
    with pytest.raises(ConfigError, match=r"as_text: public\.a has no column 'c00'; did you mean 'c0'\?"):
        near.schemas([A])
    with pytest.raises(ConfigError, match=r"as_text: public\.a has no column 'valid_until'; it has id, c0"):
        far.prepare([A])
    (failure,) = [c.failures[A] for c in far.changes(followed, start, far.head()) if c.failures]
    assert isinstance(failure, ConfigError)
