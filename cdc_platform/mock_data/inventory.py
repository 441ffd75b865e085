"""Rows of `inventory_transactions` for products that exist: pure, vectorised.

The stock of a product is what these movements led to from an opening balance that is not recorded; from the
seeding on, `cdc simulate` records every movement in the transaction that changes the stock.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl

from cdc_platform.mock_data.sampling import YEAR, Ints, between, epoch, labels, some, timestamps

TYPES = {"sale": 0.5, "purchase": 0.3, "return": 0.1, "adjustment": 0.1}

_NOTES = pl.Series(["Cycle count", "Regular delivery", "Damaged box", "Customer changed mind", "Moved between shelves"])


def inventory(rng: np.random.Generator, count: int, now: datetime, products: pl.DataFrame, orders: int) -> pl.DataFrame:
    """`count` movements numbered from 1, in the table's column order, of `products`.

    The products are given by product_id and created_at (seconds since 1970). Dates are uniform over the year
    before `now`, or since the product's creation. Sales and returns refer to an order from 1 to `orders`, where
    there are any.
    """
    present = epoch(now)
    moved = products[rng.integers(0, len(products), count)]
    opened = np.maximum(moved["created_at"].to_numpy(), present - round(YEAR))
    dates = between(rng, opened, np.maximum(opened, present), count)
    recorded = np.minimum(dates + between(rng, 0, 300, count), np.maximum(opened, present))
    return describe(rng, moved["product_id"], orders).select(
        pl.Series("transaction_id", np.arange(1, count + 1), dtype=pl.Int64),
        "product_id",
        "transaction_type",
        "quantity_change",
        timestamps(dates).alias("transaction_date"),
        "reference_order_id",
        "notes",
        timestamps(recorded).alias("created_at"),
    )


def describe(rng: np.random.Generator, products: pl.Series, orders: int) -> pl.DataFrame:
    """A movement of each product, all but its number and times."""
    count = len(products)
    types = labels(rng, TYPES, count)
    references = pl.Series(between(rng, 1, max(orders, 1), count))
    refers = types.is_in(["sale", "return"]) & (orders > 0)
    return pl.DataFrame(
        {
            "product_id": products,
            "transaction_type": types,
            "quantity_change": pl.Series(_quantities(rng, types), dtype=pl.Int32),
            "reference_order_id": references.zip_with(refers, pl.Series([None], dtype=pl.Int64)),
            "notes": some(rng, 0.2, _NOTES.gather(rng.integers(0, len(_NOTES), count))),
        }
    )


def _quantities(rng: np.random.Generator, types: pl.Series) -> Ints:
    """Never 0: purchases and returns add, sales take away, adjustments do either."""
    count = len(types)
    most = np.where((types == "purchase").to_numpy(), 100, 5)
    sign = np.where((types == "sale").to_numpy(), -1, 1)
    flips = (types == "adjustment").to_numpy() & (rng.random(count) < 0.5)
    return between(rng, 1, most, count) * np.where(flips, -sign, sign)
