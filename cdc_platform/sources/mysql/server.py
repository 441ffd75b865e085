"""What a server says of itself and of its binlog: which of the two it is, files, the log's end, its lineage.

Layer: sources.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.errors import Gap, NeedsPerson
from cdc_platform.model.position import binlog_at, binlog_parts
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
    action = "begin the source's pipelines anew"
    if sequence < min(sizes):
        raise Gap(f"MySQL no longer has binlog file {sequence}: its oldest is {min(sizes)}; {action}, and raise"
                  " binlog_expire_logs_seconds (expire_logs_days)")  # fmt: skip
    if sequence not in sizes or offset > sizes[sequence]:
        raise Gap(f"MySQL's binlog ends before file {sequence}, offset {offset}: it was reset or the server replaced;"
                  f" {action}")  # fmt: skip


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
