"""MySQL's binary JSON becomes the text that the server prints.

`recorded/json_documents.jsonl.gz` holds documents of a MySQL 9.7 as [bytes in hexadecimal, the server's text]: values
of every type at every size limit, small and large containers, opaque values (decimals, moments, bits, binaries,
geometry), and generated documents; taken from the row events of inserts, the text from `select`. Where the server is a
MySQL (CDC_TESTS_MYSQL), generated documents are compared with it too.
"""

from __future__ import annotations

import gzip
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.sources.cells import BadCell
from cdc_platform.sources.mysql.binary_json import BadDocument, document_text, double_text, json_column
from cdc_platform.sources.mysql.layout import cells_of
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.images import images, opened


def recorded() -> list[tuple[bytes, str]]:
    lines = gzip.decompress((Path(__file__).parent / "recorded" / "json_documents.jsonl.gz").read_bytes()).splitlines()
    return [(bytes.fromhex(data), text) for data, text in map(json.loads, lines)]


def test_recorded_documents() -> None:
    documents = recorded()
    assert len(documents) > 300
    for data, text in documents:
        assert document_text(data) == text
    assert json_column(cells_of([data for data, _ in documents])).to_list() == [text for _, text in documents]


SMALL = [data for data, _ in recorded() if 2 < len(data) < 400]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SMALL), st.data())
def test_damaged_documents(document: bytes, data: st.DataObject) -> None:
    """Cut off or changed bytes are a text or a BadDocument; nothing else, and soon."""
    damaged = bytearray(document[: data.draw(st.integers(1, len(document)))])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadDocument):
        document_text(bytes(damaged))


@pytest.mark.parametrize("document", [data for data in SMALL if len(data) < 60][::7])
def test_cut_off_documents(document: bytes) -> None:
    for length in range(1, len(document)):
        with pytest.raises(BadDocument, match=r" at byte \d+$"):
            document_text(document[:length])


def test_a_container_inside_itself() -> None:
    loop = bytes([2]) + b"\1\0\7\0" + b"\2\0\0"
    with pytest.raises(BadDocument, match="inside itself"):
        document_text(loop)
    wide = bytes([2]) + b"\2\0\x0a\0" + b"\2\0\0\2\0\0"
    with pytest.raises(BadDocument, match="inside itself"):
        document_text(wide)


def test_the_row_of_a_bad_document_is_told() -> None:
    with pytest.raises(BadCell, match=r"row 1: is no JSON document .* at byte 0") as error:
        json_column(cells_of([b"\4\0", b"\x7f\0"]))
    assert error.value.row == 1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_are_exact(number: float) -> None:
    text = double_text(number)
    assert float(text) == number
    assert math.copysign(1, float(text)) == math.copysign(1, number)
    assert "." in text or "e" in text


NUMBERS = (
    st.integers(-(2**63), 2**64 - 1) | st.integers(-70000, 70000) | st.floats(allow_nan=False, allow_infinity=False)
)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=20)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=12), inner, max_size=6),
    max_leaves=25,
)
LARGE = st.tuples(DOCUMENTS, st.integers(1, 3)).map(
    lambda pair: {"x" * 300: [pair[0]] * 300, "y": "é" * 30000 * pair[1]}
)


@pytest.fixture
def real(database: Database) -> Database:
    if database.mariadb:
        pytest.skip("MariaDB's JSON is text")
    database.run("set sql_mode = ''", "create table t (j json, n int default 0)")
    return database


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)
@given(st.lists(st.none() | DOCUMENTS, min_size=30, max_size=100), st.lists(LARGE, max_size=2))
def test_generated_documents(real: Database, documents: list[Any], large: list[Any]) -> None:
    with opened(real) as source:
        start = source.head()
    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in [*documents, *large]]
    real.run("begin", "insert into t (j) values (%s)", rows=[(text,) for text in texts])
    real.run("commit")
    wanted = [text for (text,) in real.query("select j from t")]
    assert images(real, "t", start)["j"].to_list() == wanted


@pytest.mark.parametrize(
    "expression",
    [
        "json_array(date'2024-02-29', time'-838:59:59', timestamp'2024-02-29 1:2:3.4', cast('0000-00-00' as date))",
        "json_object('d', 1.50, 'e', -0.5, 'f', 12345678901234567890123456789012345.123456789012345678901234567890)",
        "json_array(x'0001ff', repeat(x'ab', 200), cast('abc' as binary), b'101', cast(2024 as year), point(1, 2))",
        "json_array(1e15, -0e0, 5e-324, 1.7976931348623157e308, 0.1e0, 18446744073709551615, -9223372036854775807)",
    ],
)
def test_values_that_json_has_no_type_for(real: Database, expression: str) -> None:
    with opened(real) as source:
        start = source.head()
    real.run(f"insert into t (j) values ({expression})")
    wanted = real.query("select j from t")
    assert images(real, "t", start).rows() == wanted


def test_partial_updates_stop_the_table(real: Database) -> None:
    real.run("create table d (id int primary key, j json)", 'insert into d values (1, \'{"a": [1, 2], "b": "xxxx"}\')')
    start = real.source().head()
    real.run("set session binlog_row_value_options = 'PARTIAL_JSON'", "update d set j = json_set(j, '$.b', 'y')")
    (failure,) = [failure for one in real.changes("d", start=start) for failure in one.failures.values()]
    assert "parts of JSON values" in str(failure)
    assert "binlog_row_value_options" in str(failure)


def test_json_of_mariadb_is_its_text(database: Database) -> None:
    if not database.mariadb:
        pytest.skip("MySQL's JSON is binary")
    database.run("create table t (j json, k json check (json_valid(k)), n int default 0)")
    with opened(database) as source:
        start = source.head()
        schema = source.schemas([database.table("t")])[database.table("t")]
        assert [column.source_type for column in schema.columns] == ["longtext", "longtext", "int"]
    rows = [('{"b":1,  "a" : [1.50, "\\u00e9"]}', "[]"), (None, '"ü"')]
    database.run("insert into t (j, k) values (%s, %s)", rows=rows)
    assert images(database, "t", start).rows() == rows
