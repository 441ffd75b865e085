"""A gap in Dagster: red on every asset and check of the table until the job `resync` has closed it."""

from __future__ import annotations

import dagster as dg

from cdc_platform_tests.defs.runs import execute, failures
from cdc_platform_tests.world import World


def evaluations(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, bool]:
    found = result.get_asset_check_evaluations()
    return {e.check_name: e.passed for e in found if e.asset_key.to_user_string() == asset}


def checked(definitions: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return execute(definitions, instance, "checks")


def resynced(definitions: dg.Definitions, instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("resync")
    ops = {"resync_pipeline": {"config": {"pipeline": "items", **config}}}
    return job.execute_in_process(instance=instance, run_config={"ops": ops}, raise_on_error=False)


def test_a_gap_is_red_until_it_is_resynced(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert execute(definitions, instance).success
    log, destination = "change_log/postgres/items", "deltalake/items_cdc"
    assert evaluations(checked(definitions, instance), log) == {"gap": True}
    ((slot,),) = world.postgres_rows("select pubname from pg_publication")
    world.postgres_do(f"alter publication {slot} drop table items", "update items set title = 'lost'")
    result = execute(definitions, instance)
    assert failures(result).keys() == {"change_log__postgres__items"}
    # What is in the log is applied, and that is not the whole truth.
    result = execute(definitions, instance, "capture_and_apply", destination)
    (said,) = failures(result).values()
    assert "cdc resync" in said.user_failure_data.description
    result = checked(definitions, instance)
    assert evaluations(result, log) == {"gap": False}
    assert set(evaluations(result, destination).values()) == {False}
    assert all(evaluations(result, "iceberg/notes_cdc").values())
    assert 'cdc_gap_open{pipeline="items",source="postgres"} 1.0' in (world.home / "metrics" / "cdc.prom").read_text()
    assert resynced(definitions, instance, dry_run=True).success
    assert failures(execute(definitions, instance)).keys() == {"change_log__postgres__items"}
    assert resynced(definitions, instance).success
    assert execute(definitions, instance).success
    result = checked(definitions, instance)
    assert evaluations(result, log) == {"gap": True}
    assert all(evaluations(result, destination).values())
