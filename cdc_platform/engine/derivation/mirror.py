"""The current rows of a derived table's input, by the derived row that they belong to: what a change is looked up in.

    slice of the log ──> last change of each row ──┐
    bucket files of the keys in its images ────────┴──> rows that came, went or changed ──> new files of these buckets
                                                                 └──> their keys, before and after: touched

A cache: made again from the log alone wherever it is lost. `take` writes files beside those that count, which change
in `kept.py` and only behind the derived table's own commit. So a mirror is never ahead of that table, and what it
says was touched is all that was, whatever died in between.

Cost of a slice: the files of the buckets that its keys fall in, of the input's declared columns alone. Where a source
does not log rows before changes (Postgres' replica identity default), the buckets of moved and deleted rows are found
by the primary key, which is read of all buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.change_log.slices import Slice
from cdc_platform.engine.derivation.buckets import Files, Spool, bucket_of, read, written
from cdc_platform.engine.derivation.definition import Wanted
from cdc_platform.errors import InvalidRow
from cdc_platform.model.change import DELETE, INSERT
from cdc_platform.model.collapse import last_changes
from cdc_platform.model.digest import row_hashes

COLUMNS: Final = ("event_id", "operation", "timestamp", "before", "after", "metadata", "_at", "_ordinal", "_snapshot")


class Mirror:
    """The `count` rows of one input at `version` of its log, as the bucket files `files` of `folder`."""

    def __init__(
        self, folder: Path, wanted: Wanted, buckets: int, version: int = 0, files: Files | None = None, count: int = 0
    ) -> None:
        self.version, self.count = version, count
        self.files = dict(files or {})
        self._folder, self._wanted, self._buckets = folder, wanted, buckets
        self._key, self._by = wanted.key_names, list(wanted.by)

    def rows(self, bucket: int) -> pl.LazyFrame:
        """The rows of one bucket, with the columns that the definition names."""
        return self._read(bucket).select(self._wanted.names)

    def take(self, part: Slice, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Go on by a slice of the log (its `frames`, with `COLUMNS`); the keys that it touched, each once, in the
        columns `by`. Of a snapshot none are named: it touches all."""
        try:
            touched = self._grow(part, frames) if part.snapshot else self._change(part, frames)
        except pl.exceptions.InvalidOperationError as error:
            raise InvalidRow(
                f"a key in ({', '.join(self._by)}) of a change up to version {part.version} of its log does not fit "
                "the derived table's key; give that one a wider type"
            ) from error
        self.version = part.version
        return touched

    def _grow(self, part: Slice, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """A snapshot's rows, of which the mirror has none yet: sorted into files as they come, in bounded memory."""
        with Spool(self._folder, self._by, self._buckets) as spool:
            for frame in self._images(frames, part.shape):
                rows = frame["after"].struct.unnest().drop_nulls(self._by)
                spool.add(rows)
                self.count += rows.height
        for bucket, names in spool.files.items():
            self.files[bucket] = (*self.files.get(bucket, ()), *names)
        return self._nothing().select(self._by)

    def _change(self, part: Slice, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
        named, unnamed = [self._nothing().select(self._by)], [self._nothing().select(self._key)]

        def noted() -> Iterator[pl.DataFrame]:
            for frame in self._images(frames, part.shape):
                before, after = frame["before"].struct.unnest(), frame["after"].struct.unnest()
                named.append(pl.concat([before, after]).select(self._by).drop_nulls().unique())
                # The source did not log the row before the change, or that row belonged to no derived one.
                unknown = (frame["operation"] != INSERT) & before.select(_any_null(self._by)).to_series()
                unnamed.append(_either(after, before, self._key).filter(unknown).unique())
                yield frame

        changes = last_changes(noted(), self._key)
        changed = changes["row"].struct.unnest()
        new = changed.filter(changes["operation"] != DELETE).drop_nulls(self._by)
        old = self._old(changed.select(self._key), pl.concat(named).unique(), pl.concat(unnamed).unique())
        gone, come = _differing(old, new, self._key)
        touched = pl.concat([gone.select(self._by), come.select(self._by)]).unique()
        for bucket in bucket_of(touched, self._buckets).unique().sort() if touched.height else ():
            stay = self._read(bucket).collect().join(gone.select(self._key), on=self._key, how="anti")
            here = come.filter(bucket_of(come.select(self._by), self._buckets) == bucket)
            self.files[bucket] = (written(self._folder, pl.concat([stay, here])),)
        self.count += come.height - gone.height
        return touched

    def _old(self, changed: pl.DataFrame, named: pl.DataFrame, unnamed: pl.DataFrame) -> pl.DataFrame:
        """The rows of the `changed` keys that are here: in the buckets of the derived keys `named` in their images, or,
        for those `unnamed`, wherever they are."""
        near = set(bucket_of(named, self._buckets).to_list())
        found = [self._nothing(), *(self._of(bucket, changed) for bucket in sorted(near))]
        missing = unnamed.join(pl.concat(found), on=self._key, how="anti")
        far = [bucket for bucket in range(self._buckets) if bucket not in near] if missing.height else []
        holding = [bucket for bucket in far if not self._of(bucket, missing, self._key).is_empty()]
        return pl.concat([*found, *(self._of(bucket, missing) for bucket in holding)])

    def _of(self, bucket: int, keys: pl.DataFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
        rows = self._read(bucket).select(columns or self._wanted.schema.names())
        return rows.join(keys.lazy(), on=self._key, how="semi").collect()

    def _images(self, frames: Iterable[pl.DataFrame], shape: SchemaVersion) -> Iterator[pl.DataFrame]:
        """The events with the columns of the mirror alone in their images."""
        images = [self._wanted.image(name, shape) for name in ("before", "after")]
        return (frame.with_columns(images) for frame in frames)

    def _read(self, bucket: int) -> pl.LazyFrame:
        return read(self._folder, self.files.get(bucket, ()), self._wanted.schema)

    def _nothing(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self._wanted.schema)


def _any_null(names: Sequence[str]) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).is_null() for name in names)


def _either(rows: pl.DataFrame, others: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """These columns of `rows`, and where they are null there, of `others`."""
    return pl.DataFrame({name: rows[name].fill_null(others[name]) for name in names})


def _differing(old: pl.DataFrame, new: pl.DataFrame, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both without the rows that are the same in every cell, bit by bit."""
    marks = [
        pl.DataFrame([*rows.select(key), *(h.alias(f"\x1fhash{lane}") for lane, h in enumerate(row_hashes(rows)))])
        for rows in (old, new)
    ]
    same = marks[0].join(marks[1], on=marks[0].columns, how="semi").select(key)
    return old.join(same, on=key, how="anti"), new.join(same, on=key, how="anti")
