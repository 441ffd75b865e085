"""What a destination's commit says of the events that are in it: range, transactions, counts, digest, shape.

    frames of events ──Tally.take──> Evidence ──> text in the commit, beside the change log's version

The digest is the sum, modulo 2**128, of the events' ids as numbers. It is the same in any order, and anybody can work
it out again from what `cdc events` prints: sum(uuid.UUID(e["event_id"]).int for e in events) % 2**128. Two stretches
that were applied as one have the sum of their digests. Pure; bounded whatever the number of events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import polars as pl

from cdc_platform.model.change import DELETE, INSERT, UPDATE

EVIDENCE_COLUMNS = ("event_id", "operation", "metadata", "_snapshot")
"""What a frame of events must have for `Tally.take`."""

_DASHES = (8, 13, 18, 23)
_LENGTH = 36
_CHUNK = 8192
_MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class Evidence:
    """Of the events of one commit, or of several in a row.

    `start` and `end` are source positions as text: the events lie at or after the one and before the other (`start` is
    empty for a table's first ones). `events` counts changes by operation without the snapshot's rows. `transactions`
    counts those that have an event here; one that several commits share counts in each. `quarantined` of the events
    went to the quarantine instead of the table.
    """

    start: str
    end: str
    schema_version: int
    digest: str
    events: Mapping[str, int]
    snapshot_rows: int = 0
    transactions: int = 0
    first_transaction: str | None = None
    last_transaction: str | None = None
    quarantined: int = 0

    def text(self) -> str:
        """As it stands in a commit."""
        return json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> Evidence:
        """The inverse of `text`."""
        return cls(**json.loads(text))

    def between(self, start: str, end: str) -> Evidence:
        """The same, of events between these positions."""
        return replace(self, start=start, end=end)

    def followed_by(self, later: Evidence) -> Evidence:
        """Both as one."""
        shared = self.last_transaction is not None and self.last_transaction == later.first_transaction
        return replace(
            later,
            start=self.start,
            digest=_digest(int(self.digest, 16) + int(later.digest, 16)),
            events={name: self.events[name] + later.events[name] for name in later.events},
            snapshot_rows=self.snapshot_rows + later.snapshot_rows,
            transactions=self.transactions + later.transactions - shared,
            first_transaction=self.first_transaction or later.first_transaction,
            last_transaction=later.last_transaction or self.last_transaction,
            quarantined=self.quarantined + later.quarantined,
        )


@dataclass(slots=True)
class Tally:
    """Looks at events as they pass, in log order, and says at the end what they were."""

    start: str
    end: str
    schema_version: int
    _events: dict[str, int] = field(default_factory=lambda: dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    _snapshot_rows: int = 0
    _sum: int = 0
    _transactions: int = 0
    _first: str | None = None
    _last: str | None = None

    def take(self, frame: pl.DataFrame) -> None:
        """Count the events of a frame that has `EVIDENCE_COLUMNS`."""
        self._sum += id_sum(frame["event_id"])
        rows = int(frame["_snapshot"].sum())
        self._snapshot_rows += rows
        changes = frame["operation"] if rows == 0 else frame["operation"].filter(~frame["_snapshot"])
        inserts, updates = int((changes == INSERT).sum()), int((changes == UPDATE).sum())
        self._events[INSERT] += inserts
        self._events[UPDATE] += updates
        self._events[DELETE] += len(changes) - inserts - updates
        # A transaction's events stand together in a log.
        names = frame["metadata"].struct.field("transaction_id").drop_nulls().rle().struct.field("value")
        if len(names):
            self._transactions += len(names) - (names[0] == self._last)
            self._first, self._last = self._first or names[0], names[-1]

    def evidence(self, quarantined: int = 0) -> Evidence:
        """Of all events that were taken."""
        return Evidence(
            self.start,
            self.end,
            self.schema_version,
            _digest(self._sum),
            dict(self._events),
            self._snapshot_rows,
            self._transactions,
            self._first,
            self._last,
            quarantined,
        )


def id_sum(ids: pl.Series) -> int:
    """The sum of UUIDs (text of 36 characters each) as numbers, without a Python object a row."""
    array = ids.to_arrow(compat_level=pl.CompatLevel.oldest())
    count = len(array)
    if not count:
        return 0
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + count + 1]
    text = np.frombuffer(array.buffers()[2], np.uint8)[offsets[0] : offsets[-1]].reshape(count, _LENGTH)
    digits = np.zeros(_LENGTH, np.uint64)
    for first in range(0, count, _CHUNK):
        part = text[first : first + _CHUNK]
        # "0" to "9" end in their value; of "a" to "f" and "A" to "F" bit 6 is set, and they end in theirs less 9.
        digits += np.add.reduce((part & 15) + 9 * (part >> 6), axis=0, dtype=np.uint32)
    total = 0
    for place, digit in enumerate(digits.tolist()):
        if place not in _DASHES:
            total = total * 16 + digit
    return total % _MODULUS


def _digest(total: int) -> str:
    return f"{total % _MODULUS:032x}"
