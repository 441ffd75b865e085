"""Rows of several files, numbered through in the order of the files: read from first to last, or by their numbers.

    frames   all rows, in bounded frames                     memory: a frame
    take     the rows of some numbers, in their order        memory: these rows, and a batch of a file

Files do not change, so a number is a row's own for ever. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

import numpy as np
import polars as pl

from cdc_platform.lake.delta_columns import CHANGE_TYPE
from cdc_platform.lake.parquet_rows import Cell, group_sizes, read_cells
from cdc_platform.sources.lake.table import GONE, MIXED, Part, Shape

ROW: Final = "\x1frow"
SIDE_GONE: Final = "\x1fgone"
_BEFORE: Final = ("update_preimage", "delete")


class Rows:
    """The rows of `parts`, whose files are of `shape` or older."""

    def __init__(self, shape: Shape, parts: Sequence[Part], first: int = 0) -> None:
        self._shape, self._parts, self._first = shape, parts, first
        self._groups = [group_sizes(part.path) for part in parts]
        sizes = [sum(groups) for groups in self._groups]
        self._starts = [0, *accumulate(sizes)]

    def __len__(self) -> int:
        return self._starts[-1]

    def frames(self, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """All rows: these columns, `ROW` (Int64) and `SIDE_GONE` (whether the row is gone)."""
        number = self._first
        for part in self._parts:
            for frame in read_cells(part.path, self._cells(part, names)):
                yield _numbered(frame, part, number)
                number += frame.height

    def take(self, numbers: pl.Series, names: Sequence[str]) -> pl.DataFrame:
        """These columns of the rows with these numbers, a row each, in their order."""
        wanted = numbers.to_numpy() - self._first
        sought = np.unique(wanted)
        found = [frame for place, part in enumerate(self._parts) for frame in self._some(place, part, sought, names)]
        rows = pl.concat(found) if found else self._nothing(names)
        return rows[np.searchsorted(sought, wanted)]

    def _some(self, place: int, part: Part, sought: np.ndarray, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Those of the sorted numbers that are in one file, row group by row group."""
        first = self._starts[place]
        for group, size in enumerate(self._groups[place]):
            low, high = np.searchsorted(sought, [first, first + size])
            if low < high:
                at = first
                for frame in read_cells(part.path, self._shape.cells(part, names), [group]):
                    some = sought[slice(*np.searchsorted(sought, [at, at + frame.height]))] - at
                    if len(some):
                        yield frame[some]
                    at += frame.height
            first += size

    def _cells(self, part: Part, names: Sequence[str]) -> list[Cell]:
        cells = self._shape.cells(part, names)
        return [*cells, Cell(CHANGE_TYPE, pl.String(), CHANGE_TYPE)] if part.side == MIXED else cells

    def _nothing(self, names: Sequence[str]) -> pl.DataFrame:
        cells = self._shape.cells(self._parts[0], names) if self._parts else []
        return pl.DataFrame(schema={cell.name: cell.kind for cell in cells})


def _numbered(frame: pl.DataFrame, part: Part, number: int) -> pl.DataFrame:
    rows = frame.height
    if part.side == MIXED:
        gone = frame[CHANGE_TYPE].is_in(_BEFORE)
        frame = frame.drop(CHANGE_TYPE)
    else:
        gone = pl.repeat(part.side == GONE, rows, dtype=pl.Boolean, eager=True)
    return frame.with_columns(
        pl.int_range(number, number + rows, dtype=pl.Int64, eager=True).alias(ROW), gone.alias(SIDE_GONE)
    )
