"""`cdc events`: the change log as standard events (data model, section 2.1), one JSON object a line.

For people's eyes and small tools: the one place that makes Python objects of rows.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from cdc_platform.engine.feeds import Flow
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.event import BOOKKEEPING
from cdc_platform.model.position import Position

_DAY_US = 86_400_000_000
_DAYS_IN_400_YEARS = 146_097


def event_lines(flow: Flow, limit: int | None = None, start: Position | None = None) -> Iterator[str]:
    """Events at or after `start` in log order. Decimals, times and bytes (base64) are text, so nothing is rounded."""
    if flow.log.position() is None:
        raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
    left = limit
    for part in flow.log.read(after=0):
        for frame in part.frames():
            chosen = frame if start is None else frame.filter(_at_or_after(start))
            for event in _readable(chosen if left is None else chosen.head(left)).iter_rows(named=True):
                yield _line(event)
            if left is not None:
                left -= min(left, chosen.height)
                if left == 0:
                    return


def _readable(events: pl.DataFrame) -> pl.DataFrame:
    """Row images with times as text: Python's own types end at the year 1."""
    images = {name: dtype for name in ("before", "after") if isinstance(dtype := events.schema[name], pl.Struct)}
    return events.drop(BOOKKEEPING).with_columns(
        pl.col(name).struct.with_fields(*(_text(f.name, f.dtype) for f in dtype.fields if _is_time(f.dtype)))
        for name, dtype in images.items()
    )


def _is_time(dtype: object) -> bool:
    return dtype == pl.Date or isinstance(dtype, pl.Datetime)


def _text(name: str, dtype: object) -> pl.Expr:
    """ISO 8601, with a sign where the year has not four digits. The calendar repeats itself every 400 years, and Polars
    prints none beyond 262142: so it prints a moment of the same day in our own 400 years."""
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


def _line(event: dict[str, Any]) -> str:
    try:
        return json.dumps(event, default=_json, ensure_ascii=False, allow_nan=False)
    except ValueError:  # JSON has no NaN and no infinity
        return json.dumps(_finite(event), default=_json, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    """The same with numbers that JSON does not have as text: nan, inf, -inf."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _at_or_after(start: Position) -> pl.Expr:
    at, ordinal = pl.col("_at"), pl.col("_ordinal")
    return (at > start.at) | ((at == start.at) & (ordinal >= start.ordinal))


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
