"""Where things are: CDC_HOME, CDC_PIPELINES, and the environment that `${NAME}` in YAML is filled from.

The embedded servers write their addresses and passwords to `CDC_HOME/servers/<name>.json`; here they are only
read, as the values of POSTGRES_* and MYSQL_* where the real environment has none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
SERVER_VARIABLES = {"postgres": "POSTGRES", "mysql": "MYSQL"}


@dataclass(frozen=True, slots=True)
class Settings:
    """All paths are absolute."""

    home: Path
    pipelines: Path

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        environ = os.environ if environ is None else environ
        home = Path(environ.get("CDC_HOME") or PACKAGE.parent / ".cdc")
        pipelines = Path(environ.get("CDC_PIPELINES") or PACKAGE / "pipelines")
        return cls(home.expanduser().absolute(), pipelines.expanduser().absolute())

    @property
    def change_logs(self) -> Path:
        return self.home / "change_log"

    @property
    def set_aside(self) -> Path:
        """Change logs that others were begun in place of."""
        return self.home / "set_aside" / "change_log"

    @property
    def locks(self) -> Path:
        return self.home / "locks"

    @property
    def validation_results(self) -> Path:
        return self.home / "lake" / "deltalake" / "validation_results"

    def server_file(self, name: str) -> Path:
        """State of an embedded server (`postgres` or `mysql`): host, port, database, user, password as JSON."""
        return self.home / "servers" / f"{name}.json"

    def environment(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """The real environment, with CDC_HOME and the embedded servers' values where it says nothing."""
        environ = os.environ if environ is None else environ
        filled: dict[str, str] = {"CDC_HOME": str(self.home)}
        for server, prefix in SERVER_VARIABLES.items():
            file = self.server_file(server)
            if not file.exists():
                continue
            state = json.loads(file.read_text())
            filled |= {f"{prefix}_{key.upper()}": str(state[name]) for key, name in _KEYS.items()}
        return filled | {name: value for name, value in environ.items() if value}


_KEYS = {"host": "host", "port": "port", "db": "database", "user": "user", "password": "password"}
