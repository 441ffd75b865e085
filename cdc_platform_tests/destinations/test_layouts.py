"""The tables of the data model, made exactly as it describes them: types, required, partitions, order, properties."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import MAPPED, IcebergLake
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.readers import duckdb_delta, duckdb_iceberg

UTC_TIME, NAIVE = pa.timestamp("us", "UTC"), pa.timestamp("us")
STRING, LONG, INT, MONEY = pa.string(), pa.int64(), pa.int32(), pa.decimal128(12, 2)


def _schema(key: str, **columns: tuple[pa.DataType, bool] | pa.DataType) -> TargetSchema:
    fields = [
        TargetField(name, *kind) if isinstance(kind, tuple) else TargetField(name, kind)
        for name, kind in columns.items()
    ]
    return TargetSchema(tuple(fields), (key,))


CUSTOMERS = _schema(
    "customer_id", customer_id=LONG, email=STRING, first_name=STRING, last_name=STRING, phone=STRING,
    address_line1=STRING, city=STRING, state=STRING, postal_code=STRING, country=STRING, registration_date=UTC_TIME,
    last_updated=UTC_TIME, is_active=pa.bool_(), customer_tier=STRING, lifetime_value=MONEY,
    _cdc_operation=STRING, _cdc_timestamp=UTC_TIME, _cdc_source_lsn=STRING,
)  # fmt: skip
ORDERS = _schema(
    "order_id", order_id=LONG, customer_id=LONG, order_date=UTC_TIME, order_status=STRING, total_amount=MONEY,
    shipping_address=STRING, payment_method=STRING, order_notes=STRING, last_updated=UTC_TIME,
    _cdc_operation=STRING, _cdc_timestamp=UTC_TIME, _cdc_source_lsn=STRING,
)  # fmt: skip
PRODUCTS = _schema(
    "product_id", product_id=(LONG, True), sku=(STRING, True), product_name=(STRING, True), description=STRING,
    category=(STRING, True), price=(pa.decimal128(10, 2), True), cost=pa.decimal128(10, 2),
    quantity_in_stock=(INT, True), supplier_id=INT, created_at=(NAIVE, True), updated_at=(NAIVE, True),
    is_discontinued=(pa.bool_(), True), _cdc_operation=(STRING, True), _cdc_timestamp=(NAIVE, True),
    _cdc_binlog_file=STRING, _cdc_binlog_position=LONG,
)  # fmt: skip


def sample_rows(schema: TargetSchema, count: int) -> pl.DataFrame:
    """Rows with every column filled; keys fall, times climb by about nine days a row."""
    start = datetime(2024, 11, 1, tzinfo=UTC)
    values: dict[pa.DataType, Any] = {
        STRING: lambda i: f"text {i}",
        pa.bool_(): lambda i: i % 2 == 0,
        LONG: lambda i: count - i,
        INT: lambda i: i,
        UTC_TIME: lambda i: datetime.fromtimestamp(start.timestamp() + i * 800_000, UTC),
        NAIVE: lambda i: datetime.fromtimestamp(start.timestamp() + i * 800_000, UTC).replace(tzinfo=None),
    }
    return pl.DataFrame(
        {
            field.name: pl.Series(
                [(values.get(field.type) or (lambda i: Decimal(i) / 4))(i) for i in range(count)],
                dtype=polars_type(field.type),
            )
            for field in schema.fields
        }
    )


def _delta(path: Path, partition_by: str) -> Destination:
    config = DestinationConfig(type="deltalake", path=str(path), partition_by=partition_by, properties=MAPPED)
    return open_destination(config)


@pytest.mark.parametrize(
    ("schema", "partition_by", "column"),
    [(CUSTOMERS, "DATE(last_updated)", "last_updated"), (ORDERS, "DATE(order_date)", "order_date")],
    ids=["customers_cdc", "orders_cdc"],
)
def test_delta_tables(tmp_path: Path, schema: TargetSchema, partition_by: str, column: str) -> None:
    path = tmp_path / "table"
    destination = _delta(path, partition_by)
    destination.ensure(schema)
    rows = sample_rows(schema, 12)
    destination.append(iter([rows]), at(1))

    table = DeltaTable(path)
    words = {"int64": "long", "string": "string", "bool": "boolean", "decimal128(12, 2)": "decimal(12,2)"}
    expected = {field.name: words.get(str(field.type), "timestamp") for field in schema.fields}
    fields = json.loads(table.schema().to_json())["fields"]
    assert {field["name"]: field["type"] for field in fields} == expected | {f"{column}_day": "date"}
    assert fields[-1]["metadata"]["delta.generationExpression"] == f"CAST({column} AS DATE)"
    metadata, protocol = table.metadata(), table.protocol()
    assert metadata.partition_columns == [f"{column}_day"]
    assert MAPPED.items() <= metadata.configuration.items()
    assert set(protocol.reader_features or ()) == {"columnMapping"}
    assert {"columnMapping", "changeDataFeed", "generatedColumns"} <= set(protocol.writer_features or ())
    # Valid by the protocol: the feature and the names are there from the first version on.
    first = [json.loads(line) for line in (path / "_delta_log" / f"{0:020d}.json").read_text().splitlines()]
    assert "columnMapping" in next(action["protocol"] for action in first if "protocol" in action)["readerFeatures"]
    ids = [field["metadata"]["delta.columnMapping.id"] for field in fields]
    assert sorted(ids) == list(range(1, len(fields) + 1))
    stored = pq.read_schema(table.file_uris()[0])
    assert stored.names == [field.name for field in schema.fields]
    assert [int(stored.field(n).metadata[b"PARQUET:field_id"]) for n in stored.names] == ids[:-1]

    seen = duckdb_delta(path)
    names = [field.name for field in schema.fields]
    assert seen.select(names).sort(names[0]).cast(rows.schema).equals(rows.sort(names[0]))
    assert seen[f"{column}_day"].to_list() == seen[column].dt.date().to_list()
    one_day = rows[column][3].date()
    found = duckdb_delta(path, f"select * from it where {column}_day = date '{one_day}'")
    assert found.height == rows.filter(pl.col(column).dt.date() == one_day).height > 0


def test_products_cdc(tmp_path: Path) -> None:
    config = DestinationConfig(
        type="iceberg",
        path=str(tmp_path),
        table="cdc.t",
        write_mode="upsert",
        partition_by="MONTH(updated_at)",
        sort_by=["product_id", "updated_at"],
        properties={"format-version": "2", "write.metadata.metrics.default": "full"},
    )
    destination = open_destination(config)
    destination.ensure(PRODUCTS)
    rows = sample_rows(PRODUCTS, 40)
    destination.append(iter([rows]), at(1))
    changed = rows.filter(pl.col("product_id") % 5 == 0).with_columns(
        pl.lit("UPDATE").alias("_cdc_operation"), pl.col("_cdc_binlog_position") + 1000
    )
    destination.upsert(changed, at(2))

    table = IcebergLake(tmp_path).table()
    words = {
        "int64": "long", "int32": "int", "string": "string", "bool": "boolean",
        "timestamp[us]": "timestamp", "decimal128(10, 2)": "decimal(10, 2)",
    }  # fmt: skip
    assert [(f.name, str(f.field_type), f.required) for f in table.schema().fields] == [
        (f.name, words[str(f.type)], f.required) for f in PRODUCTS.fields
    ]
    assert table.schema().identifier_field_names() == {"product_id"}
    assert [(f.name, str(f.transform)) for f in table.spec().fields] == [("updated_at_month", "month")]
    names = {field.field_id: field.name for field in table.schema().fields}
    order = [(names[f.source_id], str(f.transform), f.direction.name) for f in table.sort_order().fields]
    assert order == [("product_id", "identity", "ASC"), ("updated_at", "identity", "ASC")]
    assert table.metadata.format_version == 2
    assert table.metadata.properties["write.metadata.metrics.default"] == "full"

    tasks = list(table.scan().plan_files())
    months = {task.file.partition[0] for task in tasks}
    expected = {(t.year - 1970) * 12 + t.month - 1 for t in rows["updated_at"]}
    assert months == expected
    assert len(tasks) == len(expected)
    for task in tasks:
        ids = pq.read_table(task.file.file_path, partitioning=None)["product_id"].to_pylist()
        assert all(a < b for a, b in pairwise(ids))
        assert len(task.file.lower_bounds) == len(task.file.upper_bounds) == len(PRODUCTS.fields)
    wanted = rows.update(changed, on="product_id").sort("product_id")
    for seen in (pl.DataFrame(table.scan().to_arrow()), duckdb_iceberg(table.metadata_location)):
        assert seen.sort("product_id").select(wanted.columns).cast(wanted.schema).equals(wanted)


def test_sort_order_puts_nulls_last_either_way(tmp_path: Path) -> None:
    schema = _schema("id", id=LONG, tier=STRING, value=LONG, _cdc_operation=STRING)
    config = DestinationConfig(
        type="iceberg", path=str(tmp_path), table="cdc.t", partition_by="tier", sort_by=["tier", "value desc"]
    )
    destination = open_destination(config)
    destination.ensure(schema)
    rows = pl.DataFrame(
        {"id": range(6), "tier": ["b", None, "b", "a", "b", None], "value": [1, 2, None, 3, 7, 9]}
    ).with_columns(pl.lit("INSERT").alias("_cdc_operation"))
    destination.append(iter([rows]), at(1))
    found = {}
    for task in IcebergLake(tmp_path).table().scan().plan_files():
        stored = pq.read_table(task.file.file_path, partitioning=None)
        found[task.file.partition[0]] = stored["value"].to_pylist()
    assert found == {"a": [3], "b": [7, 1, None], None: [9, 2]}


@pytest.mark.parametrize(("partition_by", "value"), [("month(seen)", "2025-05-01"), ("year(seen)", "2025-01-01")])
def test_delta_months_and_years_are_first_days(tmp_path: Path, partition_by: str, value: str) -> None:
    schema = _schema("id", id=LONG, seen=NAIVE, _cdc_operation=STRING)
    destination = open_destination(DestinationConfig(type="deltalake", path=str(tmp_path), partition_by=partition_by))
    destination.ensure(schema)
    rows = pl.DataFrame({"id": [1, 2], "seen": [datetime(2025, 5, 17), None], "_cdc_operation": "INSERT"})
    destination.append(iter([rows.cast({"seen": pl.Datetime("us")})]), at(1))
    name = DeltaTable(tmp_path).metadata().partition_columns[0]
    for seen in (duckdb_delta(tmp_path), pl.scan_delta(str(tmp_path)).collect()):
        assert [str(day) for day in seen.sort("id")[name]] == [value, "None"]
    # Another writer accepts the generation expression: it computes the same value, or would be refused.
    table = DeltaTable(tmp_path)
    table.update(updates={"id": "id + 10"}, predicate="id = 1")
    assert sorted(pl.read_delta(str(tmp_path))["id"]) == [2, 11]


def test_delta_required_columns_are_not_null(tmp_path: Path) -> None:
    schema = _schema("id", id=(LONG, True), note=STRING, _cdc_operation=STRING)
    destination = open_destination(DestinationConfig(type="deltalake", path=str(tmp_path)))
    destination.ensure(schema)
    fields = DeltaTable(tmp_path).schema().fields
    assert {field.name: field.nullable for field in fields} == {"id": False, "note": True, "_cdc_operation": True}


def test_key_columns_of_iceberg_become_required(tmp_path: Path) -> None:
    schema = _schema("id", id=LONG, _cdc_operation=STRING)
    destination = open_destination(DestinationConfig(type="iceberg", path=str(tmp_path), table="cdc.t"))
    destination.ensure(schema)
    assert [field.required for field in destination.schema() or ()] == [True, False]
