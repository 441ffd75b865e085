"""What the two simulated businesses have in common: known keys, counted changes, a drawn sequence of transactions.

Pure. `shop.py` and `warehouse.py` say what their transactions are, `simulate.py` runs them at a pace.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cdc_platform.mock_data.sampling import Ints

Operation = Literal["INSERT", "UPDATE", "DELETE"]
MOST_ROWS = 1_000
"""No transaction is asked for more rows of a table than this."""


@dataclass(slots=True)
class Outcome:
    """What one transaction did: changes by table and operation, keys that came and went."""

    changes: Counter[tuple[str, Operation]] = field(default_factory=Counter)
    added: dict[str, Ints] = field(default_factory=dict)
    removed: dict[str, Ints] = field(default_factory=dict)

    def count(self, table: str, operation: Operation, rows: int) -> None:
        self.changes[table, operation] += rows


@dataclass(slots=True)
class Keys:
    """Keys by table that are believed to exist, ascending. Another session may have removed some meanwhile."""

    known: dict[str, Ints]

    def pick(self, rng: np.random.Generator, table: str, count: int) -> list[int]:
        """At most `count` different keys, ascending: rows are always locked in that order."""
        known = self.known[table]
        picked = rng.choice(known, min(count, len(known)), replace=False)
        return [int(key) for key in np.sort(picked)]

    def follow(self, outcome: Outcome) -> None:
        """Take over what a committed transaction did."""
        for table, keys in outcome.removed.items():
            known = self.known[table]
            places = np.searchsorted(known, keys)
            places = places[places < len(known)]
            gone = places[np.isin(known[places], keys)]
            self.known[table] = np.delete(known, gone)
        for table, keys in outcome.added.items():
            # A sequence only rises, so appending keeps the order.
            self.known[table] = np.concatenate([self.known[table], np.sort(keys)])


@dataclass(slots=True)
class Names:
    """Endings of names that must be unique: a tag of this run, then a running number.

    The tag is the one thing that a seed does not decide: two runs with the same seed may go on at once.
    """

    tag: str = field(default_factory=lambda: secrets.token_hex(4))
    used: int = 0

    def take(self, count: int) -> list[str]:
        self.used += count
        return [f"{self.tag}{number}" for number in range(self.used - count, self.used)]


@dataclass(slots=True)
class Script:
    """The sequence of transactions: which kind, how many rows. Depends on nothing but the generator's seed."""

    rng: np.random.Generator
    kinds: list[Callable[[int], Outcome]]
    shares: Ints
    mean_rows: float

    @classmethod
    def of(cls, rng: np.random.Generator, kinds: Mapping[Callable[[int], Outcome], int], mean_rows: float) -> Script:
        """`kinds` by weight. Sizes are uniform from 1 to twice the mean, within MOST_ROWS."""
        return cls(rng, list(kinds), np.array(list(kinds.values())), mean_rows)

    def next(self) -> tuple[Callable[[int], Outcome], int]:
        kind = self.kinds[int(self.rng.choice(len(self.kinds), p=self.shares / self.shares.sum()))]
        most = max(1, min(MOST_ROWS, round(2 * self.mean_rows - 1)))
        return kind, int(self.rng.integers(1, most, endpoint=True))


def by_table(tables: Iterable[str], changes: Mapping[tuple[str, Operation], int]) -> dict[str, dict[str, int]]:
    """`{"customers": {"INSERT": 1, "UPDATE": 2, "DELETE": 0}, ...}`"""
    operations: tuple[Operation, ...] = ("INSERT", "UPDATE", "DELETE")
    return {table: {name: changes.get((table, name), 0) for name in operations} for table in tables}
