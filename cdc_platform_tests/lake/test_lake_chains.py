"""Tables that our own pipelines write as sources: current states and histories, renamed columns, compaction."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from cdc_platform.config.load import load_pipelines
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.model.target import TargetSchema
from cdc_platform_tests.lake.lake_world import LakeWorld
from cdc_platform_tests.lake.writers import IcebergWriter, plain

MAPPED = {"delta.columnMapping.mode": "name", "delta.enableChangeDataFeed": "true"}
FIRST = ("states", "history", "table")
SECOND = {"of_states": "iceberg", "of_history": "deltalake", "of_table": "deltalake"}


def chain(world: LakeWorld) -> None:
    """shop.things ──> a Delta state, a Delta history, an Iceberg state ──> a table of each."""
    key = {"primary_key": ["id"]}
    things = {"name": "shop.things", **key}
    world.follow("states", "iceberg", things, "deltalake", "upsert", properties=MAPPED, partition_by="region")
    world.follow("history", "iceberg", things, "deltalake", "append", properties=MAPPED, partition_by="region")
    world.follow("table", "iceberg", things, "iceberg", "upsert", partition_by="region")
    again(world, "of_states", "deltalake", {"path": str(world.home / "lake")}, {"name": "states", **key}, "iceberg")
    own = {"name": "history", "history": True, **key}
    again(world, "of_history", "deltalake", {"path": str(world.home / "lake")}, own, "deltalake")
    # The key is what the table says of itself.
    warehouse = {"warehouse": str(world.home / "warehouse")}
    again(world, "of_table", "iceberg", warehouse, {"name": "cdc.table"}, "deltalake")


def again(world: LakeWorld, name: str, kind: str, connection: dict[str, str], table: dict[str, Any], to: str) -> None:
    world.follow(name, kind, table, to, "upsert")
    file = world.folder / f"{name}.yaml"
    document = yaml.safe_load(file.read_text())
    document["source"] |= {"name": "second_hand" if kind == "deltalake" else "second_iceberg", "connection": connection}
    file.write_text(yaml.safe_dump(document))


def test_what_our_pipelines_write_is_a_source_again(tmp_path: Path) -> None:
    world, chance = LakeWorld(tmp_path), random.Random(11)
    writer = IcebergWriter(world.catalog("source"), False)
    chain(world)
    done: list[str] = []
    for turn in range(4):
        for _ in range(3):
            done.append(writer.step(chance))
            world.run(*FIRST)
        if turn == 2:
            writer._rename(chance)
            writer._add(chance)
            writer._append(chance)
            compact(world, "states")
            world.run(*FIRST)
            compact(world, "history")
        world.run(*SECOND)
        newest = writer._now()
        for name, to in SECOND.items():
            assert plain(world.rows(name, to)) == newest, (done, name)
    assert set(world.check(*SECOND).values()) == {"PASS"}
    assert not any(v.missing + v.unexpected + v.different for v in world.verify(*SECOND))
    # Renamed columns are the same columns: nothing was dropped or added in their place.
    for kind, table in (("second_hand", "states"), ("second_hand", "history"), ("second_iceberg", "cdc.table")):
        changes = [change for shape in world.log(kind, table).shapes() for change in shape.changes]
        assert any("renamed" in change for change in changes), changes
        assert not any("dropped" in change for change in changes), changes
    # And an UPDATE of a history has the row that was there before.
    state: dict[int, Any] = {}
    for event in world.events("second_hand", "history").to_dicts():
        before, after = event["before"], event["after"]
        if before is not None:
            assert values(before) == values(state.pop(before["id"]))
        if after is not None:
            state[after["id"]] = after


def test_a_history_that_was_mended_is_compared(tmp_path: Path) -> None:
    """Rows taken out of a history are no changes of what it tells of; what differs then is logged once."""
    world = LakeWorld(tmp_path)
    writer = IcebergWriter(world.catalog("source"), False)
    chance = random.Random(3)
    chain(world)
    writer._append(chance)
    world.run("history")
    world.run("of_history")
    lost = min(writer._now())
    (pipeline,) = [p for p in load_pipelines(world.folder, world.variables) if p.id == "history"]
    take_out(open_destination(pipeline.config.destination), world.log("iceberg", "shop.things").id(), lost)
    world.run("of_history")
    held = plain(world.rows("of_history", "deltalake"))
    assert held == {number: row for number, row in writer._now().items() if number != lost}


def take_out(destination: Destination, log: str, number: int) -> None:
    """One row of a history, the way `cdc verify --repair` does it."""
    contents, applied = destination.contents(), destination.applied(log)
    assert contents is not None
    assert applied is not None
    gone = {}
    for place, file in enumerate(contents.files):
        ids = contents.read([place], ["id"]).collect()["id"].to_list()
        if number in ids:
            gone[file] = pl.Series([ids.index(number)], dtype=pl.Int64)
    destination.ensure(TargetSchema(tuple(destination.schema() or ()), ("id",)))
    destination.mend(gone, iter(()), applied)


def compact(world: LakeWorld, name: str) -> None:
    (pipeline,) = [p for p in load_pipelines(world.folder, world.variables) if p.id == name]
    destination = open_destination(pipeline.config.destination)
    assert isinstance(destination, DeltaDestination)
    destination.compact(1 << 20)


def values(row: dict[str, Any]) -> list[str]:
    return sorted(map(repr, (value for value in row.values() if value is not None)))
