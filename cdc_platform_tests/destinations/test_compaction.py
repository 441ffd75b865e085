"""Compaction of Delta tables: rows stay, files go, other writers win."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cdc_platform.destinations.delta_log
from cdc_platform.destinations.commit import Conflict
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.errors import CdcError, NeedsPerson, Unavailable
from cdc_platform.lake.delta_feed import read_feed
from cdc_platform_tests.destinations.conftest import MAPPED, DeltaLake, layout
from cdc_platform_tests.destinations.rows import at, by_key, frame, frames, row
from cdc_platform_tests.destinations.shapes import FIRST, added, changed, renamed, rows
from cdc_platform_tests.destinations.test_contract import DAILY, assert_holds, made
from cdc_platform_tests.destinations.test_evolution import assert_holds as assert_shape

MEBI = 1 << 20


@pytest.fixture(params=["plain", "mapped"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> DeltaLake:
    return DeltaLake(tmp_path, MAPPED if request.param == "mapped" else {})


def _destination(lake: DeltaLake, **terms: Any) -> DeltaDestination:
    destination = made(lake, layout(**terms))
    assert isinstance(destination, DeltaDestination)
    return destination


def _fill(destination: DeltaDestination, commits: int = 6) -> list[dict[str, Any]]:
    given = [row(i, updated=datetime(2025, 1, 1 + i % 3, 5, tzinfo=UTC)) for i in range(3 * commits)]
    random.Random(2).shuffle(given)
    for version in range(commits):
        destination.append(frames(*given[3 * version : 3 * version + 3]), at(version + 1))
    return given


def test_small_files_of_a_partition_become_one(lake: DeltaLake) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    before = lake.data_files()
    done = destination.compact(MEBI)
    assert done.files_before == len(before)
    assert done.files_after == len(lake.data_files()) == 3
    assert done.bytes_before == sum(file.stat().st_size for file in before)
    assert done.bytes_after == sum(file.stat().st_size for file in lake.data_files()) < done.bytes_before
    assert done.table_version == destination.table_version() == 7
    assert_holds(lake, *given)
    assert destination.applied("log") == at(6)
    assert list(read_feed(lake.path, 7, 7)) == []
    destination.upsert(frame(row(1, 2, "UPDATE", note="x")), at(7))
    assert_holds(lake, *(r for r in given if r["id"] != 1), row(1, 2, "UPDATE", note="x"))


@pytest.mark.parametrize(("chunk_bytes", "target_bytes"), [(8_000, MEBI), (MEBI, 15_000)])
def test_it_settles(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, target_bytes: int) -> None:
    """Whether files are bounded by what memory may hold or by the target."""
    monkeypatch.setattr("cdc_platform.destinations.arrange.CHUNK_BYTES", chunk_bytes)
    destination = _destination(lake)
    given = _fill(destination, 30)
    first = destination.compact(target_bytes)
    assert 1 < first.files_after < first.files_before
    settled = [destination.compact(target_bytes).table_version for _ in range(4)]
    assert settled[-2] == settled[-1]
    assert by_key(pl.concat(list(destination.scan()))).equals(by_key(frame(*given)))


def test_files_of_the_target_size_stay(lake: DeltaLake) -> None:
    destination = _destination(lake)
    _fill(destination)
    size = max(file.stat().st_size for file in lake.data_files())
    assert destination.compact(size // 2).table_version == 6
    done = destination.compact(2 * size + 100)
    assert done.files_after == 3


def test_rows_are_sorted_inside_files(lake: DeltaLake) -> None:
    destination = _destination(lake, partitions=["day(updated)"], sort=["note desc", "id"])
    given = [row(i, note=str(i % 4) if i % 5 else None) for i in range(30)]
    random.Random(1).shuffle(given)
    for version in range(5):
        destination.append(iter([frame(*given[6 * version : 6 * version + 6])]), at(version + 1))
    destination.compact(MEBI)
    (file,) = lake.data_files()
    found = pl.DataFrame(pq.read_table(file, partitioning=None)).select("note", "id")
    assert found.equals(found.sort(["note", "id"], descending=[True, False], nulls_last=True))
    assert by_key(pl.concat(list(destination.scan()))).equals(by_key(frame(*given)))


def test_without_a_sort_order_rows_stay_in_the_log_order(lake: DeltaLake) -> None:
    destination = _destination(lake)
    for version in range(1, 6):
        destination.append(iter([frame(row(9 - version), row(19 - version))]), at(version))
    destination.compact(MEBI)
    (file,) = lake.data_files()
    assert pq.read_table(file)["id"].to_pylist() == [8, 18, 7, 17, 6, 16, 5, 15, 4, 14]


def test_files_of_every_age_of_the_shape(lake: DeltaLake) -> None:
    shape = layout(["day(updated)"], ["small"])
    destination = lake.open(shape)
    assert isinstance(destination, DeltaDestination)
    destination.ensure(FIRST)
    same = datetime(2025, 3, 3, tzinfo=UTC)
    destination.append(iter([rows(FIRST, {"id": 1, "updated": same})]), at(1))
    second = renamed(FIRST, small="little", updated="changed")
    destination.evolve(second, at(2))
    destination.append(iter([rows(second, {"id": 2, "changed": same})]), at(3))
    third = changed(added(second, "small", pa.string(), 8), "amount", type=pa.decimal128(20, 2))
    destination.evolve(third, at(4))
    destination.append(iter([rows(third, {"id": 3, "changed": same})]), at(5))
    assert destination.compact(MEBI).files_after == 1
    old = rows(third, {"id": 1, "changed": same, "small": None}, {"id": 2, "changed": same, "small": None})
    assert_shape(lake, third, old, rows(third, {"id": 3, "changed": same}), shape=shape)


def test_an_empty_table(lake: DeltaLake) -> None:
    destination = _destination(lake)
    assert destination.compact(MEBI).files_after == 0
    with pytest.raises(NeedsPerson):
        DeltaDestination(str(lake.root / "none"), layout()).compact(MEBI)


def _racing(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    original = cdc_platform.destinations.delta_log.put

    def put(*arguments: Any) -> None:
        monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", original)
        act()
        original(*arguments)

    monkeypatch.setattr(cdc_platform.destinations.delta_log, "put", put)


def test_an_append_in_between_does_not_matter(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    other = made(lake)
    _racing(monkeypatch, lambda: other.append(frames(row(99)), at(7)))
    done = destination.compact(MEBI)
    assert done.files_after == 4
    assert_holds(lake, *given, row(99))


def test_a_writer_of_the_same_files_wins(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    files = len(lake.stored_files())
    other = made(lake)
    _racing(monkeypatch, lambda: other.upsert(frame(row(1, 2, "UPDATE", note="x")), at(7)))
    with pytest.raises(Unavailable, match="changed while it was rewritten"):
        destination.compact(MEBI)
    assert_holds(lake, *(r for r in given if r["id"] != 1), row(1, 2, "UPDATE", note="x"))
    assert other.applied("log") == at(7)
    data = {file for file in lake.stored_files() if "_change_data" not in file.parts}
    assert len(data) == files + 1 + 1
    assert destination.compact(MEBI).files_after == 4


def test_a_writer_in_between_finds_the_compacted_files(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    other = made(lake)
    _racing(monkeypatch, lambda: destination.compact(MEBI))
    other.upsert(frame(row(1, 2, "UPDATE", note="x")), at(7))
    assert_holds(lake, *(r for r in given if r["id"] != 1), row(1, 2, "UPDATE", note="x"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device"), Conflict()], ids=str)
def test_a_failing_commit_leaves_the_rows(
    lake: DeltaLake, monkeypatch: pytest.MonkeyPatch, when: str, error: BaseException
) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    files = set(lake.stored_files())
    monkeypatch.setattr("cdc_platform.destinations.commit.ATTEMPTS", 2)
    original = cdc_platform.destinations.delta_log.put

    def failing(*arguments: Any) -> None:
        if when == "after":
            original(*arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(cdc_platform.destinations.delta_log, "put", failing)
        try:
            destination.compact(MEBI)
        except (Killed, CdcError):
            assert when == "before" or isinstance(error, Killed)
        else:
            assert when == "after"
    assert_holds(lake, *given)
    if when == "before" and not isinstance(error, Killed):
        assert set(lake.stored_files()) == files


def test_a_full_disk_leaves_nothing(lake: DeltaLake, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = _destination(lake, partitions=["day(updated)"])
    given = _fill(destination)
    files = set(lake.stored_files())

    def full(*arguments: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(Unavailable, match="no space is left"):
            destination.compact(MEBI)
    assert set(lake.stored_files()) == files
    assert_holds(lake, *given)


def test_the_commit_says_that_no_row_changed(lake: DeltaLake) -> None:
    destination = made(lake, DAILY)
    assert isinstance(destination, DeltaDestination)
    _fill(destination)
    files = len(lake.data_files())
    version = destination.compact(MEBI).table_version
    lines = (lake.path / "_delta_log" / f"{version:020d}.json").read_text().splitlines()
    changes = [
        action["dataChange"] for line in lines for kind, action in json.loads(line).items() if kind != "commitInfo"
    ]
    assert changes == [False] * (files + 3)
