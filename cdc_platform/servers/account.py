"""Whom a server process runs as. Layer: servers.

Postgres refuses to run as root. When we are root, the server alone steps down to the owner of its data folder
(`nobody` for a new one); when we are not, it runs as we do. No permission outside the data folder is changed:
where the way to the binaries or the data is closed to that account (a project under /root, say), the process
gets the one capability that opens it, which ends with the process.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.errors import ConfigError
from cdc_platform.servers.software import Software, failure_in

UNPRIVILEGED = "nobody"
# Weakest first. Reading and walking suffices for closed folders; executing a file that is closed itself
# (installed under umask 077) takes the second.
_CAPABILITIES = ("", "dac_read_search", "dac_override")


@dataclass(frozen=True, slots=True)
class Account:
    """`prefix` goes before a command to run it as this account; `uid` and `gid` are None for our own."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    def give(self, path: Path) -> None:
        """Make the account the owner of `path`."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def account_for(folder: Path, software: Software, data: Path) -> Account:
    """The account for a server that executes `software` on `data` inside `folder` (which exists, unlike `data`).

    Raises ConfigError when no account can both run the program and reach the folder.
    """
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise ConfigError(f"{data} belongs to another user: run as that user, or set CDC_HOME to a folder of yours")
        return Account()
    uid, gid = _owner(data)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ConfigError("the servers do not run as root and 'setpriv' is not installed: run as an ordinary user")
    for capability in _CAPABILITIES:
        prefix = [setpriv, f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if capability:
            # Without the secure bit the kernel disregards the capability in access(2), and only there: MariaDB then
            # takes files that it can open for missing and makes new ones. Everything else root may do still ends
            # at the exec.
            prefix += [
                "--securebits=+no_setuid_fixup",
                f"--inh-caps=+{capability}",
                f"--ambient-caps=+{capability}",
            ]
        probe = [*prefix, "sh", "-c", '"$1" --version && cd "$2"', "probe", str(software.program), str(folder)]
        tried = subprocess.run(  # noqa: S603
            probe, capture_output=True, text=True, cwd="/", env=software.environ, check=False
        )
        if tried.returncode == 0:
            return Account(uid, gid, tuple(prefix))
    raise ConfigError(
        f"the servers do not run as root, and user {uid} cannot be given {software.program} and {folder} "
        f"({failure_in(tried.stderr)}): run as an ordinary user, or move the project and CDC_HOME to where "
        "every user may read"
    )


def _owner(data: Path) -> tuple[int, int]:
    if data.exists() and (status := data.stat()).st_uid != 0:
        return status.st_uid, status.st_gid
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise ConfigError(f"there is no user '{UNPRIVILEGED}' to run the servers: run as an ordinary user") from None
    return entry.pw_uid, entry.pw_gid
