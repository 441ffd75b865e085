"""Messages as they come: keys and values in contiguous buffers, none of them looked into. Pure. Layer: sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True, slots=True)
class Messages:
    """Keys and values of one topic's messages, in order: two Binary series of one length. A null value: a tombstone."""

    keys: pl.Series
    values: pl.Series

    @classmethod
    def of(cls, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Messages:
        return cls(pl.Series("key", keys, pl.Binary), pl.Series("value", values, pl.Binary))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Poison:
    """The message number `message` cannot be taken, for this reason; the reason holds no value of the message."""

    message: int
    reason: str


class Unreadable(ValueError):
    """A message that is not of the form that its topic has; the text holds none of its values."""
