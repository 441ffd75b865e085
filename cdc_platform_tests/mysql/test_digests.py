"""What the server says of rows and what is said of the same rows as they are decoded, type by type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.model import canonical
from cdc_platform.model.key_range import WHOLE
from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.snapshot import MySQLSnapshot
from cdc_platform.sources.mysql.source import MySQLSource
from cdc_platform_tests.key_ranges import check_digests, read
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.test_ranges import KEYS
from cdc_platform_tests.mysql.test_types import TYPES

READ_HERE = {"single", "double", "filled_double", "cyrillic"}
"""Columns of TYPES whose canonical text the server cannot write."""

FEW = settings(
    max_examples=2,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)


@pytest.fixture
def typed(database: Database) -> Database:
    database.run("set sql_mode = 'STRICT_ALL_TABLES'", "set time_zone = '+00:00'")
    return database


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is added to whenever rows are read to be digested here."""
    times: list[str] = []
    frames = MySQLSnapshot._frames

    def noted(self: MySQLSnapshot, table: TableName, *rest: Any) -> Iterator[pl.DataFrame]:
        times.append(table.name)
        return frames(self, table, *rest)

    monkeypatch.setattr(MySQLSnapshot, "_frames", noted)
    return times


@FEW
@given(data=st.data())
def test_every_type_digests_alike_in_the_database_and_here(
    typed: Database, decoded: list[str], data: st.DataObject
) -> None:
    """Each type alone, row by row, so that no cell hides behind another; then all in one."""
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    typed.run(
        f"create table if not exists t (id int auto_increment primary key, {columns}) character set utf8mb4",
        "delete from t",
    )
    marks = ", ".join(["%s"] * len(TYPES))
    rows = [tuple(data.draw(st.none() | values) for _, values in TYPES.values()) for _ in range(10)]
    typed.run(f"insert into t ({', '.join(f'`{name}`' for name in TYPES)}) values ({marks})", rows=rows)
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        taken = read(snapshot, table)
        alone = snapshot.split(table, 1)
        decoded.clear()
        for name, (kind, _) in TYPES.items():
            found, wanted = snapshot.digests(table, [name], alone), canonical.digests([taken], [name], alone)
            assert wanted["rows"].to_list() == [1] * 10
            assert found.equals(wanted), kind
            assert bool(decoded) == (name in READ_HERE), kind
            decoded.clear()
        written = [name for name in TYPES if name not in READ_HERE]
        check_digests(snapshot, table, alone, written)
        check_digests(snapshot, table, [WHOLE], written)
        assert not decoded
        check_digests(snapshot, table, [WHOLE])
        assert decoded


def test_each_orderly_key_finds_its_range(typed: Database) -> None:
    tables = []
    for number, (kind, keys) in enumerate(KEYS.items()):
        typed.run(f"create table t{number} (`the ``key` {kind} primary key, v int default 1)")
        typed.run(f"insert into t{number} (`the ``key`) values (%s)", rows=[(key,) for key in keys])
        tables.append(typed.table(f"t{number}"))
    with typed.source().snapshot(tables) as snapshot:
        for name in tables:
            ranges = snapshot.split(name, 2)
            check_digests(snapshot, name, ranges)
            check_digests(snapshot, name, ranges[1:])
            assert snapshot.digests(name, ["v"], []).height == 0


def test_types_that_only_mariadb_has(typed: Database) -> None:
    if not typed.mariadb:
        pytest.skip("only MariaDB has them")
    typed.run(
        "create table t (id int primary key, u uuid, a inet4, b inet6, v varchar(300) compressed, w blob compressed,"
        " g int as (id * 2) virtual, h int as (id * 3) stored, hidden varchar(9) default 'unseen' invisible)",
        "insert into t (id, u, a, b, v, w) values (1, '12345678-9abc-4def-8123-450000000000', '1.2.3.4', '::1',"
        " repeat('é', 200), repeat(x'00ff', 200)), (2, null, null, null, null, null)",
    )
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        for name in snapshot.schema(table).names:
            check_digests(snapshot, table, snapshot.split(table, 1), [name])


def test_json(typed: Database, decoded: list[str]) -> None:
    """MySQL's own type, of which the server prints a text; in MariaDB it is a text."""
    typed.run("create table t (id int primary key, j json)")
    texts = ['{"b": 1, "a": [1.5, null, "é\\n"]}', "[]", '"x"', "null", "12345678901234567890.5", None]
    typed.run("insert into t values (%s, %s)", rows=list(enumerate(texts)))
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        check_digests(snapshot, table, snapshot.split(table, 1), ["j"])
    assert not decoded


TEXTS_BY_CHARSET = {
    "latin1": ("€é\x81ÿ", True), "latin2": ("Łéß", True), "ascii": ("abc~", True), "utf8mb3": ("€é", True),
    "cp1251": ("жé", False), "sjis": ("表ｱ", False), "utf16": ("😀é", False), "gbk": ("表", False),
    "koi8r": ("ж", True), "binary": ("é", False),
}  # fmt: skip


@pytest.mark.parametrize("charset", TEXTS_BY_CHARSET)
def test_texts_of_any_character_set(typed: Database, decoded: list[str], charset: str) -> None:
    """In SQL where the server converts every byte that there is, else of rows that are read."""
    text, written = TEXTS_BY_CHARSET[charset]
    typed.run(
        f"create table t (id int primary key, v varchar(20) character set {charset}, c char(9) character set {charset},"
        f" e enum('', 'b') character set {charset}, l longtext character set {charset})",
        "set sql_mode = ''",
    )
    typed.run("insert into t values (%s, %s, %s, %s, %s)", rows=[(1, text, text, "b", text), (2, "", " a ", "x", " "),
        (3, None, None, None, None)])  # fmt: skip
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        check_digests(snapshot, table, snapshot.split(table, 1))
    assert bool(decoded) != written


def test_a_row_that_is_too_large_for_a_text_of_the_server(typed: Database, decoded: list[str]) -> None:
    """Its text is null there: its range is read, and only that."""
    ((packet,),) = typed.query("select @@max_allowed_packet")
    typed.run("create table t (id int primary key, a longblob, b int)", "insert into t (id, b) values (1, 5), (2, 6)")
    typed.run(f"update t set a = repeat('x', {packet // 2 + 1000}) where id = 2")
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        check_digests(snapshot, table, snapshot.split(table, 1))
    assert decoded == ["t"]


def test_impossible_dates_are_no_nulls(typed: Database) -> None:
    """They stop the table when it is read; a digest, which reads nothing, says another than for a null or a date."""
    typed.run(
        "set sql_mode = 'ALLOW_INVALID_DATES'",
        "create table t (id int primary key, d date, m datetime, s timestamp null)",
        "insert into t values (1, '0000-00-00', '0000-00-00', 0), (2, null, null, null)",
        "insert into t values (3, '2000-01-01', '2000-01-01', '2000-01-01')",
    )
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        ranges = snapshot.split(table, 1)
        for name in ("d", "m", "s"):
            found = snapshot.digests(table, [name], ranges)
            assert found["first"].n_unique() == 3


@pytest.mark.parametrize("as_text", [["d", "m", "s", "y", "n"]])
def test_columns_taken_as_text(typed: Database, as_text: list[str]) -> None:
    typed.run(
        "set sql_mode = 'ALLOW_INVALID_DATES'",
        "create table t (id int primary key, d date, m datetime(6), s timestamp(3) null, y year,"
        " n decimal(9,2) unsigned zerofill)",
        "insert into t values (1, '0000-00-00', '2024-02-30', 0, 0, 1.5), (2, null, null, null, null, null)",
        "insert into t values (3, '2024-01-01', '2024-01-01 00:00:00.5', '2024-01-01', 2024, 0)",
    )
    table = typed.table("t")
    source = MySQLSource(typed.target, as_text={table: as_text})
    with closing(source), source.snapshot([table]) as snapshot:
        for name in as_text:
            check_digests(snapshot, table, snapshot.split(table, 1), [name])


def test_a_cell_that_changed_changes_its_range(typed: Database) -> None:
    typed.run("create table t (id int primary key, a text, b text)")
    typed.run("insert into t values (%s, 'a', 'bc')", rows=[(number,) for number in range(9)])
    table = typed.table("t")
    with typed.source().snapshot([table]) as snapshot:
        ranges = snapshot.split(table, 3)
        before = snapshot.digests(table, ["a", "b"], ranges)
    for number, change in enumerate(("a = 'ab', b = 'c'", "a = '', b = null", "a = null, b = ''")):
        typed.run(f"update t set {change} where id = {number * 3 + 1}")
    with typed.source().snapshot([table]) as snapshot:
        after = snapshot.digests(table, ["a", "b"], ranges)
        check_digests(snapshot, table, ranges)
    assert before["rows"].to_list() == after["rows"].to_list() == [3, 3, 3]
    assert [*(before["first"] != after["first"]), *(before["second"] != after["second"])] == [True] * 6
