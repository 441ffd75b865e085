"""`cdc events`: the change log as standard events (data model, section 2.1), one JSON object a line.

For people's eyes and small tools: the one place that makes Python objects of rows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from cdc_platform.engine.feeds import Flow
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.event import BOOKKEEPING
from cdc_platform.model.position import Position


def event_lines(flow: Flow, limit: int | None = None, start: Position | None = None) -> Iterator[str]:
    """Events at or after `start` in log order. Decimals, times and bytes (base64) are text, so nothing is rounded."""
    if flow.log.position() is None:
        raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
    left = limit
    for part in flow.log.read(after=0):
        for frame in part.frames(batch_rows=8192):
            chosen = frame if start is None else frame.filter(_at_or_after(start))
            for row in (chosen if left is None else chosen.head(left)).drop(BOOKKEEPING).iter_rows(named=True):
                yield json.dumps(row, default=_json, ensure_ascii=False)
            if left is not None:
                left -= min(left, chosen.height)
                if left == 0:
                    return


def _at_or_after(start: Position) -> pl.Expr:
    at, ordinal = pl.col("_at"), pl.col("_ordinal")
    return (at > start.at) | ((at == start.at) & (ordinal >= start.ordinal))


def _json(value: object) -> str:
    if isinstance(value, datetime):
        text = value.isoformat(timespec="microseconds")
        return text.removesuffix("+00:00") + "Z" if value.tzinfo else text
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, timedelta)):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
