"""The sensors on real servers: a run for each change, none without one, and one clear line when a server is away."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
import pytest
from dagster import DagsterRunStatus, SensorResult

from cdc_platform.defs import pending, sensors
from cdc_platform.defs.build import build
from cdc_platform.defs.pending import Seen, parse_seen, seen_text
from cdc_platform.engine.locks import exclusive
from cdc_platform.model.position import Position
from cdc_platform_tests.defs.runs import materialised, only
from cdc_platform_tests.world import World


@dataclass
class Sensor:
    """A sensor as Dagster's daemon uses it: the cursor goes on, and a run key starts one run."""

    name: str
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> SensorResult:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        tick = self.definitions.get_sensor_def(self.name).evaluate_tick(context)
        self.cursor = tick.cursor if tick.cursor is not None else self.cursor
        return SensorResult(
            run_requests=list(tick.run_requests or []) or None,
            skip_reason=tick.skip_message if not tick.run_requests else None,
        )

    def requested(self) -> dg.RunRequest:
        (request,) = self.tick().run_requests or []
        return request

    def skipped(self) -> str:
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason is not None
        return result.skip_reason.skip_message or ""

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        assert request.asset_check_keys == []
        job = only(self.definitions.resolve_job_def("capture_and_apply"), request.asset_selection or [])
        return job.execute_in_process(instance=self.instance, tags=dict(request.tags), raise_on_error=False)


@dataclass(frozen=True)
class Case:
    """One source with its two tables."""

    name: str
    assets: frozenset[str]
    change: Callable[[World, int], None]
    unfollowed: Callable[[World], None]
    password: str
    port: str


def _postgres_change(world: World, key: int) -> None:
    world.postgres_do(f"insert into notes values ({key}, 'new')")


def _postgres_unfollowed(world: World) -> None:
    world.postgres_do(
        "create table if not exists other (id int)",
        "insert into other select generate_series(1, 100)",
        "checkpoint",
    )


def _mysql_change(world: World, key: int) -> None:
    world.mysql_do(f"insert into parts values ({key}, 1)")


def _mysql_unfollowed(world: World) -> None:
    world.mysql_do("create table if not exists other (id int)", "insert into other values (1)")


CASES = {
    "postgres": Case(
        "postgres_changes",
        frozenset(
            {
                "change_log/postgres/items",
                "change_log/postgres/notes",
                "deltalake/items_cdc",
                "iceberg/notes_cdc",
            }
        ),
        _postgres_change,
        _postgres_unfollowed,
        "POSTGRES_PASSWORD",
        "POSTGRES_PORT",
    ),
    "mysql": Case(
        "mysql_changes",
        frozenset({"change_log/mysql/things", "change_log/mysql/parts", "iceberg/things_cdc", "deltalake/parts_cdc"}),
        _mysql_change,
        _mysql_unfollowed,
        "MYSQL_PASSWORD",
        "MYSQL_PORT",
    ),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def sensor(case: Case, definitions: dg.Definitions, instance: dg.DagsterInstance) -> Sensor:
    return Sensor(case.name, definitions, instance)


def stop_by_shape(world: World) -> None:
    """The destination of `items` cannot take the shape that its change log has."""
    world.postgres_do("alter table items alter title type bytea using title::bytea")
    world.postgres_do("insert into items values (99, 'x')")


def stop_by_destination(world: World) -> None:
    """The destination of `items` cannot be read or written."""
    shutil.rmtree(world.home / "lake" / "items_cdc")
    (world.home / "lake" / "items_cdc").write_text("in the way")
    world.postgres_do("insert into items values (99, 'x')")


@pytest.fixture
def filled(sensor: Sensor) -> Sensor:
    """After the first run, and a tick that saw what it did."""
    assert sensor.run(sensor.requested()).success
    assert sensor.skipped() == "nothing new"
    return sensor


def test_the_first_tick_asks_for_the_snapshots(sensor: Sensor, case: Case) -> None:
    request = sensor.requested()
    assert {key.to_user_string() for key in request.asset_selection or ()} == case.assets
    assert request.tags["cdc/source"] == case.name.removesuffix("_changes")
    result = sensor.run(request)
    assert result.success
    assert materialised(result).keys() == case.assets


def test_nothing_new_starts_nothing(world: World, filled: Sensor, case: Case) -> None:
    assert filled.skipped() == "nothing new"
    case.unfollowed(world)  # the server's log moves, and it is none of ours
    assert filled.skipped() == "nothing new"
    assert filled.skipped() == "nothing new"


def test_a_change_starts_one_run(world: World, filled: Sensor, case: Case) -> None:
    case.change(world, 101)
    before = filled.cursor
    request = filled.requested()
    assert filled.skipped() == "nothing new"
    # A tick that is done again, because the daemon died before it kept the cursor, asks for the same run.
    filled.cursor = before
    again = filled.requested()
    if again.run_key != request.run_key:  # the server wrote a record of its own in between
        filled.cursor = before
        request, again = again, filled.requested()
    assert again.run_key == request.run_key
    assert filled.run(request).success
    assert filled.skipped() == "nothing new"
    case.change(world, 102)
    assert filled.requested().run_key != request.run_key


def test_while_a_run_goes_on_no_other_is_started(world: World, filled: Sensor, case: Case) -> None:
    case.change(world, 101)
    job = filled.definitions.resolve_job_def("capture_and_apply")
    label = case.name.removesuffix("_changes")
    filled.instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, tags={"cdc/source": "another"})
    for status in (DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED):
        for tags in ({"cdc/source": label}, {}):  # the sensor's own, and one of all sources, started by hand
            run = filled.instance.create_run_for_job(job, status=status, tags=tags)
            assert filled.skipped() == f"run {run.run_id} is at work on source '{label}'"
            filled.instance.delete_run(run.run_id)
    assert filled.requested()


def test_a_source_that_cannot_be_asked_is_told_in_one_line(
    world: World, filled: Sensor, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.change(world, 101)
    reasons = []
    for name, value in ((case.port, "1"), (case.password, "not-the-password")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            reasons.append(filled.skipped())
    with monkeypatch.context() as changed:
        changed.delenv(case.port)
        reasons.append(filled.skipped())
    assert not any("\n" in reason for reason in reasons)
    assert "127.0.0.1:1" in reasons[0]
    assert "not-the-password" not in reasons[1]
    assert "password" in reasons[1]
    assert f"environment variable {case.port} is not set" in reasons[2]
    assert filled.requested()


def test_a_capture_at_work_elsewhere_is_not_disturbed(world: World, filled: Sensor, case: Case) -> None:
    case.change(world, 101)
    taken, done = threading.Event(), threading.Event()

    def capture() -> None:
        with exclusive(world.settings.locks, f"source-{case.name.removesuffix('_changes')}"):
            taken.set()
            done.wait(30)

    worker = threading.Thread(target=capture)
    worker.start()
    try:
        assert taken.wait(30)
        assert "another process works on" in filled.skipped()
    finally:
        done.set()
        worker.join()
    assert filled.requested()


def test_what_was_captured_by_others_and_not_applied_gets_a_run(world: World, filled: Sensor, case: Case) -> None:
    case.change(world, 101)
    other = {"postgres": "items", "mysql": "things"}[case.name.removesuffix("_changes")]
    world.run(other)
    request = filled.requested()
    assert filled.run(request).success
    assert filled.skipped() == "nothing new"


@pytest.mark.parametrize("stop", [stop_by_shape, stop_by_destination])
def test_a_failed_run_is_tried_again_after_a_pause_that_grows(
    stop: Callable[[World], None], world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = Sensor("postgres_changes", build(world.settings, world.pipelines()), instance)
    assert sensor.run(sensor.requested()).success
    assert sensor.skipped() == "nothing new"
    stop(world)
    assert not sensor.run(sensor.requested()).success
    assert sensor.skipped().startswith("1 failed run(s)")
    # New changes of other tables do not wait for the one that is stuck.
    world.postgres_do("insert into notes values (101, 'goes on')")
    result = sensor.run(sensor.requested())
    assert "iceberg/notes_cdc" in materialised(result)
    assert sensor.skipped().startswith("2 failed run(s)")
    monkeypatch.setattr(sensors, "_FIRST_PAUSE", 0.0)
    again = sensor.requested()
    assert again.run_key != sensor.cursor
    assert sensors.Failures(1).pause == 0.0
    monkeypatch.undo()
    assert [sensors.Failures(n).pause for n in (1, 2, 3, 9)] == [60.0, 120.0, 240.0, 3600.0]


def test_a_log_that_grows_without_changes_of_ours_is_moved_along(
    world: World, filled: Sensor, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.unfollowed(world)
    monkeypatch.setattr(pending, "QUIET_BYTES", 100)
    assert "grown" in filled.requested().tags["cdc/reason"]


def test_seen_is_what_it_was_as_text() -> None:
    seen = {"postgres": Seen(Position(17, 3), {"/logs/a": 4}), "lake/a": Seen()}
    assert parse_seen(seen_text(seen)) == seen
    assert parse_seen(None) == {}
