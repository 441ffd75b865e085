"""What Iceberg calls its types, where a table's metadata file is, and what stands in it; without pyiceberg.

Shared by destinations and sources. Importing pyiceberg takes longer (1.5 s) than what is read here.
Formats: https://iceberg.apache.org/spec/#table-metadata-fields; the catalog's table is that of Iceberg's JDBC catalog.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa

CATALOG_NAME: Final = "default"
CATALOG_FILE: Final = "catalog.db"
"""The default catalog: SQLite, in the warehouse."""

_WORDS: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}
_TYPES: Final = {kind: word for word, kind in _WORDS.items()}


def iceberg_word(kind: pa.DataType) -> str | None:
    """The Iceberg type of an Arrow type; None when there is none that holds exactly its values."""
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    return _TYPES.get(kind)


def arrow_type(word: Any) -> pa.DataType | None:
    """The inverse of `iceberg_word`; nested types are dicts in the metadata and None here."""
    if not isinstance(word, str):
        return None
    if word.startswith("decimal("):
        precision, scale = word[8:-1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return _WORDS.get(word)


def locate(catalog: Path, name: str, namespace: str, table: str) -> str | None:
    """Where the table's current metadata file is, from the SQLite catalog; None without catalog or table."""
    if not catalog.exists():
        return None
    query = (
        "select metadata_location from iceberg_tables where catalog_name = ? and table_namespace = ? and table_name = ?"
    )
    with closing(sqlite3.connect(f"file:{quote(str(catalog))}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            row = connection.execute(query, (name, namespace, table)).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise
    return str(row[0]) if row else None


def local_path(location: str) -> Path:
    """A location of the local file system as a path (`file:///a`, `file:/a` or `/a`)."""
    return Path("/" + location.removeprefix("file:").lstrip("/"))


def read_metadata(location: str) -> dict[str, Any]:
    """The metadata file at a local location, as the specification writes it. Raises OSError, ValueError."""
    content = local_path(location).read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    document: dict[str, Any] = json.loads(content)
    return document
