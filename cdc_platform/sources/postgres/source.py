"""Postgres 14 to 18 behind the `Source` seam: this file joins the parts and holds no idea of its own.

    connection  sessions and errors    preflight     what must hold before     snapshot  first state
    catalogue   tables and types       publication   which tables are logged   locks     tables that are not altered
    types       the type table         slot          where the log stands      stream    changes after the snapshot
    attributes  columns by number      fingerprints  is it still the table     pgoutput  the decoder
    numbering   which column is which  upkeep        what it costs, its end    shapes    schemas of what is decoded

Positions: `at` is the LSN of a transaction's commit record, see `pgoutput`; the `lsn` column is explained in `batches`.

Rights that the role needs: LOGIN, REPLICATION, USAGE on the schema and SELECT on the tables. To make the publication
and add tables to it by itself it must own the tables and may CREATE in the database; otherwise an administrator makes
a publication of the slot's name, and the platform takes it as it is. Layer: sources.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from cdc_platform.errors import CdcError, ConfigError, Gap, Lost
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import Captured, Followed
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.position import LSN, Notation, Position, format_lsn
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.postgres import preflight, publication, upkeep
from cdc_platform.sources.postgres import slot as slots
from cdc_platform.sources.postgres.attributes import read_attributes
from cdc_platform.sources.postgres.catalogue import (
    NO_TEXT,
    AsText,
    CatalogueTable,
    Session,
    read_tables,
    renamed,
)
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform.sources.postgres.fingerprints import read_fingerprints
from cdc_platform.sources.postgres.locks import locked
from cdc_platform.sources.postgres.readers import Readers
from cdc_platform.sources.postgres.shapes import unlogged
from cdc_platform.sources.postgres.snapshot import PostgresSnapshot
from cdc_platform.sources.postgres.stream import Pace, Stream


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait when a slot or snapshot is made: for open transactions, and for the lock on a table."""

    open_transactions: float = 60.0
    locks: float = 10.0


class PostgresSource:
    """One database, read through one slot and one publication, both named `slot`. Implements `Source`.

    `as_text` names columns that are read as the server's own text, whatever their type.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        slot: str,
        pace: Pace | None = None,
        patience: Patience | None = None,
        as_text: AsText = NO_TEXT,
    ) -> None:
        slots.check_name(slot)
        self._as_text = as_text
        self._connection, self._slot = connection, slot
        self._pace, self._patience = pace or Pace(), patience or Patience()
        self._control: Session | None = None
        self._settled = 0
        self._acknowledged, self._reading = 0, False
        self._oids: dict[TableName, int] = {}  # as last seen, to know a table that was renamed

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        return {table: found.schema for table, found in self._tables(tables).items()}

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        with self._connection.errors("reading the catalogue"):
            return read_fingerprints(self._session(), tables, self._slot)

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        session = self._session()
        with self._connection.errors("reading the catalogue"):
            attributes = read_attributes(session, self._oids[now.table], self._slot)
        return unlogged(before, now, attributes) if attributes else None

    def prepare(self, tables: Sequence[TableName]) -> None:
        """Check server and tables, make the publication, then the slot: decoding needs them in this order."""
        found: Mapping[TableName, CatalogueTable] = self._tables(tables)
        session = self._session()
        with self._connection.errors("preparing"):
            slot = slots.read_slot(session, self._slot)
            preflight.check_server(session, new_slots=0 if slot else 2)
            found = publication.identify(session, found)
            preflight.check_tables(session, found)
            if slot is not None:
                slots.check_usable(session, self._slot, slot)
            publication.ensure_published(session, self._slot, found)
            failpoint("postgres.published")
            if slot is None:
                slots.create_slot(self._connection, session, self._slot, self._patience.open_transactions)
                failpoint("postgres.slot.made")

    def check_resumable(self, start: Position) -> None:
        with self._connection.errors("looking at the slot"):
            slots.resumable_slot(self._session(), self._slot, start)

        if slots.flushed(self._session()) < start.at:
            raise Gap(
                f"the server's log ends before {format_lsn(start.at)}, up to where it was read: the server is an older "
                "copy of itself; run: cdc resync",
                Lost.LOG_ENDS_BEFORE,
            )

    def available(self) -> Position:
        session = self._session()
        with self._connection.errors("looking at the slot"):
            slot = slots.read_slot(session, self._slot)
            usable = slot is not None and slot.wal_status != "lost"
            kept = slot.confirmed if slot is not None and usable else None
            return Position(slots.flushed(session) if kept is None else kept)

    def reopen(self, tables: Sequence[TableName]) -> None:
        session = self._session()
        with self._connection.errors("looking at the slot"):
            slot = slots.read_slot(session, self._slot)
            if slot is not None:
                slots.check_usable(session, self._slot, slot)
                if slot.wal_status == "lost":
                    slots.drop(session, self._slot)
        self.prepare(tables)

    def keeping(self, position: Position) -> Keeping:
        with self._connection.errors("looking at the slot"):
            return upkeep.keeping(self._session(), self._slot)

    def extent(self, table: TableName) -> Extent:
        found = self._tables([table])[table]
        with self._connection.errors("reading the catalogue"):
            return upkeep.extent(self._session(), found)

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        with self._connection.errors("looking at slots"):
            return upkeep.readers(self._session(), names)

    def remove(self, name: str) -> None:
        with self._connection.errors(f"dropping slot '{name}'"):
            upkeep.remove(self._session(), name)

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        with self._connection.errors("taking tables out of the publication"):
            return upkeep.withdraw(self._session(), self._slot, tables)

    def identity(self) -> str:
        """`postgres/<system identifier>/<database oid>`: where LSNs mean the same.

        Timeline and slot are left out. A promoted standby that holds the slot goes on with the same positions, and
        one that does not has no slot to resume from. Two installations with slots of their own read the same changes.
        """
        with self._connection.errors("identifying the server"), self._session().cursor() as cursor:
            cursor.execute(
                "select system_identifier, d.oid::bigint from pg_control_system(), pg_database d"
                " where d.datname = current_database()"
            )
            row = cursor.fetchone()
        assert row is not None
        return f"postgres/{row[0]}/{row[1]}"

    def head(self) -> Position:
        """The end of the log on disk, once every commit made before the call is in it.

        Decoding sees only what is flushed. A commit with synchronous_commit = off is flushed by the WAL writer within
        three of its delays; so where the log inserted is longer than the log flushed, this waits for the rest that
        long. What is not on disk then belongs to transactions that have not committed.
        """
        session = self._session()
        with self._connection.errors("looking where the log ends"):
            inserted = slots.inserted(session)
            flushed = slots.flushed(session)
            if flushed < inserted and inserted > self._settled:
                flushed = slots.await_flushed(session, inserted, 4 * slots.writer_delay(session))
            self._settled = inserted
            return Position(flushed)

    @contextmanager
    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> Iterator[PostgresSnapshot]:
        session = self._session()
        with self._connection.errors("looking at the slot"):
            slots.resumable_slot(session, self._slot, Position(slots.inserted(session)))
        name, patience = f"cdc_snapshot_{secrets.token_hex(6)}", self._patience
        with (
            locked(self._connection, session, tables, self._slot, self._as_text, patience.locks) as kept,
            closing(Readers(self._connection, list(kept.shapes.values()), patience.locks, readers)) as sessions,
            slots.exported_snapshot(self._connection, session, name, patience.open_transactions) as export,
        ):
            with self._connection.errors("exporting a snapshot"):
                taken_at = slots.server_time(session)
            sessions.adopt(export.snapshot)
            yield PostgresSnapshot(self._connection, export, taken_at, kept, sessions, readers)

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        session = self._session()
        with self._connection.errors("looking at the slot"):
            slots.resumable_slot(session, self._slot, start)
            able, failures = self._followed(session, followed)
        if failures:
            yield Captured((), start, failures)
        stream = Stream(self._connection, session, self._slot, able, followed, self._pace, self._advance)
        self._reading = True
        try:
            yield from stream.read(start, until)
        finally:
            self._reading = False
        self._advance()

    def acknowledge(self, position: Position) -> None:
        """Move the slot on. Between two stretches this is noted, and done before the server is asked for more.

        The server decodes once more what it is to forget, from as far back as a transaction was open then: once a
        peek is enough, and late is harmless.
        """
        self._acknowledged = max(self._acknowledged, position.at)
        if not self._reading:
            self._advance()

    def notation(self) -> Notation:
        return LSN

    def format(self, position: Position) -> str:
        return LSN.format(position)

    def close(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None

    def _advance(self) -> None:
        if self._acknowledged:
            with self._connection.errors("moving the slot on"):
                slots.advance(self._session(), self._slot, self._acknowledged)
                if not self._reading:  # the next question would do it by the way
                    slots.release(self._session(), self._slot)

    def _session(self) -> Session:
        if self._control is None or self._control.closed:
            self._control = self._connection.control()
        return self._control

    def _tables(self, tables: Sequence[TableName]) -> dict[TableName, CatalogueTable]:
        with self._connection.errors("reading the catalogue"):
            found = read_tables(self._session(), tables, self._slot, self._as_text, self._oids)
        self._oids |= {table: shape.oid for table, shape in found.items()}
        return found

    def _followed(
        self, session: Session, followed: Mapping[TableName, Followed]
    ) -> tuple[dict[TableName, CatalogueTable], dict[TableName, CdcError]]:
        """The tables that can be followed from here on, and those that cannot."""
        failures: dict[TableName, CdcError] = {}
        able: dict[TableName, CatalogueTable] = {}
        for table, known in followed.items():
            try:
                able |= self._tables([table])
            except ConfigError as error:
                other = publication.renamed_to(session, self._slot, known.schema, followed)
                failures[table] = ConfigError(renamed(table, other)) if other else error
            except CdcError as error:
                failures[table] = error
        failures |= publication.unpublished(session, self._slot, able)
        return {table: shape for table, shape in able.items() if table not in failures}, failures
