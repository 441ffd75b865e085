"""A lake of either format for the contract tests: our destination on one side, other tools on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.model.target import PartitionField, SortField, TableLayout, TargetField, TargetSchema
from cdc_platform_tests.readers import duckdb_delta, duckdb_iceberg


class Lake(Protocol):
    """One table `t` in a fresh folder. `readers` are others' views of it, columns in our order."""

    @property
    def format(self) -> Literal["deltalake", "iceberg"]: ...
    def open(self, layout: TableLayout | None = None) -> Destination: ...
    def readers(self, columns: Sequence[str]) -> dict[str, pl.DataFrame]: ...
    def foreign_append(self, rows: pl.DataFrame) -> None:
        """What another tool does to the table in between."""

    def data_files(self) -> list[Path]:
        """Files that the table's current version is made of."""

    def stored_files(self) -> list[Path]:
        """All data files in the folder, live or not."""

    def break_metadata(self) -> None: ...


def layout(
    partitions: Sequence[str] = (), sort: Sequence[str] = (), properties: dict[str, str] | None = None
) -> TableLayout:
    return TableLayout(
        tuple(PartitionField.parse(text) for text in partitions),
        tuple(SortField.parse(text) for text in sort),
        tuple(sorted((properties or {}).items())),
    )


MAPPED = {"delta.columnMapping.mode": "name", "delta.enableChangeDataFeed": "true"}


@dataclass(frozen=True)
class DeltaLake:
    root: Path
    properties: dict[str, str]
    format: Literal["deltalake", "iceberg"] = "deltalake"

    @property
    def path(self) -> Path:
        return self.root / "t"

    def open(self, layout: TableLayout | None = None) -> Destination:
        layout = layout or TableLayout()
        properties = tuple(sorted((dict(layout.properties) | self.properties).items()))
        return DeltaDestination(str(self.path), TableLayout(layout.partitions, layout.sort, properties))

    def readers(self, columns: Sequence[str]) -> dict[str, pl.DataFrame]:
        found = {"duckdb": duckdb_delta(self.path).select(columns)}
        table = DeltaTable(self.path)
        rows = QueryBuilder().register("t", table).execute("select * from t").read_all()
        found["deltalake"] = pl.DataFrame(pa.table(rows)).select(columns)
        if table.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
            found["polars"] = pl.scan_delta(str(self.path)).select(columns).collect()
        return found

    def foreign_append(self, rows: pl.DataFrame) -> None:
        table = DeltaTable(self.path)
        generated = [field.name for field in table.schema().fields if field.name not in rows.columns]
        rows = rows.with_columns(pl.col(name.rpartition("_")[0]).dt.date().alias(name) for name in generated)
        write_deltalake(table, rows, mode="append")

    def data_files(self) -> list[Path]:
        return [Path(uri) for uri in DeltaTable(self.path).file_uris()]

    def stored_files(self) -> list[Path]:
        return [file for file in self.path.rglob("*.parquet") if "_delta_log" not in file.parts]

    def break_metadata(self) -> None:
        (self.path / "_delta_log" / f"{0:020d}.json").write_text('{"metaData": nonsense')


@dataclass(frozen=True)
class IcebergLake:
    root: Path
    format: Literal["deltalake", "iceberg"] = "iceberg"

    def open(self, layout: TableLayout | None = None) -> Destination:
        return IcebergDestination(str(self.root), "cdc.t", None, layout or TableLayout())

    def catalog(self) -> SqlCatalog:
        return SqlCatalog("default", uri=f"sqlite:///{self.root}/catalog.db", warehouse=str(self.root))

    def table(self, name: str = "cdc.t") -> Table:
        return self.catalog().load_table(name)

    def readers(self, columns: Sequence[str]) -> dict[str, pl.DataFrame]:
        table = self.table()
        return {
            "duckdb": duckdb_iceberg(table.metadata_location).select(columns),
            "pyiceberg": pl.DataFrame(table.scan().to_arrow()).select(columns),
        }

    def foreign_append(self, rows: pl.DataFrame) -> None:
        table = self.table()
        names = [field.name for field in table.schema().fields]
        arrow = rows.select(names).to_arrow(compat_level=pl.CompatLevel.oldest())
        table.append(arrow.cast(table.schema().as_arrow()))

    def data_files(self) -> list[Path]:
        return [Path(task.file.file_path) for task in self.table().scan().plan_files()]

    def stored_files(self) -> list[Path]:
        return list(self.root.rglob("*.parquet"))

    def break_metadata(self) -> None:
        Path(self.table().metadata_location).write_text('{"format-version": nonsense')


@pytest.fixture(params=["delta", "delta-mapped", "iceberg"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    match request.param:
        case "delta":
            return DeltaLake(tmp_path, {})
        case "delta-mapped":
            return DeltaLake(tmp_path, MAPPED)
        case _:
            return IcebergLake(tmp_path / "warehouse")


def schema(*fields: TargetField, key: tuple[str, ...], system: str = "postgres", naive: bool = False) -> TargetSchema:
    """The fields and the `_cdc_*` columns of a system."""
    cdc = [
        TargetField("_cdc_operation", pa.string()),
        TargetField("_cdc_timestamp", pa.timestamp("us", None if naive else "UTC")),
    ]
    if system == "postgres":
        cdc.append(TargetField("_cdc_source_lsn", pa.string()))
    else:
        cdc += [TargetField("_cdc_binlog_file", pa.string()), TargetField("_cdc_binlog_position", pa.int64())]
    return TargetSchema((*fields, *cdc), key)
