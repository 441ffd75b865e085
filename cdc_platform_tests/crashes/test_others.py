"""Others at work on the same tables, between our reading and our commit: nothing is lost, nothing is there twice.

A run is stopped at a named place, somebody else does something, and the run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from cdc_platform_tests.crashes.forks import LOCK
from cdc_platform_tests.crashes.ground import Ground


def _rewrite_delta(stand: Ground) -> None:
    """What a compaction does, thoroughly: every row in another file."""
    for path in (stand.world.home / "lake" / "deltalake").glob("*"):
        write_deltalake(str(path), DeltaTable(str(path)).to_pyarrow_table(), mode="overwrite")


def _rewrite_iceberg(stand: Ground) -> None:
    for name in ("one_iceberg_upsert", "two_iceberg_append"):
        table = stand.world.iceberg_table(name)
        table.overwrite(table.scan().to_arrow())


@pytest.mark.parametrize(
    ("stand", "place", "meddle"),
    [
        ("postgres", "delta.files.written", _rewrite_delta),
        ("mysql", "delta.evolve.committing", _rewrite_delta),
        ("mysql", "iceberg.files.written", _rewrite_iceberg),
        ("postgres", "iceberg.swapping", _rewrite_iceberg),
    ],
    indirect=["stand"],
)
def test_another_writer_of_a_destination(stand: Ground, place: str, meddle: Callable[[Ground], None]) -> None:
    stand.work()
    with stand.stopped_at(place) as run:
        meddle(stand)
    ended = stand.ended(run)
    assert ended.code == 0, ended.words
    stand.assert_whole()


@pytest.mark.parametrize("stand", ["mysql"], indirect=True)
def test_another_writer_of_a_change_log(stand: Ground) -> None:
    """It is no table for others: the run says so, and writes nothing over it."""
    stand.work()
    with stand.stopped_at("log.files.written") as run:
        for path in _logs(stand):
            DeltaTable(str(path)).alter.set_table_properties({"delta.logRetentionDuration": "interval 40 days"})
    ended = stand.ended(run)
    assert ended.code == 3
    assert "somebody else wrote meanwhile to the change log" in ended.words
    assert stand.cdc().code == 0
    stand.assert_whole()


@pytest.mark.parametrize("stand", ["postgres"], indirect=True)
def test_two_runs_at_once_and_the_second_waits(stand: Ground) -> None:
    stand.work()
    with stand.stopped_at("log.files.written") as first:
        second = stand.start()
        time.sleep(1)
        assert stand.forks.runs(second.pid)
        assert not second.words.read_text()
    assert stand.ended(first).code == 0
    assert stand.ended(second).code == 0
    stand.assert_whole()


@pytest.mark.parametrize("stand", ["mysql"], indirect=True)
def test_two_runs_at_once_and_the_second_says_so(stand: Ground) -> None:
    stand.work()
    with stand.stopped_at("log.files.written") as first:
        stand.world.extra = {LOCK: "2"}
        ended = stand.cdc()
        assert ended.code == 3
        assert f"another process works on 'source-{stand.system}' since over 2 s" in ended.words
    assert stand.ended(first).code == 0
    stand.assert_whole()


def test_two_runs_at_once_from_nothing(stand: Ground) -> None:
    stand.put_back("begun")
    both = [stand.start() for _ in range(2)]
    assert [stand.ended(run).code for run in both] == [0, 0]
    stand.assert_whole()


def _logs(stand: Ground) -> list[Path]:
    return list((stand.world.home / "change_log").glob("*/*"))
