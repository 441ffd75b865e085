"""Key ranges in SQL: which keys can be ranged, how a bound is written, the statement that steps along the index.

Layer: sources; pure.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from cdc_platform.errors import InvalidRow
from cdc_platform.model.key_range import Bound, KeyRange, decimal_text
from cdc_platform.sources.mysql.catalogue import Table, quoted
from cdc_platform.sources.mysql.connection import quote
from cdc_platform.sources.mysql.moments import ZERO_DATE

_INTEGERS = {"tinyint", "smallint", "mediumint", "int", "bigint"}
_MOMENTS = {"date": "datetime64[D]", "datetime": "datetime64[us]", "timestamp": "datetime64[us]"}
_BYTES = {"binary", "varbinary"}


def ranged(table: Table) -> str | None:
    """The name of the leading column of the table's key, if the server orders it as Arrow does."""
    if not table.schema.primary_key:
        return None
    name = table.schema.primary_key[0]
    kind = table.types[table.schema.names.index(name)]
    orderly = kind.base in _INTEGERS | _BYTES | _MOMENTS.keys()
    orderly = orderly or (kind.base == "decimal" and pa.types.is_decimal(kind.arrow))
    return name if orderly and not kind.text and not kind.compressed else None


def where(table: Table, within: KeyRange | None) -> str:
    """The condition of a SELECT for this range's rows, with its keyword; empty for all rows."""
    if within is None or (within.low is None and within.high is None):
        return ""
    name = within.columns[0]
    conditions = []
    if within.low is not None:
        conditions.append(f"{quote(name)} >= {bound(table, name, within.low[0])}")
    if within.high is not None:
        conditions.append(f"{quote(name)} < {bound(table, name, within.high[0])}")
    return f" where {' and '.join(conditions)}"


def step(table: Table, name: str, low: Bound | None, high: Bound | None, *, beyond: bool, rows: int) -> str:
    """Select the key that `rows` rows from `low` on precede; with `beyond`, the next greater one."""
    conditions = []
    if low is not None:
        conditions.append(f"{quote(name)} {'>' if beyond else '>='} {bound(table, name, low)}")
    if high is not None:
        conditions.append(f"{quote(name)} < {bound(table, name, high)}")
    condition = f" where {' and '.join(conditions)}" if conditions else ""
    selected = f"select {quote(name)} from {quoted(table.schema.table)}{condition}"
    return f"{selected} order by {quote(name)} limit 1 offset {0 if beyond else int(rows)}"


def bound_of(value: Any, table: Table, name: str) -> Bound:
    """What PyMySQL makes of a key as a bound. A key that is an impossible date is an InvalidRow, as when it is read."""
    kind = table.types[table.schema.names.index(name)]
    if isinstance(value, Decimal):
        return int(value.scaleb(kind.scale))
    if isinstance(value, bytes):
        return value.hex()
    if kind.base in _MOMENTS:
        try:
            text = value.isoformat() if isinstance(value, (date, datetime)) else str(value)
            moment = np.array(text, _MOMENTS[kind.base])
        except ValueError:
            raise InvalidRow(f"{table.schema.table}, column {name}: a key {ZERO_DATE}") from None
        return int(moment.astype(np.int64))
    return int(value)


def bound(table: Table, name: str, value: Bound) -> str:
    """The bound as an SQL constant of the column's type."""
    kind = table.types[table.schema.names.index(name)]
    if kind.base in _BYTES:
        return f"x'{bytes.fromhex(str(value)).hex()}'"
    if kind.base in _MOMENTS:
        text = str(np.array(int(value)).astype(_MOMENTS[kind.base])).replace("T", " ")
        return f"date'{text}'" if kind.base == "date" else f"timestamp'{text}'"
    return decimal_text(int(value), kind.scale if kind.base == "decimal" else 0)
