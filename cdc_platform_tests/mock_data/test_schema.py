"""The source tables are those of data-model.md 1.1 and 1.2, column by column and index by index."""

from __future__ import annotations

import pytest

from cdc_platform_tests.mock_data.conftest import Seeded
from cdc_platform_tests.mock_data.rules import open_mysql, open_postgres

# name, type, nullable, default
POSTGRES_COLUMNS = {
    "customers": [
        ("customer_id", "integer", False, "nextval('customers_customer_id_seq'::regclass)"),
        ("email", "character varying(255)", False, None),
        ("first_name", "character varying(100)", False, None),
        ("last_name", "character varying(100)", False, None),
        ("phone", "character varying(20)", True, None),
        ("address_line1", "character varying(255)", True, None),
        ("city", "character varying(100)", True, None),
        ("state", "character varying(50)", True, None),
        ("postal_code", "character varying(20)", True, None),
        ("country", "character varying(100)", False, "'USA'::character varying"),
        ("registration_date", "timestamp without time zone", False, None),
        ("last_updated", "timestamp without time zone", False, None),
        ("is_active", "boolean", True, "true"),
        ("customer_tier", "character varying(20)", True, None),
        ("lifetime_value", "numeric(12,2)", True, "0.00"),
    ],
    "orders": [
        ("order_id", "integer", False, "nextval('orders_order_id_seq'::regclass)"),
        ("customer_id", "integer", False, None),
        ("order_date", "timestamp without time zone", False, None),
        ("order_status", "character varying(50)", False, None),
        ("total_amount", "numeric(12,2)", False, None),
        ("shipping_address", "jsonb", True, None),
        ("payment_method", "character varying(50)", True, None),
        ("order_notes", "text", True, None),
        ("last_updated", "timestamp without time zone", False, None),
    ],
    "cdc_schema_evolution_test": [
        ("id", "integer", False, "nextval('cdc_schema_evolution_test_id_seq'::regclass)"),
        ("original_column", "character varying(255)", False, None),
        ("created_at", "timestamp without time zone", False, None),
    ],
}

# columns, method, unique, primary
POSTGRES_INDEXES = {
    "customers": {
        ("customer_id", "btree", True, True),
        ("email", "btree", True, False),
        ("last_updated", "btree", False, False),
        ("is_active", "btree", False, False),
    },
    "orders": {
        ("order_id", "btree", True, True),
        ("customer_id", "btree", False, False),
        ("order_date", "btree", False, False),
        ("order_status", "btree", False, False),
        ("shipping_address", "gin", False, False),
    },
    "cdc_schema_evolution_test": {("id", "btree", True, True)},
}

# name, type, nullable, default, extra
MYSQL_COLUMNS = {
    "products": [
        ("product_id", "int", False, None, "auto_increment"),
        ("sku", "varchar(100)", False, None, ""),
        ("product_name", "varchar(255)", False, None, ""),
        ("description", "text", True, None, ""),
        ("category", "varchar(100)", False, None, ""),
        ("price", "decimal(10,2)", False, None, ""),
        ("cost", "decimal(10,2)", True, None, ""),
        ("quantity_in_stock", "int", True, "0", ""),
        ("supplier_id", "int", True, None, ""),
        ("created_at", "datetime", False, None, ""),
        ("updated_at", "datetime", False, None, ""),
        ("is_discontinued", "tinyint(1)", True, "0", ""),
    ],
    "inventory_transactions": [
        ("transaction_id", "bigint", False, None, "auto_increment"),
        ("product_id", "int", False, None, ""),
        ("transaction_type", "enum('purchase','sale','adjustment','return')", False, None, ""),
        ("quantity_change", "int", False, None, ""),
        ("transaction_date", "datetime", False, None, ""),
        ("reference_order_id", "bigint", True, None, ""),
        ("notes", "varchar(500)", True, None, ""),
        ("created_at", "datetime", False, None, ""),
    ],
}

# columns, unique, primary
MYSQL_INDEXES = {
    "products": {
        ("product_id", True, True),
        ("sku", True, False),
        ("category", False, False),
        ("updated_at", False, False),
    },
    "inventory_transactions": {
        ("transaction_id", True, True),
        ("product_id", False, False),
        ("transaction_date", False, False),
        ("transaction_type", False, False),
    },
}


@pytest.mark.parametrize("table", POSTGRES_COLUMNS)
def test_postgres_columns(seeded: Seeded, table: str) -> None:
    with open_postgres(seeded.postgres) as connected, connected.cursor() as cursor:
        cursor.execute(
            "select attname, format_type(atttypid, atttypmod), not attnotnull, pg_get_expr(adbin, adrelid)"
            " from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum"
            " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
            (table,),
        )
        assert cursor.fetchall() == POSTGRES_COLUMNS[table]


@pytest.mark.parametrize("table", POSTGRES_INDEXES)
def test_postgres_indexes(seeded: Seeded, table: str) -> None:
    with open_postgres(seeded.postgres) as connected, connected.cursor() as cursor:
        cursor.execute(
            "select pg_get_indexdef(indexrelid, 1, false), amname, indisunique, indisprimary"
            " from pg_index join pg_class on oid = indexrelid join pg_am on pg_am.oid = relam"
            " where indrelid = %s::regclass and indisvalid and indnatts = 1",
            (table,),
        )
        assert set(cursor.fetchall()) == POSTGRES_INDEXES[table]


def test_postgres_rows_are_logged_whole_and_orders_refer_to_customers(seeded: Seeded) -> None:
    with open_postgres(seeded.postgres) as connected, connected.cursor() as cursor:
        cursor.execute("select relname, relreplident from pg_class where relname = any(%s)", (list(POSTGRES_COLUMNS),))
        assert dict(cursor.fetchall()) == dict.fromkeys(POSTGRES_COLUMNS, "f")
        cursor.execute("select pg_get_constraintdef(oid), convalidated from pg_constraint where contype = 'f'")
        assert cursor.fetchall() == [("FOREIGN KEY (customer_id) REFERENCES customers(customer_id)", True)]


@pytest.mark.parametrize("table", MYSQL_COLUMNS)
def test_mysql_columns(seeded: Seeded, table: str) -> None:
    with open_mysql(seeded.mysql) as connected, connected.cursor() as cursor:
        cursor.execute(
            # Display widths of integers, which MySQL no longer has, are left out: of tinyint(1) only they tell.
            "select column_name, regexp_replace(column_type, '^(int|bigint)\\\\([0-9]+\\\\)', '\\\\1'),"
            " is_nullable = 'YES', nullif(column_default, 'NULL'), extra"
            " from information_schema.columns where table_schema = database() and table_name = %s"
            " order by ordinal_position",
            (table,),
        )
        found = [(name, kind, bool(null), default, extra) for name, kind, null, default, extra in cursor.fetchall()]
    assert found == MYSQL_COLUMNS[table]


@pytest.mark.parametrize("table", MYSQL_INDEXES)
def test_mysql_indexes(seeded: Seeded, table: str) -> None:
    with open_mysql(seeded.mysql) as connected, connected.cursor() as cursor:
        cursor.execute(
            "select group_concat(column_name), max(non_unique) = 0, index_name = 'PRIMARY'"
            " from information_schema.statistics where table_schema = database() and table_name = %s"
            " group by index_name",
            (table,),
        )
        found = {(columns, bool(unique), bool(primary)) for columns, unique, primary in cursor.fetchall()}
    assert found == MYSQL_INDEXES[table]
