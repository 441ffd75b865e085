"""Sessions that read in one exported snapshot, with the locks that they need from before it was exported.

    begin; lock table ...;   [somebody exports a snapshot]   set transaction snapshot ...; copy (select ...) to stdout

LOCK takes no snapshot, so one can still be imported after it. The order matters: a session that asks for its lock only
when it reads waits behind whoever meanwhile waits to alter the table, who waits for the lock that keeps the table as it
is: for ever. So one session locks all tables at first, and reads them one after the other. A second one at the same
time, or one after a failed read, has to ask for its lock, and gives up after a while. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from cdc_platform.sources.postgres.catalogue import CatalogueTable
from cdc_platform.sources.postgres.connection import PostgresConnection, literal
from cdc_platform.sources.postgres.locks import own_rows


class Readers:
    """To be closed. `adopt` the snapshot before reading."""

    def __init__(self, connection: PostgresConnection, tables: Sequence[CatalogueTable], lock_seconds: float) -> None:
        self._connection, self._lock_seconds, self._snapshot = connection, lock_seconds, ""
        self._waiting: Any = self._locked(tables)  # the session that holds all locks, while it is not reading

    def adopt(self, snapshot: str) -> None:
        """Read in the exported snapshot of this name from now on."""
        self._snapshot = snapshot
        self._import(self._waiting)

    @contextmanager
    def reading(self, table: CatalogueTable) -> Iterator[Any]:
        """An ADBC cursor that sees the snapshot. A session whose reading was not brought to its end is given up."""
        first, self._waiting = self._waiting, None
        session = first
        if session is None:
            session = self._locked([table])
            self._import(session)
        try:
            with closing(session.cursor()) as cursor:
                yield cursor
        except BaseException:
            session.close()
            raise
        if first is None:
            session.close()
        else:
            self._waiting = first

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def _locked(self, tables: Sequence[CatalogueTable]) -> Any:
        session = self._connection.arrow()
        try:
            with self._connection.errors("locking tables"), closing(session.cursor()) as cursor:
                cursor.execute("begin transaction isolation level repeatable read read only")
                cursor.execute(f"set local lock_timeout = '{int(self._lock_seconds * 1000)}ms'")
                if tables:
                    cursor.execute(f"lock table {', '.join(map(own_rows, tables))} in access share mode")
        except BaseException:
            session.close()
            raise
        return session

    def _import(self, session: Any) -> None:
        with self._connection.errors("importing the snapshot"), closing(session.cursor()) as cursor:
            cursor.execute(f"set transaction snapshot {literal(self._snapshot)}")
