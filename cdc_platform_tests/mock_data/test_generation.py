"""Generators are repeatable, and what they make is well-formed whatever the size."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from cdc_platform.mock_data.customers import customers
from cdc_platform.mock_data.evolution import evolution_rows
from cdc_platform.mock_data.inventory import inventory
from cdc_platform.mock_data.orders import orders
from cdc_platform.mock_data.people import COUNTRIES, mail_letters, people
from cdc_platform.mock_data.products import catalogue, draw_costs, products
from cdc_platform.mock_data.sampling import clipped_normal, epoch, generator, money

NOW = datetime(2026, 3, 1)
MAIL = re.compile(r"^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$")
PHONE = r"^\+?[1-9]\d{1,14}$"


def make_customers(seed: int, count: int = 2_000) -> pl.DataFrame:
    return customers(generator(seed, "customers"), people(seed), count, NOW)


def make_orders(seed: int, count: int = 2_000) -> pl.DataFrame:
    return orders(generator(seed, "orders"), people(seed), count, NOW, make_customers(seed, 500))


def make_products(seed: int, count: int = 2_000) -> pl.DataFrame:
    return products(generator(seed, "products"), catalogue(seed), count, NOW)


def make_inventory(seed: int, count: int = 2_000) -> pl.DataFrame:
    ages = make_products(seed, 300).select("product_id", pl.col("created_at").dt.epoch("s"))
    return inventory(generator(seed, "inventory"), count, NOW, ages, orders=100)


def make_evolution(seed: int, count: int = 2_000) -> pl.DataFrame:
    return evolution_rows(generator(seed, "evolution"), count, NOW)


MAKERS = [make_customers, make_orders, make_products, make_inventory, make_evolution]


@pytest.mark.parametrize("make", MAKERS)
def test_the_same_seed_makes_the_same_rows(make: Callable[[int], pl.DataFrame]) -> None:
    first = make(5)
    # The remembered pools must not be what makes them equal.
    people.cache_clear()
    catalogue.cache_clear()
    assert_frame_equal(first, make(5))


@pytest.mark.parametrize("make", MAKERS)
def test_another_seed_makes_other_rows(make: Callable[[int], pl.DataFrame]) -> None:
    first, second = make(5), make(6)
    assert first.schema == second.schema
    assert (first != second).select(pl.any_horizontal(pl.all())).to_series().mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("count", [0, 1])
def test_tables_may_be_tiny(make: Callable[[int, int], pl.DataFrame], count: int) -> None:
    rows = make(5, count)
    assert len(rows) == count
    assert rows.schema == make(5, 10).schema


def test_mail_addresses_are_unique_and_plain() -> None:
    emails = make_customers(1, 20_000)["email"]
    assert emails.n_unique() == len(emails)
    assert all(MAIL.match(email) for email in emails)


def test_names_keep_the_letters_that_mail_addresses_lose() -> None:
    rows = make_customers(1, 20_000)
    foreign = rows.filter(pl.col("last_name").str.contains(r"[^\x00-\x7f]"))
    assert len(foreign) > 100
    assert set(foreign["country"]) >= {"Germany", "Spain"}


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("O'Brien", "obrien"),
        ("Müller-Weiß", "mullerweiss"),
        ("Søren", "soren"),
        ("de la Cruz", "delacruz"),
        ("李", "customer"),
    ],
)
def test_mail_letters(name: str, letters: str) -> None:
    assert mail_letters(name) == letters


def test_phones_are_e164_in_every_country() -> None:
    rows = make_customers(1, 20_000)
    assert rows["phone"].drop_nulls().str.contains(PHONE).all()
    dialling = {
        "USA": "+1",
        "Canada": "+1",
        "UK": "+44",
        "Germany": "+49",
        "France": "+33",
        "Australia": "+61",
        "Spain": "+34",
    }
    assert set(dialling) == {country.name for country in COUNTRIES}
    for country, code in dialling.items():
        assert rows.filter(country=country)["phone"].drop_nulls().str.starts_with(code).all()


def test_places_belong_to_their_country() -> None:
    rows = make_customers(1, 20_000).drop_nulls("city")
    states = {country: set(part["state"]) for (country,), part in rows.group_by("country")}
    assert states["USA"] >= {"CA", "TX", "NY"}
    assert states["Canada"] <= {"AB", "BC", "MB", "NB", "NL", "NS", "NT", "NU", "ON", "PE", "QC", "SK", "YT"}
    assert rows.filter(country="USA")["postal_code"].str.contains(r"^\d{5}$").all()
    assert rows.filter(country="Canada")["postal_code"].str.contains(r"^[A-Z]\d[A-Z] ?\d[A-Z]\d$").all()
    # New York's codes begin with 1 (Fishers Island's 06390 apart), California's with 9.
    assert rows.filter(country="USA", state="CA")["postal_code"].str.starts_with("9").all()


def test_text_fits_its_columns() -> None:
    limits = {
        "email": 255,
        "first_name": 100,
        "last_name": 100,
        "phone": 20,
        "address_line1": 255,
        "city": 100,
        "state": 50,
        "postal_code": 20,
        "country": 100,
    }
    longest = make_customers(1, 50_000).select(pl.col(limits).str.len_chars().max()).row(0, named=True)
    assert all(longest[name] <= limit for name, limit in limits.items())


def test_a_single_customer_can_have_all_orders() -> None:
    customer = make_customers(1, 1)
    placed = orders(generator(1, "orders"), people(1), 1_000, NOW, customer)
    assert (placed["order_date"] >= customer["registration_date"].item()).all()
    assert (placed["order_date"] <= NOW).all()


def test_orders_follow_customers_that_came_after_the_reference_time() -> None:
    late = make_customers(1, 3).with_columns(registration_date=pl.lit(NOW + timedelta(hours=5, microseconds=7)))
    placed = orders(generator(1, "orders"), people(1), 100, NOW, late)
    assert (placed["order_date"] >= NOW + timedelta(hours=5)).all()


def test_a_country_that_the_pools_do_not_know_is_kept() -> None:
    moved = make_customers(1, 3).with_columns(country=pl.lit("Iceland"), address_line1=pl.lit(None, pl.String))
    placed = orders(generator(1, "orders"), people(1), 10, NOW, moved)
    assert placed["shipping_address"].str.contains('"country":"Iceland"', literal=True).all()


def test_reference_times_with_and_without_zone_are_the_same() -> None:
    assert epoch(NOW) == epoch(NOW.replace(tzinfo=UTC)) == 1_772_323_200


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
def test_costs_are_positive_and_at_most_the_price(cents: list[int]) -> None:
    prices = np.array(cents, dtype=np.int64)
    costs = draw_costs(np.random.default_rng(0), prices)
    assert ((costs > 0) & (costs <= prices)).all()


@given(st.integers(0, 10**9))
def test_money_is_exact(cents: int) -> None:
    assert str(money(np.array([cents]), 12).item()) == f"{cents // 100}.{cents % 100:02}"


def test_clipping_reaches_both_bounds() -> None:
    cents = clipped_normal(np.random.default_rng(0), 0, 100, -50, 50, 1_000)
    assert (cents.min(), cents.max()) == (-5_000, 5_000)
