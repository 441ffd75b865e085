"""What every destination promises of a table that takes another shape, asked of all formats and of other readers."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.destinations.destination import Destination
from cdc_platform.errors import SchemaConflict
from cdc_platform.model.target import TableLayout, TargetSchema
from cdc_platform_tests.destinations.conftest import Lake, layout
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.destinations.shapes import FIRST, added, changed, dropped, null, renamed, rows, types

DAILY = layout(["day(updated)"])


def made(lake: Lake, shape: TableLayout = DAILY, schema: TargetSchema = FIRST) -> Destination:
    """A table of rows 1 to 3, each in a file of its own, at version 1 of the log."""
    destination = lake.open(shape)
    destination.ensure(schema)
    destination.append(iter([rows(schema, *({"id": i} for i in (1, 2, 3)))]), at(1))
    return destination


def assert_holds(lake: Lake, schema: TargetSchema, *expected: pl.DataFrame, shape: TableLayout = DAILY) -> None:
    """All readers, and our own scan by a destination that knows nothing yet, see exactly these rows."""
    key = [next(field.name for field in schema.fields if field.source_id == 1), "_cdc_source_lsn"]
    wanted = pl.concat(expected).sort(key)
    names = [field.name for field in schema.fields]
    fresh = lake.open(shape)
    fresh.ensure(schema)
    seen = lake.readers(names) | {
        "scan": pl.concat([wanted.clear(), *(part.select(wanted.columns) for part in fresh.scan())])
    }
    for reader, found in seen.items():
        shown = found if reader == "scan" else found.cast(types(schema))
        assert shown.sort(key).equals(wanted), reader
    assert {(f.name, f.type, f.required, f.source_id) for f in fresh.schema() or ()} == {
        (f.name, f.type, f.required, f.source_id) for f in schema.fields
    }


def test_the_ids_of_columns_are_kept(lake: Lake) -> None:
    made(lake)
    assert_holds(lake, FIRST, rows(FIRST, {"id": 1}, {"id": 2}, {"id": 3}))


def test_a_renamed_column_keeps_its_values(lake: Lake) -> None:
    destination = made(lake)
    now = renamed(FIRST, name="title")
    destination.evolve(now, at(2))
    assert destination.applied("log") == at(2)
    old = rows(now, {"id": 1}, {"id": 2}, {"id": 3})
    assert_holds(lake, now, old)
    more = rows(now, {"id": 4, "lsn": 2, "title": "new"})
    destination.append(iter([more]), at(3))
    assert_holds(lake, now, old, more)
    destination.upsert(rows(now, {"id": 2, "lsn": 3, "title": "newer"}), at(4))
    assert_holds(lake, now, old.filter(pl.col("id") != 2), more, rows(now, {"id": 2, "lsn": 3, "title": "newer"}))


def test_two_columns_swap_their_names(lake: Lake) -> None:
    destination = made(lake)
    now = renamed(FIRST, name="must", must="name")
    destination.evolve(now, at(2))
    old = rows(now, {"id": 1}, {"id": 2}, {"id": 3})
    assert old["name"].to_list() == ["7/1", "7/2", "7/3"]
    assert_holds(lake, now, old)
    destination.upsert(rows(now, {"id": 3, "lsn": 2}), at(3))
    assert_holds(lake, now, old.filter(pl.col("id") != 3), rows(now, {"id": 3, "lsn": 2}))


def test_a_renamed_key_finds_its_rows(lake: Lake) -> None:
    destination = made(lake)
    now = renamed(FIRST, id="number")
    destination.evolve(now, at(2))
    destination.upsert(rows(now, {"id": 2, "lsn": 2, "name": "x"}, {"id": 3, "lsn": 2, "operation": "DELETE"}), at(3))
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2, "lsn": 2, "name": "x"}))


def test_a_dropped_column_goes(lake: Lake) -> None:
    destination = made(lake)
    now = dropped(FIRST, "small", "must")
    destination.evolve(now, at(2))
    destination.append(iter([rows(now, {"id": 4, "lsn": 2})]), at(3))
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4, "lsn": 2}))


def test_a_new_column_is_null_in_the_rows_that_are_there(lake: Lake) -> None:
    destination = made(lake)
    now = added(FIRST, "more", pa.string(), 8)
    destination.evolve(now, at(2))
    old = null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "more")
    assert_holds(lake, now, old)
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    destination.upsert(rows(now, {"id": 1, "lsn": 2}), at(4))
    assert_holds(lake, now, old.filter(pl.col("id") != 1), rows(now, {"id": 4}, {"id": 1, "lsn": 2}))


@pytest.mark.parametrize("at_once", [True, False])
def test_a_column_that_comes_back_shows_no_old_values(lake: Lake, at_once: bool) -> None:
    destination = made(lake)
    now = added(dropped(FIRST, "name"), "name", pa.string(), 9)
    if not at_once:
        destination.evolve(dropped(FIRST, "name"), at(2))
    destination.evolve(now, at(3))
    old = null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "name")
    assert_holds(lake, now, old)
    destination.append(iter([rows(now, {"id": 4})]), at(4))
    assert_holds(lake, now, old, rows(now, {"id": 4}))
    again = added(dropped(now, "name"), "name", pa.int64(), 10)
    destination.evolve(again, at(5))
    assert_holds(lake, again, null(rows(again, {"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}), "name"))


def test_a_new_column_takes_the_name_of_a_renamed_one(lake: Lake) -> None:
    destination = made(lake)
    now = added(renamed(FIRST, name="title"), "name", pa.string(), 8)
    destination.evolve(now, at(2))
    assert_holds(lake, now, null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "name"))


def test_a_column_that_is_no_longer_required_takes_nulls(lake: Lake) -> None:
    destination = made(lake)
    now = changed(FIRST, "must", required=False)
    destination.evolve(now, at(2))
    more = rows(now, {"id": 4, "must": None})
    destination.append(iter([more]), at(3))
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2}, {"id": 3}), more)


@pytest.mark.parametrize(
    ("column", "kind"),
    [("small", pa.int64()), ("ratio", pa.float64()), ("amount", pa.decimal128(20, 2))],
)
def test_a_wider_type_keeps_every_value(lake: Lake, column: str, kind: pa.DataType) -> None:
    destination = made(lake)
    now = changed(FIRST, column, type=kind)
    destination.evolve(now, at(2))
    old = rows(now, {"id": 1}, {"id": 2}, {"id": 3})
    assert_holds(lake, now, old)
    destination.append(iter([rows(now, {"id": 4})]), at(3))
    destination.upsert(rows(now, {"id": 2, "lsn": 2}), at(4))
    assert_holds(lake, now, old.filter(pl.col("id") != 2), rows(now, {"id": 4}, {"id": 2, "lsn": 2}))


def test_a_wider_key_finds_its_rows(lake: Lake) -> None:
    schema = TargetSchema(changed(FIRST, "id", type=pa.int32()).fields, ("id",))
    destination = made(lake, schema=schema)
    destination.evolve(FIRST, at(2))
    far = rows(FIRST, {"id": 4, "lsn": 2}).with_columns(pl.lit(2**40).alias("id"))
    destination.upsert(pl.concat([rows(FIRST, {"id": 2, "lsn": 2}), far]), at(3))
    assert_holds(lake, FIRST, rows(FIRST, {"id": 1}, {"id": 3}, {"id": 2, "lsn": 2}), far)


def test_everything_at_once(lake: Lake) -> None:
    destination = made(lake)
    now = renamed(dropped(FIRST, "ratio"), name="title", updated="changed")
    now = changed(changed(now, "small", type=pa.int64()), "must", required=False)
    now = added(added(now, "ratio", pa.string(), 8), "extra", pa.timestamp("us", "UTC"), 9)
    destination.evolve(now, at(2))
    old = null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "ratio", "extra")
    assert_holds(lake, now, old)
    destination.upsert(rows(now, {"id": 1, "lsn": 2}, {"id": 4, "lsn": 2, "changed": None}), at(3))
    assert_holds(
        lake, now, old.filter(pl.col("id") > 1), rows(now, {"id": 1, "lsn": 2}, {"id": 4, "lsn": 2, "changed": None})
    )


def test_doing_it_again_is_harmless(lake: Lake) -> None:
    destination = made(lake)
    now = added(renamed(FIRST, name="title"), "more", pa.string(), 8)
    destination.evolve(now, at(2))
    version = destination.table_version()
    destination.evolve(now, at(2))
    lake.open(DAILY).evolve(now, at(2))
    assert destination.table_version() == version
    destination.evolve(now, at(3))
    assert destination.applied("log") == at(3)
    assert_holds(lake, now, null(rows(now, {"id": 1}, {"id": 2}, {"id": 3}), "more"))


def test_a_shape_that_differs_waits_for_its_evolution(lake: Lake) -> None:
    made(lake)
    for now in (renamed(FIRST, name="title"), dropped(FIRST, "name"), added(FIRST, "more", pa.string(), 8)):
        with pytest.raises(SchemaConflict):
            lake.open(DAILY).ensure(now)
    again = added(dropped(FIRST, "name"), "name", pa.string(), 9)
    with pytest.raises(SchemaConflict, match="'name'"):
        lake.open(DAILY).ensure(again)


def test_a_table_without_rows_evolves(lake: Lake) -> None:
    destination = lake.open(DAILY)
    destination.ensure(FIRST)
    now = changed(renamed(FIRST, name="title"), "small", type=pa.int64())
    destination.evolve(now, at(1))
    assert destination.applied("log") == at(1)
    destination.upsert(rows(now, {"id": 1}), at(2))
    assert_holds(lake, now, rows(now, {"id": 1}))


PARTITIONED = layout(["day(updated)", "name"], ["small desc", "id"])


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (changed(FIRST, "small", type=pa.string()), "'small'"),
        (changed(FIRST, "id", type=pa.int32()), "'id'"),
        (changed(FIRST, "ratio", type=pa.decimal128(10, 2)), "'ratio'"),
        (changed(FIRST, "amount", type=pa.decimal128(9, 2)), "'amount'"),
        (changed(FIRST, "amount", type=pa.decimal128(10, 4)), "'amount'"),
        (changed(FIRST, "amount", type=pa.decimal128(10, 1)), "'amount'"),
        (changed(FIRST, "updated", type=pa.timestamp("us")), "'updated'"),
        (changed(FIRST, "ratio", required=True), "'ratio'"),
        (added(FIRST, "more", pa.string(), 8, required=True), "'more'"),
        (dropped(FIRST, "updated"), r"'updated'.*partition_by"),
        (dropped(FIRST, "name"), r"'name'.*partition_by"),
        (dropped(FIRST, "small"), r"'small'.*sort_by"),
        (renamed(FIRST, name="must"), "'must'"),
    ],
)
def test_what_cannot_be_is_a_conflict_before_anything_is_written(lake: Lake, shape: TargetSchema, words: str) -> None:
    destination = made(lake, PARTITIONED)
    version, files = destination.table_version(), lake.stored_files()
    with pytest.raises(SchemaConflict, match=words):
        destination.evolve(shape, at(2))
    assert (destination.table_version(), lake.stored_files()) == (version, files)
    assert destination.applied("log") == at(1)
    assert_holds(lake, FIRST, rows(FIRST, {"id": 1}, {"id": 2}, {"id": 3}), shape=PARTITIONED)


def test_a_column_that_rows_are_sorted_by_is_widened(lake: Lake) -> None:
    destination = made(lake, PARTITIONED)
    now = changed(FIRST, "small", type=pa.int64())
    destination.evolve(now, at(2))
    assert_holds(lake, now, rows(now, {"id": 1}, {"id": 2}, {"id": 3}), shape=PARTITIONED)


def test_columns_of_a_table_that_knows_no_ids_are_not_guessed(lake: Lake) -> None:
    nameless = FIRST
    for field in FIRST.fields:
        nameless = changed(nameless, field.name, source_id=None)
    destination = lake.open(DAILY)
    destination.ensure(nameless)
    with pytest.raises(SchemaConflict):
        destination.evolve(renamed(FIRST, name="title"), at(1))
    # The same shape with ids says which is which.
    lake.open(DAILY).ensure(FIRST)
    destination.evolve(renamed(FIRST, name="title"), at(1))
    destination.append(iter([rows(renamed(FIRST, name="title"), {"id": 1})]), at(2))
    assert_holds(lake, renamed(FIRST, name="title"), rows(renamed(FIRST, name="title"), {"id": 1}))


@pytest.mark.parametrize("partition", ["day(updated)", "month(updated)", "year(updated)"])
def test_the_pipeline_goes_on_saying_the_old_names(lake: Lake, partition: str) -> None:
    shape = layout([partition], ["updated desc", "small"])
    destination = made(lake, shape)
    now = renamed(FIRST, updated="changed", small="little")
    destination.evolve(now, at(2))
    old = rows(now, {"id": 1}, {"id": 2}, {"id": 3})
    assert_holds(lake, now, old, shape=shape)
    destination.append(iter([rows(now, {"id": 4}, {"id": 5})]), at(3))
    assert_holds(lake, now, old, rows(now, {"id": 4}, {"id": 5}), shape=shape)
    # A column of the old name is another: the pipeline's terms still mean the first.
    last = added(renamed(now, changed="moved"), "updated", pa.timestamp("us", "UTC"), 8)
    fresh = lake.open(shape)
    fresh.evolve(last, at(4))
    fresh.upsert(rows(last, {"id": 1, "lsn": 2, "updated": None}), at(5))
    rest = null(rows(last, {"id": 2}, {"id": 3}, {"id": 4}, {"id": 5}), "updated")
    assert_holds(lake, last, rest, rows(last, {"id": 1, "lsn": 2, "updated": None}), shape=shape)
    # And so do the names of today.
    today = layout([partition.replace("updated", "moved")], ["moved desc", "little"])
    if lake.format == "deltalake":
        lake.open(today).ensure(last)
