"""A log whose table changes: each event is read back under the names and types of its own time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.errors import Unavailable
from cdc_platform.model.event import events
from cdc_platform.model.position import LSN, Position
from cdc_platform.model.schema import Column, Fingerprint, TableSchema
from cdc_platform_tests import readers
from cdc_platform_tests.model.changes import ORIGIN, SCHEMA, batch

ID, NAME = SCHEMA.columns
RENAMED = replace(SCHEMA, columns=(ID, replace(NAME, name="title")))
RETYPED = replace(SCHEMA, columns=(ID, replace(NAME, type=pa.int64(), source_type="bigint")))
WIDER = replace(SCHEMA, columns=(*SCHEMA.columns, Column("at", pa.timestamp("us"), True, "timestamp", 3)))


@pytest.fixture
def log(tmp_path: Path) -> ChangeLog:
    log = ChangeLog(tmp_path / "things")
    log.create(SCHEMA, ORIGIN, LSN, Fingerprint("made", "here"))
    write(log, {"id": 1, "name": "a"}, snapshot=True)
    return log


def write(log: ChangeLog, *rows: dict[str, Any], snapshot: bool = False) -> None:
    """Each row as an INSERT of the log's present shape, behind what is there."""
    position = log.position()
    at = position.at if position else 7
    changes = batch(*((at, n, None, row) for n, row in enumerate(rows)), schema=log.schema())
    frame = events(changes, ORIGIN, log.shapes()[-1].number, datetime.now(UTC), snapshot=snapshot)
    log.append([frame], Position(at + 1), position, snapshot=snapshot)


def evolve(log: ChangeLog, schema: TableSchema) -> int:
    position = log.position()
    assert position is not None
    return log.evolve(schema, ["changed"], position, position)


def read(log: ChangeLog, after: int = 0) -> list[tuple[int, list[dict[str, Any]]]]:
    """(number of the shape, rows) of each slice."""
    return [
        (part.shape.number, [row for frame in part.frames() for row in frame["after"].to_list()])
        for part in log.read(after)
    ]


def test_each_version_is_read_in_its_own_shape(log: ChangeLog) -> None:
    evolve(log, RENAMED)
    write(log, {"id": 2, "title": "b"})
    evolve(log, WIDER)
    write(log, {"id": 3, "name": "c", "at": datetime(2026, 1, 2)})
    evolve(log, RETYPED)
    write(log, {"id": 4, "name": 44})
    write(log, {"id": 5, "name": None})
    assert read(ChangeLog(log.path)) == [
        (1, [{"id": 1, "name": "a"}]),
        (2, [{"id": 2, "title": "b"}]),
        (3, [{"id": 3, "name": "c", "at": datetime(2026, 1, 2)}]),
        (4, [{"id": 4, "name": 44}, {"id": 5, "name": None}]),
    ]
    assert [shape.schema for shape in log.shapes()] == [SCHEMA, RENAMED, WIDER, RETYPED]
    assert log.shapes()[-1].fields == ("id", "name#2")


def test_a_shape_without_rows_is_told_and_one_with_rows_once(log: ChangeLog) -> None:
    version = evolve(log, RENAMED)
    assert read(log, after=1) == [(2, [])]
    write(log, {"id": 2, "title": "b"})
    assert read(log, after=1) == [(2, [{"id": 2, "title": "b"}])]
    assert read(log, after=version) == [(2, [{"id": 2, "title": "b"}])]
    assert log.shape_at(version - 1).number == 1
    assert log.shape_at(version).number == 2


def test_a_column_that_comes_back_uses_its_field_again(log: ChangeLog) -> None:
    evolve(log, replace(SCHEMA, columns=(ID,)))
    write(log, {"id": 2})
    evolve(log, replace(SCHEMA, columns=(ID, replace(NAME, source_id=3))))
    write(log, {"id": 3, "name": "c"})
    assert log.shapes()[-1].fields == ("id", "name")
    assert read(log)[1:] == [(2, [{"id": 2}]), (3, [{"id": 3, "name": "c"}])]


def test_names_that_differ_in_case_alone_stand_apart(log: ChangeLog) -> None:
    evolve(log, replace(SCHEMA, columns=(ID, NAME, Column("NAME", pa.string(), True, "text", 3))))
    write(log, {"id": 2, "name": "low", "NAME": "HIGH"})
    assert log.shapes()[-1].fields == ("id", "name", "NAME#2")
    assert read(log)[-1] == (2, [{"id": 2, "name": "low", "NAME": "HIGH"}])


def test_other_readers_read_the_log_at_every_version(log: ChangeLog) -> None:
    evolve(log, RENAMED)
    write(log, {"id": 2, "title": "b"})
    evolve(log, WIDER)  # the first time without zone: the table's protocol has to say so
    write(log, {"id": 3, "name": "c", "at": datetime(2026, 1, 2)})
    query = "select after.id, after.name, after.title, after.at from it order by 1"
    rows = readers.duckdb_delta(log.path, query).rows()
    assert rows == [
        (1, "a", None, None),
        (2, None, "b", None),
        (3, "c", None, datetime(2026, 1, 2)),
    ]
    assert DeltaTable(str(log.path)).to_pyarrow_table().num_rows == 3
    DeltaTable(str(log.path)).create_checkpoint()
    assert [shape.schema for shape in ChangeLog(log.path).shapes()] == [SCHEMA, RENAMED, WIDER]


def test_the_shape_moves_with_the_position(log: ChangeLog) -> None:
    position = log.position()
    assert position is not None
    log.evolve(RENAMED, ["x"], Position(20, 3), position)
    again = ChangeLog(log.path)
    assert (again.position(), again.schema()) == (Position(20, 3), RENAMED)
    with pytest.raises(Unavailable, match="somebody else wrote"):
        again.evolve(SCHEMA, ["y"], Position(21), position)


def test_rows_are_marked_as_doubtful_until_they_are_compared(log: ChangeLog) -> None:
    assert log.unlogged() is None
    position = log.position()
    assert position is not None
    log.mark_unlogged("a statement-based UPDATE", position, position)
    assert ChangeLog(log.path).unlogged() == "a statement-based UPDATE"
    write(log, {"id": 2, "name": "b"})
    assert log.unlogged() == "a statement-based UPDATE"
    log.append([], Position(30), log.position(), compared=Fingerprint("made", "elsewhere"))
    assert (log.unlogged(), log.fingerprint()) == (None, Fingerprint("made", "elsewhere"))
    log.mark_unlogged("ALTER TABLE", Position(31), Position(30))
    assert log.unlogged() == "ALTER TABLE"
