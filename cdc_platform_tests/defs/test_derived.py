"""The shipped derived table in Dagster: started when its inputs moved, checked, red for its own reason."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from cdc_platform.defs.build import build
from cdc_platform.mock_data.seed import seed
from cdc_platform_tests.defs.runs import failures, materialised
from cdc_platform_tests.defs.test_checks import red, verdicts
from cdc_platform_tests.defs.test_sensors import Sensor
from cdc_platform_tests.derivation.shop import assert_right
from cdc_platform_tests.world import SMALL, World, address

ASSET = "iceberg/customers_analytics"
UPSTREAM = ("postgres_customers_cdc", "postgres_orders_cdc")


@contextmanager
def variables(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        for name, value in world.variables.items():
            patch.setenv(name, value)
        yield


def test_it_follows_its_inputs(empty_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = empty_world
    seed(address(world.postgres), address(world.mysql), SMALL, 1)
    world.run(*UPSTREAM)
    with variables(world, monkeypatch), dg.DagsterInstance.ephemeral() as instance:
        sensor = Sensor("deltalake_changes", build(world.settings, world.pipelines()), instance)
        first = sensor.run(sensor.requested())
        assert first.success, failures(first)
        told = materialised(first)
        assert told[ASSET]["dagster/row_count"] == SMALL.customers
        assert told[ASSET]["snapshot_rows"] == SMALL.customers
        assert {column.name for column in told[ASSET]["dagster/column_schema"].columns} >= {"full_name", "total_orders"}
        assert set(told) == {"change_log/deltalake/customers_cdc", "change_log/deltalake/orders_cdc", ASSET}
        assert sensor.skipped() == "nothing new"

        world.postgres_do(
            "update orders set customer_id = 2 where order_id < 30", "delete from orders where order_id = 31"
        )
        assert sensor.skipped() == "nothing new"  # the Delta tables have not moved yet
        world.run(*UPSTREAM)
        second = sensor.run(sensor.requested())
        assert materialised(second)[ASSET]["deletes"] == 1
        assert_right(world)
        assert sensor.skipped() == "nothing new"

        world.iceberg_table("customers_analytics").delete("customer_id == 5")
        job = sensor.definitions.resolve_job_def("checks")
        keys = {key for key in job.asset_layer.asset_graph.asset_check_keys if key.asset_key.to_user_string() == ASSET}
        some = job.get_subset(asset_selection=set(), asset_check_selection={k for k in keys if k.name != "verify"})
        result = some.execute_in_process(instance=instance, raise_on_error=False)
        assert {name.split(":")[1] for name in verdicts(result)} == {"row_count", "checksum", "lag", "schema"}
        assert red(result) == {f"{ASSET}:row_count", f"{ASSET}:checksum"}
