"""What a lake table forgot before it was read is a gap, and `cdc resync` closes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from cdc_platform.errors import Gap, Lost
from cdc_platform_tests.lake.lake_world import LakeWorld
from cdc_platform_tests.lake.writers import plain

SCHEMA = pa.schema({"id": pa.int64(), "name": pa.string()})


def rows(**names: str) -> pa.Table:
    """`_1="a"` is the row (1, "a")."""
    found = [{"id": int(key[1:]), "name": name} for key, name in names.items()]
    return pa.Table.from_pylist(found, SCHEMA)


def delta(world: LakeWorld) -> Path:
    """A followed Delta table of two rows."""
    path = world.source / "things"
    write_deltalake(path, rows(_1="a", _2="b"), configuration={"delta.enableChangeDataFeed": "true"})
    world.follow("copy", "deltalake", {"name": "things", "primary_key": ["id"]}, "deltalake", "upsert")
    world.run()
    return path


def iceberg(world: LakeWorld) -> Any:
    catalog = world.catalog("source")
    catalog.create_namespace("shop")
    table = catalog.create_table("shop.things", SCHEMA)
    table.append(rows(_1="a", _2="b"))
    world.follow("copy", "iceberg", {"name": "shop.things", "primary_key": ["id"]}, "deltalake", "upsert")
    world.run()
    return table


def vacuumed(world: LakeWorld) -> None:
    path = delta(world)
    write_deltalake(path, rows(_3="c"), mode="append")
    DeltaTable(path).delete("id = 1")
    DeltaTable(path).optimize.compact()
    DeltaTable(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)


def cleaned(world: LakeWorld) -> None:
    path = delta(world)
    write_deltalake(path, rows(_3="c"), mode="append")
    DeltaTable(path).delete("id = 1")
    DeltaTable(path).create_checkpoint()
    (path / "_delta_log" / f"{1:020d}.json").unlink()


def copy_of_before(world: LakeWorld) -> None:
    path = delta(world)
    shutil.copytree(path, path.with_name("copy"))
    write_deltalake(path, rows(_3="c"), mode="append")
    write_deltalake(path, rows(_4="d"), mode="append")
    world.run()
    shutil.rmtree(path)
    path.with_name("copy").rename(path)
    DeltaTable(path).delete("id = 1")


def another_history(world: LakeWorld) -> None:
    """A copy of before, which went on in its own way, as far as the table had come."""
    path = delta(world)
    shutil.copytree(path, path.with_name("copy"))
    write_deltalake(path, rows(_3="c"), mode="append")
    world.run()
    shutil.rmtree(path)
    path.with_name("copy").rename(path)
    for _ in range(2):
        write_deltalake(path, rows(_2="other"), mode="overwrite")


def made_again(world: LakeWorld) -> None:
    path = delta(world)
    shutil.rmtree(path)
    write_deltalake(path, rows(_2="b"))
    for name in ("c", "d"):
        write_deltalake(path, rows(_2=name, _7="new"), mode="overwrite")


def expired(world: LakeWorld) -> None:
    table = iceberg(world)
    first = table.current_snapshot().snapshot_id
    table.append(rows(_3="c"))
    second = table.current_snapshot().snapshot_id
    table.delete("id = 1")
    table.maintenance.expire_snapshots().by_ids([first, second]).commit()


def rolled_back(world: LakeWorld) -> None:
    table = iceberg(world)
    first = table.current_snapshot().snapshot_id
    table.append(rows(_3="c"))
    world.run()
    table.refresh()
    table.manage_snapshots().rollback_to_snapshot(first).commit()


def rolled_back_and_gone_on(world: LakeWorld) -> None:
    rolled_back(world)
    world.iceberg("things").append(rows(_4="d"))


def iceberg_made_again(world: LakeWorld) -> None:
    iceberg(world)
    catalog = world.catalog("source")
    catalog.drop_table("shop.things")
    table = catalog.create_table("shop.things", SCHEMA)
    table.append(rows(_2="b"))
    table.append(rows(_7="new"))


CASES: list[tuple[Callable[[LakeWorld], None], Lost, str]] = [
    (vacuumed, Lost.LOG_PURGED, "compare"),
    (cleaned, Lost.LOG_PURGED, "compare"),
    (copy_of_before, Lost.LOG_ENDS_BEFORE, "anew"),
    (another_history, Lost.LOG_FOREIGN, "compare"),
    (made_again, Lost.TABLE_REPLACED, "compare"),
    (expired, Lost.LOG_PURGED, "compare"),
    (rolled_back, Lost.LOG_ENDS_BEFORE, "anew"),
    (rolled_back_and_gone_on, Lost.LOG_FOREIGN, "compare"),
    (iceberg_made_again, Lost.TABLE_REPLACED, "compare"),
]


@pytest.mark.parametrize(("lose", "lost", "way"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_gap_stays_until_it_is_resynced(
    tmp_path: Path, lose: Callable[[LakeWorld], None], lost: Lost, way: str
) -> None:
    world = LakeWorld(tmp_path)
    lose(world)
    for _ in range(2):
        for result in world.run_all():
            assert isinstance(result.error, Gap)
            assert result.error.lost == lost
            assert "cdc resync" in str(result.error)
    (done,) = world.resync("copy")
    assert done.error is None
    assert done.plan is not None
    assert done.plan.way == way
    assert plain(world.rows("copy", "deltalake")) == held_by_source(world)
    gone_on(world)
    world.run()
    assert plain(world.rows("copy", "deltalake")) == held_by_source(world)
    assert not any(v.missing + v.unexpected + v.different for v in world.verify())


def gone_on(world: LakeWorld) -> None:
    path = world.source / "things"
    if path.exists():
        write_deltalake(path, rows(_99="later"), mode="append")
    else:
        world.iceberg("things").append(rows(_99="later"))


def held_by_source(world: LakeWorld) -> dict[int, dict[str, Any]]:
    path = world.source / "things"
    table = DeltaTable(path).to_pyarrow_table() if path.exists() else world.iceberg("things").scan().to_arrow()
    return {row["id"]: row for row in table.to_pylist()}


def test_an_expired_past_that_was_read_is_no_gap(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    table = iceberg(world)
    first = table.current_snapshot().snapshot_id
    table.append(rows(_3="c"))
    world.run()
    table.append(rows(_4="d"))
    table.refresh()
    table.maintenance.expire_snapshots().by_id(first).commit()
    world.run()
    assert plain(world.rows("copy", "deltalake")) == held_by_source(world)


def test_a_vacuum_of_what_was_read_is_no_gap(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    path = delta(world)
    DeltaTable(path).delete("id = 1")
    write_deltalake(path, rows(_3="c"), mode="append")
    world.run()
    DeltaTable(path).optimize.compact()
    DeltaTable(path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    write_deltalake(path, rows(_4="d"), mode="append")
    world.run()
    assert plain(world.rows("copy", "deltalake")) == held_by_source(world)
