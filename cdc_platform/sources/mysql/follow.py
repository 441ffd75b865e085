"""From a stretch of the log to the changes of the followed tables.

    events ──> table maps ──> row events by table ──> images (rows.py) ──> columns (values.py) ──> ChangeBatch
           ──> transactions (names, times)         ──> statements (statements.py) ──> failures

What a follower carries from stretch to stretch: the table maps of the current file and the current transaction, both
of which a transaction larger than a stretch needs. Everything outside [start, until) is passed over before it is
decoded. A table that fails delivers nothing of the stretch in which it does, and nothing after it.
Layer: sources; no I/O but the catalogue's questions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from cdc_platform.errors import CdcError, NotUnderstood
from cdc_platform.model.change import ChangeBatch
from cdc_platform.model.position import format_binlog
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.mysql import binlog
from cdc_platform.sources.mysql.batches import Bounds, TableRows, batch_of
from cdc_platform.sources.mysql.binlog import HEADER, BadEvent, Events, little, records
from cdc_platform.sources.mysql.catalogue import Catalogue
from cdc_platform.sources.mysql.log import Stretch
from cdc_platform.sources.mysql.shapes import Shape, shape_of
from cdc_platform.sources.mysql.statements import Effect, effect_of
from cdc_platform.sources.mysql.tablemap import read_table_map, table_name
from cdc_platform.sources.mysql.transactions import Transactions, read_transactions, unknown

_SEQUENCE_BITS = 36
_DUMMY_TABLE = 0xFFFFFF  # ends a statement that changed no row
_V2 = (binlog.WRITE_V2, binlog.UPDATE_V2, binlog.DELETE_V2)
_OPERATION = {
    binlog.WRITE_V1: 0, binlog.WRITE_V2: 0, binlog.UPDATE_V1: 1, binlog.UPDATE_V2: 1,
    binlog.DELETE_V1: 2, binlog.DELETE_V2: 2,
}  # fmt: skip
_OPERATIONS = np.array([_OPERATION.get(kind, -1) for kind in range(256)], np.int64)

_COMPRESSED = "it is compressed; set {} and begin the source's pipelines anew"
_WHY = {
    binlog.TRANSACTION_PAYLOAD: _COMPRESSED.format("binlog_transaction_compression=OFF, in every session,"),
    binlog.QUERY_COMPRESSED: _COMPRESSED.format("log_bin_compress=OFF"),
    binlog.INCIDENT: "the server says that changes were lost here; begin the source's pipelines anew",
}


_ROWS_NOT_UNDERSTOOD = {
    **dict.fromkeys(binlog.ROWS_COMPRESSED, "compressed rows; set log_bin_compress=OFF"),
    binlog.PARTIAL_UPDATE: "parts of JSON values; set binlog_row_value_options='', in every session,",
}


@dataclass(frozen=True, slots=True)
class Followed:
    """What a stretch held. `stop` is set where the log cannot be read past `upto`, for no table."""

    batches: tuple[ChangeBatch, ...]
    failures: dict[TableName, CdcError]
    upto: int
    stop: CdcError | None = None


@dataclass(slots=True)
class _Map:
    """A table's number in the current file: the event's body, and the shape once its rows are wanted."""

    body: bytes
    offset: int
    table: TableName
    shape: Shape | None = None


@dataclass(slots=True)
class Follower:
    """Follows `tables` within `bounds`, stretch after stretch."""

    tables: set[TableName]
    bounds: Bounds
    catalogue: Catalogue
    _sequence: int = -1
    _maps: dict[int, _Map] = field(default_factory=dict)
    _transaction: Transactions = field(default_factory=unknown)
    _harmless_xa: set[str] = field(default_factory=set)

    def take(self, stretch: Stretch) -> Followed:
        """The changes of the next stretch."""
        stretch, stop = self._understood(stretch)
        events, at = stretch.events, stretch.at
        transactions = read_transactions(events, at, self.bounds.base, self._transaction)
        wanted = self.bounds.events(at)
        failures: dict[TableName, CdcError] = {}
        rows = self._row_events(stretch, wanted, failures)
        self._statements(stretch, wanted, transactions, rows, failures)
        batches: list[ChangeBatch] = []
        for table, runs in rows.items():
            if table not in failures:
                try:
                    batches += self._decode(stretch, runs, transactions)
                except CdcError as error:
                    failures[table] = error
        self.tables -= failures.keys()
        self._transaction = transactions.last()
        return Followed(tuple(batches), failures, stretch.upto, stop)

    def _understood(self, stretch: Stretch) -> tuple[Stretch, CdcError | None]:
        """The stretch up to the transaction of the first event that nobody may pass over, and the reason."""
        events = stretch.events
        known = np.zeros(256, np.bool_)
        known[[*binlog.HARMLESS, *binlog.ROWS, *_ROWS_NOT_UNDERSTOOD, binlog.QUERY, binlog.EXECUTE_LOAD]] = True
        strange = self.bounds.events(stretch.at) & ~known[events.kinds] & ~events.ignorable()
        if not strange.any():
            return stretch, None
        first = int(strange.argmax())
        kind, place = int(events.kinds[first]), int(stretch.at[first])
        reason = _WHY.get(kind, f"its type {kind} is unknown to this version")
        error = NotUnderstood(
            f"the binlog event at {format_binlog(self.bounds.base, place)} is not understood: {reason}"
        )
        begins = events.of(*binlog.BOUNDARIES)
        cut = int(begins[begins <= first][-1]) if (begins <= first).any() else 0
        return Stretch(events.slice(0, cut), stretch.at[:cut], int(stretch.at[cut])), error

    # --- row events -------------------------------------------------------------------------------------------

    def _row_events(self, stretch: Stretch, wanted: Mask, failures: dict[TableName, CdcError]) -> RunsByTable:
        """The wanted row events of each followed table that has not failed."""
        found: dict[TableName, list[tuple[Ints, Shape]]] = {}
        for sequence, first, last in _files(stretch.at):
            if sequence != self._sequence:
                self._sequence, self._maps = sequence, {}
            events = stretch.events.slice(first, last)
            self._read_maps(events)
            indices = events.of(*binlog.ROWS, *_ROWS_NOT_UNDERSTOOD)
            indices = indices[wanted[first:last][indices]]
            for number, which in _by_number(events, indices):
                mapped = self._mapped(number, events, which)
                if mapped is None or mapped.table in failures:
                    continue
                try:
                    self._check_kinds(mapped, stretch, which + first)
                    mapped.shape = mapped.shape or shape_of(read_table_map(mapped.body, mapped.offset), self.catalogue)
                except CdcError as error:
                    failures[mapped.table] = error
                    continue
                found.setdefault(mapped.table, []).append((which + first, mapped.shape))
        return {table: _runs(parts) for table, parts in found.items() if table not in failures}

    def _read_maps(self, events: Events) -> None:
        """Remember the tables' numbers. A number never changes its meaning inside a file: that is made sure of."""
        for number, which in _by_number(events, events.of(binlog.TABLE_MAP)):
            first = int(which[0])
            body, offset = events.body(first), int(events.begins[first])
            known = self._maps.get(number)
            if known is None:
                known = self._maps[number] = _Map(body, offset, table_name(body, offset))
            if known.table in self.tables and not _all_equal(events, which, known.body):
                raise BadEvent(offset, f"table number {number} means two things in one file")

    def _mapped(self, number: int, events: Events, which: Ints) -> _Map | None:
        """The followed table that has this number, if it is one."""
        mapped = self._maps.get(number)
        if mapped is None and number != _DUMMY_TABLE:
            raise BadEvent(int(events.begins[which[0]]), f"no table map gives table number {number} a meaning")
        return mapped if mapped is not None and mapped.table in self.tables else None

    def _check_kinds(self, mapped: _Map, stretch: Stretch, indices: Ints) -> None:
        """NotUnderstood for row events that hold something else than whole rows as they are."""
        kinds = stretch.events.kinds[indices]
        strange = np.flatnonzero(np.isin(kinds, list(_ROWS_NOT_UNDERSTOOD)))
        if len(strange):
            place = format_binlog(self.bounds.base, int(stretch.at[indices[strange[0]]]))
            raise NotUnderstood(
                f"{mapped.table}: the binlog at {place} holds {_ROWS_NOT_UNDERSTOOD[int(kinds[strange[0]])]}"
                " and begin its pipeline anew"
            )

    def _decode(self, stretch: Stretch, runs: list[Run], transactions: Transactions) -> list[ChangeBatch]:
        """One batch for each run of events of one shape."""
        decoded = (
            batch_of(_table_rows(stretch, indices, transactions), shape, transactions, self.bounds)
            for indices, shape in runs
        )
        return [batch for batch in decoded if len(batch)]

    # --- statements -------------------------------------------------------------------------------------------

    def _statements(
        self,
        stretch: Stretch,
        wanted: Mask,
        transactions: Transactions,
        rows: RunsByTable,
        failures: dict[TableName, CdcError],
    ) -> None:
        """Find the tables that a statement changed in a way that row events do not tell."""
        for index, effect in self._effects(stretch, wanted):
            place = format_binlog(self.bounds.base, int(stretch.at[index]))
            number = int(transactions.of(np.array([index]))[0])
            if effect.kind == "prepared":
                transactions.prepared[number] = True
                if not _touched(rows, transactions, number):
                    self._harmless_xa |= effect.words
                continue
            for table in self._changed(effect, rows, transactions, number):
                failures.setdefault(table, _statement_error(table, effect.what, place))
        for number in np.flatnonzero(transactions.prepared).tolist():
            for table in _touched(rows, transactions, number):
                place = format_binlog(self.bounds.base, stretch.upto)
                failures.setdefault(table, _statement_error(table, "an XA transaction before", place))

    def _changed(
        self, effect: Effect, rows: RunsByTable, transactions: Transactions, number: int
    ) -> Iterable[TableName]:
        """The followed tables that a statement in transaction `number` has an effect on."""
        if effect.kind == "rolled back":
            return _touched(rows, transactions, number)
        if effect.kind == "prepared commit":
            return () if effect.words <= self._harmless_xa else self.tables
        return [table for table in self.tables if effect.touches(table)]

    def _effects(self, stretch: Stretch, wanted: Mask) -> list[tuple[int, Effect]]:
        """The wanted statements that have effects. MySQL's BEGINs, one a transaction, are not looked at one by one."""
        events = stretch.events
        queries = events.of(binlog.QUERY)
        queries = queries[wanted[queries]]
        queries = queries[~binlog.begins_transaction(events, queries)]
        loads = events.of(binlog.EXECUTE_LOAD)
        found = []
        for index in sorted([*queries.tolist(), *loads[wanted[loads]].tolist()]):
            read = binlog.read_query if events.kinds[index] == binlog.QUERY else binlog.read_load
            effect = effect_of(read(events.body(index), int(events.begins[index])))
            if effect is not None:
                found.append((index, effect))
        return found


Run = tuple[Ints, Shape]
"""Indices of row events of one table, next to each other among that table's, and their shape."""

RunsByTable = dict[TableName, list[Run]]


def _statement_error(table: TableName, what: str, place: str) -> NotUnderstood:
    return NotUnderstood(f"{table}: {what} at {place} changes its rows without row events; begin its pipeline anew")


def _touched(rows: RunsByTable, transactions: Transactions, number: int) -> set[TableName]:
    """The tables that have row events in a transaction."""
    return {
        table for table, runs in rows.items() if any((transactions.of(indices) == number).any() for indices, _ in runs)
    }


def _files(at: Ints) -> list[tuple[int, int, int]]:
    """(file number, first event, last event + 1) of each file's part of a stretch."""
    sequences = at >> _SEQUENCE_BITS
    bounds = [0, *(np.flatnonzero(np.diff(sequences)) + 1).tolist(), len(at)]
    return [(int(sequences[first]), first, last) for first, last in pairwise(bounds) if last > first]


def _by_number(events: Events, indices: Ints) -> list[tuple[int, Ints]]:
    """Table maps or row events by their table's number, the six bytes after the header."""
    if not len(indices):
        return []
    numbers = little(events.buffer, "<u8")[events.starts[indices] + HEADER] & np.uint64((1 << 48) - 1)
    distinct, which = np.unique(numbers, return_inverse=True)
    return [(int(number), indices[which == place]) for place, number in enumerate(distinct)]


def _all_equal(events: Events, indices: Ints, body: bytes) -> bool:
    """Whether all these events have this body."""
    starts = events.starts[indices] + HEADER
    if (events.stops[indices] - starts != len(body)).any():
        return False
    wanted = np.frombuffer(body, np.uint8)
    return all(
        bool((records(events.buffer, part, len(body)) == wanted).all())
        for part in np.array_split(starts, 1 + len(starts) * len(body) // _COMPARED_AT_ONCE)
    )


_COMPARED_AT_ONCE = 4 << 20


def _runs(parts: list[Run]) -> list[Run]:
    """The parts in log order, joined where equal shapes follow each other."""
    shapes: list[Shape] = []
    codes = []
    for indices, shape in parts:
        if shape not in shapes:
            shapes.append(shape)
        codes.append(np.full(len(indices), shapes.index(shape)))
    indices, code = np.concatenate([part[0] for part in parts]), np.concatenate(codes)
    order = np.argsort(indices, kind="stable")
    indices, code = indices[order], code[order]
    bounds = [0, *(np.flatnonzero(np.diff(code)) + 1).tolist(), len(code)]
    return [(indices[first:last], shapes[code[first]]) for first, last in pairwise(bounds)]


def _table_rows(stretch: Stretch, indices: Ints, transactions: Transactions) -> TableRows:
    """Row events without what precedes their column count: number 6, flags 2, and in version 2 extra data."""
    events = stretch.events
    kinds = events.kinds[indices]
    bodies = events.starts[indices] + HEADER + 8
    extra = little(events.buffer, "<u2")[bodies].astype(np.int64)
    bodies = bodies + np.where(np.isin(kinds, _V2), extra, 0)
    return TableRows(
        events.buffer, _OPERATIONS[kinds], stretch.at[indices], transactions.of(indices), bodies,
        events.stops[indices], events.begins[indices],
    )  # fmt: skip
