"""Vectorised draws: pools by group, shares, clipped normals, times, money. Pure, knows no table.

A million values of any kind take some tens of milliseconds; nothing loops over rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

DAY = 86_400
YEAR = 365.25 * DAY
RECENT = 30 * DAY
"""Last updates fall in the past 30 days where they can: destinations partitioned by day stay few."""


def generator(seed: int, stream: str) -> np.random.Generator:
    """An independent stream of randomness for each `stream` of a seed: one table's size leaves the others alone."""
    return np.random.default_rng([seed % 2**64, zlib.crc32(stream.encode())])


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows to draw from, grouped: group g is `rows[starts[g] : starts[g] + sizes[g]]`."""

    rows: pl.DataFrame
    starts: Ints
    sizes: Ints

    @classmethod
    def of(cls, groups: Sequence[pl.DataFrame]) -> Pool:
        sizes = np.array([len(group) for group in groups], dtype=np.int64)
        return cls(pl.concat(groups), np.cumsum(sizes) - sizes, sizes)

    def draw(self, rng: np.random.Generator, groups: Ints) -> pl.DataFrame:
        """One row, uniformly, of each wanted group: as many rows as `groups`."""
        picked = self.starts[groups] + rng.integers(0, self.sizes[groups])
        return self.rows[picked]


def codes(rng: np.random.Generator, shares: Sequence[float], count: int) -> Ints:
    """`count` indices into `shares`, each as likely as its share."""
    return rng.choice(len(shares), count, p=np.asarray(shares)).astype(np.int64, copy=False)


def labels(rng: np.random.Generator, shares: Mapping[str, float], count: int) -> pl.Series:
    """`count` of the names, each as likely as its share."""
    return pl.Series(list(shares), dtype=pl.String).gather(codes(rng, list(shares.values()), count))


def happens(rng: np.random.Generator, share: float, count: int) -> pl.Series:
    """`count` booleans, true with the given share."""
    return pl.Series(rng.random(count) < share, dtype=pl.Boolean)


def some(rng: np.random.Generator, share: float, values: pl.Series) -> pl.Series:
    """The values, kept with the given share and null elsewhere."""
    return values.zip_with(happens(rng, share, len(values)), pl.Series([None], dtype=values.dtype))


def clipped_normal(
    rng: np.random.Generator, mean: float, deviation: float, low: float, high: float, count: int
) -> Ints:
    """Cents, drawn from a normal distribution given in whole units and moved to the nearer bound outside of them.

    Clipping keeps mean and deviation within a few percent of those asked for (a truncated draw of
    "mean 500, deviation 300, from 0" has mean 531); its price is an atom at the lower bound.
    """
    values = np.clip(rng.normal(mean, deviation, count), low, high)
    return np.rint(values * 100).astype(np.int64)


def money(cents: Ints, precision: int) -> pl.Series:
    """Exact decimals with two places."""
    return (pl.Series(cents) / 100.0).cast(pl.Decimal(precision, 2))


def between(rng: np.random.Generator, low: Ints | int, high: Ints | int, count: int) -> Ints:
    """`count` whole numbers, uniform from low to high inclusive; either bound may be a number for each row."""
    return rng.integers(low, high, count, endpoint=True, dtype=np.int64)


def recently(rng: np.random.Generator, since: Ints, now: int) -> Ints:
    """Seconds, uniform between now and the later of `since` and 30 days ago."""
    return between(rng, np.maximum(since, now - RECENT), now, len(since))


def timestamps(seconds: Ints) -> pl.Series:
    """Seconds since 1970 as timestamps without time zone."""
    return pl.Series(seconds * 1_000_000).cast(pl.Datetime("us"))


def seconds_of(times: pl.Series) -> Ints:
    """Timestamps as whole seconds since 1970, rounded up: what comes after them stays after them."""
    return -(-times.cast(pl.Datetime("us")).cast(pl.Int64).to_numpy() // 1_000_000)


def epoch(now: datetime) -> int:
    """Seconds since 1970 of a reference time; one without a time zone is UTC."""
    return int((now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp())
