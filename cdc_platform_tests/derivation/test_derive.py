"""`customers_analytics` from two tables of Postgres, kept by their changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform_tests.derivation.shop import analytics, assert_right, shop
from cdc_platform_tests.world import World

FORMATS = pytest.mark.parametrize("format", ["iceberg", "deltalake"])


@FORMATS
def test_orders_count_where_they_belong(empty_world: World, tmp_path: Path, format: str) -> None:
    world = shop(empty_world, tmp_path / "pipelines", format)
    world.postgres_do(
        "insert into customers (email, first_name, last_name, city, state, country, customer_tier, lifetime_value)"
        " values ('a@x.org', 'Ann', 'Ash', 'Ulm', '', 'DE', 'Gold', 10.50),"
        " ('b@x.org', 'Bob', 'Birch', null, ' ', null, null, null)",
        "insert into orders (customer_id) values (1), (1), (2), (7), (null)",
    )
    (first,) = world.run()
    assert first.application.snapshot_rows == 2
    assert [row["total_orders"] for row in assert_right(world, format)] == [2, 1]
    world.postgres_do(
        "insert into orders (customer_id) values (2)",
        "update orders set customer_id = 2 where order_id = 1",
        "delete from orders where order_id = 2",
        "update orders set order_status = 'shipped'",
        "insert into customers (customer_id, email, first_name, last_name) values (7, 'c@x.org', 'Cy', 'Cane')",
        "update customers set is_active = null, city = 'Bonn' where customer_id = 2",
    )
    (second,) = world.run()
    assert second.application.start == first.application.end
    assert [row["total_orders"] for row in assert_right(world, format)] == [0, 3, 1]
    world.postgres_do(
        "delete from customers where customer_id = 1", "update customers set customer_id = 8 where customer_id = 7"
    )
    world.run()
    assert [row["customer_id"] for row in assert_right(world, format)] == [2, 8]
    before = analytics(world, format)
    (idle,) = world.run()
    assert idle.application.rows_written == 0
    assert analytics(world, format) == before
