"""Dagster's home: made as needed, held by one, tidied after a crash; and the one in infra/ that a server has."""

from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterRunStatus

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.defs import dev
from cdc_platform.defs.instance import end_interrupted_runs, hold_dagster_home, prepare_dagster_home
from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.servers.state import ServerState


@dg.job
def some_job() -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "it's: a home", tmp_path)


def test_the_home_is_made_and_dagster_takes_it(settings: Settings) -> None:
    home = prepare_dagster_home(settings)
    assert prepare_dagster_home(settings) == home == settings.home / "dagster"
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert not instance.telemetry_enabled
        queue = instance.get_concurrency_config().run_queue_config
        assert queue is not None
        assert [limit["key"] for limit in queue.tag_concurrency_limits or []] == ["cdc/source"]
        some_job.execute_in_process(instance=instance)
    assert (home / "history").is_dir()


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is CDC_HOME right"):
        prepare_dagster_home(Settings(tmp_path / "file", tmp_path))


def test_a_home_has_one_dagster(settings: Settings) -> None:
    home = prepare_dagster_home(settings)
    lock = hold_dagster_home(home)
    with pytest.raises(Unavailable, match="is running on"):
        hold_dagster_home(home)
    os.close(lock)
    os.close(hold_dagster_home(home))


def test_runs_that_a_crash_left_are_ended_and_waiting_ones_stay(settings: Settings) -> None:
    home = prepare_dagster_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        left = instance.create_run_for_job(some_job, status=DagsterRunStatus.STARTED)
        waiting = instance.create_run_for_job(some_job, status=DagsterRunStatus.NOT_STARTED)
    assert end_interrupted_runs(home) == 1
    assert end_interrupted_runs(home) == 0
    with dg.DagsterInstance.from_config(str(home)) as instance:
        found = [instance.get_run_by_id(run.run_id) for run in (left, waiting)]
        assert [run.status for run in found if run] == [DagsterRunStatus.FAILURE, DagsterRunStatus.NOT_STARTED]


def test_dev_becomes_dagster_with_the_right_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def execve(_: str, command: list[str], variables: dict[str, str]) -> None:
        started.append((command, variables))
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("CDC_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        dev.main(["--port", "3999"])
    ((command, variables),) = started
    assert command[-6:] == ["-w", "workspace.yaml", "-h", "127.0.0.1", "-p", "3999"]
    assert Path.cwd() == PACKAGE.parent
    assert variables["CDC_HOME"] == str(tmp_path / "home")
    assert variables["DAGSTER_HOME"] == str(tmp_path / "home" / "dagster")
    assert variables["CDC_SENSORS"] == "on"
    with pytest.raises(SystemExit) as refused:
        dev.main([])
    assert refused.value.code == Unavailable.exit_code
    assert "is running on" in capsys.readouterr().err


def test_the_servers_instance_keeps_its_runs_in_postgres(
    tmp_path: Path, postgres_database: ServerState, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    file = PACKAGE.parent / "infra" / "dagster.yaml"
    (tmp_path / "dagster.yaml").write_text(file.read_text())
    server = postgres_database
    for name in ("host", "port", "user", "password"):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name.upper()}", str(getattr(server, name)))
    monkeypatch.setenv("DAGSTER_POSTGRES_DB", server.database)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        run = some_job.execute_in_process(instance=instance)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.has_run(run.run_id)
    # Beyond the storage, both instances behave alike.
    own = yaml.safe_load((prepare_dagster_home(settings) / "dagster.yaml").read_text())
    assert yaml.safe_load(file.read_text()) | {"storage": None} == own | {"storage": None}
