"""Data files of a Delta table on their way into a commit: written, described as actions, removed if nothing came of it.

A writer belongs to one write. The files that it made and no commit names would only wait for a vacuum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from cdc_platform.destinations import delta_files, delta_log
from cdc_platform.destinations.arrange import Arrangement, arranged
from cdc_platform.destinations.data_files import FilePlan, StoredColumn, write_files
from cdc_platform.destinations.delta_files import (
    add_action,
    cdc_action,
    indexed_columns,
    partition_text,
    partition_values,
)
from cdc_platform.destinations.delta_layout import Shape
from cdc_platform.lake.delta_columns import CHANGE_TYPE, DeltaColumn
from cdc_platform.lake.delta_rows import read_rows
from cdc_platform.model.target import SortField

_SPOOL: Final = "_cdc_spool"


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A data file of the table's version: `path` and `values` (by physical name) are as the log has them, `made` is
    its time in milliseconds."""

    path: str
    size: int
    made: int
    values: dict[str, str | None]


def live_files(table: DeltaTable, partitions: Sequence[DeltaColumn]) -> list[LiveFile]:
    """The data files of the table's version, in deltalake's order."""
    adds = pa.table(table.get_add_actions())
    paths, sizes = adds["path"].to_pylist(), adds["size_bytes"].to_pylist()
    made = adds["modification_time"].cast(pa.timestamp("ms")).cast(pa.int64()).to_pylist()
    held = {c.physical: adds["partition"].combine_chunks().field(c.name).to_pylist() for c in partitions}
    names = {c.physical: c.name for c in partitions}
    return [
        LiveFile(path, size, time, {key: partition_text(column[i], names[key]) for key, column in held.items()})
        for i, (path, size, time) in enumerate(zip(paths, sizes, made, strict=True))
    ]


def removal(file: LiveFile, data_change: bool) -> dict[str, Any]:
    """The `remove` action of a live file; without `data_change` its rows go on in others."""
    return {
        "remove": {
            "path": file.path,
            "deletionTimestamp": delta_log.now(),
            "dataChange": data_change,
            "extendedFileMetadata": True,
            "partitionValues": file.values,
            "size": file.size,
        }
    }


class DataWriter:
    """Writes the files of one commit below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: list[str] = []

    def added(
        self, rows: Iterable[pl.DataFrame], shape: Shape, arrangement: Arrangement
    ) -> list[tuple[dict[str, Any], int]]:
        """Rows as new files: their `add` actions and row counts."""
        indexed = indexed_columns(shape.stored, shape.properties)
        plan = FilePlan(shape.stored, arrangement, partial(delta_files.folder, shape), self._create)
        return [
            ({"add": add_action(file, partition_values(file, shape.partitions), indexed)}, file.rows)
            for file in write_files(arranged(rows, arrangement, self._root / _SPOOL), plan)
        ]

    def feed(self, rows: Iterator[pl.DataFrame], shape: Shape) -> list[dict[str, Any]]:
        """Changed rows, with `CHANGE_TYPE`, as files of the change data feed: their `cdc` actions."""
        stored = (*shape.stored, StoredColumn(CHANGE_TYPE, CHANGE_TYPE, pa.string()))
        arrangement = Arrangement(shape.terms, ())
        plan = FilePlan(stored, arrangement, partial(delta_files.folder, shape), self._create_in("_change_data"))
        return [
            {"cdc": cdc_action(file, partition_values(file, shape.partitions))}
            for file in write_files(arranged(rows, arrangement, self._root / _SPOOL), plan)
        ]

    def replaced(
        self, files: Sequence[LiveFile], shape: Shape, sort: tuple[SortField, ...], chunk_bytes: int
    ) -> list[dict[str, Any]]:
        """The rows of some files of one partition in new ones, in the table's columns and types, no row changed.

        Rows come in the order of the files, or sorted; a new file holds about `chunk_bytes` in memory at most.
        """
        own = [column for column in shape.columns if column not in shape.partitions]
        sort = tuple(term for term in sort if term.column in {column.name for column in own})
        rows = chain.from_iterable(read_rows(self._root / unquote(file.path), own, file.values) for file in files)
        arrangement = Arrangement((), sort, chunk_bytes)
        folder = PurePosixPath(unquote(files[0].path)).parent
        plan = FilePlan(shape.stored, arrangement, partial(delta_files.folder, shape), self._create_in(str(folder)))
        indexed = indexed_columns(shape.stored, shape.properties)
        actions = [removal(file, data_change=False) for file in files]
        for file in write_files(arranged(rows, arrangement, self._root / _SPOOL), plan):
            placed = replace(file, path=str(folder / file.path))
            actions.append({"add": {**add_action(placed, files[0].values, indexed), "dataChange": False}})
        return actions

    def discard(self) -> None:
        """Remove every file made so far."""
        while self._made:
            with suppress(OSError):
                (self._root / self._made.pop()).unlink()

    def _create_in(self, folder: str) -> Any:
        return lambda path: self._create(f"{folder}/{path}")

    def _create(self, path: str) -> IO[bytes]:
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        self._made.append(path)
        return file.open("xb")
