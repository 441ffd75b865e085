"""The replication slot: its state, its making, its moving on. Also how far the server's log goes. Layer: sources.

A slot's `confirmed_flush_lsn` is an exclusive bound like `Position(lsn, 0)`: transactions whose commit record starts
before it are not sent again (SnapBuildXactNeedsSkip compares the record's start with it).
"""

from __future__ import annotations

import re
import select
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2.extensions

from cdc_platform.errors import ConfigError, Gap, Lost, NeedsPerson, Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.model.position import Position, format_lsn, parse_lsn
from cdc_platform.sources.postgres.catalogue import Session
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier

# Less than this is not worth another look at it.
_WORTH_BYTES = 16 << 20
_NAME = re.compile(r"[a-z0-9_]{1,63}")

_STATE = """
select s.plugin, s.database, s.temporary, s.wal_status, (s.restart_lsn - '0/0')::bigint,
       (s.confirmed_flush_lsn - '0/0')::bigint
from pg_replication_slots s where s.slot_name = %s
"""

_BLOCKERS = """
select w.pid, extract(epoch from clock_timestamp() - a.xact_start)::int
from unnest(pg_blocking_pids(%s)) as w (pid) left join pg_stat_activity a on a.pid = w.pid
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot's state. `restart` and `confirmed` are LSNs; None while the slot is being made or when it is lost."""

    plugin: str | None
    database: str | None
    temporary: bool
    wal_status: str | None
    restart: int | None
    confirmed: int | None


@dataclass(frozen=True, slots=True)
class Export:
    """A snapshot that other sessions can import while its maker's session lives.

    It holds exactly the transactions whose commit record starts before `consistent`; those it does not hold have all
    their records at or after `restart`.
    """

    snapshot: str
    consistent: int
    restart: int


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is no slot name: lower-case letters, digits and _ only, at most 63")


def read_slot(session: Session, name: str) -> Slot | None:
    with session.cursor() as cursor:
        cursor.execute(_STATE, [name])
        row = cursor.fetchone()
    return None if row is None else Slot(*row)


def resumable_slot(session: Session, name: str, start: Position) -> Slot:
    """The slot, able to deliver everything from `start` on; a Gap says why it is not."""
    slot = read_slot(session, name)
    then = "changes since then are lost to the platform: run: cdc resync"
    if slot is None:
        raise Gap(f"replication slot '{name}' does not exist any more; {then}", Lost.SLOT_MISSING)
    check_usable(session, name, slot)
    if slot.wal_status == "lost" or slot.confirmed is None:
        raise Gap(
            f"replication slot '{name}' was invalidated by the server (max_slot_wal_keep_size or another limit); "
            f"{then}",
            Lost.SLOT_INVALIDATED,
        )
    if slot.confirmed > start.at:
        raise Gap(
            f"replication slot '{name}' has moved on to {format_lsn(slot.confirmed)}, past {format_lsn(start.at)}: "
            f"it was made anew, or another reader uses it; {then}",
            Lost.SLOT_MOVED,
        )
    return slot


def check_usable(session: Session, name: str, slot: Slot) -> None:
    """A slot of this name that is somebody else's is not to be touched."""
    if slot.plugin != "pgoutput" or slot.temporary or slot.database != session.info.dbname:
        raise NeedsPerson(
            f"replication slot '{name}' is of another kind (plugin {slot.plugin}, database {slot.database}); "
            f"drop it or let the pipelines' source have another name"
        )


def create_slot(connection: PostgresConnection, control: Session, name: str, wait_seconds: float) -> None:
    """A lasting slot. The server first waits for open transactions to end, at most `wait_seconds` here."""
    statement = f"CREATE_REPLICATION_SLOT {identifier(name)} LOGICAL pgoutput NOEXPORT_SNAPSHOT"
    with closing(connection.replication()) as replication, connection.errors(f"making replication slot '{name}'"):
        _bounded(connection, control, replication, statement, wait_seconds)


@contextmanager
def exported_snapshot(
    connection: PostgresConnection, control: Session, name: str, wait_seconds: float
) -> Iterator[Export]:
    """A snapshot bound to a place in the log, by way of a temporary slot that is gone when this ends."""
    statement = f"CREATE_REPLICATION_SLOT {identifier(name)} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT"
    with closing(connection.replication()) as replication:
        with connection.errors("exporting a snapshot"):
            row = _bounded(connection, control, replication, statement, wait_seconds)
            slot = read_slot(control, name)
        if slot is None or slot.restart is None:
            raise Unavailable(f"{connection.label}: the snapshot's temporary slot ended at once; run again")
        yield Export(row[2], parse_lsn(row[1]), slot.restart)


def drop(session: Session, name: str) -> None:
    with session.cursor() as cursor:
        cursor.execute("select pg_drop_replication_slot(%s)", [name])


def advance(session: Session, name: str, lsn: int) -> None:
    """Let the server forget what lies before `lsn`; nothing happens where it has already."""
    slot = read_slot(session, name)
    if slot is None or slot.confirmed is None or slot.confirmed >= lsn:
        return
    failpoint("postgres.slot.moving")
    with session.cursor() as cursor:
        cursor.execute("select pg_replication_slot_advance(%s, %s::pg_lsn)", [name, format_lsn(lsn)])
    failpoint("postgres.slot.moved", psycopg2.OperationalError)


def release(session: Session, name: str) -> None:
    """Let the server drop WAL up to about where the slot was moved on to.

    What it keeps (`restart_lsn`) moves only as far as the first place after the old mark from which decoding can begin.
    The rest of the way is found by decoding what lies before the new mark once more, of which nothing is given out.
    """
    slot = read_slot(session, name)
    if slot is None or slot.confirmed is None or slot.restart is None or slot.confirmed - slot.restart < _WORTH_BYTES:
        return
    with session.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_logical_slot_peek_binary_changes(%s, %s::pg_lsn, 1, 'proto_version', '1',"
            " 'publication_names', %s)",
            [name, format_lsn(slot.confirmed), name],
        )


def flushed(session: Session) -> int:
    """The LSN up to which the log is on disk: only that far does the server decode."""
    return _number(session, "select (pg_current_wal_flush_lsn() - '0/0')::bigint")


def inserted(session: Session) -> int:
    """The LSN at which the next record will begin, or a few bytes before."""
    return _number(session, "select (pg_current_wal_insert_lsn() - '0/0')::bigint")


def await_flushed(session: Session, lsn: int, seconds: float) -> int:
    """Wait until the log is on disk up to `lsn`, at most `seconds`; returns how far it is."""
    deadline = time.monotonic() + seconds
    while (now := flushed(session)) < lsn and time.monotonic() < deadline:
        time.sleep(0.01)
    return now


def writer_delay(session: Session) -> float:
    """Seconds between two rounds of the server's WAL writer."""
    return _number(session, "select setting::int from pg_settings where name = 'wal_writer_delay'") / 1000


def server_time(session: Session) -> int:
    """The server's clock in us since 1970."""
    return _number(session, "select (extract(epoch from clock_timestamp()) * 1000000)::bigint")


def _number(session: Session, statement: str) -> int:
    with session.cursor() as cursor:
        cursor.execute(statement)
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _bounded(
    connection: PostgresConnection, control: Session, replication: Session, statement: str, wait_seconds: float
) -> tuple[str, ...]:
    """Run a replication command that may wait for other transactions; end it when the time is over.

    The server knows the keywords of replication commands in capitals only.
    """
    deadline = time.monotonic() + wait_seconds
    if not _poll(replication, time.monotonic() + connection.connect_timeout):
        raise Unavailable(f"{connection.label}: no answer in time")
    cursor = replication.cursor()
    cursor.execute(statement)
    if _poll(replication, deadline):
        row = cursor.fetchone()
        assert row is not None
        return row
    process = replication.info.backend_pid
    with control.cursor() as other:
        other.execute(_BLOCKERS, [process])
        blockers = [blocker(pid, age) for pid, age in other.fetchall()]
        other.execute("select pg_terminate_backend(%s)", [process])
    whom = ", ".join(blockers) or "an open transaction"
    raise Unavailable(
        f"{connection.label}: after {wait_seconds:g} s still waiting for open transactions to end: {whom}; "
        f"end them (select pg_terminate_backend(pid)) or run again later"
    )


def blocker(pid: int | None, age: int | None) -> str:
    """Whom to end: a session by its process (and how many seconds its transaction is old), or none's transaction."""
    if not pid:
        return "a prepared transaction (see pg_prepared_xacts)"
    return f"pid {pid}" + (f" ({age} s old)" if age is not None else "")


def _poll(replication: Session, deadline: float) -> bool:
    """Whether the session's command is done before the deadline."""
    while (state := replication.poll()) != psycopg2.extensions.POLL_OK:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        waiting = [replication.fileno()]
        reading = state == psycopg2.extensions.POLL_READ
        select.select(waiting if reading else [], [] if reading else waiting, [], left)
    return True
