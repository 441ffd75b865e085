"""How the rows that a derived table should have differ from those that it has, bucket by bucket.

Both sides are in memory a bucket at a time; what is held of all of them are the rows that differ. The time at which a
row was written is not compared.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from cdc_platform.engine.derivation.buckets import Spool, read
from cdc_platform.engine.derivation.changes import changed_rows, nothing
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.model.digest import Digest, digest, row_hashes

_HASHES = ("\x1fhash0", "\x1fhash1")


@dataclass(frozen=True, slots=True)
class Differences:
    """Digests of both sides, over the computed columns or some of them; the keys that differ (frames of key columns,
    each once); and in `rows` the upsert that mends them."""

    expected: Digest
    found: Digest
    missing: pl.DataFrame
    unexpected: pl.DataFrame
    different: pl.DataFrame
    rows: pl.DataFrame

    @property
    def equal(self) -> bool:
        return self.rows.is_empty()


def differences(
    flow: Derivation, expected: Callable[[int], pl.DataFrame], buckets: int, hashed: Sequence[str] | None = None
) -> Differences:
    """Compare what `expected` gives of each bucket with the table as it is. `hashed` are the columns of the digests."""
    table, target = flow.definition.table, flow.target
    key, empty = list(table.key), nothing(target)
    columns = [field.name for field in table.computed]
    folder = flow.folder / f"compared-{uuid.uuid4().hex}"
    sides = ([Digest(0, (0, 0))], [Digest(0, (0, 0))])
    kinds: dict[str, list[pl.DataFrame]] = {"missing": [], "unexpected": [], "different": []}
    rows = [changed_rows(flow, empty)]
    try:
        with Spool(folder, key, buckets) as spool:
            for frame in flow.destination.scan(columns):
                spool.add(frame.select(columns))
        for bucket in range(buckets):
            made = expected(bucket).select(columns)
            there = read(folder, spool.files.get(bucket, ()), empty.select(columns).schema).collect()
            for side, frame in zip(sides, (made, there), strict=True):
                side.append(digest([frame.select(hashed or columns)]))
            parted = _parted(made, there, key)
            for kind, keys in parted.items():
                kinds[kind].append(keys)
            stay = made.join(pl.concat([parted["missing"], parted["different"]]), on=key, how="semi")
            rows.append(changed_rows(flow, stay, parted["unexpected"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    none = empty.select(key)
    found = {kind: pl.concat([none, *frames]) for kind, frames in kinds.items()}
    return Differences(_sum(sides[0]), _sum(sides[1]), **found, rows=pl.concat(rows))


def _parted(made: pl.DataFrame, there: pl.DataFrame, key: list[str]) -> dict[str, pl.DataFrame]:
    """The keys whose rows differ, by how."""
    marks = [rows.select(key).with_columns(_hashes(rows)) for rows in (made, there)]
    single = marks[1].filter(~marks[1].select(key).is_duplicated())
    same = marks[0].join(single, on=[*key, *_HASHES], how="semi").select(key)
    mine, theirs = (mark.select(key).unique() for mark in marks)
    return {
        "missing": mine.join(theirs, on=key, how="anti"),
        "unexpected": theirs.join(mine, on=key, how="anti"),
        "different": mine.join(theirs, on=key, how="semi").join(same, on=key, how="anti"),
    }


def _hashes(rows: pl.DataFrame) -> list[pl.Series]:
    return [series.alias(name) for series, name in zip(row_hashes(rows), _HASHES, strict=True)]


def _sum(parts: list[Digest]) -> Digest:
    lanes = [sum(part.sums[lane] for part in parts) % (1 << 64) for lane in (0, 1)]
    return Digest(sum(part.rows for part in parts), (lanes[0], lanes[1]))
