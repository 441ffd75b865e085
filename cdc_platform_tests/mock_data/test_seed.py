"""Seeding fills what is empty, leaves what is full, and goes on where it was cut short."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.mock_data import mysql as mysql_source
from cdc_platform.mock_data.customers import customers
from cdc_platform.mock_data.endpoint import Address, Endpoint
from cdc_platform.mock_data.people import people
from cdc_platform.mock_data.products import catalogue, products
from cdc_platform.mock_data.sampling import generator
from cdc_platform.mock_data.seed import Sizes, seed, start_of_day
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.mock_data.conftest import NOW, SIZES, Seeded
from cdc_platform_tests.mock_data.rules import broken, open_mysql, open_postgres

SMALL = Sizes(customers=300, orders=500, products=200, inventory=400, evolution=20)
SMALL_ROWS = {
    "customers": 300,
    "orders": 500,
    "cdc_schema_evolution_test": 20,
    "products": 200,
    "inventory_transactions": 400,
}
POSTGRES_TABLES = ("customers", "orders", "cdc_schema_evolution_test")


def rows_of(at: ServerState, query: str) -> list[tuple[Any, ...]]:
    opened = open_postgres(at) if at.scheme == "postgresql" else open_mysql(at)
    with opened as connected, connected.cursor() as cursor:
        cursor.execute(query)
        connected.commit()
        return list(cursor.fetchall()) if cursor.description else []


def everything(postgres: ServerState, mysql: ServerState) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table: rows_of(postgres if table in POSTGRES_TABLES else mysql, f"select * from {table} order by 1")
        for table in SMALL_ROWS
    }


class Cut(Exception):
    """What ends a seeding half-way."""


def cut_at(table: str, share: float) -> Any:
    def progress(task: str, done: int, total: int | None = None) -> None:
        if task == table and total and done >= total * share:
            raise Cut

    return progress


def test_seeding_gives_the_rows_of_each_table(seeded: Seeded) -> None:
    assert seeded.rows == {
        "customers": SIZES.customers,
        "orders": SIZES.orders,
        "cdc_schema_evolution_test": SIZES.evolution,
        "products": SIZES.products,
        "inventory_transactions": SIZES.inventory,
    }
    for table, count in seeded.rows.items():
        at = seeded.postgres if table in POSTGRES_TABLES else seeded.mysql
        assert rows_of(at, f"select count(*) from {table}") == [(count,)]


def test_what_was_generated_is_what_is_stored(seeded: Seeded) -> None:
    made = customers(generator(7, "customers"), people(7), SIZES.customers, NOW)
    stored = rows_of(seeded.postgres, "select * from customers order by 1")
    assert_frame_equal(pl.DataFrame(stored, schema=made.schema, orient="row"), made)
    wares = products(generator(7, "products"), catalogue(7), SIZES.products, NOW)
    kept = rows_of(seeded.mysql, "select * from products order by 1")
    assert_frame_equal(pl.DataFrame(kept, schema=wares.schema, orient="row"), wares)


def test_seeding_again_changes_nothing(postgres_database: ServerState, mysql_database: ServerState) -> None:
    seed(postgres_database, mysql_database, SMALL)
    rows_of(postgres_database, "delete from orders where order_id = 3")
    rows_of(mysql_database, "update products set product_name = 'mine' where product_id = 3")
    before = everything(postgres_database, mysql_database)
    versions = "select xmin::text, ctid::text from customers order by customer_id"
    unwritten = rows_of(postgres_database, versions)
    again = seed(postgres_database, mysql_database, Sizes(customers=9, orders=9, products=9, inventory=9), seed=8)
    assert again == SMALL_ROWS | {"orders": 499}
    assert everything(postgres_database, mysql_database) == before
    assert rows_of(postgres_database, versions) == unwritten


def test_the_same_seed_fills_two_databases_alike(
    postgres_database: ServerState, mysql_database: ServerState, postgres: ServerState, mysql: ServerState
) -> None:
    seed(postgres_database, mysql_database, SMALL, seed=3, now=NOW)
    first = everything(postgres_database, mysql_database)
    rows_of(postgres_database, "drop table orders, customers, cdc_schema_evolution_test")
    rows_of(mysql_database, "drop table products, inventory_transactions")
    seed(postgres_database, mysql_database, SMALL, seed=3, now=NOW.replace(tzinfo=UTC))
    assert everything(postgres_database, mysql_database) == first
    rows_of(mysql_database, "delete from inventory_transactions")
    seed(postgres_database, mysql_database, SMALL, seed=4, now=NOW)
    assert everything(postgres_database, mysql_database) != first


@pytest.mark.parametrize("table", [name for name in SMALL_ROWS if name != "cdc_schema_evolution_test"])
def test_a_seeding_that_was_cut_short_is_completed(
    postgres_database: ServerState, mysql_database: ServerState, table: str
) -> None:
    with pytest.raises(Cut):
        seed(postgres_database, mysql_database, SMALL, seed=3, now=NOW, progress=cut_at(table, 1))
    # Another day: what is missing must fit what is there.
    assert seed(postgres_database, mysql_database, SMALL, seed=3) == SMALL_ROWS
    assert broken(postgres_database, mysql_database) == {}
    indexes = rows_of(postgres_database, "select count(*) from pg_indexes where schemaname = 'public'")
    assert indexes == [(10,)]


def test_emptied_tables_are_filled_again(postgres_database: ServerState, mysql_database: ServerState) -> None:
    seed(postgres_database, mysql_database, SMALL)
    rows_of(postgres_database, "delete from orders")
    rows_of(postgres_database, "delete from customers where customer_id <= 290")
    rows_of(mysql_database, "delete from inventory_transactions")
    rows = seed(postgres_database, mysql_database, SMALL)
    assert rows == SMALL_ROWS | {"customers": 10}
    assert broken(postgres_database, mysql_database) == {}
    assert rows_of(postgres_database, "select count(distinct customer_id) from orders") == [(10,)]


def test_new_rows_get_keys_after_the_seeded_ones(postgres_database: ServerState, mysql_database: ServerState) -> None:
    seed(postgres_database, mysql_database, SMALL)
    added = rows_of(
        postgres_database,
        "insert into customers (email, first_name, last_name, registration_date, last_updated)"
        " values ('a@b.cd', 'A', 'B', now(), now()) returning customer_id, country, is_active, lifetime_value::text",
    )
    assert added == [(301, "USA", True, "0.00")]
    rows_of(
        mysql_database,
        "insert into products (sku, product_name, category, price, created_at, updated_at)"
        " values ('x', 'X', 'Books', 1, now(), now())",
    )
    assert rows_of(mysql_database, "select product_id from products where sku = 'x'") == [(201,)]


def test_two_seedings_at_once_are_one(postgres_database: ServerState, mysql_database: ServerState) -> None:
    start = threading.Barrier(2)

    def run(seed_number: int) -> dict[str, int]:
        start.wait(10)
        return seed(postgres_database, mysql_database, SMALL, seed=seed_number)

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(run, [1, 2])) == [SMALL_ROWS, SMALL_ROWS]
    assert broken(postgres_database, mysql_database) == {}


def test_tables_may_be_left_empty(postgres_database: ServerState, mysql_database: ServerState) -> None:
    none = Sizes(customers=0, orders=0, products=0, inventory=0, evolution=0)
    assert seed(postgres_database, mysql_database, none) == dict.fromkeys(SMALL_ROWS, 0)


def test_an_evolved_table_is_filled_by_the_columns_it_has(
    postgres_database: ServerState, mysql_database: ServerState
) -> None:
    none = Sizes(customers=0, orders=0, products=0, inventory=0, evolution=0)
    seed(postgres_database, mysql_database, none)
    rows_of(postgres_database, "alter table cdc_schema_evolution_test drop column original_column")
    rows = seed(postgres_database, mysql_database, replace(none, evolution=5))
    assert rows["cdc_schema_evolution_test"] == 5


@pytest.mark.parametrize("by_file", [True, False])
def test_any_text_survives_the_way_into_mysql(mysql_database: ServerState, by_file: bool) -> None:
    texts = [
        "",
        "NULL",
        "\\N",
        "a,b",
        '"quoted"',
        "it's",
        "back\\slash\\",
        "two\nlines\r\n",
        "Müller 李 🙂",
        " x ",
        None,
    ]
    rows = products(generator(1, "products"), catalogue(1), len(texts), NOW).with_columns(
        pl.Series("description", texts)
    )
    with mysql_source.connect(mysql_database) as connected:
        mysql_source.create_tables(connected)
        with connected.cursor() as cursor:
            if by_file:
                mysql_source.load_file(cursor, "products", rows)
            else:
                mysql_source.insert(cursor, "products", rows)
        connected.commit()
    kept = rows_of(mysql_database, "select * from products order by 1")
    assert_frame_equal(pl.DataFrame(kept, schema=rows.schema, orient="row"), rows)


def test_rows_that_do_not_get_into_mysql_are_noticed(mysql_database: ServerState) -> None:
    rows = products(generator(1, "products"), catalogue(1), 10, NOW).with_columns(sku=pl.lit("same"))
    with mysql_source.connect(mysql_database) as connected:
        mysql_source.create_tables(connected)
        with connected.cursor() as cursor, pytest.raises(Exception, match="took 1 of 10 rows into products"):
            mysql_source.load_file(cursor, "products", rows)


@pytest.mark.parametrize("missing", ["orders", "inventory"])
def test_children_need_parents(postgres_database: ServerState, mysql_database: ServerState, missing: str) -> None:
    parents = {"orders": "customers", "inventory": "products"}
    sizes = replace(SMALL, **{parents[missing]: 0})
    with pytest.raises(ConfigError, match=f"seed with --{parents[missing]} 1 or more"):
        seed(postgres_database, mysql_database, sizes)


@pytest.mark.parametrize("size", [-1, 2**31])
def test_senseless_sizes_are_refused(size: int) -> None:
    with pytest.raises(ConfigError, match="number of orders"):
        Sizes(orders=size)


def address(at: Endpoint, **changes: Any) -> Address:
    return replace(Address(at.host, at.port, at.database, at.user, at.password), **changes)


@pytest.mark.parametrize("which", ["postgres", "mysql"])
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"port": 1}, Unavailable, "does not answer"),
        ({"password": "tell-nobody"}, ConfigError, "check user and password"),
        ({"database": "nowhere"}, ConfigError, "check database and user"),
    ],
)
def test_servers_that_cannot_be_reached(
    postgres_database: ServerState,
    mysql_database: ServerState,
    which: str,
    changes: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    ends = {"postgres": address(postgres_database), "mysql": address(mysql_database)}
    ends[which] = replace(ends[which], **changes)
    with pytest.raises(error, match=words) as caught:
        seed(ends["postgres"], ends["mysql"], SMALL)
    assert "tell-nobody" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_passwords_stay_out_of_repr(postgres: ServerState) -> None:
    assert postgres.password not in repr(address(postgres))


def test_the_reference_time_is_the_start_of_the_utc_day() -> None:
    now = datetime.now(UTC)
    begun = start_of_day()
    assert (begun.hour, begun.minute, begun.second, begun.microsecond) == (0, 0, 0, 0)
    assert 0 <= (now - begun).total_seconds() < 86_401
