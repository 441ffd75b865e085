"""Rows of `customers` (data-model.md 5.1): pure, vectorised."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from cdc_platform.mock_data.people import (
    ADDRESS_COLUMNS,
    COUNTRIES,
    People,
    draw_addresses,
    draw_countries,
    draw_mail_domains,
    draw_names,
    draw_phones,
)
from cdc_platform.mock_data.sampling import (
    YEAR,
    clipped_normal,
    epoch,
    happens,
    labels,
    money,
    recently,
    some,
    timestamps,
)

TIERS = {"Bronze": 0.4, "Silver": 0.3, "Gold": 0.2, "Platinum": 0.1}
MOST_VALUE = 5_000


def customers(rng: np.random.Generator, pools: People, count: int, now: datetime) -> pl.DataFrame:
    """`count` customers numbered from 1, in the table's column order.

    Registration is uniform over the five years before `now`. Mail addresses are unique because they hold the
    number; the parts of an address are filled or null together.
    """
    present = epoch(now)
    numbers = np.arange(1, count + 1)
    registered = present - np.floor(rng.random(count) * 5 * YEAR).astype(np.int64)
    return describe(rng, pools, count).select(
        pl.Series("customer_id", numbers, dtype=pl.Int32),
        pl.concat_str("mailbox", pl.lit("."), pl.Series(numbers), pl.lit("@"), "mail_domain").alias("email"),
        "first_name",
        "last_name",
        "phone",
        *ADDRESS_COLUMNS,
        "country",
        timestamps(registered).alias("registration_date"),
        timestamps(recently(rng, registered, present)).alias("last_updated"),
        "is_active",
        "customer_tier",
        "lifetime_value",
    )


def describe(rng: np.random.Generator, pools: People, count: int) -> pl.DataFrame:
    """Everything about `count` customers but number, mail address (parts `mailbox`, `mail_domain`) and times."""
    countries = draw_countries(rng, count)
    has_address = pl.lit(happens(rng, 0.8, count))
    address = draw_addresses(rng, pools, countries).select(pl.when(has_address).then(pl.all()).name.keep())
    value = clipped_normal(rng, 500, 300, 0, MOST_VALUE, count)
    return pl.concat([draw_names(rng, pools, countries), address], how="horizontal").with_columns(
        draw_mail_domains(rng, count).alias("mail_domain"),
        some(rng, 0.7, draw_phones(rng, countries)).alias("phone"),
        pl.Series([country.name for country in COUNTRIES]).gather(countries).alias("country"),
        happens(rng, 0.95, count).alias("is_active"),
        labels(rng, TIERS, count).alias("customer_tier"),
        money(value, 12).alias("lifetime_value"),
    )
