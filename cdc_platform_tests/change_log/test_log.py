from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable
from cdc_platform.model.event import events
from cdc_platform.model.position import LSN, Position
from cdc_platform_tests.model.changes import ORIGIN, SCHEMA, batch


def some_events(*ids: int, at: int = 8, snapshot: bool = False) -> pl.DataFrame:
    changes = [(at, n, None, {"id": i, "name": f"n{i}"}) for n, i in enumerate(ids)]
    return events(batch(*changes), ORIGIN, 1, datetime.now(UTC), snapshot=snapshot)


@pytest.fixture
def log(tmp_path: Path) -> ChangeLog:
    log = ChangeLog(tmp_path / "logs" / "things")
    log.create(SCHEMA, ORIGIN, LSN)
    return log


def rows(log: ChangeLog, after: int = 0) -> list[int]:
    return [
        i for part in log.read(after) for f in part.frames() for i in f["after"].struct.field("id").to_list()
    ]  # fmt: skip


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    log = ChangeLog(tmp_path / "none")
    assert (log.exists(), log.position(), log.version()) == (False, None, -1)
    with pytest.raises(NeedsPerson, match="no change log"):
        log.schema()


def test_what_it_was_made_with_is_read_back(log: ChangeLog) -> None:
    again = ChangeLog(log.path)
    assert again.exists()
    assert again.position() is None
    assert again.schema() == SCHEMA
    assert again.origin() == ORIGIN


def test_position_and_events_come_together(log: ChangeLog) -> None:
    log.append([some_events(1, 2, at=7, snapshot=True)], Position(8), None, snapshot=True)
    log.append([some_events(3, at=16), some_events(4, at=24)], Position(24, 5), Position(8))
    again = ChangeLog(log.path)
    assert again.position() == Position(24, 5)
    assert again.position_of(2) == "00000000/00000018#5"
    assert rows(again) == [1, 2, 3, 4]
    assert rows(again, after=1) == [3, 4]


def test_advance_moves_the_position_and_adds_nothing(log: ChangeLog) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)
    log.advance(Position(99), Position(8))
    assert log.position() == Position(99)
    assert list(log.read(after=1)) == []
    assert rows(log) == [1]


def test_empty_commits_behind_the_last_events_are_not_opened(log: ChangeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)
    log.advance(Position(9), Position(8))
    log.append([some_events(2, at=16)], Position(17), Position(9))
    for number in range(18, 21):
        log.advance(Position(number), Position(number - 1))
    opened: list[int] = []
    open_commit = ChangeLog._actions

    def noted(self: ChangeLog, version: int) -> Any:
        opened.append(version)
        return open_commit(self, version)

    monkeypatch.setattr(ChangeLog, "_actions", noted)
    assert list(log.read(after=3)) == []
    assert opened == []
    assert [part.version for part in log.read(after=1)] == [3]
    assert opened == [2, 3]


def test_slices_gather_commits_and_keep_the_snapshot_apart(log: ChangeLog) -> None:
    log.append([some_events(1, 2, 3)], Position(8), None, snapshot=True)
    for number in range(5):
        before = log.position()
        log.append([some_events(10 + number, at=16 + number)], Position(17 + number), before)
    parts = list(log.read(after=0, rows=2))
    assert [(p.version, p.rows, p.snapshot) for p in parts] == [
        (1, 3, True),
        (3, 2, False),
        (5, 2, False),
        (6, 1, False),
    ]
    assert [(p.version, p.rows) for p in log.read(after=0)] == [(1, 3), (6, 5)]


def test_the_position_survives_checkpoints(log: ChangeLog) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)
    table = DeltaTable(str(log.path))
    table.create_checkpoint()
    for file in (log.path / "_delta_log").glob("*.json"):
        if file.name < f"{table.version():020}.json":
            file.unlink()
    assert ChangeLog(log.path).position() == Position(8)


def test_a_failure_while_events_come_leaves_no_commit(log: ChangeLog) -> None:
    class Broken(CdcError):
        pass

    def failing() -> Iterator[pl.DataFrame]:
        yield some_events(1)
        raise Broken("the source went away")

    with pytest.raises(CdcError, match="the source went away"):
        log.append(failing(), Position(8), None, snapshot=True)
    assert log.position() is None
    assert rows(log) == []
    log.append([some_events(1)], Position(8), None, snapshot=True)
    assert rows(log) == [1]


def test_a_process_killed_while_writing_leaves_no_commit(log: ChangeLog) -> None:
    script = textwrap.dedent("""
        import os, sys, signal
        from pathlib import Path
        from cdc_platform.change_log.log import ChangeLog
        from cdc_platform.model.position import Position
        from cdc_platform_tests.change_log.test_log import some_events
        def frames():
            yield some_events(1)
            os.kill(os.getpid(), signal.SIGKILL)
        ChangeLog(Path(sys.argv[1])).append(frames(), Position(8), None, snapshot=True)
    """)
    done = subprocess.run([sys.executable, "-c", script, str(log.path)], check=False)
    assert done.returncode == -9
    assert ChangeLog(log.path).position() is None


def test_a_second_writer_is_noticed_and_nothing_is_written_twice(log: ChangeLog) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)

    def frames_while_another_commits() -> Iterator[pl.DataFrame]:
        # In a thread of its own: the writer's runtime, which pulls these frames, allows no second one in its thread.
        with ThreadPoolExecutor() as threads:
            threads.submit(ChangeLog(log.path).append, [some_events(2, at=16)], Position(17), Position(8)).result()
        yield some_events(2, at=16)

    with pytest.raises(Unavailable, match="somebody else wrote"):
        log.append(frames_while_another_commits(), Position(17), Position(8))
    assert rows(log) == [1, 2]
    assert log.position() == Position(17)
    with pytest.raises(Unavailable, match="somebody else wrote"):
        log.append([some_events(2, at=16)], Position(17), Position(8))


def test_what_a_dead_snapshot_left_gives_way_to_the_tables_new_shape(log: ChangeLog) -> None:
    log.create(SCHEMA, ORIGIN, LSN)
    other = dataclasses.replace(SCHEMA, columns=SCHEMA.columns[:1])
    log.create(other, ORIGIN, LSN)
    assert log.schema() == other


def test_a_log_with_events_is_never_begun_anew(log: ChangeLog) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)
    with pytest.raises(NeedsPerson, match="already"):
        log.create(SCHEMA, ORIGIN, LSN)
    assert rows(log) == [1]


def test_a_lost_commit_stops(log: ChangeLog) -> None:
    log.append([some_events(1)], Position(8), None, snapshot=True)
    log.append([some_events(2)], Position(16), Position(8))
    (log.path / "_delta_log" / f"{1:020}.json").unlink()
    with pytest.raises(NeedsPerson):
        list(log.read(after=0))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot write"):
        ChangeLog(tmp_path / "logs" / "x").create(SCHEMA, ORIGIN, LSN)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        ChangeLog(tmp_path / "logs" / "x").create(SCHEMA, ORIGIN, LSN)
    shutil.rmtree(tmp_path, ignore_errors=True)
