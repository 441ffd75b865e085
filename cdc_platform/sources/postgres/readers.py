"""Sessions that read in one exported snapshot, with the locks that they need from before it was exported.

    begin; lock table ...;   [somebody exports a snapshot]   set transaction snapshot ...; copy (select ...) to stdout

LOCK takes no snapshot, so one can still be imported after it. The order matters: a session that asks for its lock only
when it reads waits behind whoever meanwhile waits to alter the table, who waits for the lock that keeps the table as it
is: for ever. So as many sessions as are to read at a time lock all tables at first. One more than these, or one after a
failed read, has to ask for its lock, and gives up after a while. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from cdc_platform.sources.postgres.catalogue import CatalogueTable
from cdc_platform.sources.postgres.connection import PostgresConnection, literal
from cdc_platform.sources.postgres.locks import own_rows


class Readers:
    """`count` of them, to be closed. `adopt` the snapshot before reading, which threads may do at the same time."""

    def __init__(
        self, connection: PostgresConnection, tables: Sequence[CatalogueTable], lock_seconds: float, count: int = 1
    ) -> None:
        self._connection, self._lock_seconds, self._snapshot = connection, lock_seconds, ""
        self._waiting: list[Any] = []  # the sessions that hold all locks, while they are not reading
        try:
            for _ in range(count):
                self._waiting.append(self._locked(tables))
        except BaseException:
            self.close()
            raise

    def adopt(self, snapshot: str) -> None:
        """Read in the exported snapshot of this name from now on."""
        self._snapshot = snapshot
        for session in self._waiting:
            self._import(session)

    @contextmanager
    def reading(self, table: CatalogueTable) -> Iterator[Any]:
        """An ADBC cursor that sees the snapshot. A session whose reading was not brought to its end is given up."""
        try:
            session, kept = self._waiting.pop(), True
        except IndexError:
            session, kept = self._locked([table]), False
            self._import(session)
        try:
            with closing(session.cursor()) as cursor:
                yield cursor
        except BaseException:
            session.close()
            raise
        if kept:
            self._waiting.append(session)
        else:
            session.close()

    def close(self) -> None:
        while self._waiting:
            self._waiting.pop().close()

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
