"""From a stretch of the log to what it says of the followed tables.

    events ──> table maps ──> row events by table ──> images (rows.py) ──> columns (values.py) ──> track.py
           ──> transactions (names, times), which of them count (xa.py)                            ──> entries
           ──> statements (statements.py, alter.py) ──> marks on tables ─────────────────────────> track.py

What a follower carries from stretch to stretch: the table maps of the current file and the current transaction, both
of which a transaction larger than a stretch needs; the shape of each table; which XA transactions are prepared.
Everything outside a table's own [position, until) is passed over before it is decoded. A table that fails delivers
nothing of the stretch in which it does, and nothing after it. Layer: sources; no I/O but the catalogue's questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from cdc_platform.errors import CdcError, NotUnderstood
from cdc_platform.model.change import Entry, Followed
from cdc_platform.model.position import Position, format_binlog
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.mysql import binlog
from cdc_platform.sources.mysql.annotated import plain_updates
from cdc_platform.sources.mysql.batches import Bounds, TableRows
from cdc_platform.sources.mysql.binlog import HEADER, BadEvent, Events, little, records
from cdc_platform.sources.mysql.cascades import PassedOn, Watch
from cdc_platform.sources.mysql.catalogue import Catalogue
from cdc_platform.sources.mysql.foreign_keys import ForeignKeys
from cdc_platform.sources.mysql.log import Stretch
from cdc_platform.sources.mysql.partial import Known
from cdc_platform.sources.mysql.shapes import Declared, Shape, declared, declared_after, shape_of
from cdc_platform.sources.mysql.statements import effects_of, folded
from cdc_platform.sources.mysql.tablemap import read_table_map, table_name
from cdc_platform.sources.mysql.track import Mark, Reading, Run, Track
from cdc_platform.sources.mysql.transactions import Transactions, read_transactions, unknown
from cdc_platform.sources.mysql.xa import Statement, TwoPhase, Unsure

_SEQUENCE_BITS = 36
_DUMMY_TABLE = 0xFFFFFF  # ends a statement that changed no row
_TEMPORARY = 0x04  # the event's flag of an ALTER or TRUNCATE of a temporary table
_ON_ONE_TABLE = ("gone", "truncated", "altered")
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
class Taken:
    """What a stretch held. `stop` is set where the log cannot be read past `upto`, for no table."""

    entries: tuple[Entry, ...]
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


@dataclass(frozen=True, slots=True)
class _File:
    """A file's part of a stretch: events first..last, and what the tables' numbers mean there."""

    first: int
    last: int
    maps: Mapping[int, _Map]


@dataclass(frozen=True, slots=True)
class ServerTraits:
    """`folded`: names of tables are the same in upper and lower case. `partial`: row images lack columns unless a
    session says otherwise. `mariadb`: an UPDATE whose image lacks columns may be half of a REPLACE.
    """

    folded: bool = False
    partial: bool = False
    mariadb: bool = False

    @property
    def notes(self) -> bool:
        """Whether the statements that the server notes beside row events are of use."""
        return self.mariadb and self.partial


@dataclass(slots=True)
class Follower:
    """Follows each table from its own position, with the shape that it has there, stretch after stretch."""

    tracks: dict[TableName, Track]
    bounds: Bounds
    catalogue: Catalogue
    watch: Watch
    traits: ServerTraits = ServerTraits()
    _declared: dict[TableName, Declared] = field(default_factory=dict)
    _sequence: int = -1
    _maps: dict[int, _Map] = field(default_factory=dict)
    _transaction: Transactions = field(default_factory=unknown)
    _two_phase: TwoPhase = field(default_factory=TwoPhase)

    @classmethod
    def of(
        cls,
        followed: Mapping[TableName, Followed],
        bounds: Bounds,
        catalogue: Catalogue,
        keys: ForeignKeys,
        traits: ServerTraits,
    ) -> Follower:
        tracks = {
            table: Track(one.schema, Bounds(bounds.base, max(bounds.start, one.position), bounds.until))
            for table, one in followed.items()
        }
        watch = Watch(keys, folds=traits.folded, mariadb=traits.mariadb)
        types = {table: declared(one.schema) for table, one in followed.items()}
        return cls(tracks, bounds, catalogue, watch, traits, types)

    def take(self, stretch: Stretch) -> Taken:
        """What the next stretch says."""
        stretch, stop = self._understood(stretch)
        transactions = read_transactions(stretch.events, stretch.at, self.bounds.base, self._transaction)
        statements = read_statements(stretch, transactions, self.traits)
        failures = self.watch.read(stretch.events, self.tracks)
        files = self._files(stretch)

        def touched(rows: Ints) -> frozenset[TableName]:
            followed = {mapped.table for _, mapped, _ in self._mapped_rows(stretch.events, files, rows)}
            return frozenset(followed & self.tracks.keys()).union(self._passed_on(stretch, files, rows, transactions))

        skipped, unsure = self._two_phase.read(stretch.events, statements, transactions, touched)
        wanted = self.bounds.events(stretch.at) & ~skipped
        runs = self._runs(stretch, files, wanted, statements, failures)
        rows = stretch.events.of(*binlog.ROWS, *_ROWS_NOT_UNDERSTOOD)
        passed = self._passed_on(stretch, files, rows[wanted[rows]], transactions)
        unsure += [(one.index, one.what, frozenset([table])) for table, one in passed.items()]
        marks = self._marks(statements, unsure)
        entries: list[Entry] = []
        for table in [table for table in self.tracks if table in runs or table in marks]:
            if table not in failures:
                try:
                    reading = self._reading(table, stretch, transactions)
                    entries += self.tracks[table].entries(reading, runs.get(table, ()), marks.get(table, ()))
                except CdcError as error:
                    failures[table] = error
        for table in failures:
            del self.tracks[table]
        if any(effect.alteration is not None for _, effect in statements):
            for table in self.tracks:
                self._declared[table] = self._declared_after(table, stretch, statements, len(stretch.events))
        self._transaction = transactions.last()
        return Taken(tuple(entries), failures, stretch.upto, stop)

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

    def _files(self, stretch: Stretch) -> list[_File]:
        """The stretch by files, each with the table maps known in it."""
        found = []
        for sequence, first, last in _file_parts(stretch.at):
            if sequence != self._sequence:
                self._sequence, self._maps = sequence, {}
            self._read_maps(stretch.events.slice(first, last))
            found.append(_File(first, last, self._maps))
        return found

    def _read_maps(self, events: Events) -> None:
        """Remember the tables' numbers. A number never changes its meaning inside a file: that is made sure of."""
        for number, which in _by_number(events, events.of(binlog.TABLE_MAP)):
            first = int(which[0])
            body, offset = events.body(first), int(events.begins[first])
            known = self._maps.get(number)
            if known is None:
                known = self._maps[number] = _Map(body, offset, table_name(body, offset))
            if (known.table in self.tracks or self.watch.of(known.table)) and not _all_equal(events, which, known.body):
                raise BadEvent(offset, f"table number {number} means two things in one file")

    def _mapped_rows(self, events: Events, files: list[_File], rows: Ints) -> Iterator[tuple[_File, _Map, Ints]]:
        """These row events of followed tables, and of those that foreign keys watch, by the meaning of their table's
        number."""
        for file in files:
            first, last = np.searchsorted(rows, (file.first, file.last))
            for number, which in _by_number(events, rows[first:last]):
                mapped = file.maps.get(number)
                if mapped is None and number != _DUMMY_TABLE:
                    offset = int(events.begins[which[0]])
                    raise BadEvent(offset, f"no table map gives table number {number} a meaning")
                if mapped is not None and (mapped.table in self.tracks or self.watch.of(mapped.table)):
                    yield file, mapped, which

    def _runs(
        self,
        stretch: Stretch,
        files: list[_File],
        wanted: Mask,
        statements: list[Statement],
        failures: dict[TableName, CdcError],
    ) -> dict[TableName, list[Run]]:
        """The wanted row events of each followed table from its own position on, by shape."""
        found: dict[TableName, list[Run]] = {}
        rows = stretch.events.of(*binlog.ROWS, *_ROWS_NOT_UNDERSTOOD)
        for _, mapped, indices in self._mapped_rows(stretch.events, files, rows[wanted[rows]]):
            if mapped.table not in self.tracks:
                continue
            which = indices[np.searchsorted(stretch.at[indices], self.tracks[mapped.table].bounds.start.at) :]
            if not len(which) or mapped.table in failures:
                continue
            try:
                self._check_kinds(mapped, stretch, which)
                mapped.shape = mapped.shape or self._shape(mapped, stretch, int(which[0]), statements)
            except CdcError as error:
                failures[mapped.table] = error
                continue
            found.setdefault(mapped.table, []).append((which, mapped.shape))
        return {table: _joined(parts) for table, parts in found.items() if table not in failures}

    def _shape(self, mapped: _Map, stretch: Stretch, index: int, statements: list[Statement]) -> Shape:
        """What the table's number means, from event `index` on."""
        known = self._declared_after(mapped.table, stretch, statements, index)
        return shape_of(read_table_map(mapped.body, mapped.offset), self.catalogue, known)

    def _declared_after(self, table: TableName, stretch: Stretch, statements: list[Statement], upto: int) -> Declared:
        """The columns' declared types where event number `upto` of the stretch begins."""
        name, bounds = folded(table) if self.traits.folded else table, self.tracks[table].bounds
        alterations = [
            effect.alteration
            for index, effect in statements
            if index < upto and effect.alteration is not None and effect.touches(name)
            and bounds.holds(Position(int(stretch.at[index])))
        ]  # fmt: skip
        return declared_after(self._declared[table], alterations)

    def _check_kinds(self, mapped: _Map, stretch: Stretch, indices: Ints) -> None:
        """NotUnderstood for row events that hold something else than rows as they are."""
        kinds = stretch.events.kinds[indices]
        strange = np.flatnonzero(np.isin(kinds, list(_ROWS_NOT_UNDERSTOOD)))
        if len(strange):
            place = format_binlog(self.bounds.base, int(stretch.at[indices[strange[0]]]))
            raise NotUnderstood(
                f"{mapped.table}: the binlog at {place} holds {_ROWS_NOT_UNDERSTOOD[int(kinds[strange[0]])]}"
                " and begin its pipeline anew"
            )

    def _passed_on(
        self, stretch: Stretch, files: list[_File], rows: Ints, transactions: Transactions
    ) -> dict[TableName, PassedOn]:
        """The last of these row events that changes rows of each followed table by a foreign key."""
        if not self.watch.any or not len(rows):
            return {}
        found = self.watch.passed_on(
            stretch.events,
            (
                (one.table, one.body, one.offset, which)
                for _, one, which in self._mapped_rows(stretch.events, files, rows)
            ),
            lambda indices: _table_rows(stretch, indices, transactions),
        )
        return {table: one for table, one in found.items() if table in self.tracks}

    # --- one table --------------------------------------------------------------------------------------------

    def _reading(self, table: TableName, stretch: Stretch, transactions: Transactions) -> Reading:
        return Reading(
            stretch, transactions, lambda indices: _table_rows(stretch, indices, transactions),
            lambda indices: self._known(table, stretch, indices, transactions), self.traits.partial,
        )  # fmt: skip

    def _known(self, table: TableName, stretch: Stretch, indices: Ints, transactions: Transactions) -> Known:
        """What helps where row images lack columns."""
        rules = self.catalogue.rules(table, certain=self.traits.partial, mariadb=self.traits.mariadb)
        owners = transactions.of(np.arange(len(stretch.events)))
        return Known(rules, plain_updates(stretch.events, indices, owners, table, self.traits.folded))

    def _marks(self, statements: list[Statement], unsure: list[Unsure]) -> dict[TableName, list[Mark]]:
        """What statements did to each followed table."""
        found: dict[TableName, list[Mark]] = {}
        for index, effect in statements:
            if effect.kind not in (*_ON_ONE_TABLE, "unlogged"):
                continue
            for table in self.tracks:
                if effect.touches(folded(table) if self.traits.folded else table):
                    if effect.kind == "altered":
                        self.catalogue.forget([table])
                    found.setdefault(table, []).append(Mark(index, effect.kind, effect.what, effect.alteration))
            for table, what in self.watch.unsure(effect, self.tracks).items():
                found.setdefault(table, []).append(Mark(index, "unlogged", what))
        for index, what, tables in unsure:
            for table in self.tracks if tables is None else tables & self.tracks.keys():
                found.setdefault(table, []).append(Mark(index, "unlogged", what))
        return {table: sorted(marks, key=lambda mark: mark.index) for table, marks in found.items()}


def read_statements(stretch: Stretch, transactions: Transactions, traits: ServerTraits) -> list[Statement]:
    """The statements that have effects. MySQL's BEGINs, one a transaction, are not looked at one by one."""
    events = stretch.events
    queries = events.of(binlog.QUERY)
    queries = queries[~binlog.begins_transaction(events, queries)]
    found: list[Statement] = []
    for index in sorted([*queries.tolist(), *events.of(binlog.EXECUTE_LOAD).tolist()]):
        if transactions.moot[transactions.of(np.array([index]))[0]]:
            continue
        read = binlog.read_query if events.kinds[index] == binlog.QUERY else binlog.read_load
        effects = effects_of(read(events.body(index), int(events.begins[index])))
        if events.flags[index] & _TEMPORARY:
            effects = tuple(effect for effect in effects if effect.kind not in ("truncated", "altered"))
        found += [(index, effect.folded() if traits.folded else effect) for effect in effects]
    return found


def alter_one_of(tables: Iterable[TableName], stretch: Stretch, traits: ServerTraits) -> bool:
    """Whether statements in the stretch alter one of these tables, or take it or all its rows away."""
    names = [folded(table) if traits.folded else table for table in tables]
    transactions = read_transactions(stretch.events, stretch.at, "", unknown())
    return any(
        effect.kind in _ON_ONE_TABLE and any(effect.touches(name) for name in names)
        for _, effect in read_statements(stretch, transactions, traits)
    )


def _file_parts(at: Ints) -> list[tuple[int, int, int]]:
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
    """Whether all these table maps have this body, flags aside: MySQL's and MariaDB's tell of the statement, too."""
    starts = events.starts[indices] + HEADER
    if (events.stops[indices] - starts != len(body)).any():
        return False
    wanted = np.frombuffer(body, np.uint8)
    for part in np.array_split(starts, 1 + len(starts) * len(body) // _COMPARED_AT_ONCE):
        differ = records(events.buffer, part, len(body)) != wanted
        differ[:, _FLAGS] = False
        if differ.any():
            return False
    return True


_FLAGS = slice(6, 8)  # behind the table's number
_COMPARED_AT_ONCE = 4 << 20


def _joined(parts: list[Run]) -> list[Run]:
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
