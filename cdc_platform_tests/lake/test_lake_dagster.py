"""Lake sources in Dagster: assets and a sensor like any other source's."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from deltalake import DeltaTable, write_deltalake

from cdc_platform.defs.build import build
from cdc_platform.errors import ConfigError
from cdc_platform_tests.defs.test_sensors import Sensor
from cdc_platform_tests.lake.lake_world import LakeWorld
from cdc_platform_tests.lake.test_lake_gaps import iceberg, rows


def test_the_sensor_asks_for_a_run_when_a_version_changed_rows(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    for name in ("things", "others"):
        write_deltalake(world.source / name, rows(_1="a"))
        world.follow(f"copy_of_{name}", "deltalake", {"name": name, "primary_key": ["id"]}, "deltalake", "upsert")
    definitions = build(world.settings, world.pipelines())
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert {"deltalake/things", "change_log/deltalake/things", "change_log/deltalake/others"} <= keys
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = Sensor("deltalake_changes", definitions, instance)
        assert sensor.run(sensor.requested()).success
        assert sensor.skipped()
        DeltaTable(world.source / "things").optimize.compact()
        assert sensor.skipped()
        write_deltalake(world.source / "others", rows(_2="b"), mode="append")
        assert sensor.run(sensor.requested()).success
        assert sensor.skipped()
    assert world.rows("copy_of_others", "deltalake").height == 2


def test_a_copy_of_the_same_name_needs_another_one(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    world.follow("things", "deltalake", {"name": "things", "primary_key": ["id"]}, "deltalake", "upsert")
    with pytest.raises(ConfigError, match="give one of them another name"):
        build(world.settings, world.pipelines())


def test_an_iceberg_source_has_one_as_well(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    table = iceberg(world)
    definitions = build(world.settings, world.pipelines())
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = Sensor("iceberg_changes", definitions, instance)
        sensor.tick()
        table.append(rows(_3="c"))
        assert sensor.run(sensor.requested()).success
    assert world.rows("copy", "deltalake").height == 3
