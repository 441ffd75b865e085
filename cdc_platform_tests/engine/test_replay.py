"""`cdc replay`: a destination built anew is the present one; where somebody changed that, it says so."""

from __future__ import annotations

import contextlib
import shutil
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder, write_deltalake

from cdc_platform.engine.apply import apply
from cdc_platform.engine.replay import Replayed, replay, replica_of
from cdc_platform.errors import ConfigError
from cdc_platform_tests.engine.test_failpoints import Killed, arm
from cdc_platform_tests.engine.time_machine import TimeMachine, time_machine
from cdc_platform_tests.scenarios.lake import LakeTable
from cdc_platform_tests.scenarios.pipelines import Target
from cdc_platform_tests.world import World

SYSTEMS = pytest.mark.parametrize("system", ["postgres", "mysql"])


def replayed(machine: TimeMachine, target: Target, into: str | None = None, compare: bool = True) -> Replayed:
    loaded = machine.pipelines.loaded
    pipeline = loaded[target.pipeline]
    replica = replica_of(pipeline, list(loaded.values()), into)
    return replay(machine.world.settings, machine.world.variables, pipeline, replica, compare)


def rows(lake: LakeTable) -> list[str]:
    """A table's rows by DuckDB, whatever the order of its columns."""
    held = lake.read()
    return sorted(map(str, held.query(f"select {', '.join(sorted(held.types))} from it")))


def beside(target: Target) -> LakeTable:
    return LakeTable(target.lake.world, target.lake.format, f"{target.lake.name}_replay")


@SYSTEMS
def test_a_replayed_table_is_the_present_one(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=21) as machine:
        for alter in ("add column extra int default 5", "rename column name to title", "drop column amount"):
            machine.churn(1) if "extra" in alter else machine.transaction("delete from things where id = 3")
            machine.transaction(f"alter table things {alter}", "update things set n = n + 1")
            machine.run()
        for target in machine.targets:
            done = replayed(machine, target)
            assert done.comparison is not None
            assert done.comparison.equal
            assert done.comparison.rows == len(rows(target.lake)) > 0
            assert rows(beside(target)) == rows(target.lake)
        machine.transaction("update things set n = n + 1")
        machine.run()
        for target in machine.targets[1:3]:
            # The new table goes on from where it is.
            again = replayed(machine, target)
            assert again.comparison is not None
            assert again.comparison.equal
            assert again.application.snapshot_rows == 0
            assert sum(again.application.events.values()) == sum(machine.states[-1].rows.values())


def test_only_what_the_present_table_holds_is_compared(empty_world: World) -> None:
    with time_machine(empty_world, "postgres", seed=22) as machine:
        target = machine.targets[1]
        machine.transaction("update things set n = 5")
        with pytest.MonkeyPatch.context() as patch:
            # Captured, but not applied yet.
            patch.setattr("cdc_platform.engine.run.apply", lambda flow, progress: apply(flow, progress, upto=1))
            machine.run()
        found = replayed(machine, target).comparison
        assert found is not None
        assert found.equal


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("lake_format", ["delta", "iceberg"])
def test_what_was_changed_behind_the_platforms_back_is_found(empty_world: World, lake_format: str, mode: str) -> None:
    with time_machine(empty_world, "postgres", seed=23) as machine:
        (target,) = [t for t in machine.targets if (t.lake.format, t.mode) == (lake_format, mode)]
        machine.transaction("update things set n = 20 where id = 2")
        machine.run()
        assert replayed(machine, target).comparison.equal  # type: ignore[union-attr]
        for change, wanted in (
            ("a cell", {"missing": 0, "unexpected": 0, "different": 1}),
            ("a row less", {"missing": 1, "unexpected": 0, "different": 1}),
            ("a row twice", {"missing": 1, "unexpected": 1, "different": 1}),
        ):
            tamper(target.lake, change)
            found = replayed(machine, target).comparison
            assert found is not None
            assert not found.equal
            assert {name: getattr(found, name) for name in wanted} == wanted, change
            assert {"id": 1} in found.keys
        assert replayed(machine, target, compare=False).comparison is None


def tamper(lake: LakeTable, change: str) -> None:
    """By deltalake or pyiceberg: the first row's cell, without its second row, the third row once more."""
    held = everything(lake)
    records = sorted(held.to_pylist(), key=lambda row: (row["id"], row["_cdc_source_lsn"]))
    if change == "a cell":
        records[0]["n"] = 1000
    elif change == "a row less":
        del records[1]
    else:
        records.append(records[-1])
    overwrite(lake, pa.Table.from_pylist(records, held.schema))


def everything(lake: LakeTable) -> Any:
    if lake.format == "iceberg":
        return lake.world.iceberg_table(lake.name).scan().to_arrow()
    table = DeltaTable(lake.world.home / "lake" / "deltalake" / lake.name)
    return pa.table(QueryBuilder().register("it", table).execute("select * from it").read_all())


def overwrite(lake: LakeTable, held: Any) -> None:
    if lake.format == "iceberg":
        lake.world.iceberg_table(lake.name).overwrite(held)
    else:
        write_deltalake(DeltaTable(lake.world.home / "lake" / "deltalake" / lake.name), held, mode="overwrite")


@pytest.mark.parametrize("lake_format", ["delta", "iceberg"])
def test_a_replay_that_died_goes_on_and_takes_the_damaged_tables_place(empty_world: World, lake_format: str) -> None:
    with time_machine(empty_world, "mysql", seed=24) as machine:
        (target,) = [t for t in machine.targets if (t.lake.format, t.mode) == (lake_format, "upsert")]
        machine.churn(2)
        machine.run()
        before = rows(target.lake)
        owner = type(machine.flow(target).destination)
        for method, when in (("append", "before"), ("append", "after"), ("upsert", "before"), ("upsert", "after")):
            with pytest.MonkeyPatch.context() as armed:
                arm(armed, owner, method, when, 1)
                with contextlib.suppress(Killed):
                    replayed(machine, target)
        assert replayed(machine, target).comparison.equal  # type: ignore[union-attr]
        assert rows(beside(target)) == before
        put_in_place(target)
        machine.churn(2)
        machine.run()
        state = machine.states[-1]
        assert state.seen(machine.at(target, state.position).shown) == state.rows


def put_in_place(target: Target) -> None:
    """As docs/time-travel.md says."""
    lake = target.lake
    if lake.format == "iceberg":
        catalog = lake.world.iceberg_table(lake.name).catalog
        catalog.rename_table(f"cdc.{lake.name}", "cdc.damaged")
        catalog.rename_table(f"cdc.{lake.name}_replay", f"cdc.{lake.name}")
        return
    folder = lake.world.home / "lake" / "deltalake"
    shutil.move(folder / lake.name, folder / "damaged")
    shutil.move(folder / f"{lake.name}_replay", folder / lake.name)


def test_a_replay_is_into_a_table_of_its_own(empty_world: World) -> None:
    with time_machine(empty_world, "postgres", seed=25) as machine:
        one, other = (t for t in machine.targets if t.lake.format == "delta")
        path = machine.pipelines.loaded[other.pipeline].config.destination.path
        with pytest.raises(ConfigError, match="is the destination of"):
            replayed(machine, one, into=path)
        tamper(one.lake, "a cell")
        found = machine.world.cdc("replay", one.pipeline, "--json", code=1)
        assert (found["equal"], found["different"], found["keys"]) == (False, 1, [{"id": 1}])
