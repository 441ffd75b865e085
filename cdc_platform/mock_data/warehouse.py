"""The warehouse in MySQL: products are listed, priced, moved and delisted; every transaction keeps the rules.

Each method is one transaction's work on a connection (the caller commits), set-wise: products are locked in key
order first, so that two runs side by side wait for each other and no stock falls below zero. Movements are
recorded in the transaction that changes the stock, and go with their product. Times are the server's in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from pymysql.cursors import Cursor

from cdc_platform.mock_data import inventory, mysql, products
from cdc_platform.mock_data.products import Catalogue
from cdc_platform.mock_data.sampling import money
from cdc_platform.mock_data.workload import Keys, Names, Operation, Outcome

KEY_COLUMNS = {"products": "product_id"}

_PRODUCT = "sku, product_name, description, category, price, cost, quantity_in_stock, supplier_id, is_discontinued"
_MOVEMENT = "product_id, transaction_type, quantity_change, reference_order_id, notes"


@dataclass(slots=True)
class Warehouse:
    """The transactions, drawn from `rng`. Sales refer to orders from 1 to `last_order`."""

    connection: mysql.Connection
    rng: np.random.Generator
    pools: Catalogue
    keys: Keys
    last_order: int
    names: Names = field(default_factory=Names)

    def kinds(self) -> Mapping[Callable[[int], Outcome], int]:
        """Each transaction with its weight. More comes in than goes out, so the tables grow slowly."""
        return {
            self.move_stock: 45,
            self.change_prices: 20,
            self.list_products: 15,
            self.note_movements: 8,
            self.switch_products: 8,
            self.delist_products: 4,
        }

    def list_products(self, count: int) -> Outcome:
        unique = pl.Series(self.names.take(count))
        listed = products.describe(self.rng, self.pools, count).with_columns(
            (pl.col("sku_start") + unique).alias("sku")
        )
        with self.connection.cursor() as cursor:
            cursor.execute(
                f"insert into products ({_PRODUCT}, created_at, updated_at)"
                f" select {_PRODUCT}, utc_timestamp(), utc_timestamp() from {mysql.json_rows(listed)}",
                (listed.write_json(),),
            )
            outcome = _count(Outcome(), "products", "INSERT", cursor)
            cursor.execute("select product_id from products where sku in %s", (listed["sku"].to_list(),))
            outcome.added["products"] = np.array([key for (key,) in cursor.fetchall()], dtype=np.int64)
            return outcome

    def move_stock(self, count: int) -> Outcome:
        """One movement of each of several products, and their stock with it."""
        with self.connection.cursor() as cursor:
            held = self._lock(cursor, count, "coalesce(quantity_in_stock, 0)", pl.Int64())
            if held.is_empty():
                return Outcome()
            moved = inventory.describe(self.rng, held["product_id"], self.last_order)
            moved = _within_stock(moved, held["value"])
            cursor.execute(
                f"insert into inventory_transactions ({_MOVEMENT}, transaction_date, created_at)"
                f" select {_MOVEMENT}, utc_timestamp(), utc_timestamp() from {mysql.json_rows(moved)}",
                (moved.write_json(),),
            )
            outcome = _count(Outcome(), "inventory_transactions", "INSERT", cursor)
            changes = moved.select("product_id", "quantity_change")
            _update(cursor, changes, "quantity_in_stock = coalesce(quantity_in_stock, 0) + quantity_change")
            return _count(outcome, "products", "UPDATE", cursor)

    def change_prices(self, count: int) -> Outcome:
        """A new price within the category's bounds, and a cost that belongs to it."""
        with self.connection.cursor() as cursor:
            held = self._lock(cursor, count, "category", pl.String())
            if held.is_empty():
                return Outcome()
            prices = products.draw_prices(self.rng, products.category_codes(held["value"]))
            costs = products.draw_costs(self.rng, prices)
            changes = held.select(
                "product_id", money(prices, 10).alias("new_price"), money(costs, 10).alias("new_cost")
            )
            _update(cursor, changes, "price = new_price, cost = new_cost")
            return _count(Outcome(), "products", "UPDATE", cursor)

    def switch_products(self, count: int) -> Outcome:
        """Discontinue products, or take them up again."""
        with self.connection.cursor() as cursor:
            held = self._lock(cursor, count, "1", pl.Int64())
            if held.is_empty():
                return Outcome()
            _update(cursor, held, "is_discontinued = 1 - coalesce(is_discontinued, 0)")
            return _count(Outcome(), "products", "UPDATE", cursor)

    def note_movements(self, count: int) -> Outcome:
        """Write a note to the latest movements of some products."""
        wanted = self.keys.pick(self.rng, "products", count)
        if not wanted:
            return Outcome()
        (sheet,) = self.names.take(1)
        note = f"Counted again, sheet {sheet}"
        with self.connection.cursor() as cursor:
            cursor.execute(
                "update inventory_transactions set notes = %s where product_id in %s"
                " order by transaction_id desc limit %s",
                (note, wanted, count),
            )
            return _count(Outcome(), "inventory_transactions", "UPDATE", cursor)

    def delist_products(self, count: int) -> Outcome:
        """Products go, and their movements before them in the same transaction."""
        with self.connection.cursor() as cursor:
            held = self._lock(cursor, count, "1", pl.Int64())
            if held.is_empty():
                return Outcome()
            keys = held["product_id"].to_list()
            cursor.execute("delete from inventory_transactions where product_id in %s", (keys,))
            outcome = _count(Outcome(), "inventory_transactions", "DELETE", cursor)
            cursor.execute("delete from products where product_id in %s", (keys,))
            outcome.removed["products"] = np.array(keys, dtype=np.int64)
            return _count(outcome, "products", "DELETE", cursor)

    def _lock(self, cursor: Cursor, count: int, value: str, dtype: pl.DataType) -> pl.DataFrame:
        """Lock some known products; columns product_id and value of those that are still there."""
        wanted = self.keys.pick(self.rng, "products", count)
        schema = {"product_id": pl.Int64(), "value": dtype}
        if not wanted:
            return pl.DataFrame(schema=schema)
        cursor.execute(
            f"select product_id, {value} from products where product_id in %s order by product_id for update",
            (wanted,),
        )
        return pl.DataFrame(list(cursor.fetchall()), schema=schema, orient="row")


def _update(cursor: Cursor, changes: pl.DataFrame, assignments: str) -> None:
    mysql.update(cursor, "products", "product_id", changes, f"{assignments}, updated_at = utc_timestamp()")


def _within_stock(moved: pl.DataFrame, stock: pl.Series) -> pl.DataFrame:
    """Nothing leaves that is not there: less is taken, or something comes back where the shelf is empty."""
    wanted = pl.col("quantity_change")
    taken = pl.max_horizontal(wanted, -pl.lit(stock))
    empty = taken == 0
    return moved.with_columns(
        pl.when(empty).then(-wanted).otherwise(taken).alias("quantity_change"),
        pl.when(empty).then(pl.lit("return")).otherwise("transaction_type").alias("transaction_type"),
    )


def _count(outcome: Outcome, table: str, operation: Operation, cursor: Cursor) -> Outcome:
    outcome.count(table, operation, cursor.rowcount)
    return outcome
