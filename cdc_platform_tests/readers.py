"""Readers that are not ours: DuckDB on Delta and Iceberg tables, its extensions loaded from their wheels."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

import duckdb
import polars as pl


def duckdb_delta(path: str | Path, query: str = "select * from it") -> pl.DataFrame:
    """The Delta table at `path` as `delta_scan` sees it; `query` reads from `it`."""
    return _query(("delta",), f"delta_scan('{_text(str(path))}')", query)


def duckdb_iceberg(metadata_location: str, query: str = "select * from it") -> pl.DataFrame:
    """The Iceberg table of a metadata file as `iceberg_scan` sees it; `query` reads from `it`."""
    return _query(("avro", "iceberg"), f"iceberg_scan('{_text(metadata_location)}')", query)


def duckdb_scan(extensions: tuple[str, ...], scan: str, query: str) -> pl.DataFrame:
    """What a scan in DuckDB's own words gives; `query` reads from `it`."""
    return _query(extensions, scan, query)


def delta_in_memory(path: str | Path) -> duckdb.DuckDBPyConnection:
    """The same table read once: a connection that has it as `it`, for many questions."""
    return _in_memory(("delta",), f"delta_scan('{_text(str(path))}')")


def iceberg_in_memory(metadata_location: str) -> duckdb.DuckDBPyConnection:
    return _in_memory(("avro", "iceberg"), f"iceberg_scan('{_text(metadata_location)}')")


def _in_memory(extensions: tuple[str, ...], scan: str) -> duckdb.DuckDBPyConnection:
    cursor = _connection(extensions).cursor()
    cursor.execute("set timezone = 'UTC'")
    return cursor.execute(f"create temporary table it as from {scan}")


def _query(extensions: tuple[str, ...], scan: str, query: str) -> pl.DataFrame:
    with _connection(extensions).cursor() as cursor:
        cursor.execute("set timezone = 'UTC'")
        frame = pl.from_arrow(cursor.execute(f"with it as (from {scan}) {query}").to_arrow_table())
    assert isinstance(frame, pl.DataFrame)
    return frame


@cache
def _connection(extensions: tuple[str, ...]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    load_extensions(connection, extensions)
    return connection


def load_extensions(connection: duckdb.DuckDBPyConnection, names: tuple[str, ...]) -> None:
    """Load DuckDB extensions from their wheels: nothing is downloaded."""
    for name in names:
        connection.load_extension(str(_extension(name)))


def _extension(name: str) -> Path:
    folder = Path(str(importlib.import_module(f"duckdb_extension_{name}").__file__)).parent
    (file,) = folder.rglob(f"{name}.duckdb_extension")
    return file


def _text(value: str) -> str:
    return value.replace("'", "''")
