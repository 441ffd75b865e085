"""The column by which a table is followed, and the key that its rows have. Pure."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import pyarrow as pa

from cdc_platform.errors import ConfigError, NeedsPerson
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.timestamp.watermark import Clock


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is the column, `zone` what its wall clock shows where its type has no zone; `key` are the columns that
    tell rows apart where the table has no primary key, if a pipeline names some."""

    name: str
    key: tuple[str, ...]
    zone: ZoneInfo

    def clock(self, schema: TableSchema) -> Clock:
        """How its values are to be read. Raises NeedsPerson where the table has no such column, or not any more."""
        self.check(schema)
        return Clock.of(schema.column(self.name), self.zone)

    def check(self, schema: TableSchema) -> None:
        """Raise NeedsPerson unless the table can be followed by the column."""
        if self.name not in schema.names:
            raise NeedsPerson(
                f"{schema.table} has no column '{self.name}' any more, by which it was followed; where it was renamed, "
                "write its new name as source.tables[].cdc_column"
            )
        column = schema.column(self.name)
        if not pa.types.is_timestamp(column.type):
            raise NeedsPerson(
                f"{schema.table}: cdc_column '{self.name}' is {column.source_type}; a timestamp (Postgres) or a "
                "datetime or timestamp (MySQL) that is not read as text tells when a row changed"
            )
        keyed(schema, self)


def check_new(schema: TableSchema, column: Column) -> None:
    """The same for a table that is new, and may be described wrongly: ConfigError for a column that is not there."""
    for name, what in ((column.name, "cdc_column"), *((name, "primary_key") for name in column.key)):
        if name not in schema.names:
            near = difflib.get_close_matches(name, schema.names, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(schema.names)}"
            raise ConfigError(f"source.tables[].{what}: {schema.table} has no column '{name}'; {hint}")
    column.check(schema)


def keyed(schema: TableSchema, column: Column) -> TableSchema:
    """The table with a key: its own, or the one that a pipeline names. Raises NeedsPerson where there is none."""
    if schema.primary_key:
        return schema
    if not column.key or not set(column.key) <= set(schema.names):
        raise NeedsPerson(
            f"{schema.table} has no primary key, and rows that are read again must be told apart; give it one, or "
            "write columns that do as source.tables[].primary_key"
        )
    return replace(schema, primary_key=column.key)
