"""Every distribution of data-model.md 5, on 100,000 rows of a fixed seed."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cdc_platform.mock_data.customers import customers
from cdc_platform.mock_data.inventory import inventory
from cdc_platform.mock_data.orders import orders
from cdc_platform.mock_data.people import people
from cdc_platform.mock_data.products import CATEGORIES, Category, catalogue, products
from cdc_platform.mock_data.sampling import generator
from cdc_platform_tests.mock_data.shares import has_share, has_shares, is_clipped_normal, is_uniform

ROWS = 100_000
NOW = datetime(2026, 3, 1)
ADDRESS = ["address_line1", "city", "state", "postal_code"]


@pytest.fixture(scope="module")
def buyers() -> pl.DataFrame:
    return customers(generator(3, "customers"), people(3), ROWS, NOW)


@pytest.fixture(scope="module")
def placed(buyers: pl.DataFrame) -> pl.DataFrame:
    return orders(generator(3, "orders"), people(3), ROWS, NOW, buyers)


@pytest.fixture(scope="module")
def wares() -> pl.DataFrame:
    return products(generator(3, "products"), catalogue(3), ROWS, NOW)


def years_ago(times: pl.Series) -> NDArray[np.float64]:
    return (NOW - times).dt.total_seconds().to_numpy() / (365.25 * 86_400)


def test_the_verdicts_can_be_no() -> None:
    rng = np.random.default_rng(0)
    letters = pl.Series(rng.choice(["a", "b"], ROWS, p=[0.51, 0.49]))
    assert has_shares(letters, {"a": 0.51, "b": 0.49})
    assert not has_shares(letters, {"a": 0.5, "b": 0.5})
    assert not has_shares(letters, {"a": 1.0})
    assert not has_share(letters == "a", 0.5)
    assert not is_uniform(rng.random(ROWS) ** 1.05, 0, 1)
    normal = rng.normal(500, 300, ROWS)
    assert is_clipped_normal(pl.Series(np.clip(normal, 0, 5_000)), 500, 300, 0, 5_000)
    assert not is_clipped_normal(pl.Series(np.clip(normal, 0, 5_000)), 500, 310, 0, 5_000)
    assert not is_clipped_normal(pl.Series(normal[normal > 0]), 500, 300, 0, 5_000)


def test_customer_tiers(buyers: pl.DataFrame) -> None:
    tiers = {"Bronze": 0.4, "Silver": 0.3, "Gold": 0.2, "Platinum": 0.1}
    assert has_shares(buyers["customer_tier"], tiers)


def test_countries(buyers: pl.DataFrame) -> None:
    assert has_shares(buyers["country"], {"USA": 0.8, "Canada": 0.1, "UK": 0.05}, rest=0.05)


def test_active_customers(buyers: pl.DataFrame) -> None:
    assert has_share(buyers["is_active"], 0.95)


def test_lifetime_values(buyers: pl.DataFrame) -> None:
    value = buyers["lifetime_value"]
    assert is_clipped_normal(value, 500, 300, 0, 5_000)
    # What clipping is chosen for: the mean and deviation asked for are nearly kept.
    numbers = value.cast(pl.Float64).to_numpy()
    assert numbers.mean() == pytest.approx(500, rel=0.02)
    assert numbers.std() == pytest.approx(300, rel=0.05)


def test_registrations(buyers: pl.DataFrame) -> None:
    assert is_uniform(years_ago(buyers["registration_date"]), 0, 5)


def test_phones(buyers: pl.DataFrame) -> None:
    assert has_share(buyers["phone"].is_not_null(), 0.7)


def test_addresses_are_filled_together(buyers: pl.DataFrame) -> None:
    filled = buyers.select(pl.sum_horizontal(pl.col(ADDRESS).is_not_null())).to_series()
    assert set(filled.unique()) == {0, 4}
    assert has_share(filled == 4, 0.8)


@pytest.mark.parametrize("table", ["buyers", "placed", "wares"])
def test_last_updates_are_recent_and_after_the_beginning(table: str, request: pytest.FixtureRequest) -> None:
    rows: pl.DataFrame = request.getfixturevalue(table)
    begun, updated = {
        "buyers": ("registration_date", "last_updated"),
        "placed": ("order_date", "last_updated"),
        "wares": ("created_at", "updated_at"),
    }[table]
    assert (rows[updated] >= rows[begun]).all()
    assert rows[updated].is_between(NOW - timedelta(days=30), NOW).all()


def test_order_statuses(placed: pl.DataFrame) -> None:
    statuses = {"delivered": 0.3, "shipped": 0.25, "processing": 0.2, "pending": 0.15, "cancelled": 0.1}
    assert has_shares(placed["order_status"], statuses)


def test_total_amounts(placed: pl.DataFrame) -> None:
    assert is_clipped_normal(placed["total_amount"], 150, 100, 10, 2_000)


def test_order_dates_are_uniform_though_no_order_is_older_than_its_customer(
    buyers: pl.DataFrame, placed: pl.DataFrame
) -> None:
    assert is_uniform(years_ago(placed["order_date"]), 0, 2)
    both = placed.join(buyers, on="customer_id")
    assert len(both) == ROWS
    assert (both["order_date"] >= both["registration_date"]).all()


def test_buyers_are_uniform_among_those_registered_before(buyers: pl.DataFrame, placed: pl.DataFrame) -> None:
    rank = buyers.sort("registration_date").select("customer_id", place=pl.int_range(pl.len()) + 0.5)
    both = placed.join(rank, on="customer_id")
    registered = buyers["registration_date"].sort().search_sorted(both["order_date"], side="right")
    assert is_uniform((both["place"] / registered).to_numpy(), 0, 1)


def test_payment_methods(placed: pl.DataFrame) -> None:
    methods = {"credit_card": 0.5, "paypal": 0.3, "debit_card": 0.15}
    assert has_shares(placed["payment_method"], methods, rest=0.05)


def test_shipping_addresses_are_the_customers_own_where_he_has_one(buyers: pl.DataFrame, placed: pl.DataFrame) -> None:
    shape = pl.Struct(dict.fromkeys(["street", "city", "state", "postal_code", "country"], pl.String))
    sent = placed.select("customer_id", pl.col("shipping_address").str.json_decode(shape)).unnest("shipping_address")
    assert sent.null_count().sum_horizontal().item() == 0
    both = sent.join(buyers, on="customer_id", suffix="_own")
    assert (both["country"] == both["country_own"]).all()
    own = both.filter(pl.col("address_line1").is_not_null())
    assert 0.75 < len(own) / len(both) < 0.85
    for name, theirs in {"street": "address_line1", "city": "city_own", "postal_code": "postal_code_own"}.items():
        assert (own[name] == own[theirs]).all()


def test_categories(wares: pl.DataFrame) -> None:
    shares = {"Electronics": 0.25, "Clothing": 0.2, "Home & Garden": 0.15, "Sports": 0.15, "Books": 0.1}
    assert has_shares(wares["category"], shares, rest=0.15)


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_prices_are_within_their_category(wares: pl.DataFrame, category: Category) -> None:
    prices = wares.filter(category=category.name)["price"].cast(pl.Float64).to_numpy()
    low, high = category.prices
    assert low <= prices.min()
    assert prices.max() <= high
    assert is_uniform(np.log(prices), np.log(low), np.log(high))


def test_the_named_price_ranges() -> None:
    prices = {category.name: category.prices for category in CATEGORIES}
    assert prices["Electronics"] == (50, 2_000)
    assert prices["Books"] == (10, 50)


def test_costs_are_60_to_70_percent_of_the_price(wares: pl.DataFrame) -> None:
    cents = wares.select(pl.col("price", "cost").cast(pl.Float64) * 100).select(pl.all().round().cast(pl.Int64))
    # Exactly, in cents: no rounding pushes a cost over the edge.
    assert (cents["cost"] * 10 >= cents["price"] * 6).all()
    assert (cents["cost"] * 10 <= cents["price"] * 7).all()
    dear = cents.filter(pl.col("price") > 20_000)
    assert is_uniform((dear["cost"] / dear["price"]).to_numpy(), 0.6, 0.7)


def test_stock(wares: pl.DataFrame) -> None:
    shares = {str(quantity): 1 / 501 for quantity in range(501)}
    assert has_shares(wares["quantity_in_stock"].cast(pl.String), shares)


def test_discontinued_products(wares: pl.DataFrame) -> None:
    assert has_share(wares["is_discontinued"] == 1, 0.1)


def test_movements(wares: pl.DataFrame) -> None:
    ages = wares.select("product_id", pl.col("created_at").dt.epoch("s"))
    moved = inventory(generator(3, "inventory"), ROWS, NOW, ages, orders=500)
    shares = {"sale": 0.5, "purchase": 0.3, "return": 0.1, "adjustment": 0.1}
    assert has_shares(moved["transaction_type"], shares)
    refers = moved["transaction_type"].is_in(["sale", "return"])
    assert (moved["reference_order_id"].is_not_null() == refers).all()
    assert moved["reference_order_id"].drop_nulls().is_between(1, 500).all()
    assert (moved["quantity_change"] != 0).all()
