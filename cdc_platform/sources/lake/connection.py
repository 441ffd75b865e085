"""Where the tables of a lake are: the `connection` of sources of type deltalake and iceberg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableName
from cdc_platform.sources.asked import Asked, TableAsked
from cdc_platform.sources.lake.delta import DeltaLakeTable
from cdc_platform.sources.lake.source import LakeSource

DEFAULT_SCHEMA = "default"


def delta_source(asked: Asked) -> LakeSource:
    """The table that is asked for, below the folder `path`."""
    path = _folder(asked.connection, "path", ("path",))
    table, wanted = _one(asked)
    name = table.name if table.schema == DEFAULT_SCHEMA else f"{table.schema}.{table.name}"
    return LakeSource(
        DeltaLakeTable(path / name),
        str(path / name),
        wanted.primary_key,
        wanted.history,
        lambda: _folders(path),
    )


def iceberg_source(asked: Asked) -> LakeSource:
    """The table that is asked for, in a catalog of the warehouse."""
    from cdc_platform.sources.lake.iceberg import IcebergLakeTable

    warehouse = _folder(asked.connection, "warehouse", ("warehouse", "catalog"))
    catalog = asked.connection.get("catalog")
    if catalog is not None and not isinstance(catalog, Mapping):
        raise ConfigError("source.connection.catalog: a pyiceberg catalog configuration is a mapping")
    table, wanted = _one(asked)
    if wanted.as_text:
        raise ConfigError("source.tables.as_text: a lake table's values have no other text")
    identifier = f"{table.schema}.{table.name}"
    place = f"{warehouse}/{identifier}"
    return LakeSource(IcebergLakeTable(warehouse, identifier, catalog), place, wanted.primary_key, wanted.history)


def _one(asked: Asked) -> tuple[TableName, TableAsked]:
    """A lake's tables are feeds of their own."""
    ((table, wanted),) = asked.tables.items()
    return table, wanted


def _folder(connection: Mapping[str, Any], key: str, known: Sequence[str]) -> Path:
    for name in connection:
        if name not in known:
            raise ConfigError(f"source.connection: unknown key '{name}'; valid keys here: {', '.join(known)}")
    text = connection.get(key)
    if not isinstance(text, str) or not text:
        raise ConfigError(f"source.connection.{key}: the folder that holds the tables is required")
    if "://" in text and not text.startswith("file://"):
        raise ConfigError(
            f"source.connection.{key}: '{text}' is not in the local file system, which is all that is read"
        )
    return Path(text.removeprefix("file://")).expanduser().absolute()


def _folders(path: Path) -> list[str]:
    return sorted(folder.parent.name for folder in path.glob("*/_delta_log")) if path.is_dir() else []
