"""The type table: how a column of each Postgres type is read from the snapshot and from the stream.

| Postgres                                 | Arrow                 | snapshot selects      | stream text             |
|------------------------------------------|-----------------------|-----------------------|-------------------------|
| boolean                                  | bool                  | the column            | `t`, `f`                |
| smallint, integer, bigint                | int16, int32, int64   | the column            | digits                  |
| oid                                      | int64                 | it as bigint          | digits                  |
| real, double precision                   | float32, float64      | the column            | shortest exact digits   |
| numeric(p, s), at most 38 digits         | decimal128(p, s)      | its text              | digits and a point      |
| text, varchar, char(n)                   | string                | the column            | itself                  |
| bytea                                    | binary                | the column            | `\\x`, hexadecimal      |
| date                                     | date32                | the column            | ISO                     |
| timestamp, timestamp with time zone      | timestamp[us], or UTC | the column            | ISO, `+00`              |
| a domain                                 | as its base type      | cast to the base type | as its base type        |
| everything else; numeric without digits; | string                | its text              | itself                  |
| any column that is asked for as text     |                       |                       |                         |

"Its text" is what the type's own output function gives: the form in which Postgres reads the value back, and what the
stream sends. A plain cast to text is not always that (inet, char(n), "char"). Layer: sources; pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from cdc_platform.sources.cells import LAST_MOMENT, TOO_FAR, BadCell, Cells, column, polars_type, text_column
from cdc_platform.sources.postgres.connection import identifier

# OIDs of built-in types never change (src/include/catalog/pg_type.dat).
_BYTEA, _OID, _NUMERIC = 17, 26, 1700
_NATIVE: dict[int, pa.DataType] = {
    16: pa.bool_(),
    _BYTEA: pa.binary(),
    20: pa.int64(),
    21: pa.int16(),
    23: pa.int32(),
    25: pa.string(),  # text
    _OID: pa.int64(),  # 32 bits without sign; the driver has it with one
    700: pa.float32(),
    701: pa.float64(),
    1042: pa.string(),  # char(n)
    1043: pa.string(),  # varchar
    1082: pa.date32(),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}
_MAX_DIGITS = 38

# Infinity, and what lies beyond 64 bits of microseconds, arrive from the binary format below Postgres' first day
# (4714-11-24 BC): the driver adds the 30 years between the two epochs and wraps around.
_FIRST_DAY = -2_440_588
_FIRST_MICROSECOND = _FIRST_DAY * 86_400_000_000
_INFINITIES = (-(2**63) + 946_684_800_000_000 - 1, -(2**63) + 946_684_800_000_000)


@dataclass(frozen=True, slots=True)
class PgType:
    """A type of one server, as a column has it. `base` is what a domain comes down to, else the type itself.

    `base_name` and `output` are quoted, schema-qualified SQL names: of the base type and of its output function.
    `as_text` says that the column was asked for as the server's text, whatever its type.
    """

    oid: int
    base: int
    base_typmod: int
    base_name: str
    output: str
    as_text: bool = False

    def arrow(self, typmod: int) -> pa.DataType:
        """The Arrow type of a column of this type with the modifier `typmod` (-1: none)."""
        if self.as_text:
            return pa.string()
        if self.base != _NUMERIC:
            return _NATIVE.get(self.base, pa.string())
        return _decimal(self.base_typmod if self.base != self.oid else typmod)

    def select(self, name: str) -> str:
        """The SQL expression that a snapshot selects for the column `name`."""
        plain = identifier(name)
        if self.base != self.oid:
            plain = f"({plain}::{self.base_name})"
        if self.as_text or self.base not in _NATIVE:
            return f"pg_catalog.textin({self.output}({plain}))"
        return f"{plain}::pg_catalog.int8" if self.base == _OID else plain


def way_out(column_name: str) -> str:
    """What to do about a value that the column's own Arrow type cannot hold."""
    return f"put '{column_name}' into source.tables[].as_text and begin its pipeline anew"


def from_text(cells: Cells, wanted: pa.DataType) -> pl.Series:
    """One column of the stream; raises BadCell."""
    if wanted != pa.binary():
        return column(cells, wanted)
    digits = text_column(cells.part(2, (cells.lengths - 2) * cells.valid))
    series = digits.str.decode("hex", strict=False)
    if series.null_count() != digits.null_count():
        raise BadCell(int((series.is_null() & digits.is_not_null()).arg_max() or 0), "is no hexadecimal bytea")
    return series


def from_arrow(array: Any, wanted: pa.DataType) -> pl.Series:
    """One column of a snapshot's record batch; raises BadCell."""
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    if pa.types.is_decimal(wanted):
        number = series.cast(polars_type(wanted), strict=False)
        if number.null_count() != series.null_count():
            raise BadCell(int((number.is_null() & series.is_not_null()).arg_max() or 0), f"is no finite {wanted}")
        return number
    if pa.types.is_date32(wanted) or pa.types.is_timestamp(wanted):
        _check_moments(series)
    if pa.types.is_floating(wanted):
        # The server keeps a sign and bits of NaN that its text, and so the stream, has not.
        odd = series.is_nan()
        return series.set(odd, math.nan) if odd.any() else series
    return series


def _decimal(modifier: int) -> pa.DataType:
    """decimal128 for numeric(p, s), string where its digits are not bounded or more than fit.

    With a negative scale the last digits before the point are zero; with one above the precision, the first behind it.
    """
    modifier -= 4  # numeric.c, make_numeric_typmod
    if modifier < 0:
        return pa.string()
    precision, scale = modifier >> 16 & 0xFFFF, ((modifier & 0x7FF) ^ 1024) - 1024
    digits = max(precision - min(scale, 0), scale)
    return pa.decimal128(digits, max(scale, 0)) if digits <= _MAX_DIGITS else pa.string()


def _check_moments(series: pl.Series) -> None:
    """Raise BadCell for the first date or timestamp that is infinite or wrapped around."""
    values = series.to_physical()
    if series.dtype == pl.Date:
        bad, reason = values < _FIRST_DAY, "is no finite date"
    else:
        bad, reason = (values < _FIRST_MICROSECOND) | (values == LAST_MOMENT + 1), "is no finite timestamp"
    if not bad.any():
        return
    row = int(bad.arg_max() or 0)
    if series.dtype != pl.Date and values[row] not in _INFINITIES:
        reason = TOO_FAR
    raise BadCell(row, reason)
