"""Rows of a Delta table taken out and put in by hand of the verifier: the actions of that one commit.

The files that hold a row to go are written anew without it. The change data feed has the rows that went and came, and
none of those that were only copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
from deltalake import DeltaTable

from cdc_platform.destinations import delta_upsert
from cdc_platform.destinations.arrange import Arrangement
from cdc_platform.destinations.copy_on_write import parted
from cdc_platform.destinations.delta_layout import Shape
from cdc_platform.destinations.delta_write import DataWriter, live_files, removal
from cdc_platform.errors import NeedsPerson, Unavailable
from cdc_platform.lake import delta_columns
from cdc_platform.lake.delta_columns import CHANGE_TYPE
from cdc_platform.model.target import SortField, TargetSchema

_APPEND_ONLY: Final = "delta.appendOnly"


@dataclass(frozen=True, slots=True)
class Mended:
    """The actions of the commit, and how many rows went and came by it."""

    actions: Sequence[dict[str, Any]]
    rows: int


def actions(
    table: DeltaTable,
    root: Path,
    shape: Shape,
    schema: TargetSchema,
    gone: Mapping[Path, pl.Series | None],
    added: Iterator[pl.DataFrame],
    writer: DataWriter,
    name: str,
) -> Mended:
    """See destination.Destination.mend. `added` are of the schema's columns and types."""
    if gone and shape.properties.get(_APPEND_ONLY) == "true":
        raise NeedsPerson(
            f"{name} has rows that do not belong there, and its {_APPEND_ONLY} forbids to take them out; "
            "set that property to false, and repair again"
        )
    files = live_files(table, shape.partitions)
    places = {root / unquote(file.path): i for i, file in enumerate(files)}
    if any(path not in places for path in gone):
        raise Unavailable(f"{name} was changed while it was verified, and was left as it is; verify again")
    live = delta_upsert.live_files(table, root, shape.own, ())
    names = [field.name for field in schema.fields]
    # A file that goes whole is not read: what the feed says of the commit is then its files.
    unread = any(numbers is None for numbers in gone.values())
    fed = not unread and shape.properties.get(delta_columns.CHANGE_FEED) == "true"
    went: list[pl.DataFrame] = []
    came: list[pl.DataFrame] = []
    count = 0

    def rows() -> Iterator[pl.DataFrame]:
        nonlocal count
        for path, numbers in gone.items():
            if numbers is not None:
                stay, go = parted(live.read([places[path]], names).select(names).collect(), numbers)
                count += go.height
                if fed:
                    went.append(go)
                yield stay
        for frame in added:
            count += frame.height
            if fed:
                came.append(frame)
            yield frame

    sort = shape.sort or tuple(SortField(column) for column in schema.key)
    made = [action for action, _ in writer.added(rows(), shape, Arrangement(shape.terms, sort))]
    removed = [removal(files[places[path]], data_change=True) for path in gone]
    feed = writer.feed(_feed(went, came), shape) if removed and fed else []
    return Mended([*removed, *made, *feed], count)


def _feed(went: Sequence[pl.DataFrame], came: Sequence[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frames, change in ((went, "delete"), (came, "insert")):
        for frame in frames:
            if frame.height:
                yield frame.with_columns(pl.lit(change, pl.String).alias(CHANGE_TYPE))
