"""Iceberg tables that change their shape: what each change does and cannot do, as all readers see it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.types import StringType

from cdc_platform.errors import NotUnderstood, SchemaConflict
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import IcebergLake, layout
from cdc_platform_tests.destinations.iceberg_shapes import (
    AMOUNT,
    BEFORE,
    FIELDS,
    ID,
    NOTE,
    PARTED,
    PLAIN,
    RATIO,
    REGION,
    SEEN,
    changed,
    evolved,
    made,
    rows,
    seen,
    shape,
    without,
)
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.readers import duckdb_iceberg


@pytest.fixture
def lake(tmp_path: Path) -> IcebergLake:
    return IcebergLake(tmp_path / "warehouse")


# What each change does


def test_a_rename_writes_no_data(lake: IcebergLake) -> None:
    destination = made(lake)
    files = {file: file.stat().st_mtime_ns for file in lake.stored_files()}
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    assert {file: file.stat().st_mtime_ns for file in lake.stored_files()} == files
    assert seen(lake, schema, ["id", "remark"]) == [(1, "plain"), (2, "two")]
    assert destination.applied("log") == at(2)
    assert list(destination.schema() or ()) == list(schema.fields)


@pytest.mark.parametrize("name", ["a.b", "ü x", "select", "a/b=c", '"'])
def test_odd_names(lake: IcebergLake, name: str) -> None:
    destination = made(lake, layout(["region"], ["note"]))
    schema = evolved(destination, 2, *changed(NOTE, name=name))
    destination.upsert(rows(schema, {"id": 2, name: "upset"}), at(3))
    assert seen(lake, schema, ["id", name]) == [(1, "plain"), (2, "upset")]
    schema = evolved(destination, 4, *changed(REGION, name=name), key=["id"])
    assert seen(lake, schema, ["id", name]) == [(1, "north"), (2, "north")]


def test_all_at_once_is_one_commit(lake: IcebergLake) -> None:
    destination = made(lake)
    before = lake.table()
    schema = evolved(
        destination,
        2,
        TargetField("new", pa.date32(), False, 9),
        replace(ID, name="number", type=pa.int64()),
        replace(REGION, name="note", required=False),
        replace(AMOUNT, name="total", type=pa.decimal128(30, 2)),
        replace(SEEN, name="amount"),
        key=["number"],
    )
    after = lake.table()
    assert len(after.metadata.metadata_log) == len(before.metadata.metadata_log) + 1
    assert seen(lake, schema, ["number", "new", "note", "amount"]) == [
        (1, None, "north", PLAIN["seen"]),
        (2, None, "south", PLAIN["seen"]),
    ]
    more = {"number": 2**40, "new": date(2025, 1, 2), "note": None, "amount": None}
    destination.append(iter([rows(schema, {**more})]), at(3))
    change = {"number": 2, "note": "upset", "amount": datetime(2025, 1, 1)}
    destination.upsert(rows(schema, {**change, "_cdc_operation": "UPDATE"}), at(4))
    assert seen(lake, schema, ["number", "new", "note", "amount"]) == [
        (1, None, "north", PLAIN["seen"]),
        (2, None, "upset", datetime(2025, 1, 1)),
        (2**40, date(2025, 1, 2), None, None),
    ]


def test_the_key_keeps_its_fields(lake: IcebergLake) -> None:
    destination = made(lake)
    evolved(destination, 2, *changed(ID, name="number"), key=["number"])
    assert lake.table().schema().identifier_field_names() == {"number"}
    # The names change places with another column: whoever goes by name loses the key here.
    swapped = [replace(ID, name="region"), NOTE, replace(REGION, name="number")]
    schema = evolved(destination, 3, *swapped, key=["region"])
    assert lake.table().schema().identifier_field_names() == {"region"}
    assert lake.table().schema().identifier_field_ids == [1]
    assert seen(lake, schema, ["region", "number"]) == [(1, "north"), (2, "south")]
    destination.upsert(rows(schema, {"region": 2, "number": "moved"}), at(4))
    assert seen(lake, schema, ["region", "number"]) == [(1, "north"), (2, "moved")]


def test_another_key_of_required_columns(lake: IcebergLake) -> None:
    destination = made(lake)
    evolved(destination, 2, *FIELDS, key=["id", "region"])
    assert lake.table().schema().identifier_field_names() == {"id", "region"}
    evolved(destination, 3, *changed(ID, required=False), key=["region"])
    assert lake.table().schema().identifier_field_names() == {"region"}
    assert not lake.table().schema().find_field("id").required


@pytest.mark.parametrize("kind", [pa.string(), pa.int64()])
def test_a_name_used_again_shows_nothing_old(lake: IcebergLake, kind: pa.DataType) -> None:
    destination = made(lake)
    evolved(destination, 2, *without(NOTE))
    schema = evolved(destination, 3, *without(NOTE), TargetField("note", kind, False, 7))
    assert seen(lake, schema, ["id", "note"]) == [(1, None), (2, None)]
    fresh = "fresh" if kind == pa.string() else 5
    destination.append(iter([rows(schema, {"id": 3, "note": fresh})]), at(4))
    assert seen(lake, schema, ["id", "note"]) == [(1, None), (2, None), (3, fresh)]
    wanted = f"note = '{fresh}'" if kind == pa.string() else f"note = {fresh}"
    location = lake.table().metadata_location
    assert duckdb_iceberg(location, f"select id from it where {wanted}")["id"].to_list() == [3]
    assert lake.table().scan(row_filter=wanted).to_arrow()["id"].to_pylist() == [3]


def test_a_column_dropped_and_made_again_in_one_change(lake: IcebergLake) -> None:
    destination = made(lake)
    schema = evolved(destination, 2, *changed(NOTE, source_id=7))
    assert seen(lake, schema, ["id", "note"]) == [(1, None), (2, None)]


def test_a_shape_of_before_comes_back_with_its_field_ids(lake: IcebergLake) -> None:
    destination = made(lake)
    evolved(destination, 2, *changed(NOTE, name="remark"))
    evolved(destination, 3, *FIELDS)
    assert seen(lake, BEFORE, ["id", "note"]) == [(1, "plain"), (2, "two")]
    assert len(lake.table().metadata.schemas) == 2


WIDER = shape(
    replace(ID, type=pa.int64()),
    NOTE,
    replace(REGION, type=pa.string()),
    SEEN,
    replace(AMOUNT, type=pa.decimal128(38, 2)),
    replace(RATIO, type=pa.float64()),
)


@pytest.mark.parametrize("partitions", [[], ["id"], ["amount"], ["region", "month(seen)"]])
def test_widened_columns_are_found_by_all(lake: IcebergLake, partitions: list[str]) -> None:
    destination = made(lake, layout(partitions))
    destination.evolve(WIDER, at(2))
    _assert_found(lake, {"id = 2": [2], "id > 1": [2], "amount = 12.30": [1, 2], "ratio >= 0.5": [1, 2]})
    big = {"id": 2**40, "amount": Decimal("1234567890123456789.01"), "ratio": 1e300}
    destination.append(iter([rows(WIDER, big)]), at(3))
    destination.upsert(rows(WIDER, {"id": 2, "amount": Decimal("7.00"), "ratio": 0.1}), at(4))
    _assert_found(
        lake,
        {
            "id = 2": [2],
            "id > 1": [2, 2**40],
            "amount = 12.30": [1],
            "amount > 100": [2**40],
            "ratio > 1": [2**40],
            "ratio = 0.5": [1],
        },
    )
    assert seen(lake, WIDER, ["id", "amount", "ratio"]) == [
        (1, Decimal("12.30"), 0.5),
        (2, Decimal("7.00"), 0.1),
        (2**40, Decimal("1234567890123456789.01"), 1e300),
    ]


def _assert_found(lake: IcebergLake, wanted: dict[str, list[int]]) -> None:
    table = lake.table()
    for condition, ids in wanted.items():
        theirs = table.scan(row_filter=condition).to_arrow()["id"].to_pylist()
        assert sorted(theirs) == ids, f"pyiceberg: {condition}"
        query = f"select id from it where {condition} order by id"
        assert duckdb_iceberg(table.metadata_location, query)["id"].to_list() == ids, f"duckdb: {condition}"


def test_widening_leaves_files_without_a_changed_key_alone(lake: IcebergLake) -> None:
    destination = made(lake, layout(["region"]))
    destination.evolve(WIDER, at(2))
    files = set(lake.data_files())
    destination.upsert(rows(WIDER, {"id": 2, "region": "south"}), at(3))
    assert len(files & set(lake.data_files())) == 1


# What it cannot do


@pytest.mark.parametrize(
    ("fields", "key", "words"),
    [
        (without(ID), [], "'id', which is dropped, is of its key"),
        (without(REGION), ["id"], "'region', which is dropped, is in its partition_by"),
        (without(SEEN), ["id"], "'seen', which is dropped, is in its partition_by"),
        (without(NOTE), ["id"], "'note', which is dropped, is in its sort_by"),
        ([*FIELDS, TargetField("new", pa.string(), True, 9)], ["id"], "'new' comes as required"),
        ([*FIELDS, TargetField("seen_month", pa.string(), False, 9)], ["id"], "'seen_month' would be hidden"),
        (changed(AMOUNT, name="seen_month"), ["id"], "'seen_month' would be hidden"),
        (
            [*changed(REGION, name="area"), TargetField("region", pa.string(), False, 9)],
            ["id"],
            "'region' would be hidden",
        ),
        (
            changed(NOTE, name="remark", source_id=None),
            ["id"],
            "nothing says which column of the source fills the new column 'remark'",
        ),
        (changed(AMOUNT, name="ratio"), ["id"], "two columns would be called 'ratio'"),
        (changed(NOTE, required=True), ["id"], "'note' becomes required"),
        (FIELDS, ["id", "note"], "'note' becomes required"),
        (changed(ID, type=pa.string()), ["id"], "'id' is int and becomes string"),
        (changed(SEEN, type=pa.timestamp("us", "UTC")), ["id"], "'seen' is timestamp and becomes timestamptz"),
        (changed(SEEN, type=pa.date32()), ["id"], "'seen' is timestamp and becomes date"),
        (changed(AMOUNT, type=pa.decimal128(7, 2)), ["id"], r"decimal\(8, 2\) and becomes decimal\(7, 2\)"),
        (changed(AMOUNT, type=pa.decimal128(12, 3)), ["id"], r"decimal\(8, 2\) and becomes decimal\(12, 3\)"),
        (changed(AMOUNT, type=pa.float64()), ["id"], "and becomes double"),
        (changed(ID, type=pa.float64()), [], "'id' is int and becomes double"),
        (changed(ID, type=pa.decimal128(12, 0)), ["id"], "'id' is int and becomes decimal"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    lake: IcebergLake, fields: Sequence[TargetField], key: list[str], words: str
) -> None:
    destination = made(lake, PARTED)
    before, files = lake.table().metadata_location, set(lake.root.rglob("*"))
    with pytest.raises(SchemaConflict, match=words):
        destination.evolve(shape(*fields, key=key), at(2))
    assert lake.table().metadata_location == before
    assert set(lake.root.rglob("*")) == files
    destination.append(iter([rows(BEFORE, {"id": 3})]), at(2))


def test_narrowing_again_is_a_conflict(lake: IcebergLake) -> None:
    destination = made(lake)
    destination.evolve(WIDER, at(2))
    with pytest.raises(SchemaConflict, match="'id' is long and becomes int"):
        destination.evolve(BEFORE, at(3))


def test_a_type_that_iceberg_has_not(lake: IcebergLake) -> None:
    with pytest.raises(NotUnderstood, match="no type for uint64"):
        evolved(made(lake), 2, *FIELDS, TargetField("new", pa.uint64(), False, 9))


def test_a_column_of_somebody_else_is_not_guessed_at(lake: IcebergLake) -> None:
    destination = made(lake)
    with lake.table().update_schema() as update:
        update.add_column("extra", StringType())
    for fields in (FIELDS, (*FIELDS, TargetField("extra", pa.string(), False, 9))):
        with pytest.raises(SchemaConflict, match="nothing says which column of the source fills its column 'extra'"):
            destination.evolve(shape(*fields), at(2))


# What goes by name


def test_the_pipeline_goes_on_naming_columns_as_they_were(lake: IcebergLake) -> None:
    made(lake, PARTED)
    names = {"id": "a", "note": "b", "region": "c", "seen": "d"}
    for version, suffix in ((2, "1"), (3, "2")):
        fields = [replace(f, name=names[f.name] + suffix) if f.name in names else f for f in FIELDS]
        schema = shape(*fields, key=[f"a{suffix}"])
        lake.open(PARTED).evolve(schema, at(version))
    # A new column that is called like the one it is sorted by was.
    schema = TargetSchema((*schema.fields, TargetField("note", pa.string(), False, 9)), ("a2",))
    lake.open(PARTED).evolve(schema, at(4))
    destination = lake.open(PARTED)
    destination.ensure(schema)
    given = [{"a2": 7 + i, "b2": f"b{i}", "note": f"n{-i}", "c2": "west", "d2": datetime(2024, 1, 1)} for i in range(3)]
    destination.append(iter([rows(schema, *given)]), at(5))
    (file,) = [task.file for task in lake.table().scan(row_filter="c2 = 'west'").plan_files()]
    assert (file.partition[0], file.partition[1]) == ("west", 54 * 12)
    assert pq.read_table(file.file_path)["b2"].to_pylist() == ["b2", "b1", "b0"]
    destination.upsert(rows(schema, {"a2": 7, "c2": "east", "d2": datetime(2023, 1, 1)}), at(6))
    assert [row[:2] for row in seen(lake, schema, ["a2", "c2"])] == [
        (1, "north"), (2, "south"), (7, "east"), (8, "west"), (9, "west"),
    ]  # fmt: skip
    with pytest.raises(SchemaConflict, match="sorted by"):
        lake.open(layout(["region", "month(seen)"], ["amount", "id"])).ensure(schema)
    # Whoever edits the pipeline may use the present names as well.
    lake.open(layout(["c2", "month(d1)"], ["b2 desc", "a1"])).ensure(schema)


def test_properties_of_one_column_follow_it(lake: IcebergLake) -> None:
    prefix = "write.metadata.metrics.column."
    properties = {"write.metadata.metrics.default": "full", f"{prefix}note": "none", f"{prefix}region": "counts"}
    shaped = layout(properties=properties)
    destination = made(lake, shaped)
    evolved(destination, 2, *changed(NOTE, name="remark"))
    schema = evolved(destination, 3, *(f for f in changed(NOTE, name="remark") if f != REGION))
    again = lake.open(shaped)
    before = lake.table().metadata_location
    again.ensure(schema)
    assert lake.table().metadata_location == before
    assert {key for key in lake.table().properties if key.startswith(prefix)} == {f"{prefix}remark"}
    again.append(iter([rows(schema, {"id": 3, "remark": "x"})]), at(4))
    ids = {field.name: field.field_id for field in lake.table().schema().fields}
    newest = max((task.file for task in lake.table().scan().plan_files()), key=lambda file: file.lower_bounds[1])
    assert ids["remark"] not in newest.value_counts
    assert ids["amount"] in newest.value_counts


def test_files_without_field_ids_go_by_the_mapping(lake: IcebergLake, tmp_path: Path) -> None:
    destination = made(lake)
    foreign = rows(BEFORE, {"id": 50, "note": "foreign"}).to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = pa.schema([field.remove_metadata() for field in lake.table().schema().as_arrow()])
    pq.write_table(foreign.cast(plain), tmp_path / "f.parquet")
    lake.table().add_files([str(tmp_path / "f.parquet")])
    assert "schema.name-mapping.default" in lake.table().properties
    schema = evolved(destination, 2, *changed(NOTE, name="remark"))
    assert seen_by_ours_and_pyiceberg(lake, ["id", "remark"]) == [(1, "plain"), (2, "two"), (50, "foreign")]
    mapping = json.loads(lake.table().properties["schema.name-mapping.default"])
    assert [entry["names"] for entry in mapping if entry["field-id"] == 2] == [["note", "remark"]]
    # The former name comes back as another column: it must not show what the files hold under it.
    schema = evolved(destination, 3, *changed(NOTE, name="remark"), TargetField("note", pa.string(), False, 9))
    assert seen_by_ours_and_pyiceberg(lake, ["id", "remark", "note"])[2] == (50, "foreign", None)
    schema = evolved(destination, 4, *without(NOTE), TargetField("note", pa.string(), False, 9))
    assert seen_by_ours_and_pyiceberg(lake, ["id", "note"]) == [(1, None), (2, None), (50, None)]
    destination.upsert(rows(schema, {"id": 1, "note": "mine"}), at(5))
    assert seen_by_ours_and_pyiceberg(lake, ["id", "note"]) == [(1, "mine"), (2, None), (50, None)]
    with lake.table().transaction() as transaction:
        transaction.remove_properties("schema.name-mapping.default")
    with pytest.raises(NotUnderstood, match="no field ids"):
        list(destination.scan())


def seen_by_ours_and_pyiceberg(lake: IcebergLake, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """DuckDB reads no file without field ids."""
    ours = pl.concat(list(lake.open().scan())).sort("id").select(names).rows()
    theirs = pl.DataFrame(lake.table().scan().to_arrow()).sort("id").select(names).rows()
    assert theirs == ours
    return ours


# History


def test_the_past_keeps_its_columns(lake: IcebergLake) -> None:
    destination = made(lake)
    past = destination.table_version()
    schema = evolved(destination, 2, *(f for f in changed(NOTE, name="remark") if f != SEEN))
    destination.append(iter([rows(schema, {"id": 3})]), at(3))
    old = pl.DataFrame(lake.table().scan(snapshot_id=past).to_arrow()).sort("id")
    assert old.columns == [field.name for field in BEFORE.fields]
    assert old["note"].to_list() == ["plain", "two"]
    assert old["seen"].to_list() == [PLAIN["seen"]] * 2
    named = [snapshot.schema_id for snapshot in lake.table().snapshots()]
    assert named == [0, 1, 1]
