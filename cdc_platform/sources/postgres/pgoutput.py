"""The decoder of Postgres' logical replication messages (pgoutput, protocol version 1): bytes in, columns out.

Format: PostgreSQL manual, "Logical Replication Message Formats". Integers are big-endian.

    B  begin     commit LSN 8, commit time 8 (us since 2000-01-01), xid 4
    C  commit    flags 1, commit LSN 8, end LSN 8, commit time 8
    R  relation  oid 4, schema\\0, name\\0, identity 1, n 2, n x (flags 1, name\\0, type oid 4, modifier 4)
    I  insert    oid 4, 'N' tuple
    U  update    oid 4, ['K' or 'O' tuple], 'N' tuple
    D  delete    oid 4, 'K' or 'O' tuple
    T  truncate  n 4, options 1, n x oid 4
    O, Y, M      origin, type, logical message: nothing here needs them
    tuple        n 2, n x ('n' null | 'u' unchanged TOAST | 't' length 4, text)

Tuples are walked by column, not by row: an array holds one cursor a message; at each column the kind and the length
of every message's cell are read at once and all cursors move on. What comes out are places in the buffer
(`cells.Cells`), no values; turning them into typed columns is `batches.py`.

Order and numbers. Messages come in commit order, transaction by transaction. A change's `at` is its transaction's
commit LSN; its `ordinal` counts the changes of the transaction from 0, of all tables in the publication, whether they
are followed or not, so that it does not depend on who reads. `State` carries the open transaction and the relations'
shapes from one batch of messages to the next, so a transaction may be cut anywhere.

Pure: no server, no clock. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.position import Position, format_lsn
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Bytes, Ints, Mask
from cdc_platform.sources.postgres.messages import Messages, Reader, integers, long_enough, sized
from cdc_platform.sources.postgres.tuples import DELETE, INSERT, UPDATE, Image, Relation, RelationColumn, images

_BEGIN, _COMMIT, _RELATION, _TRUNCATE = ord("B"), ord("C"), ord("R"), ord("T")
_SKIPPED = tuple(b"OYM")
_MICROSECONDS_TO_2000 = 946_684_800_000_000


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction: `changes` of it have been seen; `time` is its commit, in us since 1970."""

    commit_lsn: int
    time: int
    xid: int
    changes: int


@dataclass(frozen=True, slots=True)
class State:
    """What decoding the next messages needs to know of the ones before."""

    relations: Mapping[int, Relation] = field(default_factory=dict)
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Changes of one relation in log order. All arrays are as long as there are changes; `time` is in us since 1970."""

    relation: Relation
    kind: Bytes
    at: Ints
    ordinal: Ints
    lsn: Ints
    xid: Ints
    time: Ints
    before: Image
    after: Image

    def __len__(self) -> int:
        return len(self.kind)

    def head(self, count: int) -> Rows:
        arrays = {name: getattr(self, name)[:count] for name in ("kind", "at", "ordinal", "lsn", "xid", "time")}
        return replace(self, **arrays, before=self.before.head(count), after=self.after.head(count))


@dataclass(frozen=True, slots=True)
class Decoded:
    """`rows` of the wanted tables; `stops`: the tables that cannot be followed past a place, and why; `state` after.

    `upto` is the bound below which everything has been seen, None when the messages say nothing about that.
    """

    rows: tuple[Rows, ...]
    stops: Mapping[TableName, NotUnderstood]
    state: State
    upto: Position | None


def decode(
    messages: Messages, state: State, wanted: Collection[TableName], start: Position, until: Position
) -> Decoded:
    """The changes of the `wanted` tables in [start, until); raises MalformedMessage."""
    if not len(messages):
        return Decoded((), {}, state, None)
    long_enough(messages, np.arange(len(messages)), messages.starts + 1)
    kinds = messages.buffer[messages.starts]
    _known(messages, kinds)
    changes = (kinds == INSERT) | (kinds == UPDATE) | (kinds == DELETE) | (kinds == _TRUNCATE)
    log, transaction, upto = _transactions(messages, kinds, changes, state.transaction)
    inside = changes & log.within(start, until)
    relations, shapes = _relations(messages, kinds, state.relations)
    decoder = _Decoder(messages, kinds, log, wanted)
    decoder.truncations(np.flatnonzero(inside & (kinds == _TRUNCATE)), shapes)
    decoder.rows_of(np.flatnonzero(inside & (kinds != _TRUNCATE)), shapes)
    return Decoded(tuple(decoder.rows), decoder.stops, State(relations, transaction), upto)


# --- transactions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Log:
    """For each message its transaction's commit LSN, time and xid, and its ordinal if it is a change."""

    at: Ints
    time: Ints
    xid: Ints
    ordinal: Ints

    def within(self, start: Position, until: Position) -> Mask:
        after_start = (self.at > start.at) | ((self.at == start.at) & (self.ordinal >= start.ordinal))
        before_end = (self.at < until.at) | ((self.at == until.at) & (self.ordinal < until.ordinal))
        inside: Mask = after_start & before_end
        return inside


def _known(messages: Messages, kinds: Bytes) -> None:
    for kind in np.flatnonzero(np.bincount(kinds, minlength=256)).tolist():
        if kind not in (*_SKIPPED, _BEGIN, _COMMIT, _RELATION, _TRUNCATE, INSERT, UPDATE, DELETE):
            message = int((kinds == kind).argmax())
            messages.malformed(message, int(messages.starts[message]), f"unknown kind {kind}")


def _transactions(
    messages: Messages, kinds: Bytes, changes: Mask, carried: Transaction | None
) -> tuple[_Log, Transaction | None, Position | None]:
    begins, commits = kinds == _BEGIN, kinds == _COMMIT
    first, last = np.flatnonzero(begins), np.flatnonzero(commits)
    sized(messages, first, 21)
    sized(messages, last, 26)
    numbers = np.cumsum(begins)  # which transaction a message is of; 0 is the carried one
    depth = (carried is not None) + numbers - np.cumsum(commits)
    wrong = (depth < 0) | (depth > 1) | (changes & (depth != 1))
    if wrong.any():
        message = int(wrong.argmax())
        messages.malformed(message, int(messages.starts[message]), "out of its place in a transaction")
    known = carried or Transaction(0, 0, 0, 0)
    at = np.concatenate(([known.commit_lsn], integers(messages, first, 1, 8)))
    time = np.concatenate(([known.time], integers(messages, first, 9, 8) + _MICROSECONDS_TO_2000))
    xid = np.concatenate(([known.xid], integers(messages, first, 17, 4)))
    counted = np.cumsum(changes)
    seen_before = np.concatenate(([-known.changes], counted[first]))
    log = _Log(at[numbers], time[numbers], xid[numbers], counted - changes - seen_before[numbers])
    if depth[-1]:
        seen = int(counted[-1] - seen_before[-1])
        transaction = Transaction(int(at[-1]), int(time[-1]), int(xid[-1]), seen)
        return log, transaction, Position(int(at[-1]), seen)
    upto = Position(int(integers(messages, last[-1:], 10, 8)[0])) if len(last) else None
    return log, None, upto


# --- relations --------------------------------------------------------------------------------------------------

_Shapes = Mapping[int, list[tuple[int, Relation]]]
"""By relation OID: from which message on it has which shape, in log order."""


def _relations(
    messages: Messages, kinds: Bytes, carried: Mapping[int, Relation]
) -> tuple[Mapping[int, Relation], _Shapes]:
    shapes = {oid: [(-1, relation)] for oid, relation in carried.items()}
    current = dict(carried)
    for message in np.flatnonzero(kinds == _RELATION).tolist():  # a handful
        relation = _relation(messages, message)
        if current.get(relation.oid) != relation:
            current[relation.oid] = relation
            shapes.setdefault(relation.oid, []).append((message, relation))
    return current, shapes


def _relation(messages: Messages, message: int) -> Relation:
    start, end = int(messages.starts[message]), int(messages.ends[message])
    reader = Reader(messages.buffer[start:end].tobytes(), messages, message)
    reader.integer(1)
    oid, schema, name, identity = reader.integer(4), reader.string(), reader.string(), chr(reader.integer(1))
    columns = []
    for _ in range(reader.integer(2)):
        flags = reader.integer(1)
        column_name, type_oid, typmod = reader.string(), reader.integer(4), reader.integer(4)
        columns.append(RelationColumn(column_name, type_oid, typmod - (typmod >> 31 << 32), bool(flags & 1)))
    reader.end()
    # An empty schema name stands for pg_catalog.
    return Relation(oid, TableName(schema or "pg_catalog", name), identity, tuple(columns))


# --- rows -------------------------------------------------------------------------------------------------------


class _Decoder:
    """Gathers rows and stops of one batch of messages."""

    def __init__(self, messages: Messages, kinds: Bytes, log: _Log, wanted: Collection[TableName]) -> None:
        self._messages, self._kinds, self._log, self._wanted = messages, kinds, log, wanted
        self._stopped_at: dict[TableName, int] = {}
        self.stops: dict[TableName, NotUnderstood] = {}
        self.rows: list[Rows] = []

    def truncations(self, places: Ints, shapes: _Shapes) -> None:
        for message in places.tolist():
            start, end = int(self._messages.starts[message]), int(self._messages.ends[message])
            reader = Reader(self._messages.buffer[start:end].tobytes(), self._messages, message)
            reader.integer(1)
            count, _ = reader.integer(4), reader.integer(1)
            for oid in [reader.integer(4) for _ in range(count)]:
                relation = _shape_at(shapes.get(oid, []), message)
                if relation is None:
                    self._messages.malformed(message, start + 6, f"nothing is known of relation {oid}")
                self._stop(relation.table, message, "TRUNCATE of {table} at {lsn}: begin its pipeline anew")
            reader.end()

    def rows_of(self, places: Ints, shapes: _Shapes) -> None:
        """Changes of each wanted relation, those of one shape together."""
        if not len(places):
            return
        oids = integers(self._messages, places, 1, 4)
        one = bool((oids == oids[0]).all())
        for oid in [int(oids[0])] if one else np.unique(oids).tolist():
            own = places if one else places[oids == oid]
            versions = shapes.get(oid, [])
            if not versions or versions[0][0] > own[0]:
                start = int(self._messages.starts[own[0]])
                self._messages.malformed(int(own[0]), start + 1, f"nothing is known of relation {oid}")
            bounds = [*np.searchsorted(own, [message for message, _ in versions]).tolist(), len(own)]
            for (_, relation), low, high in zip(versions, bounds, bounds[1:], strict=False):
                if relation.table in self._wanted and low < high:
                    self._append(relation, own[low:high])

    def _append(self, relation: Relation, places: Ints) -> None:
        stopped = self._stopped_at.get(relation.table)
        if stopped is not None:
            places = places[places < stopped]
        if not len(places):
            return
        messages, log = self._messages, self._log
        before, after, unreadable = images(messages, self._kinds, places, relation)
        rows = Rows(
            relation,
            self._kinds[places],
            log.at[places],
            log.ordinal[places],
            messages.lsns[places],
            log.xid[places],
            log.time[places],
            before,
            after,
        )
        if unreadable is not None:
            row, column = unreadable
            reason = (
                "{table}: the change at {lsn} leaves the unchanged long value of column '{column}' out; "
                "run: alter table {table} replica identity full; then begin the pipeline anew"
            )
            self._stop(relation.table, int(places[row]), reason, column)
            rows = rows.head(row)
        if len(rows):
            self.rows.append(rows)

    def _stop(self, table: TableName, message: int, reason: str, column: str = "") -> None:
        if table in self._wanted and message < self._stopped_at.get(table, len(self._messages)):
            self._stopped_at[table] = message
            lsn = format_lsn(int(self._messages.lsns[message]))
            self.stops[table] = NotUnderstood(reason.format(table=table, lsn=lsn, column=column))


def _shape_at(versions: list[tuple[int, Relation]], message: int) -> Relation | None:
    return next((relation for since, relation in reversed(versions) if since < message), None)
