"""Rows larger than memory's share: spilled, merged, sorted, none lost, partitions whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cdc_platform.destinations.arrange import Arrangement, arranged
from cdc_platform.model.target import PartitionField, SortField


def _frame(rows: int, partitions: int, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "key": random.permutation(rows),
            "part": pl.Series(random.integers(0, partitions, rows)).cast(pl.String),
            "text": [None if i % 7 == 0 else "x" * (i % 30) for i in range(rows)],
        }
    ).with_columns(pl.when(pl.col("part") != "0").then("part"))


@pytest.mark.parametrize("limit", [2_000, 20_000, 10_000_000])
def test_packs_are_sorted_and_whole(tmp_path: Path, limit: int) -> None:
    rows = _frame(3_000, 40)
    arrangement = Arrangement((PartitionField("part", "identity"),), (SortField("key", True),), limit)
    spool = tmp_path / "spool"
    packs = list(arranged(rows.iter_slices(170), arrangement, spool))
    assert pl.concat(packs).select(rows.columns).sort("key").equals(rows.sort("key"))
    assert not spool.exists()
    seen: list[str | None] = []
    for pack in packs:
        assert pack.equals(arrangement.sorted(pack.select(rows.columns)))
        seen += arrangement.runs(pack)[arrangement.partition_columns[0]].to_list()
    # A partition comes once, unless it alone is larger than a pack may be.
    if limit > 2_000:
        assert len(seen) == len(set(seen)) == 40


def test_without_partitions_nothing_is_spilled(tmp_path: Path) -> None:
    rows = _frame(3_000, 3)
    (tmp_path / "spool").write_text("in the way: making the folder would fail")
    arrangement = Arrangement((), (SortField("key"),), 10_000)
    packs = list(arranged([rows], arrangement, tmp_path / "spool"))
    assert len(packs) > 5
    assert all(a <= b for pack in packs for a, b in pairwise(pack["key"]))
    assert pl.concat(packs).sort("key").equals(rows.sort("key"))


def test_rows_keep_their_order_without_sort_terms(tmp_path: Path) -> None:
    rows = _frame(500, 5).with_columns(order=pl.int_range(500))
    (pack,) = arranged([rows], Arrangement((PartitionField("part", "identity"),), ()), tmp_path)
    for part in pack.partition_by("part"):
        assert part["order"].is_sorted()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "0.arrow").write_bytes(b"half a file")
    arrangement = Arrangement((PartitionField("part", "identity"),), (), 5_000)
    packs = list(arranged([_frame(1_000, 4)], arrangement, spool))
    assert sum(pack.height for pack in packs) == 1_000
    assert not spool.exists()
