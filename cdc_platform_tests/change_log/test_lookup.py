"""The rows of some keys, looked up from the log's end, against a plain replay of the same changes."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.change_log import files
from cdc_platform.change_log.lookup import KNOWN, Reading, known_rows
from cdc_platform_tests.change_log.test_state import Row, histories, logged, replayed


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_the_rows_of_keys(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    commits = data.draw(histories(keyed=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_ROW_GROUP_ROWS", data.draw(st.sampled_from([1, 3, 1000])))
        log = logged(tmp_path_factory.mktemp("log"), commits, ("id",))
    wanted = data.draw(st.sets(st.integers(-1, 9)))
    found = known_rows(log, pl.DataFrame({"id": sorted(wanted)}, schema={"id": pl.Int64}))
    assert {row["id"]: row[KNOWN] for row in found.to_dicts()} == {
        row["id"]: row for row in replayed(commits) if row["id"] in wanted
    }


def test_groups_that_cannot_hold_a_key_are_not_read(tmp_path: Path) -> None:
    changes: list[tuple[Row | None, Row | None]] = [(None, {"id": n, "body": "x"}) for n in range(100)]
    commits = [(False, changes[n : n + 10]) for n in range(0, 100, 10)]
    log = logged(tmp_path, commits, ("id",))

    def read(*ids: int) -> tuple[int, int]:
        reading = Reading()
        found = known_rows(log, pl.DataFrame({"id": ids}, schema={"id": pl.Int64}), reading)
        return found.height, reading.groups

    assert read(100, 4711) == (0, 0)
    assert read(95, 100) == (1, 1)
    assert read(5, 95) == (2, 2)
