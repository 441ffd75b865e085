"""docs/types.md against the code: each line of MySQL's table, on a real server, as far as that server has the type."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import pyarrow_to_schema

from cdc_platform.destinations.delta_table import delta_word
from cdc_platform.model.evolution import carried
from cdc_platform.model.projection import Format, first_target
from cdc_platform.model.schema import TableSchema
from cdc_platform.model.target import TargetField
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.images import images, opened

DOC = Path(__file__).parents[2] / "docs" / "types.md"


def lines() -> list[list[str]]:
    part = DOC.read_text().split("## MySQL and MariaDB")[1].split("\n## ")[0]
    rows = [re.split(r" *\| *", line.strip(" |\n")) for line in part.splitlines() if line.startswith("| `")]
    return [row[:4] for row in rows]


def test_the_table_is_found() -> None:
    assert len(lines()) > 30


@pytest.mark.parametrize("line", lines(), ids=lambda line: line[0])
def test_a_line(database: Database, line: list[str]) -> None:
    sources, arrow, delta, iceberg = line
    if ("(MariaDB)" in sources and not database.mariadb) or ("(MySQL 9)" in sources and database.mariadb):
        pytest.skip("a type of the other server")
    kinds = re.findall("`([^`]+)`", sources)
    columns = ", ".join(f"c{number} {kind} null" for number, kind in enumerate(kinds))
    database.run(f"create table t ({columns}, n int default 0)")
    table = database.table("t")
    with opened(database) as source:
        start = source.head()
        schema = source.schemas([table])[table]
    assert [str(column.type) for column in schema.columns[:-1]] == [arrow] * len(kinds)
    assert {delta_word(field) for field in fields(schema, "deltalake")} == {delta}
    assert {iceberg_word(field) for field in fields(schema, "iceberg")} == {iceberg}
    database.run("insert into t (n) values (0)")
    assert images(database, "t", start).rows() == [(None,) * len(kinds)]


def fields(schema: TableSchema, destination: Format) -> tuple[TargetField, ...]:
    target = first_target(carried(None, schema), {}, destination, "binlog", ())
    return target.fields[: len(schema.columns) - 1]


def iceberg_word(field: TargetField) -> str:
    named = pa.schema([pa.field("c", field.type, metadata={"PARQUET:field_id": "1"})])
    return str(pyarrow_to_schema(named).fields[0].field_type)
