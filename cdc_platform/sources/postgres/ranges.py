"""Key ranges in SQL: which keys can be ranged, how a bound is written, the statement that steps along the index.

A bound is a constant of the column's own type, so that the key's index serves the condition, and the server folds what
is no plain constant before it plans. Columns of a replica identity or a primary key are never null.
Layer: sources; pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from cdc_platform.model.key_range import Bound, KeyRange, decimal_text
from cdc_platform.model.schema import Column
from cdc_platform.sources.postgres.catalogue import CatalogueTable
from cdc_platform.sources.postgres.connection import identifier, literal
from cdc_platform.sources.postgres.locks import own_rows

_WHOLE_NUMBERS: Mapping[int, str] = {20: "int8", 21: "int2", 23: "int4", 26: "oid"}
_BYTEA, _DATE, _TIMESTAMP, _TIMESTAMPTZ, _NUMERIC, _UUID = 17, 1082, 1114, 1184, 1700, 2950
_DAY = 86_400_000_000

# What is there beside the values that Arrow has: such a key is in the first or the last range, and no bound.
_FINITE = {
    _DATE: "{0} > '-infinity' and {0} < 'infinity'",
    _TIMESTAMP: "{0} > '-infinity' and {0} <= '294247-01-10 04:00:54.775806'",
    _TIMESTAMPTZ: "{0} > '-infinity' and {0} <= '294247-01-10 04:00:54.775806+00'",
    _NUMERIC: "{0} < 'NaN'",
}


def ranged(shape: CatalogueTable) -> Column | None:
    """The leading column of the table's key, if Postgres orders it as Arrow does."""
    if not shape.schema.primary_key:
        return None
    column = shape.schema.column(shape.schema.primary_key[0])
    kind = shape.types[column.name]
    orderly = kind.base in {*_WHOLE_NUMBERS, _BYTEA, _DATE, _TIMESTAMP, _TIMESTAMPTZ, _UUID}
    orderly = orderly or (kind.base == _NUMERIC and pa.types.is_decimal(column.type))
    return column if orderly and not kind.as_text else None


def where(shape: CatalogueTable, within: KeyRange | None) -> str:
    """The condition of a SELECT for this range's rows, with its keyword; empty for all rows."""
    if within is None or (within.low is None and within.high is None):
        return ""
    column = shape.schema.column(within.columns[0])
    conditions = []
    if within.low is not None:
        conditions.append(f"{identifier(column.name)} >= {bound(shape, column, within.low[0])}")
    if within.high is not None:
        conditions.append(f"{identifier(column.name)} < {bound(shape, column, within.high[0])}")
    return f" where {' and '.join(conditions)}"


def step(
    shape: CatalogueTable, column: Column, low: Bound | None, high: Bound | None, *, beyond: bool, rows: int
) -> str:
    """Select the key that `rows` rows from `low` on precede; with `beyond`, the next greater one."""
    name = identifier(column.name)
    conditions = []
    if finite := _FINITE.get(shape.types[column.name].base):
        conditions.append(finite.format(name))
    if low is not None:
        conditions.append(f"{name} {'>' if beyond else '>='} {bound(shape, column, low)}")
    if high is not None:
        conditions.append(f"{name} < {bound(shape, column, high)}")
    condition = f" where {' and '.join(conditions)}" if conditions else ""
    selected = f"select {shape.types[column.name].select(column.name)} from {own_rows(shape)}{condition}"
    return f"{selected} order by {name} offset {0 if beyond else int(rows)} limit 1"


def bound(shape: CatalogueTable, column: Column, value: Bound) -> str:
    """The bound as an SQL expression of the column's type."""
    base = shape.types[column.name].base
    if base in _WHOLE_NUMBERS:
        return f"'{int(value)}'::pg_catalog.{_WHOLE_NUMBERS[base]}"
    if base == _NUMERIC:
        return f"'{decimal_text(int(value), column.type.scale)}'::pg_catalog.numeric"
    if base == _DATE:
        return f"('1970-01-01'::pg_catalog.date + {int(value)})"
    if base in (_TIMESTAMP, _TIMESTAMPTZ):
        days, micros = divmod(int(value), _DAY)
        kind = "timestamp" if base == _TIMESTAMP else "timestamptz"
        return f"('1970-01-01'::pg_catalog.{kind} + '{days} days {micros} microseconds'::pg_catalog.interval)"
    text = literal(f"\\x{value}" if base == _BYTEA else str(value))
    return f"{text}::pg_catalog.{'bytea' if base == _BYTEA else 'uuid'}"
