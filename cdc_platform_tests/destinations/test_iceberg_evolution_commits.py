"""A change of an Iceberg table's shape is made once and whole, whatever happens around its commit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType

from cdc_platform.destinations.destination import Applied
from cdc_platform.errors import NeedsPerson, SchemaConflict, Unavailable
from cdc_platform.model.target import SOURCE_IDS, TargetField
from cdc_platform_tests.destinations.conftest import IcebergLake, layout
from cdc_platform_tests.destinations.iceberg_shapes import (
    BEFORE,
    FIELDS,
    ID,
    NOTE,
    PARTED,
    changed,
    evolved,
    made,
    rows,
    seen,
    shape,
)
from cdc_platform_tests.destinations.rows import at


@pytest.fixture
def lake(tmp_path: Path) -> IcebergLake:
    return IcebergLake(tmp_path / "warehouse")


def test_again_is_harmless(lake: IcebergLake) -> None:
    destination = made(lake)
    schema = evolved(destination, 2, *changed(NOTE, name="remark"), TargetField("new", pa.string(), False, 9))
    destination.append(iter([rows(schema, {"id": 3})]), at(3))
    before = lake.table().metadata_location
    for again in (destination, lake.open()):
        again.evolve(schema, at(2))
        again.evolve(schema, at(3))
        assert again.applied("log") == at(3)
    assert lake.table().metadata_location == before


def test_the_same_shape_moves_the_version(lake: IcebergLake) -> None:
    destination = made(lake)
    destination.evolve(BEFORE, at(2))
    assert destination.applied("log") == at(2)
    assert seen(lake, BEFORE, ["id"]) == [(1,), (2,)]


def test_a_table_without_rows(lake: IcebergLake) -> None:
    destination = lake.open(PARTED)
    destination.ensure(BEFORE)
    schema = evolved(destination, 1, *changed(NOTE, name="remark"))
    assert destination.applied("log") == at(1)
    assert seen(lake, schema, ["id", "remark"]) == []


def test_applied_outlives_others_and_expired_snapshots(lake: IcebergLake) -> None:
    destination = made(lake)
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    snapshot = destination.table_version()
    assert snapshot is not None
    lake.foreign_append(rows(schema, {"id": 50}))
    assert destination.applied("log") == at(2)
    lake.table().maintenance.expire_snapshots().by_id(snapshot).commit()
    assert destination.applied("log") == at(2)


def test_a_table_rolled_back_is_evolved_again(lake: IcebergLake) -> None:
    destination = made(lake)
    past = destination.table_version()
    assert past is not None
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    lake.table().manage_snapshots().rollback_to_snapshot(past).commit()
    assert destination.applied("log") == at(1)
    lake.open().evolve(schema, at(2))
    assert destination.applied("log") == at(2)
    assert seen(lake, schema, ["id", "remark"]) == [(1, "plain"), (2, "two")]


def _before_each_commit(monkeypatch: pytest.MonkeyPatch, *actions: Any) -> None:
    """Run one action in front of each of the next commits to the catalog."""
    original, left = SqlCatalog.commit_table, list(actions)

    def commit(self: SqlCatalog, *arguments: Any) -> Any:
        if left:
            left.pop(0)()
        return original(self, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)


def test_a_commit_of_somebody_else_in_between(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    foreign = rows(BEFORE, {"id": 50})
    _before_each_commit(monkeypatch, lambda: lake.foreign_append(foreign), lambda: None, lambda: None)
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    assert seen(lake, schema, ["id", "remark"]) == [(1, "plain"), (2, "two"), (50, "plain")]
    assert destination.applied("log") == at(2)


def test_a_change_of_shape_by_somebody_else_in_between(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)

    def foreign() -> None:
        with lake.table().update_schema() as update:
            update.add_column("extra", StringType())

    _before_each_commit(monkeypatch, foreign)
    with pytest.raises(SchemaConflict, match="'extra'"):
        evolved(destination, 2, *FIELDS, TargetField("new", pa.string(), False, 9))
    monkeypatch.undo()
    assert [field.name for field in lake.table().schema().fields][-1] == "extra"
    assert destination.applied("log") == at(1)


def test_the_same_change_by_a_twin_in_between(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination, twin = made(lake), lake.open()
    schema = shape(*changed(NOTE, name="remark"), TargetField("new", pa.string(), False, 9))
    _before_each_commit(monkeypatch, lambda: twin.evolve(schema, at(2)))
    destination.evolve(schema, at(2))
    assert len(lake.table().snapshots()) == 2
    assert list(destination.schema() or ()) == list(schema.fields)


def test_a_column_added_and_dropped_by_somebody_else_in_between(
    lake: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema is back where it was, but a field id was used: it must not be ours as well."""
    destination = made(lake)

    def foreign() -> None:
        with lake.table().update_schema() as update:
            update.add_column("extra", StringType())
        full = rows(BEFORE, {"id": 50}).with_columns(extra=pl.lit("theirs"))
        lake.foreign_append(full)
        with lake.table().update_schema() as update:
            update.delete_column("extra")

    _before_each_commit(monkeypatch, foreign)
    schema = evolved(destination, 2, *FIELDS, TargetField("new", pa.string(), False, 9))
    assert seen(lake, schema, ["id", "new"]) == [(1, None), (2, None), (50, None)]


@pytest.mark.parametrize("who", ["a twin", "another tool"])
def test_rows_for_a_shape_that_is_gone_are_refused(
    lake: IcebergLake, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    destination, twin = made(lake), lake.open()
    files = set(lake.stored_files())

    def rename() -> None:
        if who == "a twin":
            twin.evolve(shape(*changed(NOTE, name="remark")), at(2))
            return
        with lake.table().update_schema() as update:  # which makes no snapshot
            update.rename_column("note", "remark")

    _before_each_commit(monkeypatch, rename)
    with pytest.raises(SchemaConflict, match="changed its columns"):
        destination.append(iter([rows(BEFORE, {"id": 3})]), at(2, "other"))
    assert set(lake.stored_files()) == files


def test_a_lost_reply_is_recognised(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    original, calls = SqlCatalog.commit_table, list[int]()

    def commit(self: SqlCatalog, *arguments: Any) -> Any:
        calls.append(1)
        original(self, *arguments)
        raise OSError("connection reset")

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    monkeypatch.undo()
    assert len(calls) == 1
    assert destination.applied("log") == at(2)
    destination.append(iter([rows(schema, {"id": 3})]), at(3))


def test_a_refused_commit_leaves_the_old_table(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    before = lake.table().metadata_location

    def refuse() -> None:
        raise ConnectionError("no route to host")

    _before_each_commit(monkeypatch, refuse)
    with pytest.raises(Exception, match="no route"):
        evolved(destination, 2, *changed(NOTE, name="remark"))
    monkeypatch.undo()
    assert lake.table().metadata_location == before
    destination.append(iter([rows(BEFORE, {"id": 3})]), at(2))
    assert evolved(lake.open(), 3, *changed(NOTE, name="remark"))


def test_endless_conflicts_end(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    monkeypatch.setattr("cdc_platform.destinations.commit.ATTEMPTS", 3)
    foreign = rows(BEFORE, {"id": 50})
    _before_each_commit(monkeypatch, *[lambda: lake.foreign_append(foreign), lambda: None] * 3)
    with pytest.raises(Unavailable, match="other writers"):
        evolved(destination, 2, *changed(NOTE, name="remark"))


_KILLED = """
import os, sys
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table.update.snapshot import _SnapshotProducer
from cdc_platform_tests.destinations.test_iceberg_evolution_commits import *
place, root = sys.argv[1:]
holder, name, after = {
    "manifest list": (_SnapshotProducer, "_commit", False),
    "metadata": (SqlCatalog, "_write_metadata", False),
    "catalog": (SqlCatalog, "_write_metadata", True),
    "reply": (SqlCatalog, "commit_table", True),
}[place]
original = getattr(holder, name)
def dying(*arguments, **named):
    if after:
        original(*arguments, **named)
    os._exit(9)
setattr(holder, name, staticmethod(dying) if name == "_write_metadata" else dying)
IcebergLake(Path(root)).open().evolve(shape(*changed(ID, name="number", type=pa.int64()), key=["number"]), at(2))
"""


@pytest.mark.parametrize("place", ["manifest list", "metadata", "catalog", "reply"])
def test_a_process_that_dies_leaves_the_old_table_or_the_new(lake: IcebergLake, place: str) -> None:
    made(lake)
    done = subprocess.run([sys.executable, "-c", _KILLED, place, str(lake.root)], capture_output=True, text=True)
    assert done.returncode == 9, done.stderr
    destination = lake.open()
    new = shape(*changed(ID, name="number", type=pa.int64()), key=["number"])
    there = destination.applied("log")
    assert there == at(2 if place == "reply" else 1)
    assert list(destination.schema() or ()) == list((new if there == at(2) else BEFORE).fields)
    destination.evolve(new, at(2))
    assert seen(lake, new, ["number", "note"]) == [(1, "plain"), (2, "two")]


def test_another_layout_is_said_before_anything_is_written(lake: IcebergLake) -> None:
    made(lake)
    before = lake.table().metadata_location
    with pytest.raises(SchemaConflict, match="partitioned by nothing and should be by identity"):
        evolved(lake.open(layout(["region"])), 2, *changed(NOTE, name="remark"))
    assert lake.table().metadata_location == before


def test_a_table_that_is_gone_is_said(lake: IcebergLake) -> None:
    with pytest.raises(NeedsPerson, match="is not any more"):
        lake.open().evolve(BEFORE, at(1))


# Tables of an earlier release


def _forget_ids(lake: IcebergLake) -> None:
    with lake.table().transaction() as transaction:
        transaction.remove_properties(SOURCE_IDS)


def test_a_table_that_knows_no_ids_is_adopted_by_name(lake: IcebergLake) -> None:
    made(lake)
    _forget_ids(lake)
    destination = lake.open()
    destination.ensure(BEFORE)
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    assert seen(lake, schema, ["id", "remark"]) == [(1, "plain"), (2, "two")]
    assert json.loads(lake.table().properties[SOURCE_IDS])["remark"] == NOTE.source_id


def test_adopted_ids_are_kept(lake: IcebergLake) -> None:
    made(lake)
    _forget_ids(lake)
    lake.open().ensure(BEFORE)
    before = lake.table().metadata_location
    ids = {field.name: field.source_id for field in FIELDS}
    assert json.loads(lake.table().properties[SOURCE_IDS]) == ids
    # Who says no ids, or those that are known, changes nothing.
    for again in (BEFORE, shape(*changed(NOTE, source_id=None))):
        lake.open().ensure(again)
    assert lake.table().metadata_location == before


def test_ids_that_are_known_stay_known(lake: IcebergLake) -> None:
    destination = made(lake)
    evolved(destination, 2, *(replace(field, source_id=None) for field in FIELDS))
    evolved(destination, 3, *(replace(field, source_id=None, required=field == ID) for field in FIELDS))
    assert json.loads(lake.table().properties[SOURCE_IDS]) == {field.name: field.source_id for field in FIELDS}


def test_without_ids_nothing_is_guessed(lake: IcebergLake) -> None:
    made(lake)
    _forget_ids(lake)
    with pytest.raises(SchemaConflict, match="nothing says which column of the source fills its column 'id'"):
        evolved(lake.open(), 2, *changed(NOTE, name="remark"))
    with pytest.raises(SchemaConflict, match="it lacks column 'remark'"):
        lake.open().ensure(shape(*changed(NOTE, name="remark")))


def test_a_column_of_another_id_is_another_column(lake: IcebergLake) -> None:
    made(lake)
    with pytest.raises(SchemaConflict, match="'note' was filled by another column of the source"):
        lake.open().ensure(shape(*changed(NOTE, source_id=8)))


def test_applied_of_another_log(lake: IcebergLake) -> None:
    destination = made(lake)
    destination.evolve(shape(*changed(NOTE, name="remark")), Applied("log", 2, ""))
    with pytest.raises(SchemaConflict):
        destination.applied("another")


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_property_that_somebody_broke_is_said(lake: IcebergLake, text: str) -> None:
    destination = made(lake)
    with lake.table().transaction() as transaction:
        transaction.set_properties({SOURCE_IDS: text})
    for question in (destination.schema, lambda: destination.evolve(BEFORE, at(2))):
        with pytest.raises(NeedsPerson, match=f"property {SOURCE_IDS}"):
            question()
