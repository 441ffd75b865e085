"""The platform's tables as Dagster resources: in assets of one's own, and as the documentation shows them."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from dagster_deltalake import DeltaTableResource
from dagster_iceberg.resource import IcebergTableResource

from cdc_platform.config.settings import PACKAGE
from cdc_platform.defs.build import build
from cdc_platform.defs.tables import facts
from cdc_platform_tests.defs.runs import execute, materialised
from cdc_platform_tests.world import World

DOCUMENT = PACKAGE.parent / "docs" / "dagster.md"


def test_assets_of_ones_own_open_the_tables(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    # The context's types are read at run time, and this module's annotations are strings.
    def count(deltalake_items_cdc, iceberg_notes_cdc):  # type: ignore[no-untyped-def]
        return dg.MaterializeResult(
            metadata={
                "items": sum(deltalake_items_cdc.load().get_add_actions(flatten=True)["num_records"].to_pylist()),
                "notes": iceberg_notes_cdc.load().scan().to_arrow().num_rows,
            }
        )

    count.__annotations__ = {
        "deltalake_items_cdc": DeltaTableResource,
        "iceberg_notes_cdc": IcebergTableResource,
    }
    mine = dg.asset(count)
    both = dg.Definitions.merge(definitions, dg.Definitions(assets=[mine]))
    assert execute(both, instance).success
    result = both.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, asset_selection=[mine.key]
    )
    assert materialised(result)["count"] == {"items": 10, "notes": 5}


def test_a_catalog_of_ones_own_opens_the_same_way(world: World, instance: dg.DagsterInstance) -> None:
    catalog = (
        "catalog: {type: sql, uri: 'sqlite:///${CDC_HOME}/own.db', warehouse: 'file://${CDC_HOME}/own', pool: hush}"
    )
    file = world.folder / "all.yaml"
    file.write_text(file.read_text().replace("table: cdc.notes_cdc", f"table: cdc.notes_cdc, {catalog}"))
    definitions = build(world.settings, world.pipelines())
    told = materialised(execute(definitions, instance, "capture_and_apply"))
    assert told["iceberg/notes_cdc"]["dagster/row_count"] == 5


def test_facts_are_the_tables_own(world: World, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    execute(definitions, instance)
    resources = definitions.resources or {}
    delta, iceberg = resources["deltalake_items_cdc"], resources["iceberg_notes_cdc"]
    assert isinstance(delta, DeltaTableResource)
    assert isinstance(iceberg, IcebergTableResource)
    before = facts(delta), facts(iceberg)
    assert [f.rows for f in before] == [10, 5]
    delta.load().delete("id = 1")
    iceberg.load().delete("id = 1")
    after = facts(delta), facts(iceberg)
    assert [f.rows for f in after] == [9, 4]
    assert all(new.version > old.version for new, old in zip(after, before, strict=True))
    assert after[1].snapshot != before[1].snapshot


def test_the_documented_example_runs(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word by word, on tables that have the names of the demo's."""
    file = world.folder / "all.yaml"
    text = file.read_text().replace("lake/items_cdc", "lake/customers_cdc").replace("notes_cdc", "products_cdc")
    file.write_text(text)
    code = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(code) == 1
    scope: dict[str, object] = {"__name__": "documented"}
    exec(compile(code[0], str(DOCUMENT), "exec"), scope)
    definitions = scope["defs"]
    assert isinstance(definitions, dg.Definitions)
    assert execute(definitions, instance).success
    job = definitions.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("lake_summary")])
    assert materialised(result)["lake_summary"] == {"changes": 10, "products": 5}
