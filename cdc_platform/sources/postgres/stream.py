"""Changes from the slot, in stretches of bounded memory.

    peek (at most `changes` or one whole transaction) ──> Arrow batches of messages ──> decode ──> stretches
      ^                                                                                              │
      └────────────── the caller acknowledges, or does not: the next peek begins at the slot's mark ◄─┘

`pg_logical_slot_peek_binary_changes` changes nothing at the server; only `acknowledge` moves the slot's mark. Each peek
begins at that mark and gives whole transactions, so what lies below `done` (delivered already) is decoded again and
dropped, and as many messages more are asked for as the last peek from the same mark gave: there is always progress.

The server stops after the first record that ends at or after the bound, which may be one that starts past it, so
changes at or after `until` are dropped too. Having given fewer messages than it was allowed to, it has gone through
all of the log that is on disk, up to the bound at least: `until` is reached.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from cdc_platform.errors import CdcError, NotUnderstood, Unavailable
from cdc_platform.model.change import Captured, ChangeBatch
from cdc_platform.model.position import Position, format_lsn
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.postgres.batches import stream_batch
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session, read_types, type_names
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier, literal, read_ahead
from cdc_platform.sources.postgres.messages import Messages
from cdc_platform.sources.postgres.pgoutput import Decoded, State, decode
from cdc_platform.sources.postgres.slot import await_flushed, resumable_slot
from cdc_platform.sources.postgres.tuples import Relation

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
    pace: Pace
    before_peek: Callable[[], None]
    _followed: set[TableName] = field(init=False)
    _schemas: dict[Relation, TableSchema] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._followed = set(self.tables)

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
            while done < until and self._followed:
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
            decoded = decode(messages, state, self._followed, done, until)
            state = decoded.state
            self._take(decoded, stretch)
            stretch.bytes += len(messages.buffer) if decoded.rows else 0
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
        failures: dict[TableName, CdcError] = dict(decoded.stops)
        for rows in decoded.rows:
            table = rows.relation.table
            if table in stretch.failures:
                continue
            try:
                schema = self._schema(rows.relation)
            except NotUnderstood as error:
                stretch.failures[table] = error
                continue
            batch, bad = stream_batch(rows, schema)
            if len(batch):
                stretch.batches.append(batch)
                stretch.changes += len(batch)
            if bad is not None:
                stretch.failures[table] = bad
        for table, failure in failures.items():
            stretch.failures.setdefault(table, failure)
        self._followed -= stretch.failures.keys()

    def _schema(self, relation: Relation) -> TableSchema:
        """The shape that the log gives the table, with what the catalogue knows besides (nullability, key)."""
        known = self._schemas.get(relation)
        if known is None:
            with self.connection.errors("reading the catalogue"):
                known = _table_schema(self.session, relation, self.tables[relation.table])
            self._schemas[relation] = known
        return known


@dataclass(slots=True)
class _Peek:
    """One question to the server: how many messages it may give and gave, and the bound up to which they are out."""

    limit: int
    reached: Position
    given: int = 0


@dataclass(slots=True)
class _Stretch:
    """What is being gathered for one `Captured`."""

    batches: list[ChangeBatch] = field(default_factory=list)
    failures: dict[TableName, CdcError] = field(default_factory=dict)
    changes: int = 0
    bytes: int = 0
    upto: Position | None = None

    def captured(self, upto: Position) -> Captured:
        return Captured(tuple(self.batches), upto, self.failures)


def _arrow_messages(batch: pa.RecordBatch) -> Messages:
    """From the driver's columns: `lsn` as eight big-endian bytes in an opaque binary, `data` as binary."""
    count = batch.num_rows
    lsns, data = batch.column(0).storage, batch.column(1)
    places = np.frombuffer(lsns.buffers()[2], ">u8", count, 8 * lsns.offset).astype(np.int64)
    _, offsets, values = data.buffers()
    ends = np.frombuffer(offsets, np.int32, count + 1, 4 * data.offset)
    return Messages.of(places, ends, np.frombuffer(values, np.uint8))


def _table_schema(session: Session, relation: Relation, table: CatalogueTable) -> TableSchema:
    """A relation's columns by their type OIDs, at the log's place; key and nullability are today's where they fit."""
    types = read_types(session, {column.type_oid for column in relation.columns})
    names = type_names(session, [(column.type_oid, column.typmod) for column in relation.columns])
    now = table.schema
    today = {column.name: column for column in now.columns}
    columns = []
    for shape, type_name in zip(relation.columns, names, strict=True):
        if shape.type_oid not in types:
            raise NotUnderstood(
                f"{relation.table}: the type of column '{shape.name}' has been dropped since; begin its pipeline anew"
            )
        same = today.get(shape.name)
        as_text = same is not None and same.source_id in table.texts
        arrow = replace(types[shape.type_oid], as_text=as_text).arrow(shape.typmod)
        if same is not None and (same.type, same.source_type) == (arrow, type_name):
            columns.append(same)
        else:
            columns.append(Column(shape.name, arrow, True, type_name))
    key = now.primary_key if set(now.primary_key) <= {column.name for column in columns} else ()
    return TableSchema(relation.table, tuple(columns), key)
