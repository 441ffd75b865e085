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

from cdc_platform.model.time_text import as_text


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
