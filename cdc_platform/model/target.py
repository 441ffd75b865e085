"""The shape of a destination table, free of any table format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from cdc_platform.errors import ConfigError

Transform = Literal["identity", "day", "month", "year"]

SOURCE_IDS = "cdc.columns"
"""The table property in which a destination keeps which source column fills each of its own."""

_PARTITION = re.compile(r"(?:(\w+)\s*\(\s*(.+?)\s*\)|(.+))")
_TRANSFORMS: dict[str, Transform] = {
    "identity": "identity",
    **dict.fromkeys(("date", "day", "days"), "day"),
    **dict.fromkeys(("month", "months"), "month"),
    **dict.fromkeys(("year", "years"), "year"),
}


@dataclass(frozen=True, slots=True)
class TargetField:
    """One destination column; `required` ones hold no null.

    `source_id` is the `Column.source_id` that fills it, by which a renamed column is known again; None for `_cdc_*`.
    Destinations keep it with the table, in the table property `SOURCE_IDS`: JSON, column name to id.
    """

    name: str
    type: pa.DataType
    required: bool = False
    source_id: int | None = None


@dataclass(frozen=True, slots=True)
class TargetSchema:
    """All destination columns in order, `_cdc_*` last, and the key's destination names (empty without a key)."""

    fields: tuple[TargetField, ...]
    key: tuple[str, ...]

    @property
    def arrow(self) -> pa.Schema:
        return pa.schema([pa.field(f.name, f.type, nullable=not f.required) for f in self.fields])


@dataclass(frozen=True, slots=True)
class PartitionField:
    """One partition term: a column, whole or by calendar unit. Its own name is `column` or `column_unit`."""

    column: str
    transform: Transform

    @property
    def name(self) -> str:
        return self.column if self.transform == "identity" else f"{self.column}_{self.transform}"

    @classmethod
    def parse(cls, text: str) -> PartitionField:
        """`country`, `DATE(last_updated)`, `month(updated_at)`, `year(...)`; case does not matter in the unit."""
        match = _PARTITION.fullmatch(text.strip())
        if match is None:
            raise ConfigError("partition_by is empty; give a column, or day(column), month(column), year(column)")
        if match[1] is None:
            return cls(match[3], "identity")
        unit = _TRANSFORMS.get(match[1].lower())
        if unit is None:
            raise ConfigError(f"partition_by: unknown unit '{match[1]}'; known are day (date), month, year")
        return cls(match[2], unit)


@dataclass(frozen=True, slots=True)
class SortField:
    """One sort term, `column` or `column desc`; nulls last either way."""

    column: str
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> SortField:
        column, _, direction = text.strip().partition(" ")
        if direction.strip().lower() not in ("", "asc", "desc"):
            raise ConfigError(f"sort_by: '{text}' is neither 'column' nor 'column desc'")
        return cls(column, direction.strip().lower() == "desc")


@dataclass(frozen=True, slots=True)
class TableLayout:
    """How the destination keeps its rows: partitions, order inside files, format properties."""

    partitions: tuple[PartitionField, ...] = ()
    sort: tuple[SortField, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
