"""Rows of an Iceberg table taken out by file and number: what stays of the files, their entries, whether it was done.

Imported only where pyiceberg is at work already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.table import Table

from cdc_platform.destinations.copy_on_write import LiveFiles, parted
from cdc_platform.destinations.iceberg_live import entries, live_files
from cdc_platform.errors import Unavailable
from cdc_platform.lake.iceberg_format import local_path


def staying(
    table: Table, gone: Mapping[Path, pl.Series | None], names: Sequence[str], name: str
) -> Iterator[pl.DataFrame]:
    """The rows that stay of the files that hold a row to go. Raises Unavailable where one is not part of the table."""
    live, places = _places(table, gone, name)
    for path, numbers in gone.items():
        if numbers is not None:
            yield parted(live.read([places[path]], names).select(names).collect(), numbers)[0]


def removed(table: Table, gone: Mapping[Path, pl.Series | None], name: str) -> list[IcebergFile]:
    """The manifest entries of the files to go. Raises Unavailable where one is not part of the table."""
    live, places = _places(table, gone, name)
    return entries(table, {live.paths[places[path]] for path in gone})


def made(table: Table, gone: Mapping[Path, pl.Series | None], added: Sequence[IcebergFile]) -> int | None:
    """The current snapshot where the commit is in the table's version; None where it is not."""
    live = set(live_files(table, ()).paths)
    done = any(file.file_path in live for file in added)
    if not added:
        done = not {local_path(path) for path in live} & gone.keys()
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot is not None and done else None


def _places(table: Table, gone: Mapping[Path, pl.Series | None], name: str) -> tuple[LiveFiles, dict[Path, int]]:
    live = live_files(table, ())
    places = {local_path(path): i for i, path in enumerate(live.paths)}
    if any(path not in places for path in gone):
        raise Unavailable(f"{name} was changed while it was verified, and was left as it is; verify again")
    return live, places
