"""A definition's rows, computed and held against what it says of them. Pure but for what the definition does.

A definition is somebody's code: what goes wrong in it is a matter of configuration, told in one line without a cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import polars as pl

from cdc_platform.engine.derivation.buckets import bucket_of
from cdc_platform.engine.derivation.definition import Definition
from cdc_platform.errors import CdcError, ConfigError, InvalidRow
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetField, TargetSchema


def computed(
    definition: Definition, target: TargetSchema, inputs: Mapping[str, pl.LazyFrame], bucket: int, buckets: int
) -> pl.DataFrame:
    """The derived rows of these input rows, which are all of one bucket: the columns of `target` but for `written_at`,
    in its types. Raises ConfigError, InvalidRow."""
    table = definition.table
    try:
        made = table.rows(inputs).collect()
    except CdcError:
        raise
    except Exception as error:  # of its author's making, and it may quote cells
        raise ConfigError(
            f"derive.definition {definition.name}: its rows cannot be computed: {_told(error)}"
        ) from error
    fields = [field for field in target.fields if field.name != table.written_at]
    if lacking := [field.name for field in fields if field.name not in made.columns]:
        raise ConfigError(f"derive.definition {definition.name}: its rows come without column {', '.join(lacking)}")
    rows = _typed(definition, made, fields)
    for field in fields:
        if field.required and (nulls := rows[field.name].null_count()):
            raise InvalidRow(
                f"derive.definition {definition.name}: column '{field.name}' is required, and {nulls:,} rows have no "
                "value in it; say in the definition what stands for nothing, or do not require it"
            )
    keys = rows.select(table.key)
    if keys.is_duplicated().any():
        raise ConfigError(
            f"derive.definition {definition.name}: several rows of one ({', '.join(table.key)}); a derived table has "
            "one row a key"
        )
    if buckets > 1 and not (bucket_of(keys, buckets) == bucket).all():
        raise ConfigError(
            f"derive.definition {definition.name}: a row of another ({', '.join(table.key)}) than its inputs are of; "
            "each row is made of the input rows that 'by' assigns to it, and of no others"
        )
    return rows


def stamped(rows: pl.DataFrame, column: str | None, target: TargetSchema) -> pl.DataFrame:
    """The rows as they are written now: with the time in the column for it."""
    if column is None:
        return rows
    kind = next(field.type for field in target.fields if field.name == column)
    now = pl.lit(datetime.now(UTC).replace(tzinfo=None), pl.Datetime("us")).dt.replace_time_zone(kind.tz)
    return rows.with_columns(now.alias(column)).select(field.name for field in target.fields)


def _typed(definition: Definition, made: pl.DataFrame, fields: list[TargetField]) -> pl.DataFrame:
    """The columns in their types. Only casts that keep every value, or fail, are made for an author."""
    if odd := [field for field in fields if not _exact(made.schema[field.name], polars_type(field.type))]:
        listed = ", ".join(f"{field.name} is {made.schema[field.name]} and should be {field.type}" for field in odd)
        raise ConfigError(f"derive.definition {definition.name}: {listed}; cast it there")
    try:
        return made.select(_cast(field, made.schema[field.name]) for field in fields)
    except pl.exceptions.InvalidOperationError as error:
        kinds = ", ".join(f"{field.name} ({field.type})" for field in fields if not _fits(made, field))
        raise InvalidRow(
            f"derive.definition {definition.name}: values that their column's type cannot hold: {kinds}"
        ) from error


def _exact(held: pl.DataType, wanted: pl.DataType) -> bool:
    if held == wanted or held == pl.Null or (held.is_integer() and (wanted.is_integer() or wanted.is_decimal())):
        return True
    if isinstance(held, pl.Datetime) and isinstance(wanted, pl.Datetime):
        return held.time_unit in ("us", "ms")
    if isinstance(held, pl.Decimal) and isinstance(wanted, pl.Decimal):
        return held.scale <= wanted.scale
    return isinstance(held, (pl.Enum, pl.Categorical)) and wanted == pl.String


def _cast(field: TargetField, held: pl.DataType) -> pl.Expr:
    value, kind = pl.col(field.name), polars_type(field.type)
    if isinstance(held, pl.Datetime) and isinstance(kind, pl.Datetime):
        # A time without a zone is taken as UTC, as everywhere.
        utc = value.dt.convert_time_zone("UTC") if held.time_zone else value
        return utc.dt.replace_time_zone(kind.time_zone).cast(kind)
    return value.cast(kind, strict=True)


def _fits(made: pl.DataFrame, field: TargetField) -> bool:
    try:
        made.select(_cast(field, made.schema[field.name]))
    except pl.exceptions.InvalidOperationError:
        return False
    return True


def _told(error: Exception) -> str:
    """What kind of error; its words too where they are of names and types only."""
    plain = (pl.exceptions.ColumnNotFoundError, pl.exceptions.SchemaError, pl.exceptions.SchemaFieldNotFoundError)
    return f"{type(error).__name__}: {str(error).splitlines()[0]}" if isinstance(error, plain) else type(error).__name__
