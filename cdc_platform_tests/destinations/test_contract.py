"""What every destination promises, asked of both formats and checked by readers that are not ours."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest

import cdc_platform.destinations.copy_on_write
import cdc_platform.destinations.delta
import cdc_platform.destinations.delta_log
import cdc_platform.destinations.iceberg
import cdc_platform.destinations.iceberg_snapshot
from cdc_platform.destinations.commit import Conflict
from cdc_platform.destinations.destination import Destination
from cdc_platform.errors import ConfigError, InvalidRow, NeedsPerson, SchemaConflict, Unavailable
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import Lake, layout
from cdc_platform_tests.destinations.rows import (
    COMPOSITE,
    FIELDS,
    NAMES,
    SCHEMA,
    TYPES,
    at,
    by_key,
    deleted,
    frame,
    frames,
    row,
)

DAILY = layout(["day(updated)"])


def made(lake: Lake, partitions: Any = DAILY, schema: TargetSchema = SCHEMA) -> Destination:
    destination = lake.open(partitions)
    destination.ensure(schema)
    return destination


def assert_holds(lake: Lake, *expected: dict[str, Any]) -> None:
    """All readers, and our own scan, see exactly these rows."""
    wanted = by_key(frame(*expected))
    seen = lake.readers(NAMES) | {"scan": pl.concat([TYPES.to_frame(), *lake.open(DAILY).scan()])}
    for reader, rows in seen.items():
        # DuckDB hands out its own string and time types; the values are what counts, ours must match in type too.
        shown = rows if reader == "scan" else rows.cast(TYPES)
        assert by_key(shown).equals(wanted), reader


def test_ensure_makes_a_table_once(lake: Lake) -> None:
    first = lake.open(DAILY)
    assert first.table_version() is None
    assert first.schema() is None
    assert list(first.scan()) == []
    first.ensure(SCHEMA)
    version = first.table_version()
    first.ensure(SCHEMA)
    made(lake)
    assert first.table_version() == version
    assert [(f.name, f.type) for f in first.schema() or ()] == [(f.name, f.type) for f in FIELDS]
    assert_holds(lake)


def test_append_is_read_back_by_others(lake: Lake) -> None:
    destination = made(lake)
    given = [
        row(1),
        row(2, note="naïve – Ünïcödé 中文 🦆\n'quoted' \"twice\"", region="süd/ost %20+="),
        row(3, small=None, flag=None, ratio=None, amount=None, huge=None, note=None, blob=None, day=None, seen=None),
        row(4, updated=None),
        row(5, amount=Decimal("-9999999999.99"), huge=Decimal("-0.0000000001"), ratio=-1e300, small=-(2**31)),
        row(2**63 - 1, updated=datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), note="x" * 100_000, blob=b""),
        row(-(2**63), updated=datetime(1, 1, 1, tzinfo=UTC), note="", region="z" * 300),
    ]
    written = destination.append(frames(*given), at(1))
    assert (written.rows, written.table_version) == (len(given), destination.table_version())
    assert_holds(lake, *given)


def test_scan_gives_the_asked_columns_in_our_types(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    assert all(scanned.schema == TYPES for scanned in lake.open(DAILY).scan())
    narrow = pl.concat(list(lake.open(DAILY).scan(["amount", "id"])))
    assert narrow.schema == pl.Schema({"id": TYPES["id"], "amount": TYPES["amount"]})
    assert sorted(narrow["id"]) == [1, 2]


def test_applied_travels_with_the_rows(lake: Lake) -> None:
    destination = made(lake)
    assert destination.applied("log") is None
    destination.append(frames(row(1)), at(3))
    destination.append(frames(row(2)), at(8))
    destination.upsert(frame(row(3)), at(9))
    assert lake.open(DAILY).applied("log") == at(9)


def test_an_empty_write_still_moves_the_version(lake: Lake) -> None:
    destination = made(lake)
    destination.append(iter([]), at(1))
    assert destination.applied("log") == at(1)
    destination.append(iter([TYPES.to_frame()]), at(2))
    destination.upsert(TYPES.to_frame(), at(3))
    assert destination.applied("log") == at(3)
    assert_holds(lake)


def test_rows_of_another_log_are_a_conflict(lake: Lake) -> None:
    made(lake).append(frames(row(1)), at(1, "theirs"))
    with pytest.raises(SchemaConflict, match="did not write"):
        lake.open(DAILY).applied("ours")


def test_upsert_inserts_replaces_and_deletes(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1), row(2), row(3), row(4)), at(1))
    changes = frame(
        row(2, 2, "UPDATE", note="new"), deleted(3, 2), row(5, 2), deleted(99, 2), row(4, 2, "UPDATE", amount=None)
    )
    written = destination.upsert(changes, at(2))
    assert written.table_version == destination.table_version()
    assert_holds(lake, row(1), row(2, 2, "UPDATE", note="new"), row(4, 2, "UPDATE", amount=None), row(5, 2))


def test_upsert_into_an_empty_table_leaves_deletes_out(lake: Lake) -> None:
    destination = made(lake)
    destination.upsert(frame(row(1), deleted(2, 1)), at(1))
    assert_holds(lake, row(1))


def test_a_row_whose_partition_moved_leaves_its_old_one(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    moved = row(1, 2, "UPDATE", updated=datetime(2030, 1, 1, tzinfo=UTC))
    destination.upsert(frame(moved), at(2))
    assert_holds(lake, row(2), moved)
    back = row(1, 3, "UPDATE", updated=None)
    destination.upsert(frame(back), at(3))
    assert_holds(lake, row(2), back)


def test_upsert_moves_rows_between_identity_partitions(lake: Lake) -> None:
    by_region = layout(["region"])
    destination = made(lake, by_region)
    destination.append(frames(row(1, region="a"), row(2, region="b c/d"), row(3, region="b c/d")), at(1))
    destination.upsert(frame(row(2, 2, "UPDATE", region="ü"), deleted(1, 2)), at(2))
    assert_holds(lake, row(3, region="b c/d"), row(2, 2, "UPDATE", region="ü"))


def test_composite_keys(lake: Lake) -> None:
    destination = made(lake, DAILY, COMPOSITE)
    destination.append(frames(row(1, region="a"), row(1, region="b"), row(2, region="a")), at(1))
    destination.upsert(
        frame(row(1, 2, "UPDATE", region="b", note="x"), deleted(2, 2, region="a"), row(2, 2, region="b")), at(2)
    )
    assert_holds(lake, row(1, region="a"), row(1, 2, "UPDATE", region="b", note="x"), row(2, 2, region="b"))


def test_long_text_keys_that_begin_alike(lake: Lake) -> None:
    schema = TargetSchema(FIELDS, ("region",))
    long = "\U0010ffff" + "k" * 500
    destination = made(lake, DAILY, schema)
    destination.append(frames(row(1, region=f"{long}1"), row(2, region=f"{long}2"), row(3, region="")), at(1))
    destination.upsert(frame(row(9, 2, "UPDATE", region=f"{long}2"), deleted(0, 2, region="")), at(2))
    assert_holds(lake, row(1, region=f"{long}1"), row(9, 2, "UPDATE", region=f"{long}2"))


@pytest.mark.parametrize("key", ["small", "amount", "huge", "region", "blob", "day", "seen", "updated", "flag"])
def test_keys_of_every_type(lake: Lake, key: str) -> None:
    low: dict[str, Any] = {
        "small": -5, "amount": Decimal("-0.01"), "huge": Decimal("-1e10"), "region": "", "blob": b"",
        "day": date(1969, 12, 31), "seen": datetime(1969, 12, 31, 23, 59, 59, 999999),
        "updated": datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), "flag": False,
    }  # fmt: skip
    destination = made(lake, layout([]), TargetSchema(FIELDS, (key,)))
    destination.append(frames(row(1), row(2, **{key: low[key]})), at(1))
    destination.upsert(frame(row(3, 2, "UPDATE"), row(4, 2, "UPDATE", **{key: low[key]})), at(2))
    destination.upsert(frame(deleted(0, 3, **{key: low[key]})), at(3))
    assert_holds(lake, row(3, 2, "UPDATE"))


def test_a_change_without_its_key_is_refused(lake: Lake) -> None:
    destination = made(lake, DAILY, TargetSchema(FIELDS, ("note",)))
    with pytest.raises(InvalidRow, match="'note'"):
        destination.upsert(frame(row(1, note=None)), at(1))
    assert lake.stored_files() == []


def test_a_partition_beyond_the_calendar_is_refused(lake: Lake) -> None:
    destination = made(lake)
    far = frame(row(1)).with_columns(pl.lit(3 * 10**17).cast(pl.Datetime("us", "UTC")).alias("updated"))
    with pytest.raises(InvalidRow, match="years 1 to 9999"):
        destination.append(iter([far]), at(1))


def test_values_beyond_the_calendar_are_kept(lake: Lake) -> None:
    destination = made(lake, layout([]))
    far = frame(row(1)).with_columns(pl.lit(3 * 10**17).cast(pl.Datetime("us", "UTC")).alias("updated"))
    destination.append(iter([far]), at(1))
    assert pl.concat(list(destination.scan())).equals(far)


def test_an_older_change_never_overwrites_a_newer_row(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1, 5), row(2, 5)), at(1))
    destination.upsert(frame(row(1, 4, "UPDATE", note="old"), deleted(2, 4), row(3, 4)), at(2))
    assert_holds(lake, row(1, 5), row(2, 5), row(3, 4))


def test_upsert_leaves_files_without_a_changed_key_alone(lake: Lake) -> None:
    destination = made(lake)
    for version, start in enumerate(range(0, 40, 10), 1):
        destination.append(iter([frame(*(row(start + i) for i in range(10)))]), at(version))
    before = set(lake.data_files())
    destination.upsert(frame(row(11, 2, "UPDATE"), row(100, 2)), at(5))
    after = set(lake.data_files())
    assert len(before) == 4
    assert len(before & after) == 3


def test_a_null_in_a_required_column_is_refused(lake: Lake) -> None:
    destination = made(lake)
    with pytest.raises(InvalidRow, match=r"'region'.* required") as caught:
        destination.append(frames(row(1), row(2, region=None, note="secret")), at(1))
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidRow, match="'region'"):
        destination.upsert(frame(row(2, region=None)), at(1))
    assert_holds(lake)
    assert destination.applied("log") is None
    assert lake.stored_files() == []


def test_failing_input_leaves_nothing(lake: Lake) -> None:
    def failing() -> Iterator[pl.DataFrame]:
        yield frame(row(1))
        raise Unavailable("the log cannot be read")

    destination = made(lake)
    with pytest.raises(Unavailable):
        destination.append(failing(), at(1))
    assert_holds(lake)
    assert lake.stored_files() == []


@pytest.mark.parametrize(
    ("fields", "partitions", "words"),
    [
        ((*FIELDS, TargetField("more", FIELDS[0].type)), DAILY, "lacks column 'more'"),
        ((*FIELDS[:2], *FIELDS[3:]), DAILY, "column 'small' more"),
        ((*FIELDS[:2], TargetField("small", FIELDS[0].type), *FIELDS[3:]), DAILY, "column 'small' is int"),
        ((*FIELDS[:2], TargetField("small", FIELDS[2].type, True), *FIELDS[3:]), DAILY, "not required"),
        (FIELDS, layout(["month(updated)"]), "partitioned by"),
        (FIELDS, layout([]), "partitioned by"),
    ],
)
def test_a_table_of_another_shape_is_a_conflict(
    lake: Lake, fields: tuple[TargetField, ...], partitions: Any, words: str
) -> None:
    made(lake)
    with pytest.raises(SchemaConflict, match=words):
        lake.open(partitions).ensure(TargetSchema(fields, ("id",)))


def test_properties_of_the_pipeline_reach_an_existing_table(lake: Lake) -> None:
    made(lake).append(frames(row(1)), at(1))
    name = "delta.logRetentionDuration" if lake.format == "deltalake" else "write.metadata.previous-versions-max"
    value = "interval 7 days" if lake.format == "deltalake" else "7"
    changed = lake.open(layout(["day(updated)"], properties={name: value}))
    changed.ensure(SCHEMA)
    version = changed.table_version()
    changed.ensure(SCHEMA)
    assert changed.table_version() == version
    changed.upsert(frame(row(1, 2, "UPDATE"), row(2, 2)), at(2))
    assert_holds(lake, row(1, 2, "UPDATE"), row(2, 2))


def test_a_partition_column_that_is_not_there(lake: Lake) -> None:
    with pytest.raises(ConfigError, match="no column 'nothing'"):
        lake.open(layout(["day(nothing)"])).ensure(SCHEMA)
    with pytest.raises(ConfigError, match="date or timestamp"):
        lake.open(layout(["month(note)"])).ensure(SCHEMA)
    assert lake.open(DAILY).table_version() is None


# Other writers, lost replies, crashes


def test_an_append_of_another_tool_in_between_is_kept(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1)), at(1))

    def rows() -> Iterator[pl.DataFrame]:
        yield frame(row(2))
        lake.foreign_append(frame(row(77)))
        yield frame(row(3))

    destination.append(rows(), at(2))
    assert destination.applied("log") == at(2)
    assert_holds(lake, row(1), row(2), row(3), row(77))


def test_an_upsert_that_loses_the_race_is_planned_anew(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    module = _module(lake)
    plan, races = module.plan, list[int]()

    def racing(*arguments: Any) -> Any:
        found = plan(*arguments)
        if len(races) < 2:
            races.append(1)
            lake.foreign_append(frame(row(50 + len(races))))
        return found

    monkeypatch.setattr(module, "plan", racing)
    destination.upsert(frame(row(2, 2, "UPDATE"), row(51, 2, "UPDATE", note="ours")), at(2))
    assert_holds(lake, row(1), row(2, 2, "UPDATE"), row(51, 2, "UPDATE", note="ours"), row(52))
    assert destination.applied("log") == at(2)
    # Two appends of theirs, ours of the rows before, and what the last attempt wrote: nothing of the lost ones.
    data = [file for file in lake.stored_files() if "_change_data" not in file.parts]
    assert len(data) == 1 + 2 + 1


@pytest.mark.parametrize("write", ["append", "upsert"])
def test_a_lost_reply_writes_nothing_twice(lake: Lake, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    destination = made(lake)
    destination.append(frames(row(1)), at(1))
    calls = _replace_commit(lake, monkeypatch, before=None, after=OSError("connection reset"))
    written = _write(destination, write, row(1, 2, "UPDATE") if write == "upsert" else row(2, 2))
    assert len(calls) == 1
    assert written.table_version == destination.table_version()
    assert destination.applied("log") == at(2)
    assert_holds(lake, *([row(1, 2, "UPDATE")] if write == "upsert" else [row(1), row(2, 2)]))


@pytest.mark.parametrize("write", ["append", "upsert"])
def test_a_refused_commit_is_said_and_leaves_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    destination = made(lake)
    destination.append(frames(row(1)), at(1))
    files = set(lake.stored_files())
    _replace_commit(lake, monkeypatch, before=OSError("no space left on device"), after=None)
    with pytest.raises(NeedsPerson, match="no space left"):
        _write(destination, write, row(1, 2))
    monkeypatch.undo()
    assert destination.applied("log") == at(1)
    assert set(lake.stored_files()) == files
    assert_holds(lake, row(1))


@pytest.mark.parametrize("write", ["append", "upsert"])
def test_a_full_disk_is_said_and_leaves_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    destination = made(lake)
    destination.append(frames(row(1)), at(1))
    files = set(lake.stored_files())

    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(Unavailable, match="no space is left"):
        _write(destination, write, row(1, 2))
    monkeypatch.undo()
    assert set(lake.stored_files()) == files
    assert destination.applied("log") == at(1)


@pytest.mark.parametrize("write", ["append", "upsert"])
def test_endless_conflicts_end(lake: Lake, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    destination = made(lake)
    destination.append(frames(row(1)), at(1))
    files = set(lake.stored_files())
    monkeypatch.setattr("cdc_platform.destinations.commit.ATTEMPTS", 3)
    calls = _replace_commit(lake, monkeypatch, before=Conflict(), after=None)
    with pytest.raises(Unavailable, match="other writers"):
        _write(destination, write, row(1, 2))
    assert len(calls) == 3
    assert set(lake.stored_files()) == files


def _module(lake: Lake) -> Any:
    return cdc_platform.destinations.delta if lake.format == "deltalake" else cdc_platform.destinations.iceberg


def _write(destination: Destination, write: str, given: dict[str, Any]) -> Any:
    return destination.append(frames(given), at(2)) if write == "append" else destination.upsert(frame(given), at(2))


def _replace_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, before: Exception | None, after: Exception | None
) -> list[int]:
    """Make the innermost commit fail before it does anything, or after it has done all."""
    place: Any = cdc_platform.destinations.delta_log
    if lake.format == "iceberg":
        place = cdc_platform.destinations.iceberg_snapshot
    name = "commit"
    original, calls = getattr(place, name), list[int]()

    def failing(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if before is not None:
            raise before
        original(*arguments, **named)
        raise after or AssertionError

    monkeypatch.setattr(place, name, failing)
    return calls


def test_ensure_after_a_crash_half_way(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "t" / "_delta_log" if lake.format == "deltalake" else tmp_path / "warehouse" / "cdc" / "t"
    folder.mkdir(parents=True)
    (tmp_path / "t").mkdir(exist_ok=True)
    (tmp_path / "t" / "_creating-left").mkdir()
    made(lake).append(frames(row(1)), at(1))
    assert_holds(lake, row(1))


def test_spooled_leftovers_of_a_killed_process_go(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = made(lake)
    monkeypatch.setattr("cdc_platform.destinations.arrange.CHUNK_BYTES", 2_000)
    base = lake.data_files()[0].parent if lake.data_files() else None
    assert base is None
    given = [row(i, updated=datetime(2025, 1, 1 + i % 28, tzinfo=UTC)) for i in range(100)]
    random.Random(1).shuffle(given)
    destination.append(frames(*given), at(1))
    assert_holds(lake, *given)
    assert len(lake.data_files()) == 28
    assert not list(lake.data_files()[0].parents[1].rglob("_cdc_spool"))


def test_several_at_once_make_one_table(lake: Lake) -> None:
    barrier = threading.Barrier(4)

    def ensure() -> None:
        destination = lake.open(DAILY)
        barrier.wait()
        destination.ensure(SCHEMA)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(ensure) for _ in range(4)]:
            future.result()
    made(lake).append(frames(row(1)), at(1))
    assert_holds(lake, row(1))


def test_a_path_that_cannot_be_written(lake: Lake, tmp_path: Path) -> None:
    for name in ("t", "warehouse"):
        (tmp_path / name).write_text("a file in the way")
    with pytest.raises(ConfigError, match=r"destination\.path") as caught:
        lake.open(DAILY).ensure(SCHEMA)
    assert "\n" not in str(caught.value)


def test_a_corrupt_table_needs_a_person(lake: Lake) -> None:
    made(lake).append(frames(row(1)), at(1))
    lake.break_metadata()
    with pytest.raises(NeedsPerson) as caught:
        lake.open(DAILY).applied("log")
    assert "\n" not in str(caught.value)


def test_a_broken_data_file_needs_a_person(lake: Lake) -> None:
    destination = made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    for file in lake.data_files():
        file.write_bytes(b"PAR1 secret PAR1")
    with pytest.raises(NeedsPerson):
        list(destination.scan())
    with pytest.raises(NeedsPerson) as caught:
        destination.upsert(frame(row(1, 2, "UPDATE")), at(2))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert destination.applied("log") == at(1)
