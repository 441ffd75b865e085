"""What holds of the ranges that any source splits a table into. No tests here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from cdc_platform.model import canonical
from cdc_platform.model.key_range import WHOLE, KeyRange, places
from cdc_platform.model.schema import TableName
from cdc_platform.sources.source import Snapshot


def read(snapshot: Snapshot, table: TableName, within: KeyRange | None = None) -> pl.DataFrame:
    frames = [batch.frame["after"].struct.unnest() for batch in snapshot.read(table, within=within)]
    return pl.concat(frames) if frames else pl.DataFrame()


def check_split(snapshot: Snapshot, table: TableName, rows: int) -> list[KeyRange]:
    """Read range by range a table is whole, each row in the range that `places` says; ranges split again likewise."""
    ranges = snapshot.split(table, rows)
    key = snapshot.schema(table).primary_key[0]
    whole = read(snapshot, table)
    assert ranges[0].low is None
    assert ranges[-1].high is None
    assert all(one.high == other.low is not None for one, other in pairwise(ranges))
    found = places(whole[key], ranges)
    assert found.null_count() == 0
    for number, one in enumerate(ranges):
        mine = whole.filter(found == number)
        got = read(snapshot, table, one)
        assert got.height == mine.height
        if got.height:
            assert got.sort(key).equals(mine.sort(key))
        distinct = mine[key].n_unique()
        assert mine.height <= rows or distinct == 1
    again = [piece for one in ranges for piece in snapshot.split(table, max(rows // 2, 1), one)]
    assert places(whole[key], again).null_count() == 0
    assert (again[0].low, again[-1].high) == (None, None)
    assert all(one.high == other.low is not None for one, other in pairwise(again))
    assert snapshot.split(table, whole.height + 1) == [KeyRange((key,))]
    assert snapshot.split(table, whole.height + 1, WHOLE) == [KeyRange((key,))]
    return ranges


def check_digests(
    snapshot: Snapshot, table: TableName, ranges: Sequence[KeyRange], columns: Sequence[str] | None = None
) -> None:
    """The database's digests of these columns, or all, are those of the rows as they are."""
    rows = read(snapshot, table)
    names = list(reversed(columns or snapshot.schema(table).names))
    found = snapshot.digests(table, names, ranges)
    assert found.schema == canonical.SCHEMA
    assert found.equals(canonical.digests([rows.head(3), rows.slice(3)], names, ranges))
    assert found.height == len(ranges)
