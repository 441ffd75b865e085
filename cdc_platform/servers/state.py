"""What one needs to know to reach an embedded server, kept in `CDC_HOME/servers/<name>.json`.

The file is the only record of the generated password and the chosen port; `config.settings` reads it to fill
POSTGRES_* and MYSQL_*. Nothing about processes belongs here. Layer: servers.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

LOOPBACK = "127.0.0.1"
DATABASE = "demo_db"
USER = "cdc"


@dataclass(frozen=True, slots=True)
class ServerState:
    """Address and login of a server. `scheme` is `postgresql` or `mysql`."""

    scheme: str
    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    def dsn(self) -> str:
        """A URL that holds the password: for the person or program that asked, never for a log."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{self.scheme}://{login}@{self.host}:{self.port}/{quote(self.database, safe='')}"

    @classmethod
    def generate(cls, scheme: str, port: int) -> ServerState:
        # Letters, digits, - and _: the same inside a URL, a YAML value and a shell word.
        return cls(scheme, LOOPBACK, port, DATABASE, USER, secrets.token_urlsafe(24))


def read_state(file: Path, scheme: str) -> ServerState | None:
    """The recorded state, or None where there is none that can be used (never written, or torn by a crash)."""
    try:
        content = json.loads(file.read_text())
        return ServerState(
            scheme,
            str(content["host"]),
            int(content["port"]),
            str(content["database"]),
            str(content["user"]),
            str(content["password"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_state(file: Path, state: ServerState) -> None:
    """Replace the file in one step; it is never readable by others, not even while it is written."""
    content = asdict(state)
    del content["scheme"]
    draft = file.with_suffix(f".{os.getpid()}.draft")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
