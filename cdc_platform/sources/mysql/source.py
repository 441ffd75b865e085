"""MySQL and MariaDB as a `Source`: snapshots by consistent reads, changes from the binlog.

    prepare ── preflight.py      snapshot ── snapshot.py      changes ── log.py ──> follow.py ──> Captured

Why nothing is lost or doubled: the binlog is written in commit order and a change's place is where its row event
begins, so (place, row in the event) orders all changes and never changes. A snapshot is bound to the place where the
binlog ended when it began. `changes` delivers exactly what begins in [start, until).

The server keeps its binlog as long as it is told to (`binlog_expire_logs_seconds`), whoever reads it: acknowledging
does nothing, and a reader that comes too late meets a Gap.

Rows that a foreign key's ON DELETE or ON UPDATE action changes are not in the binlog (MariaDB, and MySQL before 9.6):
where such an action happened is told from the parent's row events, see cascades.py. What no reader of the binlog can
know are changes of sessions with sql_log_bin=0. Layer: sources.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from types import MappingProxyType

from cdc_platform.errors import CdcError, Unavailable
from cdc_platform.model.change import Captured, Followed
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.position import Notation, Position, binlog_at, binlog_parts
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.mysql import preflight
from cdc_platform.sources.mysql.batches import Bounds
from cdc_platform.sources.mysql.catalogue import Catalogue
from cdc_platform.sources.mysql.connection import MySQLConnection, Session, connect, session
from cdc_platform.sources.mysql.follow import Follower, ServerTraits, alter_one_of
from cdc_platform.sources.mysql.foreign_keys import ForeignKeys
from cdc_platform.sources.mysql.log import FILE_START, Stretch, begins_inside, prepare_dump, read_log
from cdc_platform.sources.mysql.preflight import FULL
from cdc_platform.sources.mysql.server import (
    Head,
    Server,
    check_kept,
    describe,
    expiry,
    extent,
    oldest_file,
    read_head,
    read_identity,
)
from cdc_platform.sources.mysql.snapshot import MySQLSnapshot, take_snapshot

STRETCH_BYTES = 24 << 20
"""About a hundred thousand rows: fewer cost more each, more cost memory."""

_CATCH_UP_SECONDS = 10.0
_WIDE_OFFSET = 1 << 32  # dumps begin at offsets of 32 bits


class MySQLSource:
    """One server. Connects on first use; every method raises from the tree in `errors` only.

    `server_id` is what the server knows this reader by, which must differ from that of every other replica and allows
    one reading at a time; random ones from the upper half of the range unless given. `stretch_bytes` bounds what is
    in memory at once. `as_text` names columns that are taken as the server's own text, in snapshot and log alike: the
    way for dates that no calendar has.
    """

    def __init__(
        self,
        connection: MySQLConnection,
        server_id: int | None = None,
        *,
        stretch_bytes: int = STRETCH_BYTES,
        as_text: Mapping[TableName, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self._target = connection
        self._server_id = server_id
        self._stretch_bytes = stretch_bytes
        self._session: Session | None = None
        self._server: Server | None = None
        self._base: str | None = None
        self._as_text = as_text
        self._catalogue = Catalogue(self._opened, as_text)
        self._keys = ForeignKeys(self._opened)

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        """Current shape of each table; a missing one is a ConfigError that names near ones."""
        self._catalogue.forget(tables)
        return {name: table.schema for name, table in self._catalogue.tables(tables).items()}

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        """Empty ones for each table that is there: what becomes of a table is told by the statements in the log."""
        return dict.fromkeys(self._catalogue.existing(tables), Fingerprint("", ""))

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        """None: the statement that changed the table stands in the binlog, and was told from there."""
        return None

    def prepare(self, tables: Sequence[TableName]) -> None:
        """Check settings, privileges and tables. Nothing is made at the server."""
        opened = self._opened()
        preflight.check_settings(opened)
        head = self._head()
        self._catalogue.forget(tables)
        found = self._catalogue.tables(tables).values()
        preflight.check_filters(head, found)
        preflight.check_tables(opened, self._catalogue, found)
        preflight.check_images(opened, self._described(), self._catalogue, found)
        preflight.check_snapshot_privilege(opened, self._described())
        self._keys.forget()
        for table in tables:
            self._keys.origins(table)  # that all keys on the way can be seen
        with closing(self._stretches(head.base, head.at)) as stretches:
            next(stretches, None)  # that the user may replicate is seen by trying

    def check_resumable(self, start: Position) -> None:
        """Raise Gap when the binlog from `start` on is gone."""
        check_kept(self._opened(), start.at)

    def available(self) -> Position:
        """Where the oldest binlog file begins."""
        return Position(binlog_at(oldest_file(self._opened()), FILE_START))

    def reopen(self, tables: Sequence[TableName]) -> None:
        """As `prepare`: the server keeps its binlog whoever reads it."""
        self._base = None  # it may be another server by now
        self.prepare(tables)

    def keeping(self, position: Position) -> Keeping:
        """The server keeps nothing for a reader; what counts is when its place is purged."""
        opened, head = self._opened(), self._head()
        sequence, newest = binlog_parts(position.at)[0], binlog_parts(head.at)[0]
        if sequence >= newest:
            return Keeping()
        kept, purge_in = expiry(opened), None
        if kept is not None and (full := self._begun(head.base, sequence + 1)) is not None:
            purge_in = full + kept - datetime.now(UTC)
        return Keeping(purge_in=purge_in, oldest=sequence <= oldest_file(opened))

    def _begun(self, base: str, sequence: int) -> datetime | None:
        """When a binlog file was begun, hence the one before it was full; None where it cannot be read."""
        with suppress(CdcError), session(self._target) as opened:
            prepare_dump(opened, self._described().mariadb)
            number = self._server_id or _random_server_id()
            with closing(read_log(opened, number, base, binlog_at(sequence, FILE_START), 1)) as stretches:
                for stretch in stretches:
                    if len(stretch.events):
                        return datetime.fromtimestamp(int(stretch.events.seconds[0]), UTC)
        return None

    def extent(self, table: TableName) -> Extent:
        return extent(self._opened(), table)

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        """None: the binlog has all tables, whoever reads it."""
        return []

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        """None: nothing is made at the server."""
        return {}

    def remove(self, name: str) -> None:
        """Nothing is there to remove."""

    def identity(self) -> str:
        """See `server.read_identity`."""
        return read_identity(self._opened(), self._described(), self._base_name())

    def head(self) -> Position:
        """The end of the binlog."""
        return Position(self._head().at)

    @contextmanager
    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> Iterator[MySQLSnapshot]:
        """A consistent read of these tables on a connection of its own; none of them can be altered meanwhile.

        There is one reader, whatever is asked for: no other session can be let into a snapshot.
        """
        with session(self._target) as opened:
            yield take_snapshot(
                self._target,
                opened,
                self._described(),
                tables,
                self._as_text,
                lambda since: self._altered(tables, since),
            )

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        """What the log says of the followed tables in [start, until); see `sources.source.Source`."""
        with closing(self._changes(followed, start, until)) as stretches:
            yield from ahead(stretches)

    def _changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Generator[Captured]:
        base = self._base_name()
        self._catalogue.forget(followed)
        traits = self._traits()
        self._keys.begin(start)
        follower = Follower.of(followed, Bounds(base, start, until), self._catalogue, self._keys, traits)
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        reached = start
        while reached < until:
            before = reached
            with closing(self._from_safe_place(base, reached, traits)) as stretches:
                for stretch in stretches:
                    taken, last = follower.take(stretch), reached
                    # With no table left to follow, what else is in the log does not matter.
                    reached = max(reached, min(Position(taken.upto), until)) if follower.tracks else until
                    if follower.tracks:
                        self._keys.reached(reached)
                    stopped = taken.stop is not None and reached > last
                    if taken.entries or taken.failures or stopped or reached == until:
                        yield Captured(taken.entries, reached, taken.failures)
                    if taken.stop:
                        raise taken.stop
                    if reached == until:
                        return
            if reached == before:
                _wait_for_log(deadline, self.format(until))
        yield Captured((), reached)

    def acknowledge(self, position: Position) -> None:
        """Nothing: the server purges its binlog by age, whoever reads it."""

    def notation(self) -> Notation:
        """`base.000012:3456`, as SHOW BINLOG EVENTS takes it."""
        return Notation("binlog", self._base_name())

    def format(self, position: Position) -> str:
        return self.notation().format(position)

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _altered(self, tables: Sequence[TableName], since: int) -> bool:
        """Whether a statement in the log from `since` on changed one of these tables as a whole."""
        head, traits = self._head(), self._traits()
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        while since < head.at:
            before = since
            with closing(self._stretches(head.base, since)) as stretches:
                for stretch in stretches:
                    if alter_one_of(tables, stretch, traits):
                        return True
                    since = max(since, stretch.upto)
            if since == before:
                _wait_for_log(deadline, self.format(Position(head.at)))
        return False

    def _from_safe_place(self, base: str, start: Position, traits: ServerTraits) -> Generator[Stretch]:
        """The log from `start` on, with what precedes it in its transaction (or more)."""
        sequence, offset = binlog_parts(start.at)
        safe = offset < _WIDE_OFFSET
        if safe:
            stretches = self._stretches(base, start.at, traits)
            for stretch in stretches:
                safe = safe and not begins_inside(stretch)
                if not safe:
                    break
                yield stretch
                if len(stretch.events):
                    del stretch
                    yield from stretches
            stretches.close()
        if not safe:
            yield from self._stretches(base, binlog_at(sequence, FILE_START), traits)

    def _stretches(self, base: str, start: int, traits: ServerTraits | None = None) -> Generator[Stretch]:
        with session(self._target) as opened:
            prepare_dump(opened, self._described().mariadb)
            number, annotated = self._server_id or _random_server_id(), traits is not None and traits.notes
            yield from read_log(opened, number, base, start, self._stretch_bytes, annotated=annotated)

    def _traits(self) -> ServerTraits:
        values = self._opened().variables("lower_case_table_names", "binlog_row_image")
        return ServerTraits(
            folded=values.get("lower_case_table_names", "0") != "0",
            partial=values.get("binlog_row_image", FULL).upper() != FULL,
            mariadb=self._described().mariadb,
        )

    def _opened(self) -> Session:
        """The session for questions; made anew when the server closed it."""
        if self._session is None:
            self._session = Session(self._target, connect(self._target))
        elif not self._session.alive():
            self._session.close()
            self._session = Session(self._target, connect(self._target))
        return self._session

    def _described(self) -> Server:
        if self._server is None:
            self._server = describe(self._opened())
        return self._server

    def _head(self) -> Head:
        head = read_head(self._opened(), self._described())
        self._base = head.base
        return head

    def _base_name(self) -> str:
        return self._base or self._head().base


def _random_server_id() -> int:
    """Another one for each reading: a server ends the dump of a reader whose number comes back."""
    return random.SystemRandom().randrange(1 << 31, (1 << 32) - 1)


def _wait_for_log(deadline: float, until: str) -> None:
    """The end of the log is reported a moment before it can be read."""
    if time.monotonic() > deadline:
        raise Unavailable(f"MySQL's binlog cannot be read up to {until} yet; run again")
    time.sleep(0.05)
