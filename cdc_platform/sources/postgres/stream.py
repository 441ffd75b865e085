"""Changes from the slot, in stretches of bounded memory.

    peek (at most `changes` or one whole transaction) ──> Arrow batches of messages ──> decode ──> stretches
      ^                                                                                              │
      └────────────── the caller acknowledges, or does not: the next peek begins at the slot's mark ◄─┘

`pg_logical_slot_peek_binary_changes` changes nothing at the server; only `acknowledge` moves the slot's mark. Each peek
begins at that mark and gives whole transactions, so what lies below `done` (delivered already) is decoded again and
dropped, and as many messages more are asked for as the last peek from the same mark gave: there is always progress.

Tables are known by their OIDs, so that one that was renamed for a while is still itself. Each is followed from its own
place on; what the log says of it before is not looked into.

The server stops after the first record that ends at or after the bound, which may be one that starts past it, so
changes at or after `until` are dropped too. Having given fewer messages than it was allowed to, it has gone through
all of the log that is on disk, up to the bound at least: `until` is reached.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from cdc_platform.errors import CdcError, NeedsPerson, Unavailable
from cdc_platform.model.change import Captured, Entry, Followed, Truncated, Unlogged
from cdc_platform.model.position import Position, format_lsn
from cdc_platform.model.schema import TableName
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.postgres.batches import first_place, place_of, stream_batch
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier, literal, read_ahead
from cdc_platform.sources.postgres.messages import Messages
from cdc_platform.sources.postgres.pgoutput import Decoded, Rows, State, Truncation, Wanted, decode
from cdc_platform.sources.postgres.shapes import Shape
from cdc_platform.sources.postgres.slot import await_flushed, resumable_slot

_FLUSH_SECONDS = 10.0
_BATCH_BYTES = "adbc.postgresql.batch_size_hint_bytes"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is held at once: `changes` asked for in one peek, changes and bytes of messages in one stretch.

    `batch_bytes` is the driver's unit: a stretch is cut only between two of its batches.
    """

    changes: int = 500_000
    stretch_changes: int = 100_000
    stretch_bytes: int = 128 << 20
    batch_bytes: int = 16 << 20


@dataclass(slots=True)
class Stream:
    """One call of `Source.changes`. `tables` are those that can be followed, as the catalogue has them now.

    `before_peek` is called each time before the server is asked for more.
    """

    connection: PostgresConnection
    session: Session
    slot: str
    tables: Mapping[TableName, CatalogueTable]
    followed: Mapping[TableName, Followed]
    pace: Pace
    before_peek: Callable[[], None]
    _wanted: dict[int, Wanted] = field(init=False)
    _shapes: dict[TableName, Shape] = field(init=False)

    def __post_init__(self) -> None:
        self._wanted = {t.oid: Wanted(name, self.followed[name].position) for name, t in self.tables.items()}
        self._shapes = {
            name: Shape(self.session, self.slot, self.followed[name].schema, table.texts)
            for name, table in self.tables.items()
        }

    def read(self, start: Position, until: Position) -> Iterator[Captured]:
        """Stretches of [start, until); the last reaches `until`."""
        bound = until.at + (1 if until.ordinal else 0)  # a place inside a transaction: its commit record is needed
        with self.connection.errors("looking where the log ends"):
            flushed = await_flushed(self.session, bound, _FLUSH_SECONDS)
        if flushed < bound:
            raise Unavailable(
                f"{self.connection.label}: the log is not on disk up to {format_lsn(bound)} yet; run again"
            )
        done, mark, given = start, -1, 0
        with closing(self.connection.arrow()) as arrow:
            while done < until and self._wanted:
                self.before_peek()
                with self.connection.errors("looking at the slot"):
                    confirmed = resumable_slot(self.session, self.slot, done).confirmed
                assert confirmed is not None
                if confirmed != mark:
                    mark, given = confirmed, 0
                messages = self._messages(arrow, bound, limit := given + self.pace.changes)
                peek = _Peek(limit, done)
                # The server is not asked again before the last stretch has been taken, and perhaps acknowledged.
                with closing(self._stretches(messages, peek, until)) as stretches:
                    yield from ahead(stretches)
                done, given = peek.reached, peek.given
        if done < until:  # no table is left
            yield Captured((), until)

    def _stretches(self, peeked: Iterator[Messages], peek: _Peek, until: Position) -> Generator[Captured, None, None]:
        """Stretches of one peek; `peek` holds the bound that was reached, and how many messages there were."""
        state, stretch, done = State(), _Stretch(), peek.reached
        for messages in peeked:
            peek.given += len(messages)
            decoded = decode(messages, state, self._wanted, done, until)
            state = decoded.state
            self._take(decoded, stretch)
            stretch.bytes += len(messages.buffer) if decoded.pieces else 0
            stretch.upto = min(decoded.upto or done, until)
            full = stretch.changes >= self.pace.stretch_changes or stretch.bytes >= self.pace.stretch_bytes
            if full and stretch.upto > done:
                done = stretch.upto
                yield stretch.captured(done)
                stretch = _Stretch()
        peek.reached = until if peek.given < peek.limit else max(stretch.upto or done, done)
        if peek.reached > done:
            yield stretch.captured(peek.reached)

    def _messages(self, arrow: Any, bound: int, limit: int) -> Iterator[Messages]:
        """Record batches of what the slot holds up to the LSN `bound`, some `limit` messages."""
        statement = (
            f"select lsn, data from pg_logical_slot_peek_binary_changes({literal(self.slot)}, "
            f"{literal(format_lsn(bound))}, {limit}, 'proto_version', '1', "
            f"'publication_names', {literal(identifier(self.slot))})"
        )
        doing = f"reading replication slot '{self.slot}'"
        with closing(arrow.cursor()) as cursor:
            with self.connection.errors(doing):
                cursor.adbc_statement.set_options(**{_BATCH_BYTES: str(self.pace.batch_bytes)})
                cursor.execute(statement)
                batches = read_ahead(cursor)
            with closing(batches):
                while True:
                    with self.connection.errors(doing):
                        batch = next(batches, None)
                    if batch is None:
                        return
                    yield _arrow_messages(batch)

    def _take(self, decoded: Decoded, stretch: _Stretch) -> None:
        """Put what was decoded into the stretch; a table that fails is not followed any more."""
        for piece in decoded.pieces:
            table = self._wanted[piece.relation.oid].table
            if table in stretch.failures:
                continue
            if isinstance(piece, Truncation):
                stretch.entries.append(Truncated(table, place_of(piece)))
                stretch.changes += 1
                continue
            try:
                self._take_rows(piece, self._shapes[table], stretch)
            except NeedsPerson as error:
                stretch.failures[table] = error
        for table, failure in decoded.stops.items():
            stretch.failures.setdefault(table, failure)
        self._wanted = {oid: w for oid, w in self._wanted.items() if w.table not in stretch.failures}

    def _take_rows(self, rows: Rows, shape: Shape, stretch: _Stretch) -> None:
        """Rows of one shape; raises about the first that cannot be taken, with those before it in the stretch."""
        with self.connection.errors("reading the catalogue"):
            reason = shape.change_to(rows.relation)
        batch, bad = stream_batch(rows, shape.schema)
        if len(batch):
            if reason is not None:
                stretch.entries.append(Unlogged(shape.table, first_place(batch), reason))
            stretch.entries.append(batch)
            stretch.changes += len(batch)
        if bad is not None:
            raise bad


@dataclass(slots=True)
class _Peek:
    """One question to the server: how many messages it may give and gave, and the bound up to which they are out."""

    limit: int
    reached: Position
    given: int = 0


@dataclass(slots=True)
class _Stretch:
    """What is being gathered for one `Captured`."""

    entries: list[Entry] = field(default_factory=list)
    failures: dict[TableName, CdcError] = field(default_factory=dict)
    changes: int = 0
    bytes: int = 0
    upto: Position | None = None

    def captured(self, upto: Position) -> Captured:
        return Captured(tuple(self.entries), upto, self.failures)


def _arrow_messages(batch: pa.RecordBatch) -> Messages:
    """From the driver's columns: `lsn` as eight big-endian bytes in an opaque binary, `data` as binary."""
    count = batch.num_rows
    lsns, data = batch.column(0).storage, batch.column(1)
    places = np.frombuffer(lsns.buffers()[2], ">u8", count, 8 * lsns.offset).astype(np.int64)
    _, offsets, values = data.buffers()
    ends = np.frombuffer(offsets, np.int32, count + 1, 4 * data.offset)
    return Messages.of(places, ends, np.frombuffer(values, np.uint8))
