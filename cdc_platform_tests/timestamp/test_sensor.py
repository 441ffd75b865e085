"""The sensor of a polled source: a run for rows that are new, none for those of the window, one when keys are due."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from cdc_platform.defs.build import build
from cdc_platform_tests.defs.runs import materialised
from cdc_platform_tests.defs.test_sensors import Sensor
from cdc_platform_tests.timestamp.ground import Ground


@pytest.fixture
def sensor(things: Ground, monkeypatch: pytest.MonkeyPatch) -> Sensor:
    things.pipelines = ("delta_append",)
    things.configure()
    for name in ("delta_upsert", "iceberg_append", "iceberg_upsert"):
        (things.world.folder / f"{name}.yaml").unlink()
    for name, value in things.world.variables.items():
        monkeypatch.setenv(name, value)
    definitions = build(things.world.settings, things.world.pipelines())
    return Sensor(f"{things.system}_timestamp_changes", definitions, dg.DagsterInstance.ephemeral())


def test_a_run_for_what_is_new_and_none_for_what_is_read_again(
    things: Ground, sensor: Sensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    things.put((1, "a", timedelta(hours=-1)), (2, "b", timedelta()))
    first = sensor.run(sensor.requested())
    label = f"{things.system}_timestamp"
    assert materialised(first).keys() == {f"change_log/{label}/things", "deltalake/delta_append"}
    assert sensor.skipped() == "nothing new"
    things.put((3, "c", timedelta()))
    before = sensor.cursor
    request = sensor.requested()
    assert sensor.skipped() == "nothing new"  # it has its run, whatever becomes of that
    sensor.cursor = before
    assert sensor.requested().run_key == request.run_key
    assert sensor.run(request).success
    assert sensor.skipped() == "nothing new"
    things.assert_lake_is_source()
    things.do("delete from things where id = 1")
    assert sensor.skipped() == "nothing new"
    monkeypatch.setattr("cdc_platform.engine.settle.datetime", _Tomorrow)
    request = sensor.requested()
    assert "to be compared with the source" in request.tags["cdc/reason"]
    assert sensor.run(request).success
    things.assert_lake_is_source()


class _Tomorrow:
    """A clock that is a day ahead."""

    @staticmethod
    def now(zone: object) -> object:
        from datetime import UTC, datetime

        return datetime.now(UTC) + timedelta(hours=24, seconds=1)
