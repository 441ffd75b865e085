"""Postgres: the places of changes in a stream of Debezium's messages. Pure. Layer: sources.

    BEGIN 778   c   u   u   END 778:28930608   BEGIN 779   d   ...
                0   1   2      │
                └── ordinal    └── where the commit record ends: the transaction's `at` is the byte before

A change's message tells its own record's place but not its transaction's, which is what positions are made of; the
message of the transaction's end does. So changes are kept until their transaction's end has come. The native reader
knows where the commit record begins and takes that for `at`. Both lie inside the same record, nothing else does, and
positions are bounds between records: they mean the same on both ways, and order the same.

`ordinal` counts all changes of the transaction, of whichever table, from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.embedded.frames import Kind, Messages

_ALIGNED: Final = 8


def between_records(at: int) -> bool:
    """Whether a log may be read from here on: records begin at multiples of eight, and no change's `at` is one."""
    return at % _ALIGNED == 0


@dataclass(frozen=True, slots=True)
class Placed:
    """Whole transactions. `changes` are the numbers of the messages that are changes, with their `at` and `ordinal`;
    `upto` is the LSN where the last transaction's commit record ends, None when none has ended.

    `rest` is what follows: the beginning of a transaction.
    """

    messages: Messages
    changes: Ints
    at: Ints
    ordinal: Ints
    upto: int | None
    rest: Messages


def changes_in(messages: Messages, kinds: Sequence[Kind]) -> int:
    return int(_which(messages, np.array([kind.is_change for kind in kinds], np.bool_)).sum())


def end_of_first(messages: Messages, kinds: Sequence[Kind]) -> int | None:
    """The LSN where the first transaction that ends here does."""
    _, ends = _ends(messages, kinds)
    return int(ends[0]) if len(ends) else None


def placed(messages: Messages, kinds: Sequence[Kind], earlier: int) -> Placed:
    """`earlier` changes of the transaction that is open where the messages begin came before them."""
    places, ends = _ends(messages, kinds)
    if not len(places):
        none = np.zeros(0, np.int64)
        return Placed(messages.part(0, 0), none, none, none, None, messages)
    whole = int(places[-1]) + 1
    head = messages.part(0, whole)
    changes = np.flatnonzero(_which(head, np.array([kind.is_change for kind in kinds], np.bool_)))
    transaction = np.searchsorted(places, changes)
    # The number of the first change of each transaction among all of these changes.
    first = np.searchsorted(changes, np.concatenate([[-1], places[:-1]]))
    ordinal = np.arange(len(changes)) - first[transaction] + np.where(transaction == 0, earlier, 0)
    return Placed(head, changes, ends[transaction] - 1, ordinal, int(ends[-1]), messages.part(whole, len(messages)))


def marker_in(messages: Messages, kinds: Sequence[Kind], content: str) -> bool:
    """Whether the logical message with this content (base64, as Debezium has it) is among them."""
    numbers = np.flatnonzero(_which(messages, np.array([kind.is_message for kind in kinds], np.bool_)))
    return bool(len(numbers)) and bool(messages.values(numbers).bin.contains(f'"content":"{content}"'.encode()).any())


def _ends(messages: Messages, kinds: Sequence[Kind]) -> tuple[Ints, Ints]:
    """The messages that say that a transaction ended, and the LSN of each end."""
    numbers = np.flatnonzero(_which(messages, np.array([kind.is_transaction for kind in kinds], np.bool_)))
    if not len(numbers):
        return numbers, numbers
    told = messages.values(numbers).cast(pl.String).str.json_decode(pl.Struct({"status": pl.String, "id": pl.String}))
    over = (told.struct.field("status") == "END").to_numpy()
    identity = told.struct.field("id").filter(pl.Series(over))
    lsn = identity.str.split_exact(":", 1).struct.field("field_1").cast(pl.Int64)
    return numbers[over], lsn.to_numpy()


def _which(messages: Messages, wanted: Mask) -> Mask:
    return wanted[messages.kinds] if len(wanted) else np.zeros(len(messages), np.bool_)
