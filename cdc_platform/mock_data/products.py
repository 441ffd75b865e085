"""Rows of `products` (data-model.md 5.3): pure, vectorised.

Faker has no provider for products; its words and company phrases make the descriptions, the kinds of product
are listed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
import polars as pl
from faker import Faker

from cdc_platform.mock_data.sampling import (
    YEAR,
    Ints,
    Pool,
    between,
    codes,
    epoch,
    happens,
    money,
    recently,
    some,
    timestamps,
)


@dataclass(frozen=True, slots=True)
class Category:
    """Prices lie between `prices` (whole units), low ones more often: their logarithm is uniform."""

    name: str
    share: float
    prefix: str
    prices: tuple[int, int]
    kinds: tuple[str, ...]


CATEGORIES = (
    Category(
        "Electronics",
        0.25,
        "ELEC",
        (50, 2_000),
        ("Laptop Computer", "Tablet", "Smartphone", "Monitor", "Headphones", "Camera", "Router", "Speaker"),
    ),
    Category(
        "Clothing",
        0.20,
        "CLOT",
        (10, 300),
        ("T-Shirt", "Jacket", "Jeans", "Sweater", "Dress", "Raincoat", "Scarf", "Socks"),
    ),
    Category(
        "Home & Garden",
        0.15,
        "HOME",
        (15, 800),
        ("Desk Lamp", "Garden Chair", "Saucepan", "Bookshelf", "Flower Pot", "Rug", "Kettle", "Lawn Mower"),
    ),
    Category(
        "Sports",
        0.15,
        "SPRT",
        (10, 1_000),
        ("Running Shoes", "Yoga Mat", "Tennis Racket", "Bicycle Helmet", "Dumbbell", "Tent", "Football", "Skis"),
    ),
    Category(
        "Books",
        0.10,
        "BOOK",
        (10, 50),
        ("Novel", "Cookbook", "Travel Guide", "Biography", "Dictionary", "Atlas", "Poetry Anthology", "Textbook"),
    ),
    Category("Toys", 0.05, "TOYS", (5, 200), ("Board Game", "Puzzle", "Building Blocks", "Plush Bear", "Kite")),
    Category("Beauty", 0.05, "BEAU", (5, 150), ("Shampoo", "Perfume", "Face Cream", "Hair Dryer", "Soap Set")),
    Category("Automotive", 0.05, "AUTO", (10, 600), ("Car Battery", "Wiper", "Roof Box", "Dash Cam", "Tool Set")),
)

_ADJECTIVES = ("Compact", "Classic", "Premium", "Lightweight", "Everyday", "Deluxe", "Eco", "Portable", "Modern")
_DESCRIPTIONS = 1_000


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What rows are combined from; `kinds` (code, kind) is grouped by the index into CATEGORIES."""

    kinds: Pool
    adjectives: pl.Series
    makers: pl.Series
    descriptions: pl.Series


@lru_cache(maxsize=2)
def catalogue(seed: int) -> Catalogue:
    """The pools of a seed."""
    faker = Faker("en_US")
    faker.seed_instance(seed)
    return Catalogue(
        Pool.of([_kinds(category) for category in CATEGORIES]),
        pl.Series(_ADJECTIVES),
        pl.Series([faker.last_name() for _ in range(200)]),
        pl.Series([f"{faker.catch_phrase()}. {faker.sentence(nb_words=12)}" for _ in range(_DESCRIPTIONS)]),
    )


def products(rng: np.random.Generator, pools: Catalogue, count: int, now: datetime) -> pl.DataFrame:
    """`count` products numbered from 1, in the table's column order, created in the three years before `now`."""
    present = epoch(now)
    numbers = np.arange(1, count + 1)
    created = present - np.floor(rng.random(count) * 3 * YEAR).astype(np.int64)
    return describe(rng, pools, count).select(
        pl.Series("product_id", numbers, dtype=pl.Int32),
        (pl.col("sku_start") + pl.Series(numbers).cast(pl.String).str.zfill(6)).alias("sku"),
        "product_name",
        "description",
        "category",
        "price",
        "cost",
        "quantity_in_stock",
        "supplier_id",
        timestamps(created).alias("created_at"),
        timestamps(recently(rng, created, present)).alias("updated_at"),
        "is_discontinued",
    )


def describe(rng: np.random.Generator, pools: Catalogue, count: int) -> pl.DataFrame:
    """Everything about `count` products but number, sku (only its beginning, `sku_start`) and times."""
    categories = codes(rng, [category.share for category in CATEGORIES], count)
    kinds = pools.kinds.draw(rng, categories)
    adjective, maker, description = (
        pool.gather(rng.integers(0, len(pool), count)) for pool in (pools.adjectives, pools.makers, pools.descriptions)
    )
    prices = draw_prices(rng, categories)
    return kinds.select(
        "sku_start",
        (maker + " " + adjective + " " + pl.col("kind")).alias("product_name"),
        some(rng, 0.9, description).alias("description"),
        pl.Series([category.name for category in CATEGORIES]).gather(categories).alias("category"),
        money(prices, 10).alias("price"),
        money(draw_costs(rng, prices), 10).alias("cost"),
        pl.Series("quantity_in_stock", between(rng, 0, 500, count), dtype=pl.Int32),
        some(rng, 0.95, pl.Series(between(rng, 1, 200, count), dtype=pl.Int32)).alias("supplier_id"),
        happens(rng, 0.1, count).cast(pl.Int8).alias("is_discontinued"),
    )


def category_codes(names: pl.Series) -> Ints:
    """Indices into CATEGORIES; a category that is not among them is priced like the first."""
    known = {category.name: code for code, category in enumerate(CATEGORIES)}
    return names.replace_strict(known, default=0, return_dtype=pl.Int64).to_numpy()


def draw_prices(rng: np.random.Generator, categories: Ints) -> Ints:
    """Cents, log-uniform within the category's bounds."""
    low, high = np.log(np.array([category.prices for category in CATEGORIES], dtype=np.float64)).T
    prices: Ints = np.rint(100 * np.exp(rng.uniform(low[categories], high[categories]))).astype(np.int64)
    return prices


def draw_costs(rng: np.random.Generator, prices: Ints) -> Ints:
    """Cents, uniform from 60 to 70 % of the price: exact in whole cents, so never outside by rounding."""
    low, high = -(-prices * 60 // 100), prices * 70 // 100
    return between(rng, low, np.maximum(low, high), len(prices))


def _kinds(category: Category) -> pl.DataFrame:
    starts = [f"{category.prefix}-{kind.replace('-', '')[:3].upper()}-" for kind in category.kinds]
    return pl.DataFrame({"sku_start": starts, "kind": category.kinds})
