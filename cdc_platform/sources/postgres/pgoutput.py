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

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from cdc_platform.errors import Gap, Lost, NeedsPerson, NotUnderstood
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
class Wanted:
    """A relation whose changes at or after `start` are asked for. It is known by its OID; `table` is its name now."""

    table: TableName
    start: Position


@dataclass(frozen=True, slots=True)
class Rows:
    """Changes of one relation in log order. All arrays are as long as there are changes; `time` is in us since 1970.

    `holes` has, by the column's place, True where an update left the cell of `after` as it was and nobody says what
    that is; only columns in which there is one.
    """

    relation: Relation
    kind: Bytes
    at: Ints
    ordinal: Ints
    lsn: Ints
    xid: Ints
    time: Ints
    before: Image
    after: Image
    holes: Mapping[int, Mask] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.kind)

    def head(self, count: int) -> Rows:
        arrays = {name: getattr(self, name)[:count] for name in ("kind", "at", "ordinal", "lsn", "xid", "time")}
        holes = {place: mask[:count] for place, mask in self.holes.items() if mask[:count].any()}
        return replace(self, **arrays, before=self.before.head(count), after=self.after.head(count), holes=holes)


@dataclass(frozen=True, slots=True)
class Truncation:
    """All rows of a relation went; fields as one element of those of `Rows`."""

    relation: Relation
    at: int
    ordinal: int
    lsn: int
    xid: int
    time: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """`pieces` of the wanted tables, those of one table in log order; `stops`: the tables that cannot be followed past

    a place, and why; `state` after. `upto` is the bound below which everything has been seen, None when the messages
    say nothing about that.
    """

    pieces: tuple[Rows | Truncation, ...]
    stops: Mapping[TableName, NeedsPerson]
    state: State
    upto: Position | None


def decode(messages: Messages, state: State, wanted: Mapping[int, Wanted], start: Position, until: Position) -> Decoded:
    """The changes of the `wanted` relations (by OID) in [start, until); raises MalformedMessage."""
    if not len(messages):
        return Decoded((), {}, state, None)
    long_enough(messages, np.arange(len(messages)), messages.starts + 1)
    kinds = messages.buffer[messages.starts]
    _known(messages, kinds)
    changes = (kinds == INSERT) | (kinds == UPDATE) | (kinds == DELETE) | (kinds == _TRUNCATE)
    log, transaction, upto = _transactions(messages, kinds, changes, state.transaction)
    inside = changes & log.within(start, until)
    relations, shapes = _relations(messages, kinds, state.relations)
    decoder = _Decoder(messages, kinds, log, wanted, start)
    decoder.truncations(np.flatnonzero(inside & (kinds == _TRUNCATE)), shapes)
    decoder.rows_of(np.flatnonzero(inside & (kinds != _TRUNCATE)), shapes)
    return Decoded(decoder.pieces(), decoder.stops, State(relations, transaction), upto)


# --- transactions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Log:
    """For each message its transaction's commit LSN, time and xid, and its ordinal if it is a change."""

    at: Ints
    time: Ints
    xid: Ints
    ordinal: Ints

    def within(self, start: Position, until: Position) -> Mask:
        before_end = (self.at < until.at) | ((self.at == until.at) & (self.ordinal < until.ordinal))
        inside: Mask = self.since(start, slice(None)) & before_end
        return inside

    def since(self, start: Position, places: Ints | slice) -> Mask:
        """Which of the messages `places` are at or after `start`."""
        at, ordinal = self.at[places], self.ordinal[places]
        after: Mask = (at > start.at) | ((at == start.at) & (ordinal >= start.ordinal))
        return after


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
    """Gathers the pieces and stops of one batch of messages."""

    def __init__(
        self, messages: Messages, kinds: Bytes, log: _Log, wanted: Mapping[int, Wanted], start: Position
    ) -> None:
        self._messages, self._kinds, self._log, self._wanted = messages, kinds, log, wanted
        self._start = start
        self._named = {relation.table: relation for relation in wanted.values()}
        self._truncated: dict[int, list[int]] = {}
        self._stopped_at: dict[TableName, int] = {}
        self._pieces: list[tuple[int, TableName, Rows | Truncation]] = []
        self.stops: dict[TableName, NeedsPerson] = {}

    def pieces(self) -> tuple[Rows | Truncation, ...]:
        """What came before its table's stop, if there is one; in the order of first messages."""
        kept = [(message, piece) for message, table, piece in self._pieces if message < self._end(table)]
        return tuple(piece for _, piece in sorted(kept, key=lambda one: one[0]))

    def truncations(self, places: Ints, shapes: _Shapes) -> None:
        """Of each wanted relation; one message names several when it cascades. To be called before `rows_of`."""
        for message in places.tolist():
            start, end = int(self._messages.starts[message]), int(self._messages.ends[message])
            reader = Reader(self._messages.buffer[start:end].tobytes(), self._messages, message)
            reader.integer(1)
            count, _ = reader.integer(4), reader.integer(1)
            for oid in [reader.integer(4) for _ in range(count)]:
                relation = _shape_at(shapes.get(oid, []), message)
                if relation is None:
                    self._messages.malformed(message, start + 6, f"nothing is known of relation {oid}")
                wanted = self._wanted.get(oid)
                if wanted is not None and self._log.since(wanted.start, np.array([message])).all():
                    self._truncated.setdefault(oid, []).append(message)
                    self._pieces.append((message, wanted.table, self._truncation(relation, message)))
            reader.end()

    def _truncation(self, relation: Relation, message: int) -> Truncation:
        log = self._log
        at, ordinal, xid, time = (int(array[message]) for array in (log.at, log.ordinal, log.xid, log.time))
        return Truncation(relation, at, ordinal, int(self._messages.lsns[message]), xid, time)

    def rows_of(self, places: Ints, shapes: _Shapes) -> None:
        """Changes of each wanted relation, those of one shape and between two truncations together."""
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
            wanted = self._wanted.get(oid)
            if wanted is None:
                self._check_name(own, versions)
                continue
            if wanted.start > self._start:
                own = own[self._log.since(wanted.start, own)]
            cuts = sorted({message for message, _ in versions} | set(self._truncated.get(oid, ())))
            bounds = [*np.searchsorted(own, cuts).tolist(), len(own)]
            for cut, low, high in zip(cuts, bounds, bounds[1:], strict=False):
                relation = _shape_at(versions, cut + 1)
                if low < high and relation is not None:
                    self._append(wanted.table, relation, own[low:high])

    def _append(self, table: TableName, relation: Relation, places: Ints) -> None:
        messages, log = self._messages, self._log
        found = images(messages, self._kinds, places, relation)
        rows = Rows(
            relation,
            self._kinds[places],
            log.at[places],
            log.ordinal[places],
            messages.lsns[places],
            log.xid[places],
            log.time[places],
            found.before,
            found.after,
            found.holes,
        )
        if found.foreign is not None:
            message = int(places[found.foreign])
            reason = (
                f"{table}: the change at {self._lsn(message)} is of a partition whose replica identity is not the "
                f"table's; run: alter table ... replica identity full for all of them, and begin its pipeline anew"
            )
            self._stop(table, message, NotUnderstood(reason))
            rows = rows.head(found.foreign)
        if len(rows):
            self._pieces.append((int(places[0]), table, rows))

    def _check_name(self, places: Ints, versions: list[tuple[int, Relation]]) -> None:
        """Rows of another table under the name of one that is followed: it was made anew, or the two were exchanged."""
        bounds = [*np.searchsorted(places, [since for since, _ in versions]).tolist(), len(places)]
        for (_, relation), low, high in zip(versions, bounds, bounds[1:], strict=False):
            wanted = self._named.get(relation.table)
            if wanted is None:
                continue
            own = places[low:high]
            own = own[self._log.since(wanted.start, own)]
            if len(own):
                message = int(own[0])
                reason = (
                    f"{relation.table}: the log at {self._lsn(message)} has changes of another table of this name, "
                    f"which was dropped or renamed since: run: cdc resync"
                )
                self._stop(relation.table, message, Gap(reason, Lost.TABLE_REPLACED))

    def _lsn(self, message: int) -> str:
        return format_lsn(int(self._messages.lsns[message]))

    def _end(self, table: TableName) -> int:
        return self._stopped_at.get(table, len(self._messages))

    def _stop(self, table: TableName, message: int, error: NeedsPerson) -> None:
        if message < self._end(table):
            self._stopped_at[table], self.stops[table] = message, error


def _shape_at(versions: list[tuple[int, Relation]], message: int) -> Relation | None:
    return next((relation for since, relation in reversed(versions) if since < message), None)
