"""Rows of `orders` (data-model.md 5.2) for customers that exist: pure, vectorised."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from cdc_platform.mock_data.people import ADDRESS_COLUMNS, COUNTRY_CODES, People, draw_addresses
from cdc_platform.mock_data.sampling import (
    YEAR,
    Ints,
    clipped_normal,
    epoch,
    labels,
    money,
    recently,
    seconds_of,
    some,
    timestamps,
)

STATUSES = {"delivered": 0.30, "shipped": 0.25, "processing": 0.20, "pending": 0.15, "cancelled": 0.10}
PAYMENT_METHODS = {"credit_card": 0.50, "paypal": 0.30, "debit_card": 0.15, "other": 0.05}
BUYERS: dict[str, pl.DataType] = {
    "customer_id": pl.Int32(),
    "registration_date": pl.Datetime("us"),
    **{name: pl.String() for name in ADDRESS_COLUMNS},
    "country": pl.String(),
}
"""What of the customers `orders` needs to know."""

_NOTES = pl.Series(
    [
        "Please leave at front door",
        "Ring the bell twice",
        "Leave with a neighbour if nobody is home",
        "Gift wrap, please",
        "Call before delivery",
        'Fragile: "this side up", thank you',
        "Deliver after 6 pm\nThe gate code is on the invoice",
        "No plastic packaging, s'il vous plaît",
    ]
)


def orders(rng: np.random.Generator, pools: People, count: int, now: datetime, customers: pl.DataFrame) -> pl.DataFrame:
    """`count` orders numbered from 1, in the table's column order, of `customers` (BUYERS, any order).

    Order dates are drawn first, uniform over the two years before `now` (or since the first registration, where
    that is later); each date then takes its customer uniformly from those registered by then. So the dates keep
    their distribution and no order is older than its customer.
    """
    present = epoch(now)
    known = customers.sort("registration_date", "customer_id")
    registered = seconds_of(known["registration_date"])
    opened = max(present - round(2 * YEAR), int(registered[0]))
    # Customers that registered after the reference time can hold only orders of that time or later.
    present = max(present, opened)
    ordered = opened + np.floor(rng.random(count) * (present - opened + 1)).astype(np.int64)
    eligible = np.searchsorted(registered, ordered, side="right")
    buyers = known[np.floor(rng.random(count) * eligible).astype(np.int64)]
    return describe(rng, pools, buyers).select(
        pl.Series("order_id", np.arange(1, count + 1), dtype=pl.Int32),
        "customer_id",
        timestamps(ordered).alias("order_date"),
        "order_status",
        "total_amount",
        "shipping_address",
        "payment_method",
        "order_notes",
        timestamps(recently(rng, ordered, present)).alias("last_updated"),
    )


def describe(rng: np.random.Generator, pools: People, buyers: pl.DataFrame) -> pl.DataFrame:
    """An order of each buyer (BUYERS), all but its number and times."""
    count = len(buyers)
    amount = clipped_normal(rng, 150, 100, 10, 2_000, count)
    return pl.DataFrame(
        {
            "customer_id": buyers["customer_id"],
            "order_status": labels(rng, STATUSES, count),
            "total_amount": money(amount, 12),
            "shipping_address": _shipping_addresses(rng, pools, buyers),
            "payment_method": labels(rng, PAYMENT_METHODS, count),
            "order_notes": some(rng, 0.3, _NOTES.gather(rng.integers(0, len(_NOTES), count))),
        }
    )


def _shipping_addresses(rng: np.random.Generator, pools: People, buyers: pl.DataFrame) -> pl.Series:
    """JSON objects: the customer's own address, or one in his country where he has not given any."""
    drawn = draw_addresses(rng, pools, _country_codes(buyers["country"]))

    def own(name: str) -> pl.Expr:
        return pl.coalesce(pl.col(name), pl.lit(drawn[name]))

    return buyers.select(
        pl.struct(
            own("address_line1").alias("street"),
            own("city").alias("city"),
            own("state").alias("state"),
            own("postal_code").alias("postal_code"),
            "country",
        ).struct.json_encode()
    ).to_series()


def _country_codes(countries: pl.Series) -> Ints:
    """Indices into COUNTRIES; a country that is not among them takes its places from the first."""
    return countries.replace_strict(COUNTRY_CODES, default=0, return_dtype=pl.Int64).to_numpy()
