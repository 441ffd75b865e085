"""A destination table as DuckDB sees it: its columns, and its rows as text to be held against the source's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
from pyiceberg.exceptions import NoSuchTableError

from cdc_platform_tests import readers
from cdc_platform_tests.scenarios.origin import Row
from cdc_platform_tests.world import World

ORDER = {"postgres": ("_cdc_source_lsn",), "mysql": ("_cdc_binlog_file", "_cdc_binlog_position")}


@dataclass(frozen=True, slots=True)
class LakeTable:
    """Where the destination of one pipeline is. `format` is delta or iceberg, `name` its last part."""

    world: World
    format: str
    name: str

    def read(self) -> LakeRows:
        """What the table holds now, read once whatever is asked of it afterwards."""
        if self.format == "delta":
            folder = self.world.home / "lake" / "deltalake" / self.name
            table = readers.delta_in_memory(folder) if (folder / "_delta_log").exists() else None
        else:
            location = self._metadata_location()
            table = readers.iceberg_in_memory(location) if location else None
        if table is None:
            return LakeRows(self.name, None, {})
        described = table.execute("select column_name, column_type from (describe from it)").fetchall()
        return LakeRows(self.name, table, {str(name): str(kind) for name, kind in described})

    def _metadata_location(self) -> str | None:
        if not (self.world.home / "lake" / "iceberg" / "catalog.db").exists():
            return None
        try:
            return self.world.iceberg_table(self.name).metadata_location
        except NoSuchTableError:
            return None


@dataclass(frozen=True, slots=True)
class LakeRows:
    """A destination table as it was when it was read; one that is not there has no columns and no rows.

    `types` has DuckDB's type of each column.
    """

    name: str
    table: duckdb.DuckDBPyConnection | None
    types: Mapping[str, str]

    def current(self, columns: Sequence[str]) -> list[Row]:
        """The rows of a current state."""
        return self.query(f"select {self._texts(columns)} from it")

    def latest(self, columns: Sequence[str], key: Sequence[str], order: Sequence[str]) -> list[Row]:
        """The current state that a history tells: of each key the last row, unless that is a DELETE."""
        places = ", ".join(order)
        keys = ", ".join(map(_quoted, key))
        last = f"rank() over (partition by {keys} order by {', '.join(f'{o} desc' for o in order)}) = 1"
        twice = self.query(f"select {keys}, {places}, count(*) from it group by all having count(*) > 1")
        assert not twice, f"{self.name}: changes of one {key} have one place: {twice}"
        return self.query(
            f"select {self._texts(columns)} from (from it qualify {last}) where _cdc_operation <> 'DELETE'"
        )

    def everything(self) -> list[str]:
        """Each row as one text, in order: to tell whether anything changed."""
        return sorted(map(str, self.query("select * from it")))

    def query(self, query: str) -> list[Row]:
        """The answer to SQL on the table `it`; nothing where there is none."""
        return self.table.execute(query).fetchall() if self.table else []

    def _texts(self, columns: Sequence[str]) -> str:
        return ", ".join(_text(_quoted(column), self.types[column]) for column in columns)


def _text(column: str, kind: str) -> str:
    match kind.split("(")[0]:
        case "BLOB":
            return f"lower(hex({column}))"
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return f"strftime({column}, '%Y-%m-%d %H:%M:%S.%f')"
        case "FLOAT" | "DOUBLE":
            return f"{column}::double"
        case "BOOLEAN":
            return f"case when {column} then 't' when not {column} then 'f' end"
    return f"{column}::varchar"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
