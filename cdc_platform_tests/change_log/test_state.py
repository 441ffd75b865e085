"""What the log says the table holds, against a plain replay of the same changes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.change_log import state as state_module
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import COUNT, last_rows, live_rows, marks
from cdc_platform.model.event import events
from cdc_platform.model.position import LSN, Position
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform_tests.model.changes import ORIGIN, batch

TABLE = TableName("public", "things")
ID, BODY = Column("id", pa.int64(), False, "bigint", 1), Column("body", pa.string(), True, "text", 2)
MORE = Column("more", pa.int32(), True, "integer", 3)
Row = dict[str, Any]


@st.composite
def histories(draw: st.DrawFn, keyed: bool) -> list[tuple[bool, list[tuple[Row | None, Row | None]]]]:
    """Commits of changes (before, after); True: the column `more` is there from this commit on."""
    held: list[Row] = []
    commits: list[tuple[bool, list[tuple[Row | None, Row | None]]]] = []
    wide = False
    for _ in range(draw(st.integers(1, 5))):
        grown = not wide and draw(st.booleans())
        if grown:
            wide = True
            held = [{**row, "more": None} for row in held]
        changes: list[tuple[Row | None, Row | None]] = []
        for _ in range(draw(st.integers(1, 8))):
            kind = draw(st.sampled_from(["insert", "update", "delete"]))
            if kind == "insert" or not held:
                taken = {row["id"] for row in held} if keyed else set()
                ids = [i for i in range(8) if i not in taken]
                if not ids:
                    continue
                row = {"id": draw(st.sampled_from(ids)), "body": draw(st.none() | st.sampled_from(["x", "y"]))}
                row |= {"more": draw(st.none() | st.integers(0, 1))} if wide else {}
                held.append(row)
                changes.append((None, row))
                continue
            place = draw(st.integers(0, len(held) - 1))
            old = held.pop(place)
            if kind == "delete":
                changes.append((old, None))
                continue
            new = {**old, "body": draw(st.none() | st.sampled_from(["x", "y", "z"]))}
            held.append(new)
            changes.append((old, new))
        commits.append((grown, changes))
    return commits


def replayed(commits: list[tuple[bool, list[tuple[Row | None, Row | None]]]]) -> list[Row]:
    held: list[Row] = []
    for grown, changes in commits:
        if grown:
            held = [{**row, "more": None} for row in held]
        for before, after in changes:
            if before is not None:
                held.remove(next(row for row in held if row == before))
            if after is not None:
                held.append(after)
    return held


def logged(
    folder: Path, commits: list[tuple[bool, list[tuple[Row | None, Row | None]]]], key: tuple[str, ...]
) -> ChangeLog:
    log = ChangeLog(folder / "things")
    log.create(TableSchema(TABLE, (ID, BODY), key), ORIGIN, LSN)
    log.append([], Position(1), None, snapshot=True)
    for number, (grown, changes) in enumerate(commits):
        at, position = 10 + number, log.position()
        assert position is not None
        if grown:
            log.evolve(TableSchema(TABLE, (ID, BODY, MORE), key), ["grown"], Position(at), position)
            position = Position(at)
        rows = batch(*((at, n, before, after) for n, (before, after) in enumerate(changes)), schema=log.schema())
        frame = events(rows, ORIGIN, log.shapes()[-1].number, datetime.now(UTC), snapshot=False)
        log.append([frame], Position(at + 1), position)
    return log


def counted(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in rows)


@pytest.mark.parametrize("keyed", [True, False])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_rows_that_are_there(data: st.DataObject, keyed: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    commits = data.draw(histories(keyed=keyed))
    log = logged(tmp_path_factory.mktemp("log"), commits, ("id",) if keyed else ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_module, "_COLLAPSE_ROWS", data.draw(st.sampled_from([1, 4, 1000])))
        found = [row for frame in live_rows(log) for row in frame["row"].to_list()]
    assert counted(found) == counted(replayed(commits))


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_last_rows_of_keys(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    commits = data.draw(histories(keyed=True))
    log = logged(tmp_path_factory.mktemp("log"), commits, ("id",))
    wanted = data.draw(st.sets(st.integers(0, 9)))
    found = last_rows(log, pl.DataFrame({"id": sorted(wanted)}, schema={"id": pl.Int64}), ["body"])
    expected = {row["id"]: row["body"] for row in replayed(commits) if row["id"] in wanted}
    assert dict(found.select("id", "body").iter_rows() if found.width > 1 else ()) == expected


def test_a_key_that_went_is_remembered_with_its_place_in_the_log(tmp_path: Path) -> None:
    gone: list[tuple[Row | None, Row | None]] = [(None, {"id": 1, "body": "x"}), ({"id": 1, "body": "x"}, None)]
    (mark,) = marks(logged(tmp_path, [(False, gone)], ("id",))).to_dicts()
    assert (mark["id"], mark[COUNT], mark["lsn"]) == (1, 0, 11)
