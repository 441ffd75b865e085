"""What changed, from rows gone and come, and from a history's rows: pure."""

from __future__ import annotations

import polars as pl
import pytest

from cdc_platform.errors import InvalidRow
from cdc_platform.sources.lake import history, plan
from cdc_platform.sources.lake.plan import HASHES
from cdc_platform.sources.lake.rows import ROW, SIDE_GONE


def index(*rows: tuple[int, bool, int]) -> pl.DataFrame:
    """(key, gone, content) a row, in their order."""
    return pl.DataFrame(
        [(key, number, gone, content, content) for number, (key, gone, content) in enumerate(rows)],
        schema={"id": pl.Int64, ROW: pl.Int64, SIDE_GONE: pl.Boolean, **dict.fromkeys(HASHES, pl.UInt64)},
        orient="row",
    )


def test_rows_that_are_equal_on_both_sides_are_nothing() -> None:
    rows = index((1, True, 7), (2, True, 7), (3, True, 7), (3, False, 7), (2, False, 8), (4, False, 7))
    assert plan.changes(rows, ["id"], False, "t").rows() == [
        ("DELETE", 0, None, 0),
        ("UPDATE", 1, 4, 4),
        ("INSERT", None, 5, 5),
    ]
    # A commit that tells of its updates tells of one that changed nothing, too.
    assert [row[0] for row in plan.changes(rows, ["id"], True, "t").rows()] == ["DELETE", "UPDATE", "UPDATE", "INSERT"]


def test_without_a_key_equal_rows_are_counted() -> None:
    rows = index((1, True, 7), (1, True, 7), (1, True, 8), (1, False, 7), (1, False, 9))
    assert [row[:3] for row in plan.changes(rows, [], False, "t").rows()] == [
        ("DELETE", 1, None),
        ("DELETE", 2, None),
        ("INSERT", None, 4),
    ]


def test_a_key_that_is_there_twice_is_none() -> None:
    with pytest.raises(InvalidRow, match="several rows have the same id"):
        plan.changes(index((1, False, 7), (1, False, 8), (1, True, 7)), ["id"], False, "t")


def test_a_histories_changes_of_one_key_go_by_their_own_order() -> None:
    own = ("_cdc_operation", "_cdc_source_lsn")
    rows = pl.DataFrame(
        [(2, 0, "UPDATE", "9"), (1, 1, "DELETE", "3"), (2, 2, "DELETE", "5"), (2, 3, "INSERT", "7")],
        schema={"id": pl.Int64, ROW: pl.Int64, own[0]: pl.String, own[1]: pl.String},
        orient="row",
    )
    told = history.changes(rows, ["id"], own, "t").rows()
    assert [(kind, before, after) for kind, before, after, _ in told] == [
        ("DELETE", 1, None),
        ("DELETE", 2, None),
        ("INSERT", None, 3),
        ("UPDATE", None, 0),
    ]
    assert [row[3] for row in told] == [1, 4, 5, 6]
    assert history.state(rows, ["id"], own).to_list() == [0]
