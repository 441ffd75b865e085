"""The shop in Postgres: customers sign up, buy, move house and leave; every transaction keeps the rules.

Each method is one transaction's work on a connection (the caller commits), set-wise: rows are locked in key order
first, so that two runs side by side wait for each other instead of breaking a rule, and what another run has
removed is simply not among the locked. Times are the server's clock in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor

from cdc_platform.mock_data import customers, orders, postgres
from cdc_platform.mock_data.customers import MOST_VALUE
from cdc_platform.mock_data.evolution import phrases
from cdc_platform.mock_data.orders import BUYERS
from cdc_platform.mock_data.people import ADDRESS_COLUMNS, People
from cdc_platform.mock_data.sampling import Ints
from cdc_platform.mock_data.workload import Keys, Names, Outcome

EVOLUTION = "cdc_schema_evolution_test"
KEY_COLUMNS = {"customers": "customer_id", "orders": "order_id", EVOLUTION: "id"}

_NOW = "(select clock_timestamp() at time zone 'utc' as now) clock"
_SIGN_UP = f"""
    insert into customers (email, first_name, last_name, phone, {", ".join(ADDRESS_COLUMNS)}, country,
        registration_date, last_updated, is_active, customer_tier, lifetime_value)
    select email, first_name, last_name, phone, {", ".join(ADDRESS_COLUMNS)}, country,
        now, now, is_active, customer_tier, lifetime_value
    from json_populate_recordset(null::customers, %s), {_NOW}
    returning customer_id"""
_BUYERS = f"select {', '.join(BUYERS)} from customers where customer_id = any(%s) order by customer_id for update"
# The address arrives as text inside the JSON.
_PLACE_ORDERS = f"""
    insert into orders (customer_id, order_date, order_status, total_amount, shipping_address, payment_method,
        order_notes, last_updated)
    select customer_id, greatest(now, registration_date), 'pending', o.total_amount,
        (o.shipping_address #>> '{{}}')::jsonb, o.payment_method, o.order_notes, greatest(now, registration_date)
    from json_populate_recordset(null::orders, %s) o join customers using (customer_id), {_NOW}
    returning order_id"""
_RAISE_VALUES = f"""
    update customers c
    set lifetime_value = least(coalesce(c.lifetime_value, 0) + o.total_amount, {MOST_VALUE}), last_updated = now
    from json_populate_recordset(null::orders, %s) o, {_NOW}
    where c.customer_id = o.customer_id"""
_LOCK_ORDERS = "select order_id from orders where order_id = any(%s) order by order_id for update"
_ADVANCE_ORDERS = f"""
    update orders
    set order_status = case
            when order_status in ('pending', 'processing') and order_id = any(%s) then 'cancelled'
            when order_status = 'pending' then 'processing'
            when order_status = 'processing' then 'shipped'
            when order_status = 'shipped' then 'delivered'
            else order_status
        end,
        order_notes = case when order_status in ('delivered', 'cancelled') then 'Feedback received'
            else order_notes end,
        last_updated = now
    from {_NOW}
    where order_id = any(%s)"""
_LOCK_CUSTOMERS = "select customer_id from customers where customer_id = any(%s) order by customer_id for update"
# What may change together in a customer.
_ASPECTS = (
    ("customer_tier", "lifetime_value"),
    ("phone", "country", *ADDRESS_COLUMNS),
    ("first_name", "last_name"),
    ("is_active",),
)


@dataclass(slots=True)
class Shop:
    """The transactions, drawn from `rng`; `keys` are those of KEY_COLUMNS' tables."""

    connection: postgres.Connection
    rng: np.random.Generator
    pools: People
    keys: Keys
    names: Names = field(default_factory=Names)

    def kinds(self) -> Mapping[Callable[[int], Outcome], int]:
        """Each transaction with its weight. More comes in than goes out, so the tables grow slowly."""
        return {
            self.place_orders: 25,
            self.advance_orders: 24,
            self.change_customers: 20,
            self.sign_up: 15,
            self.add_evolution_rows: 5,
            self.change_evolution_rows: 3,
            self.remove_orders: 4,
            self.close_accounts: 4,
        }

    def sign_up(self, count: int) -> Outcome:
        unique = pl.Series(self.names.take(count))
        people = customers.describe(self.rng, self.pools, count).with_columns(
            pl.concat_str("mailbox", pl.lit("."), unique, pl.lit("@"), "mail_domain").alias("email")
        )
        with self.connection.cursor() as cursor:
            return _added("customers", _keys(cursor, _SIGN_UP, people.write_json()))

    def place_orders(self, count: int) -> Outcome:
        """An order of each of several customers, and its amount on their lifetime value."""
        wanted = self.keys.pick(self.rng, "customers", count)
        with self.connection.cursor() as cursor:
            buyers = postgres.fetch(cursor, _BUYERS, (wanted,), BUYERS)
            if buyers.is_empty():
                return Outcome()
            placed = orders.describe(self.rng, self.pools, buyers).write_json()
            outcome = _added("orders", _keys(cursor, _PLACE_ORDERS, placed))
            cursor.execute(_RAISE_VALUES, (placed,))
            outcome.count("customers", "UPDATE", cursor.rowcount)
            return outcome

    def advance_orders(self, count: int) -> Outcome:
        """Orders go a step further or are cancelled; those that are closed get a note."""
        wanted = self.keys.pick(self.rng, "orders", count)
        cancelled = [key for key, drawn in zip(wanted, self.rng.random(len(wanted)), strict=True) if drawn < 0.1]
        with self.connection.cursor() as cursor:
            locked = _keys(cursor, _LOCK_ORDERS, wanted)
            cursor.execute(_ADVANCE_ORDERS, (cancelled, locked.tolist()))
            return _changed("orders", cursor)

    def change_customers(self, count: int) -> Outcome:
        """Some customers get a new tier, address, name or status."""
        wanted = self.keys.pick(self.rng, "customers", count)
        aspect = _ASPECTS[int(self.rng.integers(len(_ASPECTS)))]
        ids = pl.Series("customer_id", wanted, dtype=pl.Int32)
        changes = customers.describe(self.rng, self.pools, len(wanted)).select(ids, *aspect)
        statement = sql.SQL(
            "update customers c set {}, last_updated = now from json_populate_recordset(null::customers, %s) new, "
            + _NOW
            + " where c.customer_id = new.customer_id"
        ).format(sql.SQL(", ").join(sql.SQL("{0} = new.{0}").format(sql.Identifier(name)) for name in aspect))
        with self.connection.cursor() as cursor:
            cursor.execute(_LOCK_CUSTOMERS, (wanted,))
            cursor.execute(statement, (changes.write_json(),))
            return _changed("customers", cursor)

    def remove_orders(self, count: int) -> Outcome:
        wanted = self.keys.pick(self.rng, "orders", count)
        with self.connection.cursor() as cursor:
            locked = _keys(cursor, _LOCK_ORDERS, wanted)
            cursor.execute("delete from orders where order_id = any(%s)", (locked.tolist(),))
            return _removed(Outcome(), "orders", cursor, wanted)

    def close_accounts(self, count: int) -> Outcome:
        """Customers go, and their orders before them in the same transaction."""
        wanted = self.keys.pick(self.rng, "customers", count)
        with self.connection.cursor() as cursor:
            locked = _keys(cursor, _LOCK_CUSTOMERS, wanted)
            gone = _keys(cursor, "delete from orders where customer_id = any(%s) returning order_id", locked.tolist())
            outcome = _removed(Outcome(), "orders", cursor, gone.tolist())
            cursor.execute("delete from customers where customer_id = any(%s)", (locked.tolist(),))
            return _removed(outcome, "customers", cursor, wanted)

    def add_evolution_rows(self, count: int) -> Outcome:
        """New rows in the columns that the table has now: somebody may be evolving it."""
        texts, times = self._evolution_columns()
        if not texts and not times:
            return Outcome()
        values = [sql.SQL("phrase")] * len(texts) + [sql.SQL("now")] * len(times)
        statement = sql.SQL(
            "insert into {} ({}) select {} from unnest(%s::text[]) phrase, " + _NOW + " returning id"
        ).format(sql.Identifier(EVOLUTION), _listed([*texts, *times]), sql.SQL(", ").join(values))
        with self.connection.cursor() as cursor:
            return _added(EVOLUTION, _keys(cursor, statement, phrases(self.rng, count).to_list()))

    def change_evolution_rows(self, count: int) -> Outcome:
        wanted = self.keys.pick(self.rng, EVOLUTION, count)
        drawn = phrases(self.rng, len(wanted)).to_list()
        texts, _ = self._evolution_columns()
        if not texts:
            return Outcome()
        statement = sql.SQL(
            "update {} set {} from unnest(%s::int[], %s::text[]) new (key, phrase) where id = new.key"
        ).format(
            sql.Identifier(EVOLUTION),
            sql.SQL(", ").join(sql.SQL("{} = phrase").format(sql.Identifier(name)) for name in texts),
        )
        with self.connection.cursor() as cursor:
            cursor.execute(statement, (wanted, drawn))
            return _changed(EVOLUTION, cursor)

    def _evolution_columns(self) -> tuple[list[str], list[str]]:
        """Text columns that a phrase fits in, and timestamp columns; nothing without the key."""
        with self.connection.cursor() as cursor:
            cursor.execute(_EVOLUTION_COLUMNS, (EVOLUTION,))
            kinds = {str(name): str(kind) for name, kind in cursor.fetchall()}
        if "id" not in kinds:
            return [], []
        return [name for name in kinds if kinds[name] == "text"], [name for name in kinds if kinds[name] == "time"]


# A phrase has at most 30 letters; a varchar's modifier is its length and 4.
_EVOLUTION_COLUMNS = """
    select attname, case
        when attname = 'id' then 'key'
        when atttypid = 'text'::regtype then 'text'
        when atttypid = 'varchar'::regtype and (atttypmod < 0 or atttypmod >= 34) then 'text'
        when atttypid in ('timestamp'::regtype, 'timestamptz'::regtype) then 'time'
    end
    from pg_attribute
    where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum"""


def _keys(cursor: Cursor, statement: str | sql.Composable, value: object) -> Ints:
    cursor.execute(statement, (value,))
    return np.array([key for (key,) in cursor.fetchall()], dtype=np.int64)


def _listed(names: list[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _added(table: str, keys: Ints) -> Outcome:
    outcome = Outcome(added={table: keys})
    outcome.count(table, "INSERT", len(keys))
    return outcome


def _changed(table: str, cursor: Cursor) -> Outcome:
    outcome = Outcome()
    outcome.count(table, "UPDATE", cursor.rowcount)
    return outcome


def _removed(outcome: Outcome, table: str, cursor: Cursor, wanted: list[int]) -> Outcome:
    """Wanted keys that were not there any more are forgotten, too."""
    outcome.count(table, "DELETE", cursor.rowcount)
    outcome.removed[table] = np.array(wanted, dtype=np.int64)
    return outcome
