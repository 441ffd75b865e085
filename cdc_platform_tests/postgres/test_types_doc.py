"""docs/types.md against the types that are tested and the tables that are made: no line without a case, no case without
a line, and no word in a cell that the change log, Delta or Iceberg does not say itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cdc_platform.config.settings import PACKAGE
from cdc_platform.model.projection import Format, first_target
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.model.target import TargetSchema
from cdc_platform_tests.destinations.conftest import DeltaLake, IcebergLake
from cdc_platform_tests.postgres.type_cases import CASES

ARROW = {
    str(kind): kind
    for kind in [
        *(
            pa.bool_(),
            pa.int8(),
            pa.int16(),
            pa.int32(),
            pa.int64(),
            pa.float32(),
            pa.float64(),
            pa.string(),
            pa.binary(),
        ),
        *(pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.decimal128(12, 2)),
    ]
}
CASE_LINES = {(case.name, re.sub(r"\d+, \d+", "p, s", case.arrow)) for case in CASES}


def lines(heading: str) -> list[list[str]]:
    """Cells of the table under a heading of docs/types.md."""
    text = (PACKAGE.parent / "docs" / "types.md").read_text()
    (part,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    rows = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def documented() -> Iterable[tuple[str, Sequence[str]]]:
    """Each Postgres type that is named, with its Arrow, Delta and Iceberg cells."""
    for cells in lines("Postgres"):
        for name in re.findall(r"`([^`]*)`", cells[0]):
            yield name, cells[1:4]


def test_every_line_has_a_case_and_every_case_a_line() -> None:
    named = {(name, cells[0]) for name, cells in documented()}
    cases = {line for line in CASE_LINES if line[0] != "domain"} | {("domain", "as its base type")}
    assert named == cases
    assert len({name for name, _ in named}) == len(named)


def target(arrow: Sequence[str], of: Format) -> TargetSchema:
    """What a table of these columns, named by their types, is at the destination."""
    columns = [
        Column("id", pa.int64(), False, "bigint", 1),
        *(Column(kind, ARROW[kind], True, "", number) for number, kind in enumerate(arrow, 2)),
    ]
    table = TableSchema(TableName("public", "a"), tuple(columns), ("id",))
    return first_target(table, {}, of, "lsn", ("id",))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """For each Arrow type what a real Delta and a real Iceberg table says that its column is, digits left out."""
    root: Path = tmp_path_factory.mktemp("lake")
    delta, iceberg = DeltaLake(root, {"delta.columnMapping.mode": "name"}), IcebergLake(root / "iceberg")
    delta.open().ensure(target(list(ARROW), "deltalake"))
    iceberg.open().ensure(target(list(ARROW), "iceberg"))
    words = {field.name: str(field.type.type) for field in DeltaTable(str(delta.path)).schema().fields}
    types = {field.name: str(field.field_type) for field in iceberg.table().schema().fields}
    plain = {name: re.sub(r"\d+, \d+", "p, s", name) for name in ARROW}
    return {plain[name]: (words[name].replace("12,2", "p,s"), types[name].replace("12, 2", "p, s")) for name in ARROW}


def test_the_destinations_table_is_what_is_made(kept: dict[str, tuple[str, str]]) -> None:
    assert {cells[0]: (cells[1], cells[2]) for cells in lines("Destinations")} == kept


def test_the_postgres_table_is_what_is_made(kept: dict[str, tuple[str, str]]) -> None:
    for name, (arrow, delta, iceberg) in documented():
        if name != "domain":
            assert (delta, iceberg) == kept[arrow], name
