"""docs/reading.md is true: its Python and SQL runs as it stands on tables like the shipped ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml

from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.config.settings import PACKAGE
from cdc_platform.destinations.open import open_destination
from cdc_platform.model.change import INSERT
from cdc_platform.model.target import TargetSchema
from cdc_platform_tests.destinations.conftest import IcebergLake
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.destinations.test_layouts import CUSTOMERS, PRODUCTS, sample_rows
from cdc_platform_tests.readers import load_extensions

DOCUMENT = (PACKAGE.parent / "docs" / "reading.md").read_text()
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def _blocks(language: str) -> list[str]:
    return [text for found, text in _BLOCK.findall(DOCUMENT) if found == language and "spark" not in text]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that holds the tables under the names that the page uses; the working directory meanwhile."""
    folder = tmp_path_factory.mktemp("home")
    lake = folder / ".cdc" / "lake"
    mapped = {"delta.columnMapping.mode": "name", "delta.enableChangeDataFeed": "true"}
    plain = yaml.safe_load(_blocks("yaml")[0].replace("${CDC_HOME}", str(folder / ".cdc")))["destination"]
    customers = {"type": "deltalake", "partition_by": "DATE(last_updated)"}
    products = {"type": "iceberg", "path": str(lake / "iceberg"), "table": "cdc.products_cdc"}
    _write({**customers, "path": str(lake / "deltalake" / "customers_cdc"), "properties": mapped}, CUSTOMERS)
    _write({**customers, **plain}, CUSTOMERS)
    _write({**products, "partition_by": "month(updated_at)"}, PRODUCTS)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def _write(config: dict[str, Any], schema: TargetSchema) -> None:
    destination = open_destination(DestinationConfig(**config))
    destination.ensure(schema)
    destination.append(iter([sample_rows(schema, 50).with_columns(_cdc_operation=pl.lit(INSERT))]), at(1))


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_python(home: Path, number: int) -> None:
    done = subprocess.run([sys.executable, "-c", _blocks("python")[number]], cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("number", range(len(_blocks("sql"))))
def test_sql(home: Path, number: int) -> None:
    text = re.sub(r"\b(install|load) \w+;", "", _blocks("sql")[number])
    with duckdb.connect() as connection:
        load_extensions(connection, ("delta", "avro", "iceberg"))
        if "type sqlite" in text:
            # DuckDB's SQLite extension is not among the test's: the catalog's row is put where it would show it.
            location = IcebergLake(home / ".cdc" / "lake" / "iceberg").table("cdc.products_cdc").metadata_location
            text = re.sub(r"attach .*?;", "", text).replace("catalog.iceberg_tables", "iceberg_tables")
            connection.execute(
                "create table iceberg_tables (table_namespace text, table_name text, metadata_location text)"
            )
            connection.execute("insert into iceberg_tables values ('cdc', 'products_cdc', ?)", [location])
        rows = connection.execute(text).fetchall()
    assert rows


def test_refusals_are_as_said(home: Path) -> None:
    with pytest.raises(Exception, match=re.escape("requires reader features ['columnMapping']")):
        pl.scan_delta(str(home / ".cdc" / "lake" / "deltalake" / "customers_cdc")).collect()
