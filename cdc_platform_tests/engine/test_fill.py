"""Holes are filled with what the row held before, wherever that was written: the batch, the log, under another key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.fill import filled
from cdc_platform.errors import NotUnderstood
from cdc_platform.model.change import OPERATION, TIMESTAMP_UTC, ChangeBatch
from cdc_platform.model.event import events
from cdc_platform.model.position import LSN, Position
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform_tests.model.changes import ORIGIN

_COLUMNS = (
    Column("id", pa.int64(), False, "bigint", 1),
    Column("body", pa.string(), True, "text", 2),
    Column("price", pa.decimal128(10, 2), True, "numeric(10,2)", 3),
)
SCHEMA = TableSchema(TableName("public", "things"), _COLUMNS, ("id",))
_ROW = pl.Struct({"id": pl.Int64, "body": pl.String, "price": pl.Decimal(10, 2)})

Row = dict[str, Any]
Change = tuple[str, Row | None, Row | None, bool]
"""Operation, key before or row before, row after, and whether `body` is left out."""


def batch(changes: list[Change], at: int) -> ChangeBatch:
    frame = pl.DataFrame(
        {
            "operation": pl.Series([c[0] for c in changes], dtype=OPERATION),
            "at": pl.Series([at] * len(changes), dtype=pl.Int64),
            "ordinal": pl.Series(range(len(changes)), dtype=pl.Int64),
            "lsn": pl.Series([f"{at:08X}/{i:08X}" for i in range(len(changes))], dtype=pl.String),
            "transaction_id": pl.Series([None] * len(changes), dtype=pl.String),
            "source_ts": pl.Series([datetime.now(UTC)] * len(changes), dtype=TIMESTAMP_UTC),
            "before": pl.Series([c[1] for c in changes], dtype=_ROW),
            "after": pl.Series([_without(c) for c in changes], dtype=_ROW),
        }
    )
    holes = pl.Series([c[3] for c in changes], dtype=pl.Boolean)
    return ChangeBatch(SCHEMA, frame, {"body": holes} if holes.any() else {})


def _without(change: Change) -> Row | None:
    _, _, after, hole = change
    return {**after, "body": None} if after and hole else after


def history(log: ChangeLog) -> list[Row | None]:
    return [row for part in log.read(0) for frame in part.frames() for row in frame["after"].to_list()]


def logged(log: ChangeLog, upto: int, changes: list[Change]) -> None:
    whole = filled(batch(changes, upto), log)
    frame = events(whole, ORIGIN, 1, datetime.now(UTC), snapshot=False)
    log.append([frame], Position(upto + 1), log.position())


@st.composite
def workloads(draw: st.DrawFn) -> tuple[list[list[Change]], list[Row | None]]:
    """Batches of changes of one table, and the whole rows that their events should hold."""
    state: dict[int, Row] = {}
    batches: list[list[Change]] = []
    expected: list[Row | None] = []
    for _ in range(draw(st.integers(1, 4))):
        changes: list[Change] = []
        for _ in range(draw(st.integers(1, 12))):
            free = [k for k in range(6) if k not in state]
            kind = draw(st.sampled_from(["insert", "update", "move", "delete"]))
            if not state or (kind == "insert" and free):
                key = draw(st.sampled_from(free))
                state[key] = {"id": key, "body": draw(st.none() | st.text(max_size=3)), "price": None}
                changes.append(("INSERT", None, state[key], False))
                expected.append(state[key])
                continue
            key = draw(st.sampled_from(sorted(state)))
            before = {"id": key, "body": None, "price": None}
            if kind == "delete":
                del state[key]
                changes.append(("DELETE", before, None, False))
                expected.append(None)
                continue
            moved = draw(st.sampled_from(free)) if kind == "move" and free else key
            row = {**state.pop(key), "id": moved}
            hole = draw(st.booleans())
            if not hole:
                row["body"] = draw(st.none() | st.text(max_size=3))
            state[moved] = row
            changes.append(("UPDATE", before, row, hole))
            expected += [None, row] if moved != key else [row]  # a changed key is a DELETE and an INSERT
        batches.append(changes)
    return batches, expected


@settings(deadline=None, max_examples=60)
@given(workload=workloads())
def test_every_hole_holds_what_the_row_held(
    workload: tuple[list[list[Change]], list[Row | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    batches, expected = workload
    log = new_log(tmp_path_factory.mktemp("log"))
    for number, changes in enumerate(batches):
        logged(log, 10 + number, changes)
    assert history(log) == expected


def new_log(folder: Path) -> ChangeLog:
    log = ChangeLog(folder / "things")
    log.create(SCHEMA, ORIGIN, LSN)
    log.append([], Position(5), None, snapshot=True)
    return log


def test_a_value_that_is_nowhere_stops(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    row = {"id": 1, "body": None, "price": None}
    with pytest.raises(NotUnderstood, match="column 'body' out, and the change log has no row"):
        logged(log, 10, [("UPDATE", row, row, True)])


def test_without_a_key_there_is_no_row_to_look_for(tmp_path: Path) -> None:
    row = {"id": 1, "body": None, "price": None}
    holed = batch([("UPDATE", row, row, True)], 10)
    keyless = ChangeBatch(TableSchema(SCHEMA.table, SCHEMA.columns, ()), holed.frame, holed.holes)
    with pytest.raises(NotUnderstood, match="give the table a primary key"):
        filled(keyless, new_log(tmp_path))
