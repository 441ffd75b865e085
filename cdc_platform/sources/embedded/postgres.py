"""Postgres as a `Source` whose changes come through Debezium's engine; all else is the native source's.

    slot (at the logs' mark) ──> engine ──> messages ──> whole transactions ──> decoded ──> Captured
                                               │
       a logical message written at the start ─┘  when it comes, everything before it has come: `until` is reached

Why nothing is lost: the engine is begun at the logs' position, or at the slot's mark, which is never moved past what
the logs were read back to hold (`acknowledge`); it is told to move nothing itself. Why nothing is doubled: a change's
place follows from the server's log alone (transactions.py), and what lies before a table's position is dropped.

A transaction's place is known when its end has come: what is larger than a stretch waits in a file meanwhile, and is
then several stretches. The slot is in use while the engine runs, so it is moved on when a call of `changes` ends.
Layer: sources.
"""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cdc_platform.errors import CdcError, Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import Captured, Entry, Followed
from cdc_platform.model.position import Position, format_lsn
from cdc_platform.model.schema import TableName
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.embedded import runtime
from cdc_platform.sources.embedded.frames import Messages
from cdc_platform.sources.embedded.postgres_tables import Tables, check_types
from cdc_platform.sources.embedded.process import EngineProcess
from cdc_platform.sources.embedded.settings import check_properties, postgres_properties
from cdc_platform.sources.embedded.spool import Spool
from cdc_platform.sources.embedded.transactions import (
    between_records,
    changes_in,
    end_of_first,
    marker_in,
    placed,
)
from cdc_platform.sources.postgres import slot as slots
from cdc_platform.sources.postgres.catalogue import NO_TEXT, AsText, Session
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform.sources.postgres.source import PostgresSource

STRETCH_BYTES: Final = 48 << 20
"""Of messages in one stretch: about sixty thousand changes."""

_RELEASED_SECONDS: Final = 20.0
_FLUSH_SECONDS: Final = 10.0


class PostgresEngine(PostgresSource):
    """One database, read through one slot and one publication by Debezium. Implements `Source`.

    `properties` are the engine's that a pipeline may set; `state` is a folder for large transactions.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        slot: str,
        state: Path,
        properties: Mapping[str, str],
        as_text: AsText = NO_TEXT,
        stretch_bytes: int = STRETCH_BYTES,
    ) -> None:
        super().__init__(connection, slot, as_text=as_text)
        check_properties(properties)
        self._state, self._properties, self._stretch_bytes = state, properties, stretch_bytes

    def prepare(self, tables: Sequence[TableName]) -> None:
        """As the native source, and that Debezium has all of these tables' values as they are."""
        runtime.command()
        check_types(self._tables(tables), self._as_text)
        super().prepare(tables)

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        session = self._session()
        with self._connection.errors("looking at the slot"):
            confirmed = slots.resumable_slot(session, self._slot, start).confirmed
            able, failures = self._followed(session, followed)
        for table, found in list(able.items()):
            try:
                check_types({table: found}, self._as_text)
            except CdcError as error:
                failures[table] = error
                del able[table]
        if failures:
            yield Captured((), start, failures)
        if not able:
            yield Captured((), until)
            return
        assert confirmed is not None
        # Inside a commit record the transaction may be half in the logs: it is read from its beginning.
        begin = start.at if between_records(start.at) else confirmed
        with self._connection.errors("marking the log's end"):
            marker = _mark(session)
            self._await(until)
        self._released()
        tables = Tables(session, self._slot, able, followed, self.rewritten_by)
        whole = [name for name, found in able.items() if found.identity == "f"]
        properties = postgres_properties(self._connection, self._slot, begin, whole, self._properties)
        self._reading = True
        try:
            with (
                closing(EngineProcess(self._connection.label, properties)) as engine,
                closing(Spool(self._state)) as spool,
            ):
                reading = _Reading(engine, spool, tables, marker, self._stretch_bytes, until)
                with closing(reading.stretches(start)) as stretches:
                    yield from ahead(stretches)
        finally:
            self._reading = False
        self._released()
        self._advance()

    def acknowledge(self, position: Position) -> None:
        """As the native source. Inside a commit record nothing is said: the transaction is still needed."""
        if between_records(position.at):
            super().acknowledge(position)

    def _await(self, until: Position) -> None:
        """The server sends what is on disk only."""
        if slots.await_flushed(self._session(), until.at, _FLUSH_SECONDS) < until.at:
            raise Unavailable(
                f"{self._connection.label}: the log is not on disk up to {format_lsn(until.at)} yet; run again"
            )

    def _released(self) -> None:
        """Wait until nobody reads by the slot: the server notices a dead reader when it writes to it next."""
        deadline = time.monotonic() + _RELEASED_SECONDS
        with self._connection.errors("looking at the slot"):
            while (reader := _reader(self._session(), self._slot)) is not None:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"{self._connection.label}: replication slot '{self._slot}' is read by pid {reader}; run again "
                        "when that has ended"
                    )
                time.sleep(0.02)


@dataclass(slots=True)
class _Reading:
    """One run of the engine."""

    engine: EngineProcess
    spool: Spool
    tables: Tables
    marker: str
    stretch_bytes: int
    until: Position
    _waiting: list[Messages] = field(default_factory=list)

    def stretches(self, start: Position) -> Generator[Captured]:
        """Stretches of [start, until); the last reaches `until`."""
        reached, size = start, 0
        for batch in self.engine.batches():
            self._waiting.append(batch)
            size += batch.size
            over = marker_in(batch, self.engine.kinds, self.marker)
            if not over and size < self.stretch_bytes:
                continue
            for captured in self._taken():
                if captured.upto > reached:
                    reached = captured.upto
                    yield captured
                if reached >= self.until:
                    return
            size = sum(part.size for part in self._waiting)
            if over:
                yield Captured((), self.until)
                return

    def _taken(self) -> Iterator[Captured]:
        """What can be placed of the messages that wait; the rest goes on waiting."""
        messages, kinds = Messages.joined(self._waiting), self.engine.kinds
        self._waiting = []
        end, earlier = end_of_first(messages, kinds), self.spool.changes
        if end is None:  # a transaction that is larger than a stretch
            self.spool.add(messages, changes_in(messages, kinds))
            failpoint("debezium.spooled")
            return
        at, done = end - 1, 0
        for part in self.spool.parts():
            entries = self.tables.take_part(part, kinds, at, done, self.until)
            done += changes_in(part, kinds)
            yield self._captured(entries, Position(at, done))
        whole = placed(messages, kinds, earlier)
        assert whole.upto is not None
        if len(whole.rest):
            self._waiting.append(whole.rest)
        yield self._captured(self.tables.take(whole, kinds, self.until), Position(whole.upto))

    def _captured(self, entries: Sequence[Entry], upto: Position) -> Captured:
        return Captured(tuple(entries), min(upto, self.until), self.tables.failed())


def _mark(session: Session) -> str:
    """Write a logical message into the log; its content as Debezium will show it."""
    content = secrets.token_bytes(12)
    with session.cursor() as cursor:
        cursor.execute("select pg_logical_emit_message(true, 'cdc_platform', %s)", [content])
    return base64.b64encode(content).decode()


def _reader(session: Session, slot: str) -> int | None:
    with session.cursor() as cursor:
        cursor.execute("select active_pid from pg_replication_slots where slot_name = %s and active", [slot])
        row = cursor.fetchone()
    return None if row is None else int(row[0])
