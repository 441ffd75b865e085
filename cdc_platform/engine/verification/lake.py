"""What a destination holds, by data file: digests by part, and rows. A file that is gone or cannot be read has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from cdc_platform.destinations.copy_on_write import FILE, batches
from cdc_platform.destinations.destination import Contents
from cdc_platform.engine.verification.marks import Marking

PLACE: Final = "\x1fplace"
_UNREADABLE: Final = (OSError, pa.ArrowException, pl.exceptions.PolarsError)


@dataclass(slots=True)
class Lake:
    """`lost` are the files that turned out not to be readable."""

    contents: Contents
    marking: Marking
    lost: set[Path] = field(default_factory=set)

    def places(self, paths: set[str]) -> list[int]:
        return [place for place, path in enumerate(self.contents.files) if str(path) in paths]

    def frames(self, places: Sequence[int]) -> Iterator[pl.DataFrame]:
        """The rows of these files with `FILE`, several files at once."""
        for batch in batches(places, self.contents.sizes):
            try:
                yield self._read(batch)
            except _UNREADABLE:
                for place in batch:
                    yield from self.file(place)

    def file(self, place: int) -> Iterator[pl.DataFrame]:
        """The rows of one file with `FILE`, in their order there; none where it is lost."""
        try:
            yield self._read([place])
        except _UNREADABLE:
            self.lost.add(self.contents.files[place])

    def numbered(self, place: int) -> Iterator[pl.DataFrame]:
        """The rows of one file with `PLACE`, their numbers in it."""
        for frame in self.file(place):
            yield frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(PLACE))

    def _read(self, places: Sequence[int]) -> pl.DataFrame:
        names = list(self.marking.names)
        return self.contents.read(places, names).select(*names, FILE).collect().cast(self.marking.types)
