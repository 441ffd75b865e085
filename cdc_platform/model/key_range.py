"""Ranges of a table's key: a table in pieces that source and lake agree on.

    keys       -2**63 ........ 17 ........ 900 ........ 2**63
    ranges        [  -, 17)      [17, 900)     [900, -)

Only the key's leading column is ranged, and only where the database's order and the order of the decoded Arrow values
are the same by their definitions: whole numbers, decimals, dates, timestamps, UUIDs, bytes. Text is never ranged: its
order belongs to a collation. A table with another key is one range, `WHOLE`. Which columns those are is said by each
source's `ranges.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

Bound = int | str
"""A key as ranges have it, fit for JSON: numbers as they are, decimals in units of their last digit, dates in days and
timestamps in microseconds since 1970, UUIDs as text, bytes in lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Rows whose leading key column is in [low, high); None is unbounded. No columns: all rows of the table.

    A null key (no primary key has one) belongs to the range without an upper bound.
    """

    columns: tuple[str, ...] = ()
    low: tuple[Bound, ...] | None = None
    high: tuple[Bound, ...] | None = None


WHOLE = KeyRange()


def bounds_of(leading: pl.Series) -> pl.Series:
    """The key column's values as `Bound`s: a series of integers or of text, in the same order."""
    if leading.dtype == pl.Binary:
        return leading.bin.encode("hex")
    return leading.to_physical()  # a decimal's is Int128: its units


def places(leading: pl.Series, ranges: Sequence[KeyRange]) -> pl.Series:
    """For each key the index of its range, null where it lies in none: UInt32, as long as `leading`.

    `ranges` ascend and do not overlap; gaps are allowed. The column may be a wider one of the same kind (an int64 for
    an int32), a decimal has the source's scale.
    """
    if not ranges:
        return pl.repeat(None, len(leading), dtype=pl.UInt32, eager=True)
    keys = bounds_of(leading)
    lows = [r.low[0] for r in ranges if r.low is not None]
    above = len(ranges) - len(lows) - 1  # the range of keys under all lower bounds: 0, or -1 for none
    place = pl.Series(lows, dtype=keys.dtype).search_sorted(keys, side="right").cast(pl.Int64) + above
    place = pl.select(pl.when(place >= 0).then(place)).to_series()
    high = pl.Series([None if r.high is None else r.high[0] for r in ranges], dtype=keys.dtype).gather(place)
    last = len(ranges) - 1 if ranges[-1].high is None else None
    in_range = pl.when(keys.is_null()).then(pl.lit(last, pl.Int64)).when(high.is_null() | (keys < high)).then(place)
    return pl.select(in_range.cast(pl.UInt32)).to_series()


Step = Callable[[Bound | None, bool], Bound | None]
"""(low, beyond) -> of the keys from `low` on, the one that so many rows precede; with `beyond`, the first that is
greater than `low`. None when there is none."""


def cut(column: str, within: KeyRange, step: Step) -> list[KeyRange]:
    """`within` (any range of this column, or WHOLE) in ascending pieces of about as many rows as `step` steps over.

    A key that more rows share is a piece of its own.
    """
    low = within.low[0] if within.low else None
    cuts: list[Bound | None] = [low]
    while True:
        key = step(low, False)
        if key is not None and key == low:
            key = step(low, True)
        if key is None:
            break
        cuts.append(key)
        low = key
    cuts.append(within.high[0] if within.high else None)
    return [
        KeyRange((column,), None if one is None else (one,), None if other is None else (other,))
        for one, other in pairwise(cuts)
    ]


def decimal_text(units: int, scale: int) -> str:
    """A decimal of so many units of its last digit, all digits plain."""
    digits = str(abs(units)).rjust(scale + 1, "0")
    whole, fraction = digits[: len(digits) - scale], digits[len(digits) - scale :]
    return ("-" if units < 0 else "") + whole + ("." + fraction if scale else "")


def runs(ranges: Sequence[KeyRange]) -> list[tuple[int, int, KeyRange]]:
    """Neighbours put together: (first, after the last, what ranges[first:after] hold together), ascending."""
    found: list[tuple[int, int, KeyRange]] = []
    for number, one in enumerate(ranges):
        if found and one.low is not None and found[-1][2].high == one.low:
            first, _, before = found.pop()
            found.append((first, number + 1, KeyRange(one.columns, before.low, one.high)))
        else:
            found.append((number, number + 1, one))
    return found
