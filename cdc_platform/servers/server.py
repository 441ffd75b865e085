"""What the two embedded servers have in common, as `embedded.py` needs it. Layer: servers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from cdc_platform.servers.account import Account
from cdc_platform.servers.process import Mark
from cdc_platform.servers.software import Software
from cdc_platform.servers.state import ServerState

Progress = Callable[[str], None]


class Server(Protocol):
    """A database server that is made, started and recognised by its folder. Holds no connection and no process."""

    @property
    def name(self) -> str:
        """`postgres` or `mysql`: the state file, the folder and the log are named so."""

    @property
    def title(self) -> str:
        """Its name for people."""

    @property
    def scheme(self) -> str:
        """Of its URLs."""

    @property
    def folder(self) -> Path:
        """Everything of it but its software: `CDC_HOME/servers/<name>`."""

    @property
    def data(self) -> Path:
        """The data folder; there only once it is complete."""

    @property
    def pid_file(self) -> Path: ...

    @property
    def mark(self) -> Mark: ...

    @property
    def stop_signals(self) -> tuple[tuple[signal.Signals, float], ...]:
        """Signals to stop it, mildest first, and the seconds to wait after each."""

    def software(self, progress: Progress) -> Software:
        """Find the binaries, or fetch them. Raises Unavailable where that is impossible."""

    def create(self, software: Software, account: Account, data: Path) -> None:
        """Fill the empty folder `data`, which belongs to `account`. Raises Unavailable with the server's own words."""

    def grant(self, software: Software, account: Account, data: Path, state: ServerState) -> None:
        """Make the user and the database of `state` in a server that is not running, or renew the password."""

    def complete(self, data: Path) -> bool:
        """Whether `data` looks like a data folder at all."""

    def before_start(self, stale: int | None) -> Mapping[str, str]:
        """Clear up after a crash; `stale` is a pid on record that is not this server. Gives variables for the start."""

    def command(self, software: Software, port: int) -> list[str]: ...

    def is_ready(self, pid: int, port: int) -> bool:
        """Whether the running server `pid` accepts connections."""
