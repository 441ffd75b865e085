"""Rows for people's eyes and small tools: cells as JSON has them, nothing rounded.

Decimals, times and bytes (base64) are text. Only what is shown to a person goes through here: a Python object a row.
"""

from __future__ import annotations

import base64
import json
import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

_DAYS_IN_400_YEARS = 146_097
_DAY_US = 86_400_000_000


def as_text(name: str, dtype: object) -> pl.Expr | None:
    """A struct's field of times as text, as Python's own types end at the year 1; None for other fields.

    ISO 8601, with a sign where the year has not four digits. The calendar repeats itself every 400 years, and Polars
    prints none beyond 262142: so it prints a moment of the same day in our own 400 years.
    """
    if dtype != pl.Date and not isinstance(dtype, pl.Datetime):
        return None
    cycles = pl.field(name).cast(pl.Date).to_physical().cast(pl.Int64) // _DAYS_IN_400_YEARS
    if isinstance(dtype, pl.Datetime):
        near = (pl.field(name).to_physical() - cycles * (_DAYS_IN_400_YEARS * _DAY_US)).cast(dtype)
        rest = near.dt.to_string("-%m-%dT%H:%M:%S%.6f" + ("Z" if dtype.time_zone else ""))
    else:
        near = (pl.field(name).to_physical() - cycles * _DAYS_IN_400_YEARS).cast(pl.Int32).cast(pl.Date)
        rest = near.dt.to_string("-%m-%d")
    year = near.dt.year() + 400 * cycles
    digits = year.abs().cast(pl.String).str.zfill(4)
    sign = pl.when(year < 0).then(pl.lit("-")).when(year > 9999).then(pl.lit("+")).otherwise(pl.lit(""))
    return pl.concat_str(sign, digits, rest).alias(name)


def readable(frame: pl.DataFrame, *images: str) -> pl.DataFrame:
    """The frame with the times in these structs as text."""
    expressions = []
    for name in images:
        dtype = frame.schema[name]
        if isinstance(dtype, pl.Struct):
            texts = [text for f in dtype.fields if (text := as_text(f.name, f.dtype)) is not None]
            expressions.append(pl.col(name).struct.with_fields(*texts))
    return frame.with_columns(expressions)


def documents(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects."""
    if not rows.width:
        return []
    structs = readable(rows.select(pl.struct(pl.all()).alias("row")), "row")["row"]
    return [json.loads(line(row)) for row in structs.to_list()]


def line(document: dict[str, Any]) -> str:
    """One JSON object. Numbers that JSON does not have are text: nan, inf, -inf."""
    try:
        return json.dumps(document, default=_json, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no NaN and no infinity
        return json.dumps(_finite(document), default=_json, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: object) -> str:
    if isinstance(value, datetime):
        text = value.isoformat(timespec="microseconds")
        return text.removesuffix("+00:00") + "Z" if value.tzinfo else text
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"  # str() makes 0E-10 of a zero with ten decimals
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
