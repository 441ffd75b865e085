"""What is Delta's own when a table takes another shape: which files stay, the metadata, other writers, deaths."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import cdc_platform.destinations.delta_create
import cdc_platform.destinations.delta_log
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.errors import CdcError, NotUnderstood, SchemaConflict, Unavailable
from cdc_platform.lake.delta_feed import read_feed
from cdc_platform.model.target import TargetSchema
from cdc_platform_tests.destinations.conftest import MAPPED, DeltaLake, layout
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.destinations.shapes import FIRST, added, changed, dropped, null, renamed, rows
from cdc_platform_tests.destinations.test_evolution import DAILY, assert_holds, made
from cdc_platform_tests.readers import duckdb_delta

Made = tuple[DeltaLake, DeltaDestination]


@pytest.fixture(params=["plain", "mapped"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Made:
    return _table(tmp_path, MAPPED if request.param == "mapped" else {"delta.enableChangeDataFeed": "true"})


def _table(root: Path, properties: dict[str, str]) -> Made:
    lake = DeltaLake(root, properties)
    destination = made(lake)
    assert isinstance(destination, DeltaDestination)
    return lake, destination


def fields_of(lake: DeltaLake) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in json.loads(DeltaTable(lake.path).schema().to_json())["fields"]}


def actions_of(lake: DeltaLake, version: int) -> list[dict[str, Any]]:
    log = lake.path / "_delta_log" / f"{version:020d}.json"
    return [json.loads(line) for line in log.read_text().splitlines()]


def edited(lake: DeltaLake, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Another tool's commit of metadata alone: `edit` changes the action and the schema."""
    held = DeltaTable(lake.path)
    action = cdc_platform.destinations.delta_create.metadata_action(held, held.metadata().configuration)
    schema = json.loads(action["schemaString"])
    edit(action, schema)
    action["schemaString"] = json.dumps(schema)
    cdc_platform.destinations.delta_log.put(lake.path, held.version() + 1, [{"metaData": action}])


METADATA_ONLY = {
    "rename": renamed(FIRST, name="title", updated="changed"),
    "drop": dropped(FIRST, "ratio", "must"),
    "add": added(FIRST, "more", pa.string(), 8),
    "relax": changed(FIRST, "must", required=False),
}


@pytest.mark.parametrize("shape", METADATA_ONLY.values(), ids=METADATA_ONLY)
def test_metadata_alone(table: Made, shape: TargetSchema) -> None:
    lake, destination = table
    before = lake.stored_files()
    destination.evolve(shape, at(2))
    assert lake.stored_files() == before
    assert [next(iter(action)) for action in actions_of(lake, 2) if "protocol" not in action] == [
        "commitInfo",
        "txn",
        "metaData",
    ]


def test_only_files_that_hold_the_column_are_rewritten(table: Made) -> None:
    lake, destination = table
    with_more = added(FIRST, "more", pa.int32(), 8)
    destination.evolve(with_more, at(2))
    before = set(lake.data_files())
    destination.append(iter([rows(with_more, {"id": 4}, {"id": 5})]), at(3))
    new = set(lake.data_files()) - before
    destination.evolve(changed(with_more, "more", type=pa.int64()), at(4))
    after = set(lake.data_files())
    assert before <= after
    assert not new & after
    assert len(after) == len(before) + len(new)
    changes = [a["add"]["dataChange"] for a in actions_of(lake, 4) if "add" in a]
    changes += [a["remove"]["dataChange"] for a in actions_of(lake, 4) if "remove" in a]
    assert changes == [False] * 2 * len(new)
    assert list(read_feed(lake.path, 4, 4)) == []
    assert {file.parent.name for file in new} == {file.parent.name for file in after - before}


def test_a_rewritten_file_is_right_to_its_footer(table: Made) -> None:
    lake, destination = table
    destination.evolve(changed(FIRST, "amount", type=pa.decimal128(20, 4)), at(2))
    for file in lake.data_files():
        column = pq.read_schema(file).field("amount")
        assert column.type == pa.decimal128(20, 4)
    found = duckdb_delta(lake.path, "select id from it where amount = 2.05")
    assert found["id"].to_list() == [2]


def test_rewriting_is_in_bounded_pieces_and_keeps_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = DeltaLake(tmp_path, {})
    destination = lake.open()
    destination.ensure(FIRST)
    numbers = [(i * 37) % 101 for i in range(101)]
    destination.append(iter([rows(FIRST, *({"id": i} for i in numbers))]), at(1))
    assert len(lake.data_files()) == 1
    monkeypatch.setattr("cdc_platform.destinations.arrange.CHUNK_BYTES", 3_000)
    destination.evolve(changed(FIRST, "small", type=pa.int64()), at(2))
    files = sorted(lake.data_files(), key=lambda file: numbers.index(pq.read_table(file)["id"][0].as_py()))
    assert len(files) > 2
    assert [n for file in files for n in pq.read_table(file)["id"].to_pylist()] == numbers


@pytest.mark.parametrize("kinds", [(pa.int8(), pa.int16()), (pa.int16(), pa.int32()), (pa.int8(), pa.int64())])
def test_small_whole_numbers_widen(tmp_path: Path, kinds: tuple[pa.DataType, pa.DataType]) -> None:
    narrow, wide = changed(FIRST, "small", type=kinds[0]), changed(FIRST, "small", type=kinds[1])
    lake = DeltaLake(tmp_path, {})
    destination = made(lake, DAILY, narrow)
    destination.evolve(wide, at(2))
    assert_holds(lake, wide, rows(wide, {"id": 1}, {"id": 2}, {"id": 3}))


def test_everything_else_of_the_metadata_survives(table: Made) -> None:
    lake, destination = table

    def describe(action: dict[str, Any], schema: dict[str, Any]) -> None:
        action |= {"name": "shown", "description": "what it is"}
        action["configuration"] |= {"delta.logRetentionDuration": "interval 9 days", "owner": "somebody"}
        for field in schema["fields"]:
            field["metadata"]["comment"] = f"about {field['name']}"

    edited(lake, describe)
    before = DeltaTable(lake.path).metadata()
    now = changed(
        added(renamed(dropped(FIRST, "ratio"), name="title"), "more", pa.string(), 8), "small", type=pa.int64()
    )
    destination.evolve(now, at(2))
    after = DeltaTable(lake.path).metadata()
    assert (after.id, after.name, after.description) == (before.id, "shown", "what it is")
    assert after.created_time == before.created_time
    assert after.configuration["delta.logRetentionDuration"] == "interval 9 days"
    assert after.configuration["owner"] == "somebody"
    fields = fields_of(lake)
    assert fields["title"]["metadata"]["comment"] == "about name"
    assert fields["small"]["metadata"]["comment"] == "about small"
    assert fields["updated_day"]["metadata"]["comment"] == "about updated_day"
    assert not fields["must"]["nullable"]
    assert "comment" not in fields["more"]["metadata"]


def test_physical_names_and_ids_are_never_used_again(table: Made) -> None:
    lake, destination = table
    shape, used, top = FIRST, set[tuple[int, str]](), 0
    for number in range(8, 14):
        shape = added(dropped(shape, "name"), "name", pa.string(), number)
        destination.evolve(shape, at(number))
        meta = fields_of(lake)["name"]["metadata"]
        pair = meta["delta.columnMapping.id"], meta["delta.columnMapping.physicalName"]
        assert pair[0] not in {i for i, _ in used}
        assert pair[1] not in {p for _, p in used} | set(fields_of(lake))
        used.add(pair)
        highest = int(DeltaTable(lake.path).metadata().configuration["delta.columnMapping.maxColumnId"])
        assert highest == pair[0] > top
        top = highest


def test_mapping_asks_for_no_other_feature(tmp_path: Path) -> None:
    lake, destination = _table(tmp_path, {})
    before = DeltaTable(lake.path).protocol()
    destination.evolve(added(FIRST, "more", pa.string(), 8), at(2))
    assert DeltaTable(lake.path).protocol() == before
    assert "delta.columnMapping.mode" not in DeltaTable(lake.path).metadata().configuration
    destination.evolve(renamed(added(FIRST, "more", pa.string(), 8), name="title"), at(3))
    after = DeltaTable(lake.path).protocol()
    # The table was at a version that stood for generated and NOT NULL columns without naming them.
    assert before.writer_features is None
    assert after.writer_features == ["columnMapping", "generatedColumns", "invariants"]
    assert after.reader_features == ["columnMapping"]
    assert {f["metadata"]["delta.columnMapping.physicalName"] for f in fields_of(lake).values()} >= {"name", "id"}


def test_a_type_that_needs_a_feature_brings_it(table: Made) -> None:
    lake, destination = table
    now = added(FIRST, "local", pa.timestamp("us"), 8)
    destination.evolve(now, at(2))
    assert "timestampNtz" in (DeltaTable(lake.path).protocol().reader_features or ())
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    assert_holds(lake, now, null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "local"), rows(now, {"id": 4}))


def test_a_pipeline_that_forbids_mapping_is_told(tmp_path: Path) -> None:
    _, destination = _table(tmp_path, {"delta.columnMapping.mode": "none"})
    with pytest.raises(SchemaConflict, match="columnMapping"):
        destination.evolve(renamed(FIRST, name="title"), at(2))
    destination.evolve(added(FIRST, "more", pa.string(), 8), at(2))


def test_a_name_that_only_mapping_allows(tmp_path: Path) -> None:
    lake, destination = _table(tmp_path, {})
    now = added(FIRST, "a (b)", pa.string(), 8)
    destination.evolve(now, at(2))
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    assert_holds(lake, now, null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "a (b)"), rows(now, {"id": 4}))


def test_a_stored_column_of_a_new_ones_name_is_not_shown(tmp_path: Path) -> None:
    lake, destination = _table(tmp_path, {})
    # Another tool's file with a column that the table has not.
    odd = rows(FIRST, {"id": 4}).with_columns(more=pl.lit("hidden")).to_arrow(compat_level=pl.CompatLevel.oldest())
    path = "updated_day=2025-05-05/odd.parquet"
    (lake.path / path).parent.mkdir(exist_ok=True)
    pq.write_table(odd, lake.path / path)
    add = {
        "path": path, "partitionValues": {"updated_day": "2025-05-05"}, "modificationTime": 1, "dataChange": True,
        "size": (lake.path / path).stat().st_size, "stats": '{"numRecords":1}',
    }  # fmt: skip
    cdc_platform.destinations.delta_log.put(lake.path, 2, [{"add": add}])
    now = added(FIRST, "more", pa.string(), 8)
    destination.evolve(now, at(2))
    assert_holds(lake, now, null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}), "more"))


def test_statistics_follow_their_columns(tmp_path: Path) -> None:
    stats = {"delta.dataSkippingStatsColumns": "id,name,small"}
    lake, destination = _table(tmp_path, stats)
    now = dropped(renamed(FIRST, name="the title"), "small")
    destination.evolve(now, at(2))
    held = DeltaTable(lake.path).metadata().configuration
    assert held["delta.dataSkippingStatsColumns"] == "id,`the title`"
    version = destination.table_version()
    lake.open(DAILY).ensure(now)
    assert destination.table_version() == version
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    (stat,) = (json.loads(a["add"]["stats"]) for a in actions_of(lake, 3) if "add" in a)
    assert set(stat["nullCount"]) == {"id", "name"}
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}))


def test_checkpoints_hold_the_new_shape(tmp_path: Path) -> None:
    lake, destination = _table(tmp_path, {"delta.checkpointInterval": "3"})
    now = renamed(FIRST, name="title")
    destination.evolve(now, at(2))
    more = added(now, "name", pa.string(), 8)
    destination.evolve(more, at(3))
    assert (lake.path / "_delta_log" / f"{3:020d}.checkpoint.parquet").exists()
    for old in range(4):
        (lake.path / "_delta_log" / f"{old:020d}.json").unlink()
    destination.upsert(rows(more, {"id": 1, "lsn": 2}), at(4))
    assert_holds(lake, more, null(rows(more, {"id": 2}, {"id": 3}), "name"), rows(more, {"id": 1, "lsn": 2}))
    assert destination.applied("log") == at(4)


def test_a_renamed_partition_keeps_its_values(tmp_path: Path) -> None:
    lake = DeltaLake(tmp_path, {})
    shape = layout(["name"])
    destination = made(lake, shape)
    now = renamed(FIRST, name="title")
    destination.evolve(now, at(2))
    destination.upsert(rows(now, {"id": 1, "lsn": 2, "title": "x"}, {"id": 4}), at(3))
    wanted = rows(now, {"id": 1, "lsn": 2, "title": "x"}, {"id": 2}, {"id": 3}, {"id": 4})
    assert_holds(lake, now, wanted, shape=shape)


def test_partition_columns_stand_where_duckdb_reads_them(tmp_path: Path) -> None:
    lake = DeltaLake(tmp_path, {})
    shape = layout(["small", "name", "day(updated)"])
    destination = made(lake, shape)
    now = renamed(FIRST, id="number", name="title", small="little")
    destination.evolve(now, at(2))
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}), shape=shape)
    version = destination.table_version()
    lake.open(shape).evolve(now, at(3))
    assert destination.table_version() == version


def test_generated_columns_of_others_are_not_touched(tmp_path: Path) -> None:
    lake, destination = _table(tmp_path, {})

    def generate(action: dict[str, Any], schema: dict[str, Any]) -> None:
        for field in schema["fields"]:
            if field["name"] == "small":
                field["metadata"]["delta.generationExpression"] = "CAST(id AS INT)"

    edited(lake, generate)
    with pytest.raises(NotUnderstood, match="small"):
        destination.evolve(renamed(FIRST, name="title"), at(2))


# Other writers, lost replies, deaths


def racing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], times: int = 1) -> None:
    """Something of somebody else's right before our next commits."""
    original, left = cdc_platform.destinations.delta_log.put, [times]

    def put(*arguments: Any) -> None:
        if left[0] > 0:
            left[0] -= 1
            monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", original)
            act()
            monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", put)
        original(*arguments)

    monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", put)


WIDER = changed(renamed(FIRST, name="title"), "small", type=pa.int64())


def test_a_foreign_append_in_between_is_in_the_new_shape(table: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, destination = table
    foreign = rows(FIRST, {"id": 77, "updated": None, "amount": None})
    racing(monkeypatch, lambda: lake.foreign_append(foreign))
    destination.evolve(WIDER, at(2))
    old = rows(WIDER, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 77, "updated": None, "amount": None})
    assert_holds(lake, WIDER, old)
    assert len(lake.stored_files()) == 2 * 4
    assert destination.applied("log") == at(2)


def test_the_same_logs_writer_elsewhere_is_said(table: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, destination = table

    def elsewhere() -> None:
        other = lake.open(DAILY)
        other.ensure(FIRST)
        other.append(iter([rows(FIRST, {"id": 4})]), at(2))

    racing(monkeypatch, elsewhere)
    with pytest.raises(Unavailable, match="another run"):
        destination.evolve(WIDER, at(2))
    assert_holds(lake, FIRST, rows(FIRST, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}))


def test_the_same_evolution_elsewhere_is_done_once(table: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, destination = table
    racing(monkeypatch, lambda: lake.open(DAILY).evolve(WIDER, at(2)))
    destination.evolve(WIDER, at(2))
    assert destination.table_version() == 2
    assert_holds(lake, WIDER, rows(WIDER, {"id": 1}, {"id": 2}, {"id": 3}))


def test_a_lost_reply_is_no_failure(table: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, destination = table
    original = cdc_platform.destinations.delta_log.put

    def losing(*arguments: Any) -> None:
        original(*arguments)
        raise OSError("connection reset")

    monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", losing)
    destination.evolve(WIDER, at(2))
    assert destination.table_version() == 2
    assert_holds(lake, WIDER, rows(WIDER, {"id": 1}, {"id": 2}, {"id": 3}))


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


STEPS = [(os, "link"), (os, "fsync"), (pq.ParquetWriter, "write_table"), (pq.ParquetWriter, "close")]


def failing_at(
    patch: pytest.MonkeyPatch, place: tuple[Any, str], call: int, when: str, error: BaseException
) -> list[int]:
    owner, name = place
    original, calls = getattr(owner, name), [0]

    def failing(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and when == "before":
            raise error
        result = original(*arguments, **named)
        if calls[0] == call:
            raise error
        return result

    patch.setattr(owner, name, failing)
    return calls


@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")], ids=["death", "full disk"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2, 3, 4])
@pytest.mark.parametrize("place", STEPS, ids=lambda place: place[1])
def test_a_failure_anywhere_leaves_the_old_table_or_the_new(
    tmp_path: Path, place: tuple[Any, str], call: int, when: str, error: BaseException
) -> None:
    lake, destination = _table(tmp_path, {})
    files = set(lake.stored_files())
    with pytest.MonkeyPatch.context() as patch:
        calls = failing_at(patch, place, call, when, error)
        try:
            destination.evolve(WIDER, at(2))
        except (Killed, CdcError):
            assert calls[0] >= call
    applied = lake.open(DAILY).applied("log")
    is_new = applied == at(2)
    shape = WIDER if is_new else FIRST
    assert applied == (at(2) if is_new else at(1))
    assert_holds(lake, shape, rows(shape, {"id": 1}, {"id": 2}, {"id": 3}))
    if isinstance(error, OSError) and not is_new:
        assert set(lake.stored_files()) == files
    lake.open(DAILY).evolve(WIDER, at(2))
    assert_holds(lake, WIDER, rows(WIDER, {"id": 1}, {"id": 2}, {"id": 3}))
