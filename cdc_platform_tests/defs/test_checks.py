"""Asset checks on real servers: each green, and each red for its own reason."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.defs import failures as failures_module
from cdc_platform.defs.build import build
from cdc_platform.defs.checks import check_result
from cdc_platform.defs.tables import facts, table_resource
from cdc_platform.quality.checks import checksum_impossible
from cdc_platform_tests.defs.runs import execute, failures
from cdc_platform_tests.world import World

TABLES = ("deltalake/items_cdc", "iceberg/notes_cdc", "iceberg/things_cdc", "deltalake/parts_cdc")
KINDS = ("row_count", "checksum", "lag", "schema")


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {f"{e.asset_key.to_user_string()}:{e.check_name}": e for e in result.get_asset_check_evaluations()}


def red(result: dg.ExecuteInProcessResult) -> set[str]:
    return {name for name, evaluation in verdicts(result).items() if not evaluation.passed}


def numbers(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: entry.value for name, entry in evaluation.metadata.items()}


@pytest.fixture
def filled(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.Definitions:
    assert execute(definitions, instance).success
    return definitions


def test_all_are_green_and_recorded(world: World, filled: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = execute(filled, instance, "checks")
    assert result.success
    found = verdicts(result)
    gaps = {name for name in found if name.startswith("change_log/") and name.endswith(":gap")}
    assert found.keys() - gaps == {f"{table}:{kind}" for table in TABLES for kind in KINDS}
    assert len(gaps) == len(TABLES)
    assert red(result) == set()
    told = numbers(found["deltalake/items_cdc:row_count"])
    assert (told["expected"], told["actual"], told["difference"]) == ("10 rows", "10 rows", 0)
    assert told["duration_ms"] >= 0
    assert numbers(found["deltalake/items_cdc:lag"])["lag_seconds"] == 0
    kept = pl.read_delta(str(world.home / "lake" / "deltalake" / "validation_results"))
    assert kept.height == len(found.keys() - gaps)  # a gap is in its change log already
    assert set(kept["status"]) == {"PASS"}


def test_the_checks_hold_while_the_source_is_changed(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    world.postgres_do("insert into items values (50, 'not applied by anybody yet')")
    world.mysql_do("delete from things where id = 3")
    assert red(execute(filled, instance, "checks")) == set()


def test_verify_is_green_and_red_in_a_job_of_its_own(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = execute(filled, instance, "verify")
    assert result.success
    assert verdicts(result).keys() == {f"{table}:verify" for table in TABLES}
    assert red(result) == set()
    told = numbers(verdicts(result)["deltalake/items_cdc:verify"])
    assert told["source_rows_read"] + told["source_rows_digested"] == 10
    tamper_delta(world.home / "lake" / "items_cdc")
    again = execute(filled, instance, "verify")
    assert red(again) == {"deltalake/items_cdc:verify"}
    told = numbers(verdicts(again)["deltalake/items_cdc:verify"])
    assert (told["missing"], told["source_rows_read"], told["lake_files_read"]) == (1, 0, 1)


def tamper_delta(path: Path) -> None:
    DeltaTable(str(path)).delete("id = 1")


def test_a_row_that_is_gone_behind_its_back_is_red(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    (items, notes) = (p.config.destination for p in world.pipelines("items", "notes"))
    tamper_delta(Path(items.path))
    table_resource(notes).load().delete("id = 2")
    result = execute(filled, instance, "checks")
    assert red(result) == {f"{table}:{kind}" for table in TABLES[:2] for kind in ("row_count", "checksum")}
    found = verdicts(result)["iceberg/notes_cdc:row_count"]
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert (numbers(found)["expected"], numbers(found)["actual"]) == ("5 rows", "4 rows")
    # Red, and not in the way: the run that found it went well, and so does the next that applies.
    assert result.success
    assert execute(filled, instance).success


def test_a_cell_that_differs_is_red_by_its_checksum_alone(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    DeltaTable(str(world.home / "lake" / "parts_cdc")).update(updates={"weight": "21"}, predicate="id = 2")
    assert red(execute(filled, instance, "checks")) == {"deltalake/parts_cdc:checksum"}


def test_lag_over_the_threshold_is_red(world: World, instance: dg.DagsterInstance) -> None:
    file = world.folder / "all.yaml"
    checked = "quality_checks: [{type: lag_monitoring, threshold_seconds: 0.001}]\n---\n"
    file.write_text(file.read_text().replace("---\n", checked, 1))
    definitions = build(world.settings, world.pipelines())
    assert execute(definitions, instance).success
    assert red(execute(definitions, instance, "checks")) == set()
    world.postgres_do("insert into items values (60, 'late')")
    time.sleep(0.1)
    result = execute(definitions, instance, "checks")
    assert red(result) == {"deltalake/items_cdc:lag"}
    assert numbers(verdicts(result)["deltalake/items_cdc:lag"])["lag_seconds"] >= 0.1
    # The comparison brought the change in: the next one finds nothing late.
    assert red(execute(definitions, instance, "checks")) == set()


def test_a_source_of_another_shape_is_red_where_it_cannot_be_followed(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    world.postgres_do("alter table notes alter column body type bytea using body::bytea")
    world.mysql_do("alter table parts modify weight smallint")
    found = red(execute(filled, instance, "checks"))
    assert {"iceberg/notes_cdc:schema", "deltalake/parts_cdc:schema"} <= found
    assert not any(name.startswith(("deltalake/items_cdc", "iceberg/things_cdc")) for name in found)


def test_a_source_of_another_shape_is_followed_and_shown(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    world.postgres_do("alter table notes add column extra int")
    world.mysql_do("alter table parts rename column weight to grams", "insert into parts values (3, 30)")
    result = execute(filled, instance, "checks")
    assert red(result) == set()
    for table, change in [
        ("iceberg/notes_cdc", "column 'extra' added (integer)"),
        ("deltalake/parts_cdc", "column 'weight' renamed to 'grams'"),
    ]:
        shown = verdicts(result)[f"{table}:schema"].metadata
        assert shown["schema_version"].value == 2
        assert change in str(shown["schema_history"].value)


def test_before_the_first_run_all_are_red(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = execute(definitions, instance, "checks")
    assert red(result) == {f"{table}:{kind}" for table in TABLES for kind in KINDS}
    assert "run: cdc run items" in numbers(verdicts(result)["deltalake/items_cdc:lag"])["reason"]


def test_one_check_alone_can_be_run(filled: dg.Definitions, instance: dg.DagsterInstance) -> None:
    wanted = dg.AssetCheckKey(dg.AssetKey(["deltalake", "items_cdc"]), "schema")
    job = filled.resolve_job_def("checks").get_subset(asset_selection=set(), asset_check_selection={wanted})
    result = job.execute_in_process(instance=instance)
    assert verdicts(result).keys() == {"deltalake/items_cdc:schema"}


def test_a_comparison_that_cannot_be_made_fails_and_decides_nothing(
    world: World, filled: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures_module, "PAUSES_SECONDS", (0.0,))
    monkeypatch.setenv("MYSQL_PORT", "1")
    result = execute(filled, instance, "checks")
    assert not result.success
    gaps = {f"change_log/postgres/{table}:gap" for table in ("items", "notes")}
    assert verdicts(result).keys() == gaps | {f"{table}:{kind}" for table in TABLES[:2] for kind in KINDS}
    unknown = {f"change_log__mysql__{table}_gap" for table in ("things", "parts")}
    assert failures(result).keys() == unknown | {"check_iceberg_things_cdc", "check_deltalake_parts_cdc"}
    assert "\n" not in next(iter(failures(result).values())).user_failure_data.description


def test_a_warning_is_no_pass_and_no_error() -> None:
    result = check_result(dg.AssetKey("t"), checksum_impossible("the table has no primary key"))
    assert not result.passed
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert result.metadata["reason"].value == "the table has no primary key"


def test_the_catalog_is_the_one_that_the_platform_writes(world: World, filled: dg.Definitions) -> None:
    (notes,) = world.pipelines("notes")
    resource = table_resource(notes.config.destination)
    assert facts(resource).rows == 5


def test_the_rules_of_a_source_are_its_checks(world: World, instance: dg.DagsterInstance) -> None:
    file = world.folder / "all.yaml"
    rules = "rules: [{name: low, column: id, at_most: 60, on_event: check}, {name: one_each, unique: [id]}]"
    file.write_text(file.read_text().replace("{name: items}", f"{{name: items, {rules}}}", 1))
    definitions = build(world.settings, world.pipelines())
    assert execute(definitions, instance).success
    result = execute(definitions, instance, "checks")
    assert {"postgres/items:low", "postgres/items:one_each"} <= verdicts(result).keys()
    assert red(result) == set()
    world.postgres_do("insert into items values (61, 'too high')")
    result = execute(definitions, instance, "checks")
    assert "postgres/items:low" in red(result)
    told = numbers(verdicts(result)["postgres/items:low"])
    assert (told["broken"], told["keys"]) == (1, [{"id": 61}])
