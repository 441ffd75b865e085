"""Customers and orders at a Postgres of one test's own, and `customers_analytics` of them, read by others' readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cdc_platform_tests import readers
from cdc_platform_tests.world import World, plain

CUSTOMERS = """create table customers (
    customer_id serial primary key, email varchar(255) not null, first_name varchar(100) not null,
    last_name varchar(100) not null, phone varchar(20), city varchar(100), state varchar(50),
    country varchar(100) default 'USA', registration_date timestamp not null default '2024-05-06 07:08:09.123456',
    is_active boolean default true, customer_tier varchar(20), lifetime_value numeric(12, 2) default 0.00)"""
ORDERS = """create table orders (
    order_id serial primary key, customer_id integer, order_status varchar(50) not null default 'pending')"""

PIPELINE = """pipeline_id: {id}
source:
  type: postgres
  connection:
    host: ${{POSTGRES_HOST}}
    port: ${{POSTGRES_PORT}}
    database: ${{POSTGRES_DB}}
    user: ${{POSTGRES_USER}}
    password: ${{POSTGRES_PASSWORD}}
  tables:
    - {{name: customers, primary_key: [customer_id]}}
    - {{name: orders, primary_key: [order_id]}}
derive:
  definition: {definition}
destination:
  type: {format}
  path: ${{CDC_HOME}}/lake/{format}{folder}
{table}  write_mode: upsert
  partition_by: YEAR(registration_date)
  sort_by: [customer_tier, lifetime_value DESC]
"""

EXPECTED = """select c.customer_id, email, first_name || ' ' || last_name as full_name,
    nullif(concat_ws(', ', nullif(trim(city), ''), nullif(trim(state), ''), nullif(trim(country), '')), '') as location,
    customer_tier, coalesce(lifetime_value, 0.00) as lifetime_value, registration_date,
    coalesce(is_active, true) as is_active,
    (select count(*) from orders o where o.customer_id = c.customer_id) as total_orders, 'postgres_cdc'
from customers c order by 1"""
COLUMNS = (
    "customer_id email full_name location customer_tier lifetime_value registration_date is_active total_orders "
    "_source_system"
).split()


def pipeline(format: str = "iceberg", definition: str = "customers_analytics", id: str = "analytics") -> str:
    """The pipeline's YAML."""
    iceberg = format == "iceberg"
    table = "  table: cdc.customers_analytics\n" if iceberg else ""
    folder = "" if iceberg else "/customers_analytics"
    return PIPELINE.format(id=id, definition=definition, format=format, table=table, folder=folder)


def shop(world: World, folder: Path, format: str = "iceberg", identity: str = "full") -> World:
    """The world with the two tables, empty, and the one pipeline in `folder`."""
    world.postgres_do(CUSTOMERS, ORDERS)
    if identity == "full":
        world.postgres_do("alter table customers replica identity full", "alter table orders replica identity full")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "analytics.yaml").write_text(pipeline(format))
    world.folder = folder
    return world


def analytics(world: World, format: str = "iceberg") -> list[dict[str, Any]]:
    """The table's rows by key, read by DuckDB, and where it is Iceberg by pyiceberg as well, which say the same."""
    if format == "deltalake":
        found = readers.duckdb_delta(world.home / "lake" / "deltalake" / "customers_analytics").to_dicts()
    else:
        table = world.iceberg_table("customers_analytics")
        found = readers.duckdb_iceberg(table.metadata_location).to_dicts()
        assert sorted(map(repr, found)) == sorted(map(repr, table.scan().to_arrow().to_pylist()))
    return sorted(found, key=lambda row: row["customer_id"])


def assert_right(world: World, format: str = "iceberg") -> list[dict[str, Any]]:
    """What Postgres itself says the table should hold is what it holds."""
    found = analytics(world, format)
    expected = world.postgres_rows(EXPECTED)
    assert [tuple(plain(row[name]) for name in COLUMNS) for row in found] == expected
    assert all(row["_ingestion_timestamp"] is not None for row in found)
    return found
