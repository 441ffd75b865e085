"""The shipped `customers_analytics`, as data model 3.2 has it: Postgres, two Delta histories, an Iceberg table."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.table import Table

from cdc_platform.config.settings import PACKAGE
from cdc_platform.engine.check import check
from cdc_platform.engine.feeds import open_flow
from cdc_platform.engine.resync import resync
from cdc_platform.engine.status import status
from cdc_platform.engine.verification.verify import verify
from cdc_platform.errors import ConfigError, Gap
from cdc_platform.mock_data.seed import seed
from cdc_platform.mock_data.simulate import simulate
from cdc_platform_tests import readers
from cdc_platform_tests.derivation.shop import analytics, assert_right
from cdc_platform_tests.world import SMALL, World, address

PARTS = ("postgres_customers_cdc", "postgres_orders_cdc", "customers_analytics")

# Data model, section 3.2.
SPECIFIED = {
    "customer_id": ("long", True),
    "email": ("string", True),
    "full_name": ("string", True),
    "location": ("string", False),
    "customer_tier": ("string", False),
    "lifetime_value": ("decimal(12, 2)", True),
    "registration_date": ("timestamp", True),
    "is_active": ("boolean", True),
    "total_orders": ("long", False),
    "_ingestion_timestamp": ("timestamp", True),
    "_source_system": ("string", True),
}


def assert_specified(table: Table) -> None:
    schema = table.schema()
    assert {f.name: (str(f.field_type), f.required) for f in schema.fields} == SPECIFIED
    assert [f.name for f in schema.fields] == list(SPECIFIED)
    assert schema.identifier_field_names() == {"customer_id"}
    (partition,) = table.spec().fields
    assert (schema.find_column_name(partition.source_id), str(partition.transform)) == ("registration_date", "year")
    order = [(schema.find_column_name(f.source_id), str(f.direction)) for f in table.sort_order().fields]
    assert [(name, direction.split()[0]) for name, direction in order] == [
        ("customer_tier", "ASC"),
        ("lifetime_value", "DESC"),
    ]


def assert_files_are_sorted(table: Table) -> None:
    """Each file is of one year, by tier and value descending, nulls last."""
    for task in table.scan().plan_files():
        rows = readers.duckdb_scan(
            (), f"'{task.file.file_path.removeprefix('file://')}'", "select * from it"
        ).to_dicts()
        assert len({row["registration_date"].year for row in rows}) == 1
        keys = [(row["customer_tier"] is None, row["customer_tier"] or "", -row["lifetime_value"]) for row in rows]
        assert keys == sorted(keys)


def by_key(rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row["customer_id"]: row for row in rows}


def test_one_run_brings_a_change_all_the_way(empty_world: World) -> None:
    world = empty_world
    postgres = address(world.postgres)
    seed(postgres, address(world.mysql), SMALL, 1)
    # Named last to first: the run knows the order.
    first = {r.pipeline: r.application for r in world.run(*reversed(PARTS))}
    assert first["customers_analytics"].snapshot_rows == SMALL.customers
    table = world.iceberg_table("customers_analytics")
    assert_specified(table)
    assert_files_are_sorted(table)
    before = by_key(assert_right(world))
    assert {row["_source_system"] for row in before.values()} == {"postgres_cdc"}
    busy = max(before.values(), key=lambda row: row["total_orders"])["customer_id"]
    alone = next(number for number, row in before.items() if row["total_orders"] == 0)
    world.postgres_do(
        f"update orders set customer_id = {alone} where order_id = "
        f"(select min(order_id) from orders where customer_id = {busy})",
        f"update customers set city = '', state = null, lifetime_value = 12.30 where customer_id = {alone}",
    )
    simulate(postgres, address(world.mysql), 1.0, 150, 5)
    world.run(*PARTS)
    after = by_key(assert_right(world))
    assert after[alone]["location"] == after[alone]["location"].strip(", ")
    assert after[alone]["lifetime_value"] == Decimal("12.30")
    same = [n for n, row in after.items() if n in before and row == before[n]]
    assert 0 < len(same) < len(after)  # and they were not written again: their time is the same
    assert_files_are_sorted(world.iceberg_table("customers_analytics"))
    results = {v.type: v.status for v in world.check("customers_analytics")}
    assert results == dict.fromkeys(("lag", "schema", "row_count", "checksum"), "PASS")
    assert _verified(world) == (len(after), 0, 0, 0, False)
    (standing,) = status(world.settings, world.variables, world.pipelines(), world.pipelines("customers_analytics"))
    assert (standing.state, standing.lag_seconds) == ("current", 0.0)
    assert re.fullmatch(r"customers \d+, orders \d+", standing.applied or "")
    with pytest.raises(ConfigError, match="without a change log of its own"):
        open_flow(world.settings, world.variables, *world.pipelines("customers_analytics"))

    # Somebody takes a row away: red, and mended.
    world.iceberg_table("customers_analytics").delete(f"customer_id == {alone}")
    statuses = {v.type: v.status for v in world.check("customers_analytics")}
    assert statuses == {"lag": "PASS", "schema": "PASS", "row_count": "FAIL", "checksum": "FAIL"}
    assert _verified(world) == (len(after), 1, 0, 0, False)
    (mended,) = world.cdc("verify", "customers_analytics", "--repair", "--json")
    assert (mended["missing"], mended["keys"], mended["repaired"]) == (1, [{"customer_id": alone}], True)
    assert_right(world)
    folder = world.home / "state" / "derived" / "customers_analytics"
    assert not [file for file in folder.iterdir() if file.is_dir()]


def _verified(world: World, *names: str) -> tuple[int, int, int, int, bool]:
    (found,) = verify(world.settings, world.variables, world.pipelines(), world.pipelines(*names or PARTS[-1:]))
    assert found.error is None
    return found.rows, found.missing, found.unexpected, found.different, found.repaired


def test_the_documented_example(empty_world: World, tmp_path: Path) -> None:
    """The two files of docs/derived.md, as they are written there."""
    world, folder = empty_world, tmp_path / "pipelines"
    seed(address(world.postgres), address(world.mysql), SMALL, 1)
    folder.mkdir()
    text = (PACKAGE.parent / "docs" / "derived.md").read_text()
    for language, name in (("python", "spending.py"), ("yaml", "spending.yaml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        (folder / name).write_text(block)
    world.folder = folder
    world.run()
    for statement in (
        "delete from orders where order_id in (select max(order_id) from orders group by customer_id limit 40)",
        "update orders set customer_id = 1 where order_id % 7 = 0",
        "update orders set total_amount = 0.01 where order_id % 5 = 0",
    ):
        world.postgres_do(statement)
        world.run()
        query = "select customer_id, orders, spent, last_order at time zone 'UTC' from it order by 1"
        found = readers.duckdb_delta(world.home / "lake" / "deltalake" / "spending", query).rows()
        assert found == world.postgres_rows(
            "select customer_id, count(*), sum(total_amount), max(order_date) from orders group by 1 order by 1"
        )
    assert _verified(world, "spending") == (len(found), 0, 0, 0, False)
    graph = _graph(world)
    assert graph.get(dg.AssetKey(["deltalake", "spending"])).parent_keys == {
        dg.AssetKey(["change_log", "postgres", "orders"])
    }


def _graph(world: World) -> Any:
    from cdc_platform.defs.build import build

    return build(world.settings, world.pipelines()).get_repository_def().asset_graph


def test_an_input_in_a_gap_is_red_until_it_is_resynced(empty_world: World, tmp_path: Path) -> None:
    world = empty_world
    seed(address(world.postgres), address(world.mysql), SMALL, 1)
    world.run(*PARTS)
    # Somebody makes another table in place of the one that is followed.
    place = world.home / "lake" / "deltalake" / "orders_cdc"
    place.rename(place.with_name("orders_former"))
    world.postgres_do("update orders set customer_id = 2 where order_id < 30")
    world.run("postgres_orders_cdc")
    failed = world.run_all("customers_analytics")
    assert failed[0].error is not None
    everything, chosen = world.pipelines(), world.pipelines("customers_analytics")
    (standing,) = status(world.settings, world.variables, everything, chosen)
    assert standing.state == "gap"
    (checked,) = check(world.settings, world.variables, everything, chosen)
    assert isinstance(checked.error, Gap)
    assert {verdict.status for verdict in checked.verdicts} == {"FAIL"}
    assert [r.error for r in resync(world.settings, world.variables, everything, chosen)] == [None, None]
    assert_right(world)
    assert len(analytics(world)) == SMALL.customers
