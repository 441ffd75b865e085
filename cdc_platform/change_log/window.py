"""A part of a change log by source position: the events at or after one place and before another.

A log's events stand in the order of their places, so a window is a run of rows in a file. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from cdc_platform.change_log.slices import Slice
from cdc_platform.model.position import Position

PLACES = ("_at", "_ordinal")
"""The columns that a frame must have for `Window.of`."""


@dataclass(frozen=True, slots=True)
class Window:
    """Events at or after `since` and before `until`; None is no bound."""

    since: Position | None = None
    until: Position | None = None

    def is_behind(self, part: Slice) -> bool:
        """Whether all of the part's events are before the window."""
        return self.since is not None and part.span[1] < self.since.at

    def is_over(self, part: Slice) -> bool:
        """Whether all of the part's events, and so all that follow, are after the window."""
        return self.until is not None and part.span[0] > self.until.at

    def of(self, frame: pl.DataFrame) -> tuple[int, pl.DataFrame]:
        """The events of a frame that are in the window, and the number of those before them."""
        first = before(frame, self.since) if self.since else 0
        last = before(frame, self.until) if self.until else frame.height
        return first, frame.slice(first, max(0, last - first))


EVERYTHING = Window()


def before(frame: pl.DataFrame, place: Position) -> int:
    """How many events of a frame are before this place."""
    at, ordinal = pl.col("_at"), pl.col("_ordinal")
    return int(frame.select(((at < place.at) | ((at == place.at) & (ordinal < place.ordinal))).sum()).item())
