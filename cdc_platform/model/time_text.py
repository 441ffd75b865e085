"""Dates and times as text, by columns, over all of Arrow's range: Python's own types end at the year 1."""

from __future__ import annotations

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
