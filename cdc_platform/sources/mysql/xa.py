"""Transactions of which not all counts: two-phase ones (XA), and those that were undone in the log.

    XA START, rows, XA END, XA PREPARE 'x'   ...other transactions...   XA COMMIT 'x'

The rows stand where they were prepared and count only where XA COMMIT stands, by when they cannot be delivered in
their place any more: they are not delivered, and at XA COMMIT their tables are named, to be compared. A transaction
whose XA COMMIT ... ONE PHASE ends it (MySQL logs those likewise) is an ordinary one if the stretch holds all of it.

What the log undoes itself is a ROLLBACK, or one to a savepoint, behind rows of tables without transactions.
Layer: sources; pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.mysql import binlog
from cdc_platform.sources.mysql.binlog import Events, Prepared, read_xa_prepare
from cdc_platform.sources.mysql.statements import Effect
from cdc_platform.sources.mysql.transactions import Transactions

Tables = frozenset[TableName]
Statement = tuple[int, Effect]
"""The event's index, and one of its effects."""

Unsure = tuple[int, str, Tables | None]
"""The event's index, what it did, and to which tables; None where that is not known."""


@dataclass(slots=True)
class TwoPhase:
    """What is known of transactions from stretch to stretch.

    `prepared` has the tables of those that are prepared, by identifier; `open` the tables of the transaction that the
    last stretch ended in.
    """

    prepared: dict[str, Tables] = field(default_factory=dict)
    open: Tables = frozenset()

    def read(
        self,
        events: Events,
        statements: Sequence[Statement],
        transactions: Transactions,
        touched: Callable[[Ints], Tables],
    ) -> tuple[Mask, list[Unsure]]:
        """Which events are not to be delivered, and where rows may have changed otherwise.

        `touched` gives the followed tables of these row events.
        """
        within = _Stretch(events, transactions, touched, self.open)
        for index, effect in statements:
            if effect.kind == "prepared":
                transactions.prepared[within.number(index)] = True
        ends = [(index, self._end(within, index)) for index in events.of(binlog.XA_PREPARE).tolist()]
        found: list[Unsure] = []
        undone = np.zeros(len(events), np.bool_)
        both: list[tuple[int, Effect | Prepared]] = [*statements, *ends]
        for index, what in sorted(both, key=lambda numbered: numbered[0]):
            if isinstance(what, Prepared):
                found += self._ended(within, index, what)
            elif what.kind in ("prepared commit", "prepared rollback"):
                for word in what.words:
                    tables = self.prepared.pop(word, None)
                    found += [(index, what.what, tables)] if what.kind == "prepared commit" else []
            elif what.kind == "rolled back":
                which = within.undone(statements, index, what)
                undone[which] = True
                found.append((index, what.what, within.tables(within.number(index), which)))
        if transactions.prepared.any():
            undone |= transactions.prepared[transactions.of(np.arange(len(events)))]
        self.open = within.tables(within.last)
        return undone, found

    def _end(self, within: _Stretch, index: int) -> Prepared:
        return read_xa_prepare(within.events.body(index), int(within.events.begins[index]))

    def _ended(self, within: _Stretch, index: int, end: Prepared) -> list[Unsure]:
        number = within.number(index)
        if not end.one_phase:
            self.prepared[end.identifier] = within.tables(number)
        elif number:
            within.transactions.prepared[number] = False
        else:
            return [(index, "an XA transaction", within.tables(number))]
        return []


@dataclass(frozen=True, slots=True)
class _Stretch:
    events: Events
    transactions: Transactions
    touched: Callable[[Ints], Tables]
    open: Tables

    @property
    def last(self) -> int:
        return len(self.transactions.firsts)

    def number(self, index: int) -> int:
        return int(self.transactions.of(np.array([index]))[0])

    def first(self, number: int) -> int:
        return int(self.transactions.firsts[number - 1]) if number else 0

    def tables(self, number: int, which: Ints | None = None) -> Tables:
        """The followed tables with rows in a transaction (among these events of it), and before the stretch."""
        if which is None:
            stop = int(self.transactions.firsts[number]) if number < self.last else len(self.events)
            which = np.arange(self.first(number), stop)
        rows = which[np.isin(self.events.kinds[which], (*binlog.ROWS, binlog.PARTIAL_UPDATE))]
        return self.touched(rows) | (frozenset() if number else self.open)

    def undone(self, statements: Sequence[Statement], index: int, effect: Effect) -> Ints:
        """The events that a ROLLBACK undoes, or one to a savepoint those behind where that was set, as far as seen."""
        number = self.number(index)
        begins = [self.first(number)]
        if effect.words:
            begins += [
                other for other, earlier in statements
                if other < index and earlier.kind == "savepoint" and earlier.words == effect.words
                and self.number(other) == number
            ]  # fmt: skip
        return np.arange(max(begins), index)
