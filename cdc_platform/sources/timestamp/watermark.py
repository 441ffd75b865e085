"""From where on a poll reads, by the clock of the column. Pure.

    ──── rows that are known ────┬── window ──┬─ high ─── now ───>
                                 since        the highest value that was ever read, and not ahead of the clock

A row's value is set before its transaction commits, so a value below `high` may come late. What comes by less than the
window is read: each poll reads from `high - window` on, and whatever it has read before is found equal. `high` is a
value of the column and not the time of the poll: a column in local time, or one that a slow clock writes, is as well
followed. It is never ahead of the server's clock, so that one row of the year 9999 does not make the reader blind; and
where a clock or a local time is set back, reading goes back with it.

Values are microseconds since 1970 in the column's own terms: of UTC where it has a zone, else of its wall clock, which
`zone` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import polars as pl

from cdc_platform.errors import NeedsPerson
from cdc_platform.model.change import TIMESTAMP_UTC
from cdc_platform.model.schema import Column

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = -62_135_596_800_000_000  # 0001-01-01: before it, servers write years in other ways
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Watermark:
    """The highest value read, None before the first; it travels with the position as text."""

    high: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> Watermark:
        """The inverse of `text`; without one, nothing was read."""
        if text is None:
            return cls()
        try:
            return cls(int(text))
        except ValueError as error:
            raise NeedsPerson(f"'{text}' is no value of a column of times: the log is another source's") from error

    @property
    def text(self) -> str | None:
        return None if self.high is None else str(self.high)

    def since(self, now: int, window: int) -> int | None:
        """The value from which on rows are read at the column's time `now`; None: all."""
        return None if self.high is None else max(min(self.high, now) - window, _FIRST)

    def raised(self, values: pl.Series, now: int) -> Watermark:
        """After rows with these values were read at `now`."""
        highest = values.dt.timestamp("us").max()
        if highest is None:
            return self
        assert isinstance(highest, int)
        return Watermark(max(min(highest, now), _FIRST if self.high is None else self.high))


@dataclass(frozen=True, slots=True)
class Clock:
    """What a column's values mean: `zone` is that of a column without one, None for one whose values are in UTC."""

    zone: ZoneInfo | None = None

    @classmethod
    def of(cls, column: Column, zone: ZoneInfo) -> Clock:
        return cls(zone if column.type.tz is None and zone.key != "UTC" else None)

    def shows(self, moment: datetime) -> int:
        """What the column's clock shows at this moment."""
        wall = moment if self.zone is None else moment.astimezone(self.zone).replace(tzinfo=UTC)
        return (wall - _EPOCH) // _MICROSECOND

    def moments(self, values: pl.Series, taken: datetime) -> pl.Series:
        """When rows changed, as times in UTC: what the column says, but not later than `taken`, when they were read;
        and then, where it says nothing that is a time."""
        latest = pl.lit(taken, TIMESTAMP_UTC)
        clipped = pl.lit(values.dt.timestamp("us")).clip(_FIRST, self.shows(taken)).cast(pl.Datetime("us"))
        if self.zone is None:
            times = clipped.dt.replace_time_zone("UTC")
        else:
            local = clipped.dt.replace_time_zone(self.zone.key, ambiguous="earliest", non_existent="null")
            times = local.dt.convert_time_zone("UTC")
        return pl.select(pl.min_horizontal(times.fill_null(latest), latest).alias("source_ts")).to_series()
