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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError, InvalidRow, NotUnderstood
from cdc_platform.model.change import DELETE
from cdc_platform.model.schema import Column, TableSchema
from cdc_platform.model.target import TargetField, TargetSchema

Format = Literal["deltalake", "iceberg"]
Order = Literal["lsn", "binlog"]
"""What the `lsn` of events is, by which a key's changes are ordered: text that sorts, or a binlog's coordinates."""

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

    `shape` is the source's. A target field takes the column of its `source_id`; one whose column the source has not
    any more is null. `keeps_deletes` says that a DELETE's row is stored (history), and not only its key looked at
    (current state).
    """

    target: TargetSchema
    order: Order
    shape: TableSchema
    keeps_deletes: bool = True

    @property
    def pairs(self) -> list[tuple[Column, TargetField]]:
        """The source's columns that reach the destination, and where."""
        columns = {column.source_id: column for column in self.shape.columns}
        return [
            (columns[field.source_id], field)
            for field in self.target.fields
            if field.source_id is not None and field.source_id in columns
        ]

    def rows(self, changes: pl.DataFrame) -> pl.DataFrame:
        """Frames of `history` or `last_changes` as destination rows. Raises InvalidRow, never changes a value."""
        row = pl.col("row").struct
        made = {
            field.name: cast(row.field(column.name), column.type, field.type).alias(field.name)
            for column, field in self.pairs
        }
        made |= {field.name: expression for field, expression in _cdc_columns(self.order, self.target)}
        for field in self.target.fields:
            made.setdefault(field.name, pl.lit(None, polars_type(field.type)).alias(field.name))
        try:
            projected = changes.select(made[field.name] for field in self.target.fields)
        except pl.exceptions.InvalidOperationError as error:
            raise self._blame(changes) from error
        self._check_required(projected, changes)
        self._check_booleans(changes)
        return projected

    def plain(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Bare source rows (a snapshot's `after`, unnested; any subset of columns) in the destination's types."""
        try:
            return rows.select(
                cast(pl.col(column.name), column.type, field.type).alias(field.name)
                for column, field in self.pairs
                if column.name in rows.columns
            )
        except pl.exceptions.InvalidOperationError as error:
            raise InvalidRow("a value at the source does not fit its cast in destination.columns") from error

    def source_of(self, target_name: str) -> str:
        """The source column behind a destination column."""
        return next(column.name for column, field in self.pairs if field.name == target_name)

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
        for column, field in self.pairs:
            if pa.types.is_boolean(field.type) and not pa.types.is_boolean(column.type):
                odd = changes["row"].struct.field(column.name).is_in([0, 1], nulls_equal=False).fill_null(True).not_()
                if odd.any():
                    lsn = changes["lsn"][int(odd.arg_max() or 0)]
                    raise InvalidRow(
                        f"column '{column.name}' holds a number other than 0 and 1 in the change at {lsn}, and is cast "
                        f"to bool; take the cast off destination.columns.{column.name}"
                    )

    def _blame(self, changes: pl.DataFrame) -> InvalidRow:
        """Which column's cast failed, found by trying each (the failure is rare, the message is worth it)."""
        for column, field in self.pairs:
            try:
                changes.select(cast(pl.col("row").struct.field(column.name), column.type, field.type))
            except pl.exceptions.InvalidOperationError:
                return InvalidRow(
                    f"column '{column.name}' has a value that {field.type} cannot hold, in a change between "
                    f"{changes['lsn'][0]} and {changes['lsn'][-1]}; change its type at the destination "
                    f"(destination.columns.{column.name}.cast, or another destination with another type)"
                )
        raise AssertionError("a cast failed in the whole and in no part")


def first_target(
    table: TableSchema, rules: Mapping[int, ColumnRule], destination: Format, order: Order, key: Sequence[str]
) -> TargetSchema:
    """The shape that a destination of this table is made with. `key` holds source names, `rules` are by column id."""
    fields: list[TargetField] = []
    for column in table.columns:
        rule = rule_of(column, rules)
        if not rule.drop:
            required = rule.required or (destination == "iceberg" and column.name in key)
            kind = target_type(column, rule, destination)
            fields.append(TargetField(rule.rename or column.name, kind, required, column.source_id))
    names = {field.source_id: field.name for field in fields}
    ids = [table.column(name).source_id for name in key]
    for name, number in zip(key, ids, strict=True):
        if number not in names:
            raise ConfigError(f"destination.columns.{name}: a column of the primary key cannot be dropped")
    fields += cdc_fields(destination, order)
    check_names(fields)
    return TargetSchema(tuple(fields), tuple(names[number] for number in ids))


def rules_by_id(rules: Mapping[str, ColumnRule], shapes: Sequence[TableSchema]) -> dict[int, ColumnRule]:
    """A pipeline's rules, which name columns, by column id. A rule goes on for a column that was renamed since.

    Raises ConfigError for a name that no column ever had.
    """
    found: dict[int, ColumnRule] = {}
    known: set[str] = set()
    for shape in shapes:
        for column in shape.columns:
            known.add(column.name)
            if column.name in rules and column.source_id is not None:
                found[column.source_id] = rules[column.name]
    for name in rules:
        if name not in known:
            raise ConfigError(f"destination.columns.{name}: {shapes[-1].table} has no such column")
    return found


def rule_of(column: Column, rules: Mapping[int, ColumnRule]) -> ColumnRule:
    return rules.get(column.source_id, ColumnRule()) if column.source_id is not None else ColumnRule()


def target_type(column: Column, rule: ColumnRule, destination: Format) -> pa.DataType:
    """The Arrow type that a column has at the destination."""
    return _CASTS[rule.cast] if rule.cast else default_type(column.type, destination)


def check_names(fields: Sequence[TargetField]) -> None:
    """Raise ConfigError where two columns would have one name."""
    names = [field.name for field in fields]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"destination.columns: two columns of the destination would be called '{name}'")


def order_columns(order: Order) -> tuple[str, ...]:
    """The `_cdc_*` columns that order the changes of one key."""
    return ("_cdc_source_lsn",) if order == "lsn" else ("_cdc_binlog_file", "_cdc_binlog_position")


def default_type(kind: pa.DataType, destination: Format) -> pa.DataType:
    """The type that a column of this one has in a format."""
    if destination == "iceberg" and (pa.types.is_int8(kind) or pa.types.is_int16(kind)):
        return pa.int32()
    if destination == "deltalake" and kind == _NAIVE:
        return _UTC
    return kind


def cdc_fields(destination: Format, order: Order) -> list[TargetField]:
    """The columns that say where a row comes from."""
    iceberg = destination == "iceberg"
    fields = [
        TargetField("_cdc_operation", pa.string(), required=iceberg),
        TargetField("_cdc_timestamp", _NAIVE if iceberg else _UTC, required=iceberg),
    ]
    if order == "lsn":
        return [*fields, TargetField("_cdc_source_lsn", pa.string())]
    return [*fields, TargetField("_cdc_binlog_file", pa.string()), TargetField("_cdc_binlog_position", pa.int64())]


def _cdc_columns(order: Order, target: TargetSchema) -> list[tuple[TargetField, pl.Expr]]:
    fields = {field.name: field for field in target.fields if field.source_id is None}
    made = {
        "_cdc_operation": pl.col("operation"),
        "_cdc_timestamp": cast(pl.col("process_ts"), _UTC, fields["_cdc_timestamp"].type),
    }
    if order == "lsn":
        made["_cdc_source_lsn"] = pl.col("lsn")
    else:
        # The file's name may hold a colon, the offset cannot.
        parts = pl.col("lsn").str.extract_groups(r"^(?<file>.*):(?<offset>\d+)$")
        made["_cdc_binlog_file"] = parts.struct.field("file")
        # The rows of one event share its offset. An event has more bytes than rows, so this stays below the next one
        # and orders all changes of a key.
        made["_cdc_binlog_position"] = parts.struct.field("offset").cast(pl.Int64) + pl.col("ordinal")
    return [(fields[name], expression.alias(name)) for name, expression in made.items()]


def cast(value: pl.Expr, kind: pa.DataType, target: pa.DataType, strict: bool = True) -> pl.Expr:
    """A strict cast raises where the target cannot hold a value; else there is null."""
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
    if pa.types.is_string(kind) and pa.types.is_date(target):
        return value.str.to_date("%Y-%m-%d", strict=strict)
    if pa.types.is_string(kind) and pa.types.is_timestamp(target):
        # As servers write it; a time without a zone is taken as UTC, like a column without one.
        plain = value.str.strip_suffix("+00").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=strict)
        return plain.dt.replace_time_zone(target.tz)
    return value.cast(polars_type(target), strict=strict)


def polars_type(kind: pa.DataType) -> pl.DataType:
    """The Polars type of an Arrow type."""
    series = pl.from_arrow(pa.array([], kind))
    if not isinstance(series, pl.Series):
        raise NotUnderstood(f"no Polars type for {kind}")
    return series.dtype
