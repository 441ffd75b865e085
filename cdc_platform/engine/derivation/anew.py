"""A derived table's rows from nothing but the change logs of its inputs: what the table is compared with.

The other way to the same rows: no mirror, no former state, the last event of each row found in the whole log
(change_log/state.py). Memory holds a key, two hashes and a place for each row of an input, and the rows of a bucket.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cdc_platform.change_log.state import COUNT, PLACE, marks, rows_at
from cdc_platform.change_log.window import Window
from cdc_platform.engine.derivation.buckets import Files, Spool, buckets_for, read
from cdc_platform.engine.derivation.compute import computed
from cdc_platform.engine.derivation.definition import Wanted
from cdc_platform.engine.derivation.opened import Derivation


@dataclass(frozen=True, slots=True)
class Anew:
    """All rows, by bucket, of a derived table whose inputs are at some versions of their logs."""

    flow: Derivation
    buckets: int
    folder: Path
    wanted: Mapping[str, Wanted]
    files: Mapping[str, Files]

    def rows(self, bucket: int) -> pl.DataFrame:
        """The derived rows of a bucket."""
        inputs = {
            name: read(self.folder, self.files[name].get(bucket, ()), wanted.schema).select(wanted.names)
            for name, wanted in self.wanted.items()
        }
        return computed(self.flow.definition, self.flow.target, inputs, bucket, self.buckets)


@contextmanager
def anew(flow: Derivation, versions: Mapping[str, int]) -> Iterator[Anew]:
    """The rows as of these versions of the inputs' logs; their files are gone at the end."""
    wanted = flow.wanted(versions)
    shapes = {name: one.log.shape_at(versions[name]).schema for name, one in flow.inputs.items()}
    there: dict[str, pl.DataFrame] = {}
    for name, one in flow.inputs.items():
        window = Window(until=one.log.reached_by(versions[name]))
        there[name] = marks(one.log, window, shapes[name]).filter(pl.col(COUNT) > 0).select(PLACE)
    buckets = buckets_for(max(places.height for places in there.values()))
    folder = flow.folder / f"anew-{uuid.uuid4().hex}"
    files: dict[str, Files] = {}
    try:
        for name, one in flow.inputs.items():
            with Spool(folder, wanted[name].by, buckets) as spool:
                for found in rows_at(one.log, there.pop(name), shapes[name]):
                    spool.add(wanted[name].of(found["row"]).drop_nulls(wanted[name].by))
            files[name] = spool.files
        yield Anew(flow, buckets, folder, wanted, files)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
