"""From a source table's shape to a destination's: names, types, `_cdc_*` columns, and the expressions in between.

| source (Arrow)          | Delta              | Iceberg           |
|-------------------------|--------------------|-------------------|
| int8, int16             | byte, short        | int               |
| int32, int64            | integer, long      | int, long         |
| float, double, bool     | the same           | the same          |
| decimal(p, s), date     | the same           | the same          |
| timestamp without zone  | timestamp (as UTC) | timestamp         |
| timestamp with zone     | timestamp          | timestamptz       |
| string, binary          | the same           | the same          |

`columns` in the pipeline may rename, cast, drop or require a column; a cast that would change a value stops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError, InvalidRow, NotUnderstood
from cdc_platform.model.change import DELETE
from cdc_platform.model.event import System
from cdc_platform.model.schema import TableSchema
from cdc_platform.model.target import TargetField, TargetSchema

Format = Literal["deltalake", "iceberg"]

_UTC = pa.timestamp("us", "UTC")
_NAIVE = pa.timestamp("us")
_CASTS: Mapping[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": _UTC,
    "timestamp_ntz": _NAIVE,
}


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What becomes of one column; see config.pipeline.ColumnConfig."""

    rename: str | None = None
    cast: str | None = None
    drop: bool = False
    required: bool = False


@dataclass(frozen=True, slots=True)
class Projection:
    """The way of a row: `target` is the destination's shape, `rows` brings frames of collapse.py into it.

    `keeps_deletes` says that a DELETE's row is stored (history), and not only its key looked at (current state).
    """

    target: TargetSchema
    system: System
    sources: tuple[tuple[str, pa.DataType], ...]
    keeps_deletes: bool = True

    def rows(self, changes: pl.DataFrame) -> pl.DataFrame:
        """Frames of `history` or `last_changes` as destination rows. Raises InvalidRow, never changes a value."""
        row = pl.col("row")
        columns = [
            _cast(row.struct.field(name), kind, field.type).alias(field.name)
            for (name, kind), field in zip(self.sources, self.target.fields, strict=False)
        ]
        try:
            projected = changes.select(*columns, *_cdc_columns(self.system, self.target))
        except pl.exceptions.InvalidOperationError as error:
            raise self._blame(changes) from error
        self._check_required(projected, changes)
        self._check_booleans(changes)
        return projected

    def plain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Bare source rows (a snapshot's `after`, unnested; any subset of columns) in the destination's types."""
        try:
            return rows.select(
                _cast(pl.col(name), kind, field.type).alias(field.name)
                for (name, kind), field in zip(self.sources, self.target.fields, strict=False)
                if name in rows.columns
            )
        except pl.exceptions.InvalidOperationError as error:
            raise InvalidRow("a value at the source does not fit its cast in destination.columns") from error

    def source_of(self, target_name: str) -> str:
        """The source column behind a destination column."""
        names = [field.name for field in self.target.fields]
        return self.sources[names.index(target_name)][0]

    def _check_required(self, projected: pl.DataFrame, changes: pl.DataFrame) -> None:
        deleted = projected["_cdc_operation"] == DELETE
        for field in self.target.fields:
            if not field.required:
                continue
            nulls = projected[field.name].is_null()
            if not self.keeps_deletes and field.name not in self.target.key:
                nulls = nulls & ~deleted
            if nulls.any():
                first = int(nulls.arg_max() or 0)
                way = "set the source table's replica identity to full" if deleted[first] else "mend the row's source"
                raise InvalidRow(
                    f"column '{field.name}' is required at the destination and null in the change at "
                    f"{changes['lsn'][first]}; take 'required' off destination.columns.{field.name}, or {way}"
                )

    def _check_booleans(self, changes: pl.DataFrame) -> None:
        for (name, kind), field in zip(self.sources, self.target.fields, strict=False):
            if pa.types.is_boolean(field.type) and not pa.types.is_boolean(kind):
                odd = changes["row"].struct.field(name).is_in([0, 1], nulls_equal=False).fill_null(True).not_()
                if odd.any():
                    lsn = changes["lsn"][int(odd.arg_max() or 0)]
                    raise InvalidRow(
                        f"column '{name}' holds a number other than 0 and 1 in the change at {lsn}, and is cast to "
                        f"bool; take the cast off destination.columns.{name}"
                    )

    def _blame(self, changes: pl.DataFrame) -> InvalidRow:
        """Which column's cast failed, found by trying each (the failure is rare, the message is worth it)."""
        for (name, kind), field in zip(self.sources, self.target.fields, strict=False):
            try:
                changes.select(_cast(pl.col("row").struct.field(name), kind, field.type))
            except pl.exceptions.InvalidOperationError:
                return InvalidRow(
                    f"column '{name}' has a value that {field.type} cannot hold, in a change between "
                    f"{changes['lsn'][0]} and {changes['lsn'][-1]}; change destination.columns.{name}.cast"
                )
        raise AssertionError("a cast failed in the whole and in no part")


def projection(
    table: TableSchema,
    rules: Mapping[str, ColumnRule],
    destination: Format,
    system: System,
    key: tuple[str, ...],
    keeps_deletes: bool = True,
) -> Projection:
    """The projection of a table by a pipeline's column rules. `key` holds source names."""
    for name in rules:
        if name not in table.names:
            raise ConfigError(f"destination.columns.{name}: {table.table} has no such column")
    sources: list[tuple[str, pa.DataType]] = []
    fields: list[TargetField] = []
    for column in table.columns:
        rule = rules.get(column.name, ColumnRule())
        if rule.drop:
            continue
        kind = _CASTS[rule.cast] if rule.cast else _default(column.type, destination)
        required = rule.required or (destination == "iceberg" and column.name in key)
        sources.append((column.name, column.type))
        fields.append(TargetField(rule.rename or column.name, kind, required))
    renamed = {name: field.name for (name, _), field in zip(sources, fields, strict=True)}
    for name in key:
        if name not in renamed:
            raise ConfigError(f"destination.columns.{name}: a column of the primary key cannot be dropped")
    fields += _cdc_fields(destination, system)
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"destination.columns: two columns of the destination would be called '{name}'")
    return Projection(
        TargetSchema(tuple(fields), tuple(renamed[k] for k in key)), system, tuple(sources), keeps_deletes
    )


def order_columns(system: System) -> tuple[str, ...]:
    """The `_cdc_*` columns that order the changes of one key."""
    return ("_cdc_source_lsn",) if system == "postgres" else ("_cdc_binlog_file", "_cdc_binlog_position")


def _default(kind: pa.DataType, destination: Format) -> pa.DataType:
    if destination == "iceberg" and (pa.types.is_int8(kind) or pa.types.is_int16(kind)):
        return pa.int32()
    if destination == "deltalake" and kind == _NAIVE:
        return _UTC
    return kind


def _cdc_fields(destination: Format, system: System) -> list[TargetField]:
    iceberg = destination == "iceberg"
    fields = [
        TargetField("_cdc_operation", pa.string(), required=iceberg),
        TargetField("_cdc_timestamp", _NAIVE if iceberg else _UTC, required=iceberg),
    ]
    if system == "postgres":
        return [*fields, TargetField("_cdc_source_lsn", pa.string())]
    return [*fields, TargetField("_cdc_binlog_file", pa.string()), TargetField("_cdc_binlog_position", pa.int64())]


def _cdc_columns(system: System, target: TargetSchema) -> list[pl.Expr]:
    kinds = {field.name: field.type for field in target.fields}
    columns = [
        pl.col("operation").alias("_cdc_operation"),
        _cast(pl.col("process_ts"), _UTC, kinds["_cdc_timestamp"]).alias("_cdc_timestamp"),
    ]
    if system == "postgres":
        return [*columns, pl.col("lsn").alias("_cdc_source_lsn")]
    # The file's name may hold a colon, the offset cannot.
    parts = pl.col("lsn").str.extract_groups(r"^(?<file>.*):(?<offset>\d+)$")
    return [
        *columns,
        parts.struct.field("file").alias("_cdc_binlog_file"),
        # The rows of one event share its offset. An event has more bytes than rows, so this stays below the next one
        # and orders all changes of a key.
        (parts.struct.field("offset").cast(pl.Int64) + pl.col("ordinal")).alias("_cdc_binlog_position"),
    ]


def _cast(value: pl.Expr, kind: pa.DataType, target: pa.DataType) -> pl.Expr:
    """A strict cast: raises where the target cannot hold a value."""
    if kind == target:
        return value
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(target):
        return value.dt.replace_time_zone(target.tz)
    if pa.types.is_boolean(target) and not pa.types.is_integer(kind):
        raise ConfigError(f"cast to bool is from whole numbers only, not from {kind}")
    if pa.types.is_floating(kind) and pa.types.is_integer(target):
        raise ConfigError(f"a cast from {kind} to {target} would lose fractions")
    if pa.types.is_decimal(kind) and not (pa.types.is_string(target) or pa.types.is_decimal(target)):
        raise ConfigError(f"a cast from {kind} to {target} would change values; cast to string")
    if pa.types.is_timestamp(kind) and pa.types.is_date(target):
        raise ConfigError(f"a cast from {kind} to date would lose the time of day")
    return value.cast(polars_type(target), strict=True)


def polars_type(kind: pa.DataType) -> pl.DataType:
    """The Polars type of an Arrow type."""
    series = pl.from_arrow(pa.array([], kind))
    if not isinstance(series, pl.Series):
        raise NotUnderstood(f"no Polars type for {kind}")
    return series.dtype
