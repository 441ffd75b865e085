"""What becomes of events on their way to a topic: a key, a value and an id each, by columns. Layer: publishing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages in log order, lists of one length. `ids` are the events' own, as text; a key may be None."""

    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    ids: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)


class Form(Protocol):
    """Pure, but that it may ask a schema registry for the number of a schema that it has not seen."""

    def encode(self, events: pl.DataFrame) -> Messages:
        """All of these events (log_schema's columns, at least one row, one shape), in their order."""


def key_rows(events: pl.DataFrame, key: Sequence[str]) -> pl.Series:
    """The rows' primary keys as one struct column: a deleted row has its key in `before` only."""
    images = (pl.col("after"), pl.col("before"))
    cells = [pl.coalesce(image.struct.field(name) for image in images).alias(name) for name in key]
    return events.select(pl.struct(cells).alias("key")).to_series()


def primary_key(events: pl.DataFrame) -> list[str]:
    """The key's columns, which all events of one shape share; none where the table has no key."""
    key = events["metadata"].struct.field("primary_key")[0]
    return [] if key is None else list(key)


def as_bytes(texts: pl.Series) -> list[bytes | None]:
    """A column of text as Python's bytes."""
    return texts.cast(pl.Binary).to_list()
