"""The rules of data-model.md 8.1 and what the tables' meaning adds, each as a query that counts the rows breaking it.

`broken` names the rules that do not hold. Every query has a statement beside it that breaks its rule, so that the
tests can see it red (`test_rules.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import psycopg2
import pymysql

from cdc_platform.mock_data.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Rule:
    """`count` gives the number of offending rows, `offence` makes at least one."""

    count: str
    offence: str


_UTC = "clock_timestamp() at time zone 'utc'"
_ONE_CUSTOMER = "where customer_id = (select min(customer_id) from customers)"
_ONE_ORDER = "where order_id = (select min(order_id) from orders)"
_ONE_PRODUCT = "order by product_id limit 1"

POSTGRES_RULES: Mapping[str, Rule] = {
    "email has the form of an address": Rule(
        r"select count(*) from customers where email !~ '^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}$'",
        f"update customers set email = 'müller@example.com' {_ONE_CUSTOMER}",
    ),
    "phone is E.164": Rule(
        r"select count(*) from customers where phone !~ '^\+?[1-9]\d{1,14}$'",
        f"update customers set phone = '+1-555-0123' {_ONE_CUSTOMER}",
    ),
    "customer_tier is known": Rule(
        "select count(*) from customers where coalesce(customer_tier, '') not in"
        " ('Bronze', 'Silver', 'Gold', 'Platinum')",
        f"update customers set customer_tier = 'Wood' {_ONE_CUSTOMER}",
    ),
    "lifetime_value is from 0 to 5000": Rule(
        "select count(*) from customers where coalesce(lifetime_value not between 0 and 5000, true)",
        f"update customers set lifetime_value = -0.01 {_ONE_CUSTOMER}",
    ),
    "registration_date is past": Rule(
        f"select count(*) from customers where registration_date > {_UTC}",
        f"update customers set registration_date = {_UTC} + interval '1 minute' {_ONE_CUSTOMER}",
    ),
    "customers.last_updated is between registration and now": Rule(
        f"select count(*) from customers where last_updated not between registration_date and {_UTC}",
        f"update customers set last_updated = registration_date - interval '1 second' {_ONE_CUSTOMER}",
    ),
    "an address is whole or absent": Rule(
        "select count(*) from customers where num_nulls(address_line1, city, state, postal_code) not in (0, 4)",
        f"update customers set address_line1 = '1 Main St', city = 'X', state = null {_ONE_CUSTOMER}",
    ),
    "total_amount is from 10 to 2000": Rule(
        "select count(*) from orders where total_amount not between 10 and 2000",
        f"update orders set total_amount = 0 {_ONE_ORDER}",
    ),
    "order_status is known": Rule(
        "select count(*) from orders where order_status not in"
        " ('pending', 'processing', 'shipped', 'delivered', 'cancelled')",
        f"update orders set order_status = 'lost' {_ONE_ORDER}",
    ),
    "orders have a customer": Rule(
        "select count(*) from orders o left join customers c using (customer_id) where c.customer_id is null",
        f"alter table orders drop constraint orders_customer_id_fkey; update orders set customer_id = 0 {_ONE_ORDER}",
    ),
    "order_date is not before registration": Rule(
        "select count(*) from orders join customers using (customer_id) where order_date < registration_date",
        f"update orders set order_date = '1999-01-01' {_ONE_ORDER}",
    ),
    "order_date and last_updated are past, in order": Rule(
        f"select count(*) from orders where last_updated not between order_date and {_UTC}",
        f"update orders set last_updated = {_UTC} + interval '1 minute' {_ONE_ORDER}",
    ),
    "shipping_address is the documented object": Rule(
        "select count(*) from orders where shipping_address is null or jsonb_typeof(shipping_address) <> 'object'"
        " or not shipping_address ?& array['street', 'city', 'state', 'postal_code', 'country']"
        " or exists (select from jsonb_each(shipping_address) where jsonb_typeof(value) <> 'string')",
        f"""update orders set shipping_address = '"a text"' {_ONE_ORDER}""",
    ),
}

MYSQL_RULES: Mapping[str, Rule] = {
    "price is positive": Rule(
        "select count(*) from products where price <= 0", f"update products set price = 0, cost = 0 {_ONE_PRODUCT}"
    ),
    "cost is positive and at most the price": Rule(
        "select count(*) from products where coalesce(cost <= 0 or cost > price, true)",
        f"update products set cost = price + 0.01 {_ONE_PRODUCT}",
    ),
    "stock is not negative": Rule(
        "select count(*) from products where coalesce(quantity_in_stock < 0, true)",
        f"update products set quantity_in_stock = -1 {_ONE_PRODUCT}",
    ),
    "sku is unique": Rule(
        "select count(*) - count(distinct sku) from products",
        # Under the table's own name, for this session only: the real one would not let it happen.
        "create temporary table twins as select * from products limit 2;"
        " create temporary table products as select * from twins; update products set sku = 'same'",
    ),
    "created_at and updated_at are past, in order": Rule(
        "select count(*) from products where updated_at not between created_at and utc_timestamp()",
        f"update products set updated_at = utc_timestamp() + interval 1 minute {_ONE_PRODUCT}",
    ),
    "movements have a product": Rule(
        "select count(*) from inventory_transactions i left join products p using (product_id)"
        " where p.product_id is null",
        "update inventory_transactions set product_id = 0 limit 1",
    ),
    "movements go the way of their type": Rule(
        "select count(*) from inventory_transactions where quantity_change = 0"
        " or transaction_type in ('purchase', 'return') and quantity_change < 0"
        " or transaction_type = 'sale' and quantity_change > 0",
        "update inventory_transactions set quantity_change = -1, transaction_type = 'purchase' limit 1",
    ),
    "movements are past, in order, not before their product": Rule(
        "select count(*) from inventory_transactions i join products p using (product_id)"
        " where i.transaction_date < p.created_at or i.created_at not between i.transaction_date and utc_timestamp()",
        "update inventory_transactions set transaction_date = '1999-01-01' limit 1",
    ),
}


def open_postgres(at: Endpoint) -> closing[psycopg2.extensions.connection]:
    return closing(psycopg2.connect(host=at.host, port=at.port, dbname=at.database, user=at.user, password=at.password))


def open_mysql(at: Endpoint) -> closing[pymysql.connections.Connection[pymysql.cursors.Cursor]]:
    return closing(
        pymysql.connect(host=at.host, port=at.port, database=at.database, user=at.user, password=at.password)
    )


def broken(postgres: Endpoint, mysql: Endpoint) -> dict[str, int]:
    """Offending rows of each rule that does not hold: `{}` when all is well."""
    counts: dict[str, int] = {}
    with open_postgres(postgres) as shop, shop.cursor() as cursor:
        for name, rule in POSTGRES_RULES.items():
            cursor.execute(rule.count)
            ((counts[name],),) = cursor.fetchall()
    with open_mysql(mysql) as warehouse, warehouse.cursor() as lines:
        for name, rule in MYSQL_RULES.items():
            lines.execute(rule.count)
            ((counts[name],),) = lines.fetchall()
    return {name: count for name, count in counts.items() if count}
