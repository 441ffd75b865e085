"""The embedded MariaDB 10.6+: an installed one, or Debian's packages unpacked into CDC_HOME. Layer: servers.

To the rest of the project it is `mysql`. It has no Unix socket (a path under CDC_HOME may be longer than the
107 bytes that one allows) and no connection is made from here: set-up happens in bootstrap mode, readiness is
the pid file and the greeting that a server sends to anyone who connects.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.servers import debian
from cdc_platform.servers.account import Account
from cdc_platform.servers.process import Mark, read_pid
from cdc_platform.servers.server import Progress
from cdc_platform.servers.software import Software, run
from cdc_platform.servers.state import LOOPBACK, ServerState

OLDEST = (10, 6)
SYSTEM_PLACES = ("/usr/sbin", "/usr/local/sbin")  # of servers; not on an ordinary user's PATH
PACKAGES = ("mariadb-server-core", "mariadb-client-core")

_LOG_SIZE = "256M"

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "bind-address": LOOPBACK,
        "socket": "",
        "skip-name-resolve": "ON",
        # Capture: every row whole, with column names and signs, uncompressed, under a server id.
        "server-id": "1",
        "log-bin": "binlog",
        "binlog-format": "ROW",
        "binlog-row-image": "FULL",
        "binlog-row-metadata": "FULL",
        "log-bin-compress": "OFF",
        # Kept long enough for a demo to be taken up again after a month.
        "binlog-expire-logs-seconds": str(30 * 24 * 3600),
        "max-binlog-size": "256M",
        # Both at 1: after a power cut the binlog and the tables still agree, and a position that capture has
        # recorded never vanishes. Bulk loads pay once a transaction.
        "sync-binlog": "1",
        "innodb-flush-log-at-trx-commit": "1",
        "innodb-buffer-pool-size": "384M",
        # Room for a bulk load before pages must be flushed; written in full when the folder is made.
        "innodb-log-file-size": _LOG_SIZE,
        "max-connections": "200",
        # One row of a wide table, or one bulk insert, is one packet.
        "max-allowed-packet": "64M",
        "character-set-server": "utf8mb4",
        "collation-server": "utf8mb4_unicode_ci",
        "default-time-zone": "+00:00",
        # load data local infile: the quickest way to fill tables.
        "local-infile": "ON",
        # Not a line of log for each client that leaves without a goodbye.
        "log-warnings": "1",
    }
)


@dataclass(frozen=True, slots=True)
class MariaDB:
    """`folder` is `CDC_HOME/servers/mysql`; the software lies beside it. `settings` override SETTINGS."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    name: ClassVar[str] = "mysql"
    title: ClassVar[str] = "MariaDB"
    scheme: ClassVar[str] = "mysql"
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGTERM, 30.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "mariadb.pid"

    @property
    def mark(self) -> Mark:
        return Mark(("mariadbd", "mysqld"), f"--datadir={self.data}")

    @property
    def tree(self) -> Path:
        """Where packages are unpacked to."""
        return self.folder.parent / "mariadb"

    def software(self, progress: Progress) -> Software:
        # Unpacked first: the data folder was made by that version.
        if (found := _unpacked(self.tree)) or (found := _installed()):
            return found
        if not debian.is_available():
            raise Unavailable(
                "there is no MariaDB 10.6+ on this machine and no apt to fetch one: install mariadb-server, or run "
                "the databases of infra/docker-compose.yaml and set MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD"
            )
        if any(separator in str(self.tree) for separator in ":;"):
            raise ConfigError(f"CDC_HOME {self.tree.parents[1]} holds ':' or ';', which a library path cannot")
        progress("MariaDB: fetching packages (9 MB)")
        shutil.rmtree(self.tree, ignore_errors=True)
        debian.unpack(PACKAGES, self.tree, progress)
        found = _unpacked(self.tree)
        if found is None:
            raise Unavailable(f"the MariaDB unpacked into {self.tree} does not run; see infra/docker-compose.yaml")
        return found

    def create(self, software: Software, account: Account, data: Path) -> None:
        installer = _beside(software.program, "mariadb-install-db")
        run(
            [
                *account.prefix,
                str(installer),
                "--no-defaults",
                # The script does not quote this one: relative, it may hold spaces.
                "--basedir=.",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                f"--innodb-log-file-size={_LOG_SIZE}",
            ],
            software,
            _base(software.program),
        )

    def grant(self, software: Software, account: Account, data: Path, state: ServerState) -> None:
        user = f"{_text(state.user)}@{_text(state.host)}"
        statements = [
            "flush privileges",  # bootstrap mode starts without the tables of rights
            # No root without a password, no anonymous user.
            "delete from mysql.global_priv where user in ('root', '')",
            "delete from mysql.proxies_priv",
            "flush privileges",
            f"create or replace user {user} identified by {_text(state.password)}",
            f"grant all privileges on *.* to {user} with grant option",
            f"create database if not exists {_name(state.database)} character set utf8mb4",
        ]
        program = [*account.prefix, str(software.program), "--no-defaults", f"--basedir={_base(software.program)}"]
        # Statements come through a pipe: nothing secret shows up in a process list. The binlog stays off: the
        # password's digest is nobody's change event.
        options = [f"--datadir={data}", f"--tmpdir={data}", "--bootstrap", "--skip-log-bin", "--log-warnings=0"]
        options += [f"--innodb-log-file-size={_LOG_SIZE}"]
        run([*program, *options], software, data, ";\n".join(statements) + ";\n")

    def complete(self, data: Path) -> bool:
        return (data / "mysql").is_dir() and (data / "ibdata1").exists()

    def before_start(self, stale: int | None) -> Mapping[str, str]:
        del stale  # MariaDB overwrites a pid file and finds a living server by locks on its files
        return {}

    def command(self, software: Software, port: int) -> list[str]:
        settings = {
            **SETTINGS,
            **self.settings,
            "basedir": str(_base(software.program)),
            "datadir": str(self.data),
            # A server sweeps leftovers out of its tmpdir when it starts: one that is shared loses living files.
            "tmpdir": str(self.data),
            "pid-file": str(self.pid_file),
            "port": str(port),
        }
        # An option file of the system's must not change what capture relies on.
        return [str(software.program), "--no-defaults", *(f"--{key}={value}" for key, value in settings.items())]

    def is_ready(self, pid: int, port: int) -> bool:
        return is_ready(self.pid_file, pid, port)


def is_ready(pid_file: Path, pid: int, port: int) -> bool:
    """Whether the server of this pid file (a MariaDB or a MySQL) is the process `pid` and greets who connects."""
    if read_pid(pid_file) != pid:
        return False
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as connection:
            # Four bytes of packet header, then protocol version 10.
            greeting = connection.recv(5)
    except OSError:
        return False
    return len(greeting) == 5 and greeting[4] == 10


def _unpacked(tree: Path) -> Software | None:
    libraries = [str(folder) for folder in sorted((tree / "usr" / "lib").glob("*-linux-*"))]
    return _usable(Software(tree / "usr" / "sbin" / "mariadbd", {"LD_LIBRARY_PATH": ":".join(libraries)}))


def _installed() -> Software | None:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PLACES])
    for name in ("mariadbd", "mysqld"):
        if (found := shutil.which(name, path=places)) and (usable := _usable(Software(Path(found).resolve()))):
            return usable
    return None


def _usable(software: Software) -> Software | None:
    """The software if it runs, is a MariaDB of at least OLDEST and can make data folders."""
    if not software.program.exists() or not _beside(software.program, "mariadb-install-db").exists():
        return None
    shown = subprocess.run(  # noqa: S603
        [str(software.program), "--no-defaults", "--version"],
        capture_output=True,
        text=True,
        env=software.environ,
        check=False,
    )
    match = re.search(r"Ver (\d+)\.(\d+)\.\d+-MariaDB", shown.stdout)
    return software if match and (int(match[1]), int(match[2])) >= OLDEST else None


def _base(program: Path) -> Path:
    """`/usr` of `/usr/sbin/mariadbd`."""
    return program.parent.parent


def _beside(program: Path, name: str) -> Path:
    """A script of the same installation: in `bin` beside `sbin`, or in the same folder."""
    found = program.parent.parent / "bin" / name
    return found if found.exists() else program.with_name(name)


def _name(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
