"""What a server says of itself and of its binlog: which of the two it is, files, the log's end, its lineage.

Layer: sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from cdc_platform.errors import Gap, Lost, NeedsPerson
from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import binlog_at, binlog_parts
from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.binlog import file_sequence
from cdc_platform.sources.mysql.connection import Session

_RENAMED_STATUS = (8, 2)  # since this MySQL, SHOW MASTER STATUS is called SHOW BINARY LOG STATUS
NO_BINLOG = "MySQL writes no binlog; set log_bin in the server's configuration and restart it"


@dataclass(frozen=True, slots=True)
class Server:
    """MariaDB or MySQL, and the first two numbers of its version."""

    mariadb: bool
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Head:
    """Where the binlog ends: `base` is what its files are named before the number, `at` the place.

    `included` and `ignored` are the databases that binlog_do_db and binlog_ignore_db name.
    """

    base: str
    at: int
    included: frozenset[str]
    ignored: frozenset[str]


def describe(session: Session) -> Server:
    ((version,),) = session.rows("select version()")
    text = str(version).lower()
    major, minor = text.split("-")[0].split(".")[:2]
    return Server("mariadb" in text, (int(major), int(minor)))


def read_head(session: Session, server: Server) -> Head:
    """The bound below which everything committed by now lies; NeedsPerson when there is no binlog."""
    renamed = not server.mariadb and server.version >= _RENAMED_STATUS
    status = session.named("show binary log status" if renamed else "show master status")
    if not status:
        raise NeedsPerson(NO_BINLOG)
    base, sequence = file_sequence(str(status[0]["file"]))
    names = [frozenset(filter(None, str(status[0].get(key) or "").split(","))) for key in _FILTERS]
    return Head(base, binlog_at(sequence, int(status[0]["position"])), *names)


_FILTERS = ("binlog_do_db", "binlog_ignore_db")


def check_kept(session: Session, at: int) -> None:
    """Raise Gap unless the binlog that holds the place `at` is still there."""
    sequence, offset = binlog_parts(at)
    files = {file_sequence(str(row["log_name"])): int(row["file_size"]) for row in session.named("show binary logs")}
    sizes = {number: size for (_, number), size in files.items()}
    if not sizes:
        raise NeedsPerson(NO_BINLOG)
    action = "run: cdc resync"
    if sequence < min(sizes):
        raise Gap(
            f"MySQL no longer has binlog file {sequence}: its oldest is {min(sizes)}; {action}, and raise"
            " binlog_expire_logs_seconds (expire_logs_days)",
            Lost.LOG_PURGED,
        )
    if sequence not in sizes or offset > sizes[sequence]:
        raise Gap(
            f"MySQL's binlog ends before file {sequence}, offset {offset}: it was reset or the server replaced;"
            f" {action}",
            Lost.LOG_ENDS_BEFORE,
        )


def oldest_file(session: Session) -> int:
    """The number of the oldest binlog file; NeedsPerson when there is none."""
    files = [file_sequence(str(row["log_name"]))[1] for row in session.named("show binary logs")]
    if not files:
        raise NeedsPerson(NO_BINLOG)
    return min(files)


def expiry(session: Session) -> timedelta | None:
    """How long a file is kept once it is full; None where it is for ever."""
    names = ("binlog_expire_logs_seconds", "expire_logs_days", "binlog_expire_logs_auto_purge")
    values = session.variables(*names)
    if values.get("binlog_expire_logs_auto_purge", "ON").upper() in ("OFF", "0"):
        return None
    seconds = float(values.get("binlog_expire_logs_seconds") or 0)
    kept = seconds or 86_400 * float(values.get("expire_logs_days") or 0)
    return timedelta(seconds=kept) if kept else None


def extent(session: Session, table: TableName) -> Extent:
    """Rows and bytes as the storage engine estimates them."""
    found = session.rows(
        "select coalesce(table_rows, 0), coalesce(data_length, 0) from information_schema.tables"
        " where table_schema = %s and table_name = %s",
        (table.schema, table.name),
    )
    return Extent(int(found[0][0]), int(found[0][1])) if found else Extent(0, 0)


def read_identity(session: Session, server: Server, base: str) -> str:
    """MySQL's server_uuid. MariaDB has none: its server_id, data folder and the name of its binlogs stand for it, so
    a server that was replaced by another of the same set-up is only found by its log (`check_kept`, and no event
    beginning where it should).
    """
    if not server.mariadb:
        ((uuid,),) = session.rows("select @@global.server_uuid")
        return f"mysql/{uuid}/{base}"
    ((number, folder),) = session.rows("select @@global.server_id, @@global.datadir")
    return f"mariadb/{number}/{str(folder).rstrip('/')}/{base}"
