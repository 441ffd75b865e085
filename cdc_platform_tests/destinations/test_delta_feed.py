"""The change data feed of Delta tables by our own reading: equal to deltalake's where that reads, right where not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.errors import ConfigError, Gap, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.lake.delta_feed import read_feed
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import MAPPED, layout
from cdc_platform_tests.destinations.rows import FIELDS, SCHEMA, TYPES, at, deleted, frame, frames, row
from cdc_platform_tests.destinations.shapes import FIRST, added, changed, dropped, null, renamed, rows, types

FEED = {"delta.enableChangeDataFeed": "true"}
CHANGES = ["_change_type", "_commit_version"]


def _made(path: Path, properties: dict[str, str], schema: TargetSchema, *partitions: str) -> DeltaDestination:
    destination = DeltaDestination(str(path), layout(partitions, properties=properties))
    destination.ensure(schema)
    return destination


def _feed(path: Path, start: int, end: int) -> pl.DataFrame:
    found = pl.concat(list(read_feed(path, start, end)))
    assert found["_commit_version"].is_sorted()
    return found.sort("_commit_version", "_change_type", found.columns[0])


def _sequence(path: Path, properties: dict[str, str]) -> DeltaDestination:
    destination = _made(path, properties, SCHEMA, "day(updated)", "region")
    destination.append(frames(row(1), row(2, region="south"), row(3, updated=None)), at(1))
    destination.append(frames(row(4, day=None, note=None)), at(2))
    moved = row(2, 2, "UPDATE", updated=datetime(2030, 1, 1, tzinfo=UTC))
    destination.upsert(frame(row(1, 2, "UPDATE", note="new"), moved, deleted(3, 2), row(5, 2)), at(3))
    destination.compact(1 << 20)
    destination.upsert(frame(row(9, 3)), at(4))
    return destination


def test_the_feed_is_what_deltalake_reads(tmp_path: Path) -> None:
    _sequence(tmp_path, FEED)
    for start, end in ((0, 5), (1, 2), (3, 3), (4, 4), (4, 5)):
        theirs = pl.DataFrame(pa.table(DeltaTable(tmp_path).load_cdf(start, end).read_all()))
        if theirs.is_empty():
            assert list(read_feed(tmp_path, start, end)) == []
            continue
        ours = _feed(tmp_path, start, end)
        theirs = theirs.select(ours.columns).cast(ours.schema)
        assert ours.equals(theirs.sort("_commit_version", "_change_type", ours.columns[0]))


def test_the_feed_of_a_mapped_table_is_that_of_one_that_is_not(tmp_path: Path) -> None:
    _sequence(tmp_path / "plain", FEED)
    _sequence(tmp_path / "mapped", MAPPED)
    plain, mapped = _feed(tmp_path / "plain", 0, 5), _feed(tmp_path / "mapped", 0, 5)
    assert mapped.drop("_commit_timestamp").equals(plain.drop("_commit_timestamp"))
    assert plain.schema["_commit_timestamp"] == pl.Datetime("us", "UTC")
    assert abs(plain["_commit_timestamp"].max() - datetime.now(UTC)) < timedelta(minutes=5)  # type: ignore[operator]


def test_without_a_feed_of_its_own_files_come_and_go(tmp_path: Path) -> None:
    destination = _made(tmp_path, {}, SCHEMA)
    destination.append(iter([frame(row(1), row(2))]), at(1))
    destination.upsert(frame(row(2, 2, "UPDATE")), at(2))
    found = _feed(tmp_path, 2, 2).select("id", "_change_type").rows()
    assert sorted(found) == [(1, "delete"), (1, "insert"), (2, "delete"), (2, "insert")]


@pytest.mark.parametrize("properties", [FEED, MAPPED])
def test_rows_have_the_names_and_types_of_the_end(tmp_path: Path, properties: dict[str, str]) -> None:
    destination = _made(tmp_path, properties, FIRST, "day(updated)")
    destination.append(iter([rows(FIRST, {"id": 1}, {"id": 2})]), at(1))
    destination.upsert(rows(FIRST, {"id": 1, "lsn": 2, "name": "x"}), at(2))
    now = added(renamed(dropped(FIRST, "ratio"), name="title"), "more", pa.string(), 8)
    now = changed(now, "small", type=pa.int64())
    destination.evolve(now, at(3))
    destination.upsert(rows(now, {"id": 2, "lsn": 3, "more": "there"}), at(4))
    last = added(dropped(now, "title"), "name", pa.string(), 9)
    destination.evolve(last, at(5))

    before = _feed(tmp_path, 1, 2)
    assert before.select(types(FIRST).names()).schema == types(FIRST)
    assert before.filter(_commit_version=1, id=2)["name"].to_list() == ["2/2"]

    found = _feed(tmp_path, 1, 4)
    assert found.columns == [*types(now).names(), "updated_day", *CHANGES, "_commit_timestamp"]
    assert found.select(types(now).names()).schema == types(now)
    assert found.select("id", "title", "small", "more", *CHANGES).rows() == [
        (1, "2/1", 13, None, "insert", 1),
        (2, "2/2", 23, None, "insert", 1),
        (1, "x", 13, None, "update_postimage", 2),
        (1, "2/1", 13, None, "update_preimage", 2),
        (2, "2/2", 23, "there", "update_postimage", 4),
        (2, "2/2", 23, None, "update_preimage", 4),
    ]
    assert found["updated_day"].null_count() == 0
    # A column of a name that was dropped is another.
    assert _feed(tmp_path, 1, 5)["name"].null_count() == found.height


def test_partition_values_of_every_type(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "small": -3, "flag": False, "amount": Decimal("-0.01"), "huge": Decimal("123456789012345.1"),
        "region": "a b/ü%20=:", "day": date(1969, 12, 31), "seen": datetime(1969, 12, 31, 23, 59, 59, 999999),
        "updated": datetime(2025, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    destination = _made(tmp_path, MAPPED, SCHEMA, *values)
    empty: dict[str, Any] = {**dict.fromkeys(values), "region": "x"}
    given = [row(1, **values), row(2, **empty)]
    destination.append(iter([frame(*given)]), at(1))
    assert _feed(tmp_path, 1, 1).select(TYPES.names()).sort("id").equals(frame(*given))


def test_frames_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = _made(tmp_path, MAPPED, SCHEMA)
    destination.append(iter([frame(*(row(i) for i in range(250)))]), at(1))
    monkeypatch.setattr("cdc_platform.lake.parquet_rows._BATCH_ROWS", 100)
    assert [part.height for part in read_feed(tmp_path, 1, 1)] == [100, 100, 50]


def test_vacuumed_versions_are_a_gap_that_names_the_oldest(tmp_path: Path) -> None:
    destination = _made(tmp_path, {}, SCHEMA)
    destination.append(frames(row(1)), at(1))
    destination.upsert(frame(row(1, 2, "UPDATE")), at(2))
    destination.upsert(frame(row(1, 3, "UPDATE")), at(3))
    destination.append(frames(row(2)), at(4))
    DeltaTable(tmp_path).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(Gap, match="the oldest that can be had is 4"):
        next(read_feed(tmp_path, 1, 4))
    assert _feed(tmp_path, 4, 4)["id"].to_list() == [2]
    with pytest.raises(Gap, match="none up to 3"):
        next(read_feed(tmp_path, 2, 3))


def test_a_cleaned_up_log_is_a_gap_too(tmp_path: Path) -> None:
    destination = _made(tmp_path, {**FEED, "delta.checkpointInterval": "3"}, SCHEMA)
    for version in range(1, 6):
        destination.append(frames(row(version)), at(version))
    for old in range(3):
        (tmp_path / "_delta_log" / f"{old:020d}.json").unlink()
    with pytest.raises(Gap, match=r"version 2 is no more in the log; the oldest that can be had is 3"):
        next(read_feed(tmp_path, 1, 5))
    assert _feed(tmp_path, 3, 5)["id"].to_list() == [3, 4, 5]
    with pytest.raises(Gap, match="version 1 is no more"):
        next(read_feed(tmp_path, 0, 1))


def test_a_version_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Delta table"):
        next(read_feed(tmp_path / "nothing", 0, 1))
    _made(tmp_path, FEED, SCHEMA)
    with pytest.raises(Unavailable, match="not yet at 1"):
        next(read_feed(tmp_path, 0, 1))
    assert list(read_feed(tmp_path, 0, 0)) == []


def test_columns_that_the_feed_would_hide(tmp_path: Path) -> None:
    schema = TargetSchema((*FIELDS, TargetField("_commit_version", pa.int64())), ("id",))
    _made(tmp_path, {}, schema)
    with pytest.raises(NotUnderstood, match="_commit_version"):
        next(read_feed(tmp_path, 0, 0))


def test_a_broken_file_needs_a_person(tmp_path: Path) -> None:
    destination = _made(tmp_path, FEED, SCHEMA)
    destination.append(frames(row(1)), at(1))
    for uri in DeltaTable(tmp_path).file_uris():
        Path(uri).write_bytes(b"PAR1 secret PAR1")
    with pytest.raises(NeedsPerson) as caught:
        next(read_feed(tmp_path, 1, 1))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_null_stays_null(tmp_path: Path) -> None:
    destination = _made(tmp_path, MAPPED, FIRST)
    given = null(rows(FIRST, {"id": 1}), "name", "small", "ratio", "amount", "updated")
    destination.append(iter([given]), at(1))
    assert _feed(tmp_path, 1, 1).select(given.columns).equals(given)
