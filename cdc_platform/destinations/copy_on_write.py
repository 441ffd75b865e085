"""An upsert planned as copy-on-write: which files hold a changed key, and what stands in their place.

    changes (one row a key)
       │  bounds of the key columns, by file            files that may hold one      nothing read
       │  key and position columns of those             files that do: `touched`     joined while streaming
       ▼
    touched files, some at a time: rows whose key is not among the changes  ─┐
    changes that are no DELETE                                              ─┴─> new files, one commit

Cost follows the files touched, not the table. Only key bounds choose files, never partitions: the partition of a
key's old row need not be that of its new one. Shared by both formats; each tells of its files as `LiveFiles`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from cdc_platform.destinations.rows import OPERATION
from cdc_platform.destinations.stale import is_older, position_columns
from cdc_platform.errors import InvalidRow
from cdc_platform.model.change import DELETE

FILE: Final = "\x1ffile"
_BATCH_BYTES: Final = 16 << 20
_THERE: Final = "\x1fthere"


@dataclass(frozen=True, slots=True)
class LiveFiles:
    """The data files of one version of a table.

    `bounds` has, for key columns that statistics are usable of, a frame (low, high) with a row a file, null where
    unknown. `read` gives all rows of some files, by their places in `paths`: the named columns and `FILE`, the
    file's place. `paths` are as the table's metadata writes them.
    """

    paths: Sequence[str]
    sizes: Sequence[int]
    bounds: Mapping[str, pl.DataFrame]
    read: Callable[[Sequence[int], Sequence[str]], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class Plan:
    """`changes` are those that apply; `found` holds the keys among them that the table has a row of."""

    touched: Sequence[int]
    changes: pl.DataFrame
    found: pl.DataFrame


def plan(live: LiveFiles, changes: pl.DataFrame, key: Sequence[str]) -> Plan:
    """Look up every changed key. Reads key and position columns of the files whose bounds admit one.

    Raises InvalidRow for a null in a key: such a row could never be found again.
    """
    names = list(key)
    for name in names:
        if nulls := changes[name].null_count():
            raise InvalidRow(f"column '{name}' is part of the key and {nulls:,} changes have no value in it")
    candidates = may_hold(live, changes, names)
    if not candidates:
        return Plan((), changes, changes.select(names).clear())
    positions = position_columns(changes.columns)
    matches = (
        changes.lazy()
        .select(*names, *positions)
        .join(live.read(candidates, [*names, *positions]), on=names, how="inner", suffix=_THERE)
        .collect(engine="streaming")
    )
    if positions:
        stale = matches.filter(is_older(positions, _THERE)).select(names)
        if stale.height:
            changes = changes.join(stale, on=names, how="anti")
            matches = matches.join(stale, on=names, how="anti")
    touched = matches[FILE].unique().sort().to_list()
    return Plan(touched, changes, matches.select(names).unique())


def may_hold(live: LiveFiles, changes: pl.DataFrame, key: Sequence[str]) -> list[int]:
    """Places of the files in whose bounds at least one changed value lies, for every key column with bounds."""
    if changes.is_empty():
        return []
    possible = pl.repeat(True, len(live.paths), eager=True, dtype=pl.Boolean)
    for name in key:
        bounds = live.bounds.get(name)
        if bounds is None:
            continue
        values = changes[name].unique().sort()
        low = values.search_sorted(bounds["low"].fill_null(values[0]), side="left")
        high = values.search_sorted(bounds["high"].fill_null(values[-1]), side="right")
        unknown = bounds["low"].is_null() | bounds["high"].is_null()
        possible &= (low < high) | unknown
    return possible.arg_true().to_list()


def rewritten(
    live: LiveFiles, made: Plan, key: Sequence[str], columns: Sequence[str], replaced: Callable[[pl.DataFrame], None]
) -> Iterator[pl.DataFrame]:
    """The rows that stand in place of the touched files: what stays of them, then the changes that are no DELETE.

    `replaced` is given the rows that go (as they were), for a change feed.
    """
    changed = made.changes.select(list(key))
    for batch in batches(made.touched, live.sizes):
        rows = live.read(batch, columns).select(list(columns)).collect()
        yield rows.join(changed, on=list(key), how="anti")
        replaced(rows.join(changed, on=list(key), how="semi"))
    yield made.changes.filter(pl.col(OPERATION) != DELETE).select(list(columns))


def parted(rows: pl.DataFrame, numbers: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a file without those of these numbers (Int64), and those."""
    chosen = pl.int_range(rows.height, dtype=pl.Int64, eager=True).is_in(numbers.implode())
    return rows.filter(~chosen), rows.filter(chosen)


def batches(files: Sequence[int], sizes: Sequence[int]) -> Iterator[list[int]]:
    """Files that are read at once: up to a bound of stored bytes, at least one."""
    batch: list[int] = []
    held = 0
    for file in files:
        if batch and held + sizes[file] > _BATCH_BYTES:
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += sizes[file]
    if batch:
        yield batch
