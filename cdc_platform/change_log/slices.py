"""What is read from a change log at a time: consecutive commits of one shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from cdc_platform.change_log.shapes import SchemaVersion, picked_up

_BATCH_ROWS, _BATCH_BYTES = 131_072, 128 << 20


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive commits of a log, to be applied as one: `version` is the last of them, `memory` what the events take
    in memory, in bytes; `shape` is that of all their rows; `span` the least and the greatest `_at` among them. Without
    files it says that the table has that shape now.
    """

    version: int
    files: tuple[Path, ...]
    rows: int
    memory: int
    snapshot: bool
    shape: SchemaVersion
    span: tuple[int, int]

    def frames(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The events in batches of bounded memory; within a file in log order, files in commit order."""
        batch_rows = max(1, min(_BATCH_ROWS, self.rows * _BATCH_BYTES // max(1, self.memory)))
        for file in self.files:
            yield from read_file(file, self.shape, batch_rows, columns)

    def followed_by(self, later: Slice) -> Slice:
        """Both as one, of one shape; a snapshot follows nothing."""
        return Slice(
            later.version,
            (*self.files, *later.files),
            self.rows + later.rows,
            self.memory + later.memory,
            later.snapshot,
            self.shape,
            (min(self.span[0], later.span[0]), max(self.span[1], later.span[1])),
        )


def read_file(
    file: Path, shape: SchemaVersion, batch_rows: int = _BATCH_ROWS, columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The events of one file in order, their images in the columns of `shape`."""
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(batch_size=batch_rows, columns=columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield picked_up(frame, shape)
