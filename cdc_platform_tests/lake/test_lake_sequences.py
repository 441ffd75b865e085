"""Random commits to a lake table, followed: the events tell every version, and both formats hold the last."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdc_platform.model.change import Followed
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.asked import Asked, TableAsked
from cdc_platform.sources.open import open_source
from cdc_platform.sources.source import Source
from cdc_platform_tests.lake.lake_world import LakeWorld
from cdc_platform_tests.lake.writers import DeltaWriter, IcebergWriter, Writer, plain

SEEDS = int(os.environ.get("CDC_TESTS_LAKE_SEEDS", "1"))
"""`make test-lake SEEDS=20` plays as many sequences of each kind."""

Made = Callable[[LakeWorld], Writer]
KINDS: dict[str, tuple[str, str, Made]] = {
    "delta-feed": ("deltalake", "things", lambda w: DeltaWriter(w.source / "things", True, False)),
    "delta-plain": ("deltalake", "things", lambda w: DeltaWriter(w.source / "things", False, True)),
    "iceberg": ("iceberg", "shop.things", lambda w: IcebergWriter(w.catalog("source"), False)),
    "iceberg-partitioned": ("iceberg", "shop.things", lambda w: IcebergWriter(w.catalog("source"), True)),
}
DESTINATIONS = [("deltalake", "upsert"), ("deltalake", "append"), ("iceberg", "upsert"), ("iceberg", "append")]


def source_of(world: LakeWorld, kind: str, name: str) -> tuple[Source, TableName]:
    schema, _, table = name.rpartition(".")
    found = TableName(schema or "default", table)
    connection: dict[str, Any] = {"path" if kind == "deltalake" else "warehouse": str(world.source)}
    asked = Asked(kind, "native", kind, connection, "", world.home, {found: TableAsked(primary_key=["id"])})  # type: ignore[arg-type]
    return open_source(asked), found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_events_tell_every_version(tmp_path: Path, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_platform.sources.lake.batches.BATCH_ROWS", 3)
    monkeypatch.setattr("cdc_platform.sources.lake.source.BATCH_ROWS", 5)
    world, chance = LakeWorld(tmp_path), random.Random(seed)
    system, name, make = KINDS[kind]
    writer = make(world)
    since = min(writer.states)
    done = [writer.step(chance) for _ in range(14)]
    source, table = source_of(world, system, name)
    schema, head = source.schemas([table])[table], source.head()

    def changes(start: Position) -> list[dict[str, Any]]:
        stretches = list(source.changes({table: Followed(schema, start)}, start, head))
        assert stretches[-1].upto == head
        found = []
        for stretch in stretches:
            for batch in stretch.batches:
                found += batch.frame.to_dicts()
                assert Position(found[-1]["at"], found[-1]["ordinal"]) < stretch.upto
        return found

    whole = changes(Position(since + 1))
    places = [(event["at"], event["ordinal"]) for event in whole]
    assert places == sorted(set(places)), done
    assert [event["lsn"] for event in whole] == sorted({event["lsn"] for event in whole})
    state = dict(writer.states[since])
    for version in sorted(writer.states):
        for event in (event for event in whole if event["at"] == version):
            before, after = event["before"], event["after"]
            if before is not None:
                assert _values(state.pop(before["id"])) == _values(before), (done, event)
            if after is not None:
                assert after["id"] not in state
                state[after["id"]] = after
        assert _told(state) == _told(writer.states[version]), (done, version)
    # From any place on, exactly the rest.
    for place in range(0, len(whole), 1 + len(whole) // 6):
        assert changes(Position(*places[place])) == whole[place:], done


@pytest.mark.parametrize("kind", ["delta-feed", "iceberg-partitioned"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_both_formats_hold_what_the_table_holds(tmp_path: Path, kind: str, seed: int) -> None:
    world, chance = LakeWorld(tmp_path), random.Random(f"{kind} {seed}")
    system, name, make = KINDS[kind]
    writer = make(world)
    for to, mode in DESTINATIONS:
        world.follow(f"{to}_{mode}", system, {"name": name, "primary_key": ["id"]}, to, mode)
    for _ in range(3):
        done = [writer.step(chance) for _ in range(5)]
        world.run()
        newest = writer.states[max(writer.states)]
        for to, mode in DESTINATIONS:
            rows = world.rows(f"{to}_{mode}", to)
            if mode == "append":
                rows = rows.sort("_cdc_source_lsn").unique("id", keep="last")
                rows = rows.filter(pl.col("_cdc_operation") != "DELETE").select(*next(iter(newest.values()), {"id": 0}))
            assert plain(rows) == newest, (done, to, mode)
    assert set(world.check().values()) == {"PASS"}
    assert all(v.rows == len(newest) and not v.missing + v.unexpected + v.different for v in world.verify())


def _told(rows: dict[int, dict[str, Any]]) -> dict[int, list[str]]:
    return {number: _values(row) for number, row in rows.items()}


def _values(row: dict[str, Any]) -> list[str]:
    """Names may have changed meanwhile; nulls say nothing of columns that were not there."""
    return sorted(map(repr, (value for value in row.values() if value is not None)))
