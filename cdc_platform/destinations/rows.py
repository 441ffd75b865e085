"""Rows on their way into a table: exactly its columns and types, required ones without null.

Shared by all formats. What a row means (the projection of a source row) is `model/projection.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from cdc_platform.errors import InvalidRow, SchemaConflict
from cdc_platform.model.change import DELETE
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetSchema

OPERATION = "_cdc_operation"
BINLOG_FILE, BINLOG_POSITION, LSN = "_cdc_binlog_file", "_cdc_binlog_position", "_cdc_source_lsn"


class RowCheck:
    """Checks frames against a target schema; made once a write, because deriving the types costs."""

    def __init__(self, schema: TargetSchema, table: str) -> None:
        self._table = table
        self._types = pl.Schema({field.name: polars_type(field.type) for field in schema.fields})
        self._required = [field.name for field in schema.fields if field.required]

    def all(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        return (self.one(frame) for frame in frames)

    def changes(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows of an upsert, checked, with their `OPERATION`. A deleted one may hold its key alone: it is never
        written."""
        deleted = rows[OPERATION] == DELETE
        stay, go = rows.filter(~deleted), rows.filter(deleted)
        checked = [(self.one(stay), stay), (self._typed(go), go)]
        return pl.concat(rows.with_columns(of[OPERATION]) for rows, of in checked)

    def one(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame in the schema's column order and types. Raises InvalidRow, SchemaConflict."""
        rows = self._typed(frame)
        for name in self._required:
            if nulls := rows[name].null_count():
                raise InvalidRow(
                    f"column '{name}' of {self._table} is required and {nulls:,} rows have no value in it; "
                    f"take 'required' off destination.columns.{name}, or mend the rows at the source"
                )
        return rows

    def _typed(self, frame: pl.DataFrame) -> pl.DataFrame:
        if missing := [name for name in self._types if name not in frame.columns]:
            raise SchemaConflict(f"rows for {self._table} come without its columns {', '.join(missing)}")
        rows = frame.select(list(self._types))
        if rows.schema == self._types:
            return rows
        try:
            return rows.cast(self._types, strict=True)
        except pl.exceptions.InvalidOperationError as error:
            names = ", ".join(name for name, dtype in self._types.items() if frame.schema[name] != dtype)
            raise InvalidRow(f"a value in {names} does not fit its column's type in {self._table}") from error
