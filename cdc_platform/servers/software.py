"""An installed server program, and running its tools to their end. Layer: servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cdc_platform.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Software:
    """An installed server: the program and the variables it needs besides a plain environment."""

    program: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def environ(self) -> dict[str, str]:
        """A small fixed environment: the caller's may hold secrets, and /proc shows it to the account's processes."""
        return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **self.variables}


def run(command: Sequence[str], software: Software, folder: Path, text: str = "") -> str:
    """Run a program of the server's in `folder` with `text` as its input; what it said. Raises Unavailable."""
    done = subprocess.run(  # noqa: S603  the command is composed by this package
        list(command),
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=folder,
        env=software.environ,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"{software.program.name} could not set up {folder}: {last_line(done.stdout)}")
    return done.stdout


def last_line(output: str) -> str:
    """The last line that names a failure, or the last one at all."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    failures = [line for line in lines if any(word in line.lower() for word in ("error", "fatal", "panic"))]
    return (failures or lines or ["it said nothing"])[-1]
