"""`cdc seed`: create the source tables of both systems and fill those that are empty.

A table that holds rows is left as it is. It may be captured already, and truncating or dropping it would stop
its pipeline; so seeding twice is seeding once, and the demo can be run again on what it left behind. Fresh data
comes from a fresh database (`cdc down`, remove CDC_HOME, `cdc up`).

Postgres is created and filled in one transaction, MySQL in one for each table. A seeding that was cut short
therefore leaves tables that are full, empty or missing, and the next one fills them: orders for the customers
that are there, movements for the products that are there.

The same seed, sizes and reference time give the same rows. Dates are relative to the reference time, which is the
start of the present UTC day unless given: two seedings of one day agree without a word about time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
import polars as pl

from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import ConfigError
from cdc_platform.mock_data import mysql, postgres
from cdc_platform.mock_data.customers import customers
from cdc_platform.mock_data.endpoint import Endpoint
from cdc_platform.mock_data.evolution import evolution_rows
from cdc_platform.mock_data.inventory import inventory
from cdc_platform.mock_data.orders import BUYERS, orders
from cdc_platform.mock_data.people import people
from cdc_platform.mock_data.products import catalogue, products
from cdc_platform.mock_data.sampling import generator

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Rows by table. Raises ConfigError where they cannot go together."""

    customers: int = 10_000
    orders: int = 20_000
    products: int = 5_000
    inventory: int = 20_000
    evolution: int = 1_000

    def __post_init__(self) -> None:
        for size in fields(self):
            if not 0 <= getattr(self, size.name) < 2**31:
                raise ConfigError(f"the number of {size.name} must be between 0 and 2147483647")


def start_of_day() -> datetime:
    """The reference time of data that is seeded today."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def seed(
    postgres_at: Endpoint,
    mysql_at: Endpoint,
    sizes: Sizes,
    seed: int = 0,
    now: datetime | None = None,
    progress: Progress = silent,
) -> dict[str, int]:
    """Create and fill what is missing; gives the rows of each table, whether just loaded or found there.

    Raises ConfigError, Unavailable or NeedsPerson; what was committed before stays, and the next call goes on.
    """
    plan = _Plan(sizes, seed, now or start_of_day(), progress)
    with postgres.connect(postgres_at) as connected:
        created = postgres.create_tables(connected)
        rows = _fill_postgres(connected, plan)
        if created:
            progress("indexes", 0, 1)
            postgres.create_indexes(connected)
            progress("indexes", 1, 1)
        connected.commit()
        last_order = postgres.highest(connected, "orders", "order_id")
    with mysql.connect(mysql_at) as connection:
        mysql.create_tables(connection)
        return rows | _fill_mysql(connection, plan, last_order)


@dataclass(frozen=True, slots=True)
class _Plan:
    sizes: Sizes
    seed: int
    now: datetime
    progress: Progress

    def rng(self, table: str) -> np.random.Generator:
        return generator(self.seed, table)


def _fill_postgres(connected: postgres.Connection, plan: _Plan) -> dict[str, int]:
    sizes, now = plan.sizes, plan.now

    def make_customers() -> pl.DataFrame:
        return customers(plan.rng("customers"), people(plan.seed), sizes.customers, now)

    def make_orders() -> pl.DataFrame:
        # Read back rather than remembered: they may be those of an earlier day's seeding, or changed since.
        buyers = postgres.read(connected, f"select {', '.join(BUYERS)} from customers", BUYERS)
        if buyers.is_empty():
            raise ConfigError("orders need customers: seed with --customers 1 or more")
        return orders(plan.rng("orders"), people(plan.seed), sizes.orders, now, buyers)

    def make_evolution() -> pl.DataFrame:
        rows = evolution_rows(plan.rng("evolution"), sizes.evolution, now)
        present = postgres.columns(connected, "cdc_schema_evolution_test")
        return rows.select(name for name in rows.columns if name in present)

    rows = {}
    for table, key, size, make in (
        ("customers", "customer_id", sizes.customers, make_customers),
        ("orders", "order_id", sizes.orders, make_orders),
        ("cdc_schema_evolution_test", "id", sizes.evolution, make_evolution),
    ):
        rows[table] = postgres.count(connected, table)
        if _wanted(table, rows[table], size):
            postgres.copy(connected, table, make(), plan.progress)
            postgres.continue_after(connected, table, key)
            rows[table] = size
    return rows


def _fill_mysql(connected: mysql.Connection, plan: _Plan, last_order: int) -> dict[str, int]:
    sizes, now = plan.sizes, plan.now

    def make_products() -> pl.DataFrame:
        return products(plan.rng("products"), catalogue(plan.seed), sizes.products, now)

    def make_inventory() -> pl.DataFrame:
        ages = "select product_id, timestampdiff(second, '1970-01-01', created_at) as created_at from products"
        moved = mysql.integers(connected, ages, "product_id", "created_at")
        if moved.is_empty():
            raise ConfigError("inventory needs products: seed with --products 1 or more")
        return inventory(plan.rng("inventory"), sizes.inventory, now, moved, last_order)

    rows = {}
    for table, size, make in (
        ("products", sizes.products, make_products),
        ("inventory_transactions", sizes.inventory, make_inventory),
    ):
        rows[table] = mysql.count(connected, table)
        if _wanted(table, rows[table], size):
            mysql.load(connected, table, make(), plan.progress)
            rows[table] = size
        connected.commit()
    return rows


def _wanted(table: str, found: int, size: int) -> bool:
    if found:
        log.info("%s holds %d rows already and is left as it is", table, found)
    return not found and size > 0
