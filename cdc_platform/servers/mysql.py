"""A real MySQL 9 from Debian's unstable suite, for tests: MariaDB is what the demo has. Layer: servers.

The packages are built for a newer system than the machine's, so all that they need comes along, the C library too,
and the server is started through the loader among them. There is no Unix socket, as with the other two.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from cdc_platform.errors import Unavailable
from cdc_platform.servers import debian
from cdc_platform.servers.account import Account
from cdc_platform.servers.mariadb import is_ready
from cdc_platform.servers.process import Mark
from cdc_platform.servers.server import Progress
from cdc_platform.servers.software import Software, run
from cdc_platform.servers.state import ServerState

PACKAGES = ("mysql-server-core",)
SUITE = "sid"

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "bind-address": "127.0.0.1",
        "socket": "",
        "mysqlx": "OFF",
        "skip-name-resolve": "ON",
        # Capture: every row whole, with column names and signs, under a server id.
        "server-id": "1",
        "log-bin": "binlog",
        "binlog-row-image": "FULL",
        "binlog-row-metadata": "FULL",
        "gtid-mode": "ON",
        "enforce-gtid-consistency": "ON",
        "innodb-buffer-pool-size": "384M",
        "max-connections": "200",
        "max-allowed-packet": "64M",
        "character-set-server": "utf8mb4",
        "default-time-zone": "+00:00",
        "local-infile": "ON",
        "secure-file-priv": "",
    }
)


@dataclass(frozen=True, slots=True)
class MySQL:
    """`folder` is `CDC_HOME/servers/mysql`; the software lies beside it. `settings` override SETTINGS."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    name: ClassVar[str] = "mysql"
    title: ClassVar[str] = "MySQL"
    scheme: ClassVar[str] = "mysql"
    stop_signals: ClassVar[tuple[tuple[signal.Signals, float], ...]] = (
        (signal.SIGTERM, 60.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid_file(self) -> Path:
        return self.data / "mysql.pid"

    @property
    def mark(self) -> Mark:
        return Mark((_loader(self.tree).name,), f"--datadir={self.data}")

    @property
    def tree(self) -> Path:
        """Where packages are unpacked to."""
        return self.folder.parent / "mysql9"

    def software(self, progress: Progress) -> Software:
        if _loader(self.tree).exists():
            return Software(_loader(self.tree))
        if not debian.is_available():
            raise Unavailable("there is no apt on this machine to fetch MySQL with")
        progress("MySQL: fetching packages (60 MB)")
        shutil.rmtree(self.tree, ignore_errors=True)
        debian.unpack(PACKAGES, self.tree, progress, suite=SUITE)
        if not _loader(self.tree).exists():
            raise Unavailable(f"the MySQL unpacked into {self.tree} is not complete: remove it, run again")
        return Software(_loader(self.tree))

    def create(self, software: Software, account: Account, data: Path) -> None:
        command = [*account.prefix, *self._program(software), f"--datadir={data}", "--initialize-insecure"]
        run(command, software, self.tree)

    def grant(self, software: Software, account: Account, data: Path, state: ServerState) -> None:
        """Written into a file that every start executes: MySQL has no mode in which accounts are made offline."""
        del software
        user = f"{_text(state.user)}@{_text(state.host)}"
        statements = [
            # The password's digest is nobody's change event.
            "set sql_log_bin = 0",
            f"create user if not exists {user}",
            f"alter user {user} identified by {_text(state.password)}",
            f"grant all privileges on *.* to {user} with grant option",
            "drop user if exists 'root'@'localhost'",
            f"create database if not exists {_name(state.database)} character set utf8mb4",
        ]
        file = data / "grants.sql"
        file.touch(0o600)
        file.chmod(0o600)
        file.write_text(";\n".join(statements) + ";\n")
        account.give(file)

    def complete(self, data: Path) -> bool:
        return (data / "mysql.ibd").exists() and (data / "ibdata1").exists()

    def before_start(self, stale: int | None) -> Mapping[str, str]:
        del stale  # MySQL overwrites a pid file and finds a living server by locks on its files
        return {}

    def command(self, software: Software, port: int) -> list[str]:
        settings = {
            **SETTINGS,
            **self.settings,
            "datadir": str(self.data),
            "tmpdir": str(self.data),
            "init-file": str(self.data / "grants.sql"),
            "pid-file": str(self.pid_file),
            "port": str(port),
        }
        return [*self._program(software), *(f"--{key}={value}" for key, value in settings.items())]

    def is_ready(self, pid: int, port: int) -> bool:
        return is_ready(self.pid_file, pid, port)

    def _program(self, software: Software) -> list[str]:
        libraries = ":".join(map(str, _libraries(self.tree)))
        program = [str(software.program), "--library-path", libraries, str(self.tree / "usr" / "sbin" / "mysqld")]
        # The server takes the loader for itself where it looks for its messages.
        messages = self.tree / "usr" / "share" / "mysql"
        return [*program, "--no-defaults", f"--basedir={self.tree / 'usr'}", f"--lc-messages-dir={messages}"]


def _libraries(tree: Path) -> list[Path]:
    return sorted((tree / "usr" / "lib").glob("*-linux-*"))


def _loader(tree: Path) -> Path:
    """`ld-linux-x86-64.so.2` on that processor; a name that is not there where there is none."""
    found = [file for folder in _libraries(tree) for file in folder.glob("ld-linux-*.so.*")]
    return found[0] if found else tree / "loader"


def _name(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
