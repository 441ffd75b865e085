"""From two databases to the lake, read back by readers that are not ours."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.errors import ConfigError, Gap, Unavailable
from cdc_platform.mock_data.simulate import simulate
from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests import readers
from cdc_platform_tests.world import World, address, assert_same, latest

CUSTOMERS = (
    "customer_id email first_name last_name phone address_line1 city state postal_code country registration_date "
    "last_updated is_active customer_tier lifetime_value"
).split()
ORDERS = (
    "order_id customer_id order_date order_status total_amount shipping_address payment_method order_notes last_updated"
).split()
EVOLUTION = ["id", "original_column", "created_at"]
PRODUCTS = (
    "product_id sku product_name description category price cost quantity_in_stock supplier_id created_at updated_at "
    "is_discontinued"
).split()
INVENTORY = (
    "transaction_id product_id transaction_type quantity_change transaction_date reference_order_id notes created_at"
).split()


def delta_rows(world: World, table: str) -> list[dict[str, Any]]:
    return readers.duckdb_delta(world.home / "lake" / "deltalake" / table).to_dicts()


def iceberg_rows(world: World, table: str) -> list[dict[str, Any]]:
    """By pyiceberg, and by DuckDB: both must say the same."""
    found = world.iceberg_table(table)
    rows: list[dict[str, Any]] = found.scan().to_arrow().to_pylist()
    by_duckdb = readers.duckdb_iceberg(found.metadata_location).to_dicts()
    assert sorted(map(repr, rows)) == sorted(map(repr, by_duckdb))
    return rows


def assert_lake_is_source(world: World) -> None:
    for table, columns, name in (
        ("customers", CUSTOMERS, "customers_cdc"),
        ("orders", ORDERS, "orders_cdc"),
        ("cdc_schema_evolution_test", EVOLUTION, "cdc_schema_evolution_test_cdc"),
    ):
        source = world.postgres_rows(f"select {', '.join(columns)} from {table}")
        assert_same(source, columns, latest(delta_rows(world, name), columns[:1]), 1)
    products = world.mysql_rows(f"select {', '.join(PRODUCTS)} from products")
    state = {(row["product_id"],): row for row in iceberg_rows(world, "products_cdc")}
    assert_same(products, PRODUCTS, state, 1)
    inventory = world.mysql_rows(f"select {', '.join(INVENTORY)} from inventory_transactions")
    history = latest(iceberg_rows(world, "inventory_transactions_cdc"), INVENTORY[:1])
    assert_same(inventory, INVENTORY, history, 1)


def workload(world: World, seconds: float = 2.0, rate: float = 150.0, seed: int = 5) -> None:
    simulate(address(world.postgres), address(world.mysql), seconds, rate, seed)


def test_the_shipped_pipelines_bring_the_sources_into_the_lake(world: World) -> None:
    first = {r.pipeline: r.application for r in world.run()}
    assert first["postgres_customers_cdc"].snapshot_rows == 300
    assert first["mysql_products_cdc"].snapshot_rows == 200
    assert_lake_is_source(world)
    workload(world)
    second = {r.pipeline: r.application for r in world.run()}
    assert sum(second["postgres_orders_cdc"].events.values()) > 0
    assert second["postgres_orders_cdc"].snapshot_rows == 0
    assert second["postgres_orders_cdc"].start == first["postgres_orders_cdc"].end
    assert_lake_is_source(world)


def test_a_run_with_nothing_new_makes_no_commit(world: World) -> None:
    world.run()
    workload(world, seconds=0.5)
    world.run()

    def state() -> list[str]:
        return sorted(
            str(f) for f in world.home.rglob("*") if f.is_file() and f.suffix in (".json", ".avro", ".parquet")
        )

    before = state()
    for result in world.run():
        assert sum(result.application.events.values()) == 0
        assert result.application.start == result.application.end
    assert state() == before


def test_every_event_keeps_the_rules_of_events(world: World) -> None:
    """Data model, section 8.2, on what `cdc events` prints."""
    world.run()
    workload(world)
    world.run()
    seen: set[str] = set()
    for pipeline, table in (("postgres_customers_cdc", "customers"), ("mysql_products_cdc", "products")):
        lines = world.cdc("events", pipeline).splitlines()
        operations = set()
        for line in lines:
            event = json.loads(line)
            assert set(event) == {"event_id", "source", "operation", "timestamp", "before", "after", "metadata"}
            assert uuid.UUID(event["event_id"]).version == 4
            assert event["event_id"] not in seen
            seen.add(event["event_id"])
            assert event["source"]["table"] == table
            assert event["source"]["connector"] == "native"
            times = event["timestamp"]
            assert times["source_ts"] <= times["capture_ts"] <= times["process_ts"]
            before, after, operation = event["before"], event["after"], event["operation"]
            operations.add(operation)
            assert (before is None) == (operation == "INSERT")
            assert (after is None) == (operation == "DELETE")
            (key,) = event["metadata"]["primary_key"]
            if operation == "UPDATE":
                assert before[key] == after[key]
        assert operations == {"INSERT", "UPDATE", "DELETE"}
        positions = [json.loads(line)["metadata"]["lsn"] for line in lines]
        assert len(world.cdc("events", pipeline, "--limit", "2").splitlines()) == 2
        tail = world.cdc("events", pipeline, "--from", positions[-1]).splitlines()
        assert 0 < len(tail) < len(lines)


def test_a_replay_of_the_same_log_gives_the_same_event_ids(world: World) -> None:
    """A second home reads the same changes through a slot of its own: the events are the same, byte for byte."""
    other = World(world.home.parent / "other", world.postgres, world.mysql)
    world.run("postgres_customers_cdc", "mysql_products_cdc")
    other.run("postgres_customers_cdc", "mysql_products_cdc")
    workload(world)
    world.run("postgres_customers_cdc", "mysql_products_cdc")
    other.run("postgres_customers_cdc", "mysql_products_cdc")

    def changes(of: World, log: str) -> dict[str, Any]:
        table = ChangeLog(of.home / "change_log" / log)
        events = [e for part in table.read(0) for f in part.frames() for e in f.rows(named=True) if not e["_snapshot"]]
        return {e["event_id"]: (e["operation"], e["before"], e["after"], e["metadata"]["lsn"]) for e in events}

    for log in ("postgres/customers", "mysql/products"):
        ours, theirs = changes(world, log), changes(other, log)
        assert len(ours) > 0
        assert ours == theirs


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_both_modes_on_both_formats_from_both_sources(
    world: World, tmp_path: Path, system: str, mode: str, destination: str
) -> None:
    table, columns = ("orders", ORDERS) if system == "postgres" else ("products", PRODUCTS)
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "one.yaml").write_text(one_pipeline(system, table, destination, mode))
    world.folder = folder
    for _ in range(2):
        world.run()
        workload(world, seconds=1.0)
    world.run()
    query = f"select {', '.join(columns)} from {table}"
    source = world.postgres_rows(query) if system == "postgres" else world.mysql_rows(query)
    rows = delta_rows(world, "target") if destination == "deltalake" else iceberg_rows(world, "target")
    if mode == "upsert":
        state = {(row[columns[0]],): row for row in rows}
        assert len(state) == len(rows)
    else:
        state = latest(rows, columns[:1])
    assert_same(source, columns, state, 1)
    assert all(v.status == "PASS" for v in world.check())


def one_pipeline(system: str, table: str, destination: str, mode: str, extra: str = "") -> str:
    prefix = system.upper()
    place = (
        "path: ${CDC_HOME}/lake/deltalake/target"
        if destination == "deltalake"
        else "path: ${CDC_HOME}/lake/iceberg\n  table: cdc.target"
    )
    return f"""
pipeline_id: one
source:
  type: {system}
  connection:
    host: ${{{prefix}_HOST}}
    port: ${{{prefix}_PORT}}
    database: ${{{prefix}_DB}}
    user: ${{{prefix}_USER}}
    password: ${{{prefix}_PASSWORD}}
  tables:
    - name: {table}
destination:
  type: {destination}
  {place}
  write_mode: {mode}
{extra}"""


def test_a_table_without_a_primary_key(empty_world: World, tmp_path: Path) -> None:
    empty_world.postgres_do(
        "create table notes (text text, n int)",
        "insert into notes values ('a', 1), ('a', 1), ('b', null)",
    )
    folder = tmp_path / "pipelines"
    folder.mkdir()
    empty_world.folder = folder
    (folder / "one.yaml").write_text(one_pipeline("postgres", "notes", "deltalake", "append"))
    empty_world.run()
    empty_world.postgres_do("update notes set n = 2 where text = 'a'", "delete from notes where text = 'b'")
    empty_world.run()
    rows = [(r["text"], r["n"], r["_cdc_operation"]) for r in delta_rows(empty_world, "target")]
    assert sorted(rows, key=repr) == sorted(
        [
            ("a", 1, "INSERT"),
            ("a", 1, "INSERT"),
            ("b", None, "INSERT"),
            ("a", 2, "UPDATE"),
            ("a", 2, "UPDATE"),
            ("b", None, "DELETE"),
        ],
        key=repr,
    )
    statuses = {v.type: v.status for v in empty_world.check()}
    assert statuses["row_count"] == "PASS"
    assert statuses["checksum"] == "WARNING"
    (folder / "one.yaml").write_text(one_pipeline("postgres", "notes", "iceberg", "upsert"))
    with pytest.raises(ConfigError, match="has no primary key"):
        empty_world.run()


def test_one_tables_failure_leaves_the_others_going(world: World) -> None:
    world.run()
    workload(world, seconds=1.0)
    world.postgres_do("alter table cdc_schema_evolution_test rename to elsewhere")
    results = {r.pipeline: r for r in world.run_all()}
    failed = results.pop("postgres_schema_evolution_cdc")
    assert failed.error is not None
    assert failed.error.exit_code == 4
    assert "it was dropped or renamed while it was followed" in str(failed.error)
    assert all(r.error is None for r in results.values())
    assert sum(results["postgres_orders_cdc"].application.events.values()) > 0
    again = {r.pipeline: r for r in world.run_all()}
    assert again["postgres_schema_evolution_cdc"].error is not None
    assert again["postgres_orders_cdc"].error is None


def test_change_logs_and_destinations_are_what_the_data_model_says(world: World) -> None:
    world.run()
    log = DeltaTable(str(world.home / "change_log" / "postgres" / "customers"))
    fields = {f.name: f for f in log.schema().fields}
    assert set(fields) - {"_at", "_ordinal", "_snapshot"} == {
        "event_id",
        "source",
        "operation",
        "timestamp",
        "before",
        "after",
        "metadata",
    }
    customers = DeltaTable(str(world.home / "lake" / "deltalake" / "customers_cdc"))
    configuration = customers.metadata().configuration
    assert configuration["delta.enableChangeDataFeed"] == "true"
    assert configuration["delta.columnMapping.mode"] == "name"
    path = world.home / "lake" / "deltalake" / "customers_cdc"
    described = dict(readers.duckdb_delta(path, "select column_name, column_type from (describe it)").rows())
    types = [described[name] for name in (*CUSTOMERS, "_cdc_operation", "_cdc_timestamp", "_cdc_source_lsn")]
    timestamps = ["TIMESTAMP WITH TIME ZONE"] * 2
    expected = ["BIGINT", *["VARCHAR"] * 9, *timestamps, "BOOLEAN", "VARCHAR", "DECIMAL(12,2)"]
    assert types == [*expected, "VARCHAR", "TIMESTAMP WITH TIME ZONE", "VARCHAR"]
    lsns = {row["_cdc_source_lsn"] for row in delta_rows(world, "customers_cdc")}
    assert all(re.fullmatch(r"[0-9A-F]{8}/[0-9A-F]{8}", lsn) for lsn in lsns)


def test_a_slot_that_is_gone_is_a_gap_and_stays_one(world: World) -> None:
    world.run("postgres_customers_cdc")
    world.postgres_do("select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
    world.postgres_do("update customers set city = 'lost' where customer_id = 1")
    for _ in range(2):
        documents = world.cdc("run", "postgres_customers_cdc", "--json", code=4)
        assert "slot" in documents[0]["error"]
    (status,) = world.cdc("status", "postgres_customers_cdc", "--json")
    assert status["state"] == "gap"


def test_a_table_taken_out_of_the_publication_is_a_gap(world: World) -> None:
    world.run("postgres_customers_cdc", "postgres_orders_cdc")
    ((publication,),) = world.postgres_rows("select pubname from pg_publication")
    world.postgres_do(
        f"alter publication {publication} drop table customers",
        "update customers set city = 'lost' where customer_id = 1",
        "update orders set order_notes = 'kept' where order_id = 1",
    )
    results = {r.pipeline: r for r in world.run_all("postgres_customers_cdc", "postgres_orders_cdc")}
    assert isinstance(results["postgres_customers_cdc"].error, Gap)
    assert results["postgres_orders_cdc"].error is None
    assert results["postgres_orders_cdc"].application.events["UPDATE"] == 1


def test_a_table_that_cannot_be_snapshotted_now_does_not_hold_up_those_that_are_followed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.folder = tmp_path / "pipelines"
    world.folder.mkdir()
    (world.folder / "one.yaml").write_text(one_pipeline("postgres", "customers", "deltalake", "append"))
    world.run()
    world.postgres_do("update customers set city = 'seen' where customer_id = 1")
    late = (
        one_pipeline("postgres", "orders", "deltalake", "append")
        .replace("target", "late")
        .replace("id: one", "id: late")
    )
    (world.folder / "late.yaml").write_text(late)

    def unavailable(self: PostgresSource, tables: Sequence[TableName], readers: int) -> None:
        raise Unavailable("transactions are open")

    with monkeypatch.context() as patch:
        patch.setattr(PostgresSource, "snapshot", unavailable)
        results = {r.pipeline: r for r in world.run_all()}
    assert results["one"].application.events["UPDATE"] == 1
    assert results["one"].error is None
    assert isinstance(results["late"].error, Unavailable)
    assert {r.pipeline: r.application.snapshot_rows for r in world.run()} == {"late": 500, "one": 0}
