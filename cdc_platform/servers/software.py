"""An installed server program, and running its tools to their end. Layer: servers."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cdc_platform.errors import Unavailable

_FAILURE = re.compile(r"(^E|\bFATAL|\bPANIC|\b[Ee]rror|\bERROR): *|\[ERROR\] *")


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
        raise Unavailable(f"{software.program.name} could not set up {folder}: {failure_in(done.stdout)}")
    return done.stdout


def failure_in(output: str) -> str:
    """What went wrong, in the program's own words: the first line that names a failure, else the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in lines:
        # Later ones are consequences. What stands before the word is a timestamp or the program's name.
        if match := _FAILURE.search(line):
            return line[match.end() :]
    return lines[-1] if lines else "it said nothing"
