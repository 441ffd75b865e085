"""What is refused, in one clear line; and tables of unusual kinds: no key, retyped columns, carried files, deaths."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, TableFeatures, write_deltalake
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles

from cdc_platform.errors import CdcError, ConfigError, InvalidRow, NeedsPerson, NotUnderstood
from cdc_platform_tests.lake.lake_world import LakeWorld
from cdc_platform_tests.lake.test_lake_gaps import SCHEMA, delta, iceberg, rows
from cdc_platform_tests.lake.writers import plain

FEED = {"delta.enableChangeDataFeed": "true"}


def stopped(world: LakeWorld, kind: type[CdcError], *words: str) -> None:
    (result,) = world.run_all()
    assert type(result.error) is kind, result.error
    assert "\n" not in str(result.error)
    for word in words:
        assert word in str(result.error)


def test_tables_and_keys_that_are_not_there(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    write_deltalake(world.source / "things", rows(_1="a"))
    world.follow("copy", "deltalake", {"name": "thinks", "primary_key": ["id"]}, "deltalake", "upsert")
    stopped(world, ConfigError, "there is no Delta table thinks", "did you mean 'things'?")
    world.follow("copy", "deltalake", {"name": "things", "primary_key": ["it"]}, "deltalake", "upsert")
    stopped(world, ConfigError, "no column 'it' for its primary_key")
    world.follow("copy", "deltalake", {"name": "things"}, "deltalake", "upsert")
    stopped(world, ConfigError, "no primary key")
    world.follow("copy", "deltalake", {"name": "things", "primary_key": ["id"], "history": True}, "deltalake", "upsert")
    stopped(world, ConfigError, "no history", "_cdc_operation")
    world.follow("copy", "iceberg", {"name": "shop.things", "primary_key": ["id"]}, "deltalake", "upsert")
    stopped(world, ConfigError, "there is no Iceberg table shop.things")
    world.follow("copy", "deltalake", {"name": "things", "primary_key": ["id"]}, "deltalake", "upsert")
    file = world.folder / "copy.yaml"
    file.write_text(file.read_text().replace("path: " + str(world.source), "paht: x"))
    stopped(world, ConfigError, "unknown key 'paht'")


def test_a_key_that_does_not_tell_rows_apart(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    path = delta(world)
    twice = pa.Table.from_pylist([{"id": 2, "name": "x"}, {"id": 2, "name": "y"}], SCHEMA)
    write_deltalake(path, twice, mode="overwrite")
    stopped(world, InvalidRow, "several rows have the same id")


def test_deletion_vectors_and_nested_columns_are_refused(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    path = delta(world)
    DeltaTable(path).alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    stopped(world, NotUnderstood, "deletionVectors")
    world.follow("copy", "deltalake", {"name": "nested", "primary_key": ["id"]}, "deltalake", "upsert")
    nested = pa.table({"id": pa.array([1], pa.int64()), "of": pa.array([[1]], pa.list_(pa.int32()))})
    write_deltalake(world.source / "nested", nested)
    stopped(world, NotUnderstood, "column 'of' is array")


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


def test_delete_files_are_refused(tmp_path: Path) -> None:
    world = LakeWorld(tmp_path)
    table = iceberg(world)
    (task,) = table.scan().plan_files()
    task.file._data[0] = DataFileContent.POSITION_DELETES
    with table.transaction() as transaction:
        producer = transaction.update_snapshot().fast_append()
        output = producer.new_manifest_output()
        with _DeleteManifest(table.spec(), table.schema(), output, producer.snapshot_id, "deflate") as writer:
            writer.add_entry(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED, snapshot_id=producer.snapshot_id, data_file=task.file
                )
            )
        original, deletes = producer._manifests, writer.to_manifest_file()
        producer._manifests = lambda: [*original(), deletes]
        producer.commit()
    stopped(world, NotUnderstood, "delete files (merge-on-read)")


def test_a_replace_snapshot_is_no_change(tmp_path: Path) -> None:
    """As compaction leaves it: other files, the same rows."""
    world = LakeWorld(tmp_path)
    table = iceberg(world)
    table.append(rows(_3="c"))
    world.run()
    table.refresh()
    replaced(table, rows(_1="a", _2="b", _3="c"))
    table.append(rows(_4="d"))
    (result,) = world.run()
    assert result.application.events == {"INSERT": 1, "UPDATE": 0, "DELETE": 0}
    assert {row["id"] for row in world.rows("copy", "deltalake").to_dicts()} == {1, 2, 3, 4}


def replaced(table: Table, content: pa.Table) -> None:
    from pyiceberg.io.pyarrow import _dataframe_to_data_files

    with table.transaction() as transaction:
        producer = _OverwriteFiles(Operation.OVERWRITE, transaction, table.io)
        for task in table.scan().plan_files():
            producer.delete_data_file(task.file)
        for file in _dataframe_to_data_files(table.metadata, content, table.io):
            producer.append_data_file(file)
        told = producer._summary

        def summary(*args: Any, **kwargs: Any) -> Any:
            found = told(*args, **kwargs)
            return Summary(Operation.REPLACE, **found.additional_properties)

        producer._summary = summary  # type: ignore[method-assign]
        producer.commit()


@pytest.mark.parametrize("kind", ["deltalake", "iceberg"])
def test_without_a_key_there_are_inserts_and_deletes(tmp_path: Path, kind: str) -> None:
    world = LakeWorld(tmp_path)
    several = pa.Table.from_pylist([{"id": 1, "name": "a"}] * 3 + [{"id": None, "name": None}], SCHEMA)
    if kind == "deltalake":
        write_deltalake(world.source / "things", several)
    else:
        world.catalog("source").create_namespace("shop")
        world.catalog("source").create_table("shop.things", SCHEMA).append(several)
    world.follow("copy", kind, {"name": "things" if kind == "deltalake" else "shop.things"}, "iceberg", "append")
    world.run()
    fewer = pa.Table.from_pylist([{"id": 1, "name": "a"}] * 2 + [{"id": 2, "name": "b"}], SCHEMA)
    if kind == "deltalake":
        write_deltalake(world.source / "things", fewer, mode="overwrite")
    else:
        world.iceberg("things").overwrite(fewer)
    (result,) = world.run()
    assert result.application.events == {"INSERT": 1, "UPDATE": 0, "DELETE": 2}
    net: Counter[tuple[Any, Any]] = Counter()
    for row in world.rows("copy", "iceberg").to_dicts():
        net[row["id"], row["name"]] += -1 if row["_cdc_operation"] == "DELETE" else 1
    assert +net == {(1, "a"): 2, (2, "b"): 1}
    assert not any(v.missing + v.unexpected + v.different for v in world.verify())


def test_an_overwrite_with_other_types(tmp_path: Path) -> None:
    """What is gone is told in the former type, what came in the new one; the destination then says that it cannot."""
    world = LakeWorld(tmp_path)
    path = delta(world)
    other = pa.table({"id": pa.array([1, 2], pa.int64()), "name": pa.array([1.5, None], pa.float64())})
    write_deltalake(path, other, mode="overwrite", schema_mode="overwrite")
    (result,) = world.run_all()
    assert isinstance(result.error, NeedsPerson)
    events = world.log("deltalake", "things")
    told = [(e["operation"], e["_at"]) for part in events.slices() for f in part.frames() for e in f.to_dicts()]
    assert told[2:] == [("DELETE", 1), ("DELETE", 1), ("INSERT", 1), ("INSERT", 1)]
    assert [str(column.type) for column in events.schema().columns] == ["int64", "double"]


def test_mapping_that_is_switched_on_keeps_the_columns(tmp_path: Path) -> None:
    """A table of ours gets column mapping with its first rename: its columns are what they were."""
    from cdc_platform_tests.lake.writers import IcebergWriter

    world = LakeWorld(tmp_path)
    writer = IcebergWriter(world.catalog("source"), False)
    import random

    chance = random.Random(1)
    world.follow("first", "iceberg", {"name": "shop.things", "primary_key": ["id"]}, "deltalake", "upsert")
    world.follow("second", "deltalake", {"name": "first", "primary_key": ["id"]}, "iceberg", "upsert")
    file = world.folder / "second.yaml"
    file.write_text(file.read_text().replace(str(world.source), str(world.home / "lake")))
    writer._append(chance)
    world.run("first")
    world.run("second")
    writer._rename(chance)
    writer._append(chance)
    world.run("first")
    assert DeltaTable(world.home / "lake" / "first").metadata().configuration["delta.columnMapping.mode"] == "name"
    world.run("second")
    assert plain(world.rows("second", "iceberg")) == writer._now()
    (_, shape) = world.log("deltalake", "first").shapes()
    assert len(shape.changes) == 1
    assert "renamed" in shape.changes[0]


def test_dead_at_each_commit_and_run_again(tmp_path: Path) -> None:
    """A version of several commits, the process killed behind the second: nothing is lost, nothing is there twice."""
    world = LakeWorld(tmp_path)
    path = delta(world)
    many = 250_000
    table = pa.table({"id": pa.array(range(10, 10 + many), pa.int64()), "name": pa.array(["n"] * many)})
    write_deltalake(path, table, mode="append")
    DeltaTable(path).update({"name": "'N'"}, predicate="id % 50 = 0")
    os.environ["CDC_FAILPOINT"] = "log.commit.made:kill:2"
    try:
        world.cdc("run", code=-signal.SIGKILL)
    finally:
        del os.environ["CDC_FAILPOINT"]
    position = world.log("deltalake", "things").position()
    assert position is not None
    assert position.at == 1
    assert position.ordinal > 0
    world.cdc("run", "--json")
    events = world.events("deltalake", "things")
    assert events["event_id"].n_unique() == events.height == 2 + many + many // 50
    assert world.rows("copy", "deltalake", "select count(*) as n, count(distinct id) as d from it").row(0) == (
        many + 2,
        many + 2,
    )
    (found,) = world.verify()
    assert found.missing + found.unexpected + found.different == 0
    (state,) = world.cdc("status", "--json")
    assert state["state"] == "current"
    assert state["captured"] == "3"
    lines = world.cdc("events", "copy", "--limit", "1").splitlines()
    assert '"system": "deltalake"' in lines[0]
    assert '"connector": "native"' in lines[0]
    assert world.cdc("at", "copy", "--position", "1", "--json")
