"""Statistical verdicts on drawn values. A right sample fails one time in a thousand; seeds are fixed, so never."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

_SIGNIFICANCE = 0.001


def has_shares(values: pl.Series, shares: Mapping[str, float], rest: float = 0.0) -> bool:
    """Chi-square: the named values come by their shares, all others together make up the rest."""
    counted = dict(values.value_counts().iter_rows())
    seen = [counted.pop(name, 0) for name in shares]
    expected = list(shares.values())
    if rest:
        seen.append(sum(counted.values()))
        expected.append(rest)
    elif counted:
        return False
    return bool(stats.chisquare(seen, np.array(expected) * len(values)).pvalue > _SIGNIFICANCE)


def has_share(flags: pl.Series, share: float) -> bool:
    """Binomial: the flags are true by the share."""
    return bool(stats.binomtest(int(flags.sum()), len(flags), share).pvalue > _SIGNIFICANCE)


def is_uniform(values: NDArray[np.float64], low: float, high: float) -> bool:
    """Kolmogorov-Smirnov: uniform between the bounds."""
    return bool(stats.kstest(values, "uniform", (low, high - low)).pvalue > _SIGNIFICANCE)


def follows(values: NDArray[np.float64], distribution: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> bool:
    """Kolmogorov-Smirnov against a cumulative distribution function."""
    return bool(stats.kstest(values, distribution).pvalue > _SIGNIFICANCE)


def is_clipped_normal(values: pl.Series, mean: float, deviation: float, low: float, high: float) -> bool:
    """Normal between the bounds, and at each of them as often as the normal is beyond it."""
    numbers = values.cast(pl.Float64).to_numpy()
    below, above = numbers <= low, numbers >= high
    normal = stats.norm(mean, deviation)
    bounds = (low - mean) / deviation, (high - mean) / deviation
    inner = stats.truncnorm(*bounds, loc=mean, scale=deviation)
    return (
        bool(numbers.min() >= low and numbers.max() <= high)
        and has_share(pl.Series(below), float(normal.cdf(low + 0.005)))
        and has_share(pl.Series(above), float(normal.sf(high - 0.005)))
        and follows(numbers[~below & ~above], inner.cdf)
    )
