"""A given number of changes, 60 % inserts, 30 % updates, 10 % deletes, in transactions of a given size.

What the benchmark and the large tests put through: `customers` in Postgres, `products` in MySQL. Everything is
drawn before the first statement, and each transaction is three statements: a bulk insert, a join with the new
values, a delete by keys. Deleted are only rows that no other row refers to, updated only rows that stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import ConfigError
from cdc_platform.mock_data import mysql, postgres
from cdc_platform.mock_data.customers import customers
from cdc_platform.mock_data.endpoint import Endpoint
from cdc_platform.mock_data.people import people
from cdc_platform.mock_data.products import catalogue, products
from cdc_platform.mock_data.sampling import Ints, generator
from cdc_platform.mock_data.workload import Names, Operation, by_table

_FREE_CUSTOMERS = """
    select customer_id from customers c
    where not exists (select from orders o where o.customer_id = c.customer_id) order by 1"""
_FREE_PRODUCTS = """
    select product_id from products p
    where not exists (select 1 from inventory_transactions i where i.product_id = p.product_id)"""
_UPDATE_CUSTOMERS = """
    update customers c
    set customer_tier = new.customer_tier, lifetime_value = new.lifetime_value,
        last_updated = clock_timestamp() at time zone 'utc'
    from json_populate_recordset(null::customers, %s) new
    where c.customer_id = new.customer_id"""


def churn_customers(
    at: Endpoint, changes: int, seed: int = 0, rows: int = 1_000, progress: Progress = silent
) -> dict[str, dict[str, int]]:
    """Make `changes` changes to `customers` in transactions of about `rows`; gives them by table and operation.

    Raises ConfigError where there are too few customers without orders to delete a tenth of `changes`.
    """
    rng, amounts = generator(seed, "churn customers"), _Amounts.of(changes)
    with postgres.connect(at) as connected, connected.cursor() as cursor:
        existing = postgres.keys(connected, "customers", "customer_id")
        free = postgres.read(connected, _FREE_CUSTOMERS, {"customer_id": pl.Int64()})["customer_id"].to_numpy()
        connected.commit()
        made = customers(rng, people(seed), max(amounts.inserts, amounts.updates), datetime.now(UTC))
        address = pl.col("email").str.replace("@", f".{Names().tag}@", literal=True)
        inserts = made.head(amounts.inserts).with_columns(address).drop("customer_id")
        updates = made.head(amounts.updates).select("customer_id", "customer_tier", "lifetime_value")
        done: Counter[tuple[str, Operation]] = Counter()
        for part in _transactions(rng, inserts, updates, _Targets.of(rng, existing, free, amounts), rows):
            postgres.copy(connected, "customers", part.inserts)
            done["customers", "INSERT"] += len(part.inserts)
            cursor.execute(_UPDATE_CUSTOMERS, (part.updates.write_json(),))
            done["customers", "UPDATE"] += cursor.rowcount
            cursor.execute("delete from customers where customer_id = any(%s)", (part.deletes.tolist(),))
            done["customers", "DELETE"] += cursor.rowcount
            connected.commit()
            progress("customers", done.total(), changes)
    return by_table(["customers"], done)


def churn_products(
    at: Endpoint, changes: int, seed: int = 0, rows: int = 1_000, progress: Progress = silent
) -> dict[str, dict[str, int]]:
    """The same for `products`, of which those without movements can be deleted."""
    rng, amounts = generator(seed, "churn products"), _Amounts.of(changes)
    with mysql.connect(at) as connected, connected.cursor() as cursor:
        existing = mysql.keys(connected, "products", "product_id")
        free = mysql.integers(connected, _FREE_PRODUCTS, "product_id")["product_id"].to_numpy()
        connected.commit()
        made = products(rng, catalogue(seed), max(amounts.inserts, amounts.updates), datetime.now(UTC))
        sku = pl.col("sku") + "-" + pl.lit(Names().tag)
        inserts = made.head(amounts.inserts).with_columns(sku).drop("product_id")
        updates = made.head(amounts.updates).select("product_id", new_price="price", new_cost="cost")
        done: Counter[tuple[str, Operation]] = Counter()
        for part in _transactions(rng, inserts, updates, _Targets.of(rng, existing, free, amounts), rows):
            mysql.load(connected, "products", part.inserts)
            done["products", "INSERT"] += len(part.inserts)
            if len(part.updates):
                mysql.update(
                    cursor,
                    "products",
                    "product_id",
                    part.updates,
                    "price = new_price, cost = new_cost, updated_at = utc_timestamp()",
                )
                done["products", "UPDATE"] += cursor.rowcount
            if len(part.deletes):
                cursor.execute("delete from products where product_id in %s", (part.deletes.tolist(),))
                done["products", "DELETE"] += cursor.rowcount
            connected.commit()
            progress("products", done.total(), changes)
    return by_table(["products"], done)


@dataclass(frozen=True, slots=True)
class _Amounts:
    inserts: int
    updates: int
    deletes: int

    @classmethod
    def of(cls, changes: int) -> _Amounts:
        if changes < 0:
            raise ConfigError("the number of changes must not be negative")
        inserts, updates = round(changes * 0.6), round(changes * 0.3)
        return cls(inserts, updates, changes - inserts - updates)


@dataclass(frozen=True, slots=True)
class _Targets:
    """Keys to delete, and those that may be updated because they stay."""

    deletes: Ints
    stay: Ints

    @classmethod
    def of(cls, rng: np.random.Generator, existing: Ints, free: Ints, amounts: _Amounts) -> _Targets:
        if len(free) < amounts.deletes:
            raise ConfigError(
                f"{amounts.deletes} rows are to be deleted and {len(free)} are not referred to by others:"
                " make fewer changes or seed more"
            )
        deletes = rng.choice(free, amounts.deletes, replace=False)
        return cls(deletes, np.setdiff1d(existing, deletes, assume_unique=True))


@dataclass(frozen=True, slots=True)
class _Transaction:
    """Rows to insert; keys with new values; keys to delete."""

    inserts: pl.DataFrame
    updates: pl.DataFrame
    deletes: Ints


def _transactions(
    rng: np.random.Generator, inserts: pl.DataFrame, updates: pl.DataFrame, targets: _Targets, rows: int
) -> Iterator[_Transaction]:
    """Even parts of everything. The first column of `updates` is the key; no key comes twice in a transaction."""
    count = max(1, -(-(len(inserts) + len(updates) + len(targets.deletes)) // rows))
    if -(-len(updates) // count) > len(targets.stay):
        raise ConfigError("a transaction is to update more rows than there are: make smaller ones or seed more")
    key = updates.columns[0]
    for part in range(count):
        new, changed, gone = (
            slice(len(all_) * part // count, len(all_) * (part + 1) // count)
            for all_ in (inserts, updates, targets.deletes)
        )
        keys = rng.choice(targets.stay, changed.stop - changed.start, replace=False)
        yield _Transaction(
            inserts[new], updates[changed].with_columns(pl.Series(key, np.sort(keys))), targets.deletes[gone]
        )
