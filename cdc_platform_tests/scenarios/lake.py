"""A destination table as DuckDB sees it: its columns, and its rows as text to be held against the source's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyiceberg.exceptions import NoSuchTableError

from cdc_platform_tests import readers
from cdc_platform_tests.scenarios.origin import Row
from cdc_platform_tests.world import World

ORDER = {"postgres": ("_cdc_source_lsn",), "mysql": ("_cdc_binlog_file", "_cdc_binlog_position")}


@dataclass(frozen=True, slots=True)
class LakeTable:
    """The destination of one pipeline. `format` is delta or iceberg, `name` its last part; one that is not there has
    no columns and no rows."""

    world: World
    format: str
    name: str

    def query(self, query: str) -> list[Row]:
        if self.format == "delta":
            return readers.duckdb_delta(self._folder, query).rows()
        return readers.duckdb_iceberg(self.world.iceberg_table(self.name).metadata_location, query).rows()

    @property
    def _folder(self) -> str:
        return str(self.world.home / "lake" / "deltalake" / self.name)

    def exists(self) -> bool:
        if self.format == "delta":
            return (self.world.home / "lake" / "deltalake" / self.name / "_delta_log").exists()
        if not (self.world.home / "lake" / "iceberg" / "catalog.db").exists():
            return False
        try:
            self.world.iceberg_table(self.name)
        except NoSuchTableError:
            return False
        return True

    def types(self) -> dict[str, str]:
        """DuckDB's type of each column."""
        described = self.query("select column_name, column_type from (describe from it)")
        return {str(name): str(kind) for name, kind in described}

    def current(self, columns: Sequence[str], types: Mapping[str, str]) -> list[Row]:
        """The rows of a current state."""
        return self.query(f"select {_texts(columns, types)} from it")

    def latest(
        self, columns: Sequence[str], types: Mapping[str, str], key: Sequence[str], order: Sequence[str]
    ) -> list[Row]:
        """The current state that a history tells: of each key the last row, unless that is a DELETE."""
        places = ", ".join(order)
        keys = ", ".join(map(_quoted, key))
        last = f"rank() over (partition by {keys} order by {', '.join(f'{o} desc' for o in order)}) = 1"
        twice = self.query(f"select {keys}, {places}, count(*) from it group by all having count(*) > 1")
        assert not twice, f"{self.name}: changes of one {key} have one place: {twice}"
        return self.query(
            f"select {_texts(columns, types)} from (from it qualify {last}) where _cdc_operation <> 'DELETE'"
        )

    def everything(self) -> list[str]:
        """Each row as one text, in order: to tell whether anything changed."""
        return sorted(str(row) for row in self.query("select * from it")) if self.exists() else []


def _texts(columns: Sequence[str], types: Mapping[str, str]) -> str:
    return ", ".join(_text(_quoted(column), types[column]) for column in columns)


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
