"""Rows of `cdc_schema_evolution_test`: pure, vectorised."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from cdc_platform.mock_data.sampling import RECENT, between, epoch, timestamps

_WORDS = pl.Series(["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett"])


def evolution_rows(rng: np.random.Generator, count: int, now: datetime) -> pl.DataFrame:
    """`count` rows numbered from 1, created in the 30 days before `now`."""
    present = epoch(now)
    return pl.DataFrame(
        {
            "id": pl.Series(np.arange(1, count + 1), dtype=pl.Int32),
            "original_column": phrases(rng, count),
            "created_at": timestamps(between(rng, present - RECENT, present, count)),
        }
    )


def phrases(rng: np.random.Generator, count: int) -> pl.Series:
    """Two words and a number."""
    first, second = (_WORDS.gather(rng.integers(0, len(_WORDS), count)) for _ in range(2))
    return first + " " + second + " " + pl.Series(between(rng, 0, 9_999, count)).cast(pl.String)
