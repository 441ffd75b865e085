"""`cdc events`: the change log as standard events (data model, section 2.1), one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.readable import line, readable
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.event import BOOKKEEPING
from cdc_platform.model.position import Position


def event_lines(flow: Flow, limit: int | None = None, start: Position | None = None) -> Iterator[str]:
    """Events at or after `start` in log order. Decimals, times and bytes (base64) are text, so nothing is rounded."""
    if flow.log.position() is None:
        raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
    left = limit
    for part in flow.log.read(after=0):
        for frame in part.frames():
            chosen = frame if start is None else frame.filter(_at_or_after(start))
            for event in _readable(chosen if left is None else chosen.head(left)).iter_rows(named=True):
                yield line(event)
            if left is not None:
                left -= min(left, chosen.height)
                if left == 0:
                    return


def _readable(events: pl.DataFrame) -> pl.DataFrame:
    return readable(events.drop(BOOKKEEPING), "before", "after")


def _at_or_after(start: Position) -> pl.Expr:
    at, ordinal = pl.col("_at"), pl.col("_ordinal")
    return (at > start.at) | ((at == start.at) & (ordinal >= start.ordinal))
