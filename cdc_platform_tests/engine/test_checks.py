"""Each check seen green, and red for its own reason."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from cdc_platform.engine.check import check
from cdc_platform.errors import SchemaConflict
from cdc_platform.quality.results import SCHEMA
from cdc_platform_tests.engine.test_end_to_end import one_pipeline, workload
from cdc_platform_tests.world import World


def statuses(world: World, pipeline: str) -> dict[str, str]:
    """Of the comparisons; those of the rules are test_source_rules.py's."""
    return {v.type: v.status for v in world.check(pipeline) if not v.type.startswith("rule:")}


GREEN = dict.fromkeys(("row_count", "checksum", "lag", "schema"), "PASS")


def delete_from_delta(world: World, table: str, predicate: str) -> None:
    DeltaTable(str(world.home / "lake" / "deltalake" / table)).delete(predicate)


def test_green_also_with_changes_not_yet_run(world: World) -> None:
    world.run()
    workload(world, seconds=1.0)
    for pipeline in world.pipelines():
        assert statuses(world, pipeline.id) == GREEN, pipeline.id


def test_a_row_deleted_behind_our_back_in_delta(world: World) -> None:
    world.run()
    delete_from_delta(world, "customers_cdc", "customer_id = 7")
    assert statuses(world, "postgres_customers_cdc") == {**GREEN, "row_count": "FAIL", "checksum": "FAIL"}


def test_a_cell_changed_behind_our_back_in_delta(world: World) -> None:
    world.run()
    table = DeltaTable(str(world.home / "lake" / "deltalake" / "customers_cdc"))
    table.update(updates={"city": "'elsewhere'"}, predicate="customer_id = 7")
    assert statuses(world, "postgres_customers_cdc") == {**GREEN, "checksum": "FAIL"}


def test_a_row_deleted_behind_our_back_in_iceberg(world: World) -> None:
    world.run()
    world.iceberg_table("products_cdc").delete("product_id == 7")
    assert statuses(world, "mysql_products_cdc") == {**GREEN, "row_count": "FAIL", "checksum": "FAIL"}


def test_lag_is_red_while_changes_wait_and_green_after_the_run(empty_world: World, tmp_path: Path) -> None:
    world = small_world(empty_world, tmp_path, "quality_checks: [{type: lag_monitoring, threshold_seconds: 0.001}]")
    world.run()
    assert statuses(world, "one") == {"lag": "PASS"}
    world.postgres_do("insert into things values (2, 'b')")
    assert statuses(world, "one") == {"lag": "FAIL"}
    world.run()
    assert statuses(world, "one") == {"lag": "PASS"}


def test_a_source_that_was_altered_is_followed_and_its_history_told(empty_world: World, tmp_path: Path) -> None:
    world = small_world(empty_world, tmp_path, "")
    world.run()
    assert statuses(world, "one") == GREEN
    world.postgres_do("alter table things add column more int default 7")
    (found,) = check(world.settings, world.variables, world.pipelines(), world.pipelines())
    assert {v.type: v.status for v in found.verdicts} == GREEN
    (schema,) = [v for v in found.verdicts if v.type == "schema"]
    assert schema.details["schema_version"] == 2
    assert schema.details["schema_history"][2]["changes"] == ["column 'more' added (integer)"]


def test_a_change_that_waits_for_a_person_is_an_error_of_the_check(empty_world: World, tmp_path: Path) -> None:
    world = small_world(empty_world, tmp_path, "  schema_changes: {add_column: stop}")
    world.run()
    assert statuses(world, "one") == GREEN
    world.postgres_do("alter table things add column more int")
    (found,) = check(world.settings, world.variables, world.pipelines(), world.pipelines())
    assert isinstance(found.error, SchemaConflict)
    assert "column 'more' added (integer)" in str(found.error)
    assert {v.type: v.status for v in found.verdicts} == {"lag": "PASS", "schema": "FAIL"}
    assert found.verdicts[-1].details["missing"] == ["more"]
    before = world.cdc("schema", "one", "--json")
    assert [version["state"] for version in before] == ["applied", "stopped"]


def test_schema_is_red_when_the_destination_was_altered(empty_world: World, tmp_path: Path) -> None:
    world = small_world(empty_world, tmp_path, "quality_checks: [{type: schema}]")
    world.run()
    table = DeltaTable(str(world.home / "lake" / "deltalake" / "target"))
    table.alter.add_columns([Field("stray", PrimitiveType("integer"))])
    (found,) = check(world.settings, world.variables, world.pipelines(), world.pipelines())
    assert [(v.type, v.status) for v in found.verdicts] == [("schema", "FAIL")]
    assert found.verdicts[0].details["unexpected"] == ["stray"]


def small_world(world: World, tmp_path: Path, checks: str) -> World:
    world.postgres_do(
        "create table things (id int primary key, name text)",
        "alter table things replica identity full",
        "insert into things values (1, 'a')",
    )
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "one.yaml").write_text(one_pipeline("postgres", "things", "deltalake", "append", checks))
    world.folder = folder
    return world


def test_nothing_captured_yet_is_no_pass(world: World) -> None:
    assert statuses(world, "postgres_customers_cdc") == dict.fromkeys(GREEN, "FAIL")


def test_no_false_alarm_under_concurrent_load(world: World) -> None:
    world.run()
    rounds = 0
    with ThreadPoolExecutor() as threads:
        load = threads.submit(workload, world, seconds=8.0, rate=300)
        while not load.done():
            found = [v for v in world.check() if v.type != "lag"]
            assert [v.status for v in found] == ["PASS"] * len(found), found
            rounds += 1
        load.result()
    assert rounds >= 1


def test_results_are_recorded_with_the_columns_of_the_data_model(world: World) -> None:
    world.run()
    delete_from_delta(world, "customers_cdc", "customer_id = 7")
    verdicts = world.check("postgres_customers_cdc")
    frame = pl.read_delta(str(world.settings.validation_results))
    assert frame.columns == SCHEMA.names
    rows = frame.rows(named=True)
    assert len(rows) == len(verdicts) == frame["validation_id"].n_unique()
    by_type: dict[str, Any] = {row["validation_type"]: row for row in rows}
    assert by_type["row_count"]["status"] == "FAIL"
    assert by_type["row_count"]["expected_value"] == "300 rows"
    assert by_type["row_count"]["actual_value"] == "299 rows"
    assert json.loads(by_type["row_count"]["details"])["difference"] == -1


@pytest.mark.parametrize("code", [0, 1])
def test_the_command_says_so_with_its_exit_code(world: World, code: int) -> None:
    world.run("postgres_customers_cdc")
    if code:
        delete_from_delta(world, "customers_cdc", "customer_id = 7")
    documents = world.cdc("check", "postgres_customers_cdc", "--json", code=code)
    assert {d["type"] for d in documents if not d["type"].startswith("rule:")} == set(GREEN)
    assert set(documents[0]) == {"pipeline", "type", "status", "expected", "actual", "details", "duration_ms"}
