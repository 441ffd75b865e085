"""The last change of each key, of a log of any length, in bounded memory: marks gathered by part, on disk where there
are many. A part at a time is collapsed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final

import polars as pl

from cdc_platform.engine.verification.marks import COUNT, Marking
from cdc_platform.engine.verification.parts import PART
from cdc_platform.errors import ConfigError

DELETED: Final = "\x1fdeleted"
_HELD_ROWS: Final = 1_000_000


class Spool:
    """Marks go in in log order; `parts` gives those of the rows that are there after the last of them.

    With a key: the last mark of each, where it is no DELETE. Without: `COUNT` of each row, added up, where it is not 0.
    """

    def __init__(self, folder: Path, marking: Marking, held_rows: int = _HELD_ROWS) -> None:
        self._folder, self._marking, self._limit = folder, marking, held_rows
        self._held: list[pl.DataFrame] = []
        self._rows = 0
        self._files: dict[int, list[Path]] = {}

    def __enter__(self) -> Spool:
        # What a killed process left there goes first.
        shutil.rmtree(self._folder, ignore_errors=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, marks: pl.DataFrame) -> None:
        if marks.height:
            self._held.append(marks)
            self._rows += marks.height
        if self._rows >= self._limit:
            self._flush()

    def parts(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Each part that has marks, with those that are left of them."""
        held = pl.concat(self._held) if self._held else None
        self._held, self._rows = [], 0
        rest = (
            {int(part): frame for (part,), frame in held.group_by(PART, maintain_order=True)}
            if held is not None
            else {}
        )
        for part in sorted({*self._files, *rest}):
            frames = [pl.read_ipc(file) for file in self._files.get(part, [])]
            if part in rest:
                frames.append(rest.pop(part))
            yield part, self._there(self._collapsed(pl.concat(frames)))

    def _flush(self) -> None:
        collapsed = self._collapsed(pl.concat(self._held))
        self._held, self._rows = [], 0
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for (part,), frame in collapsed.group_by(PART, maintain_order=True):
                files = self._files.setdefault(int(part), [])
                files.append(self._folder / f"{part}-{len(files)}.arrow")
                frame.write_ipc(files[-1])
        except OSError as error:
            raise ConfigError(
                f"cannot write below {self._folder.parent}: {error.strerror}; is CDC_HOME right?"
            ) from error

    def _collapsed(self, marks: pl.DataFrame) -> pl.DataFrame:
        if self._marking.key:
            return marks.unique(subset=list(self._marking.key), keep="last", maintain_order=True)
        identity = [*self._marking.identity, PART]
        return marks.group_by(identity, maintain_order=True).agg(
            pl.exclude(COUNT, *identity).last(), pl.col(COUNT).sum()
        )

    def _there(self, marks: pl.DataFrame) -> pl.DataFrame:
        return marks.filter(~pl.col(DELETED) if self._marking.key else pl.col(COUNT) != 0)
