"""An older Postgres beside the embedded one, for tests and for trying a release: Debian's own. Layer: servers.

Everything but the binaries and the way a data folder is made is that of `postgres.py`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from cdc_platform.errors import Unavailable
from cdc_platform.servers import debian
from cdc_platform.servers.postgres import Postgres
from cdc_platform.servers.server import Progress
from cdc_platform.servers.software import Software

RELEASE = 15
PACKAGES = (f"postgresql-{RELEASE}",)  # holds the contrib extensions too


@dataclass(frozen=True, slots=True)
class Postgres15(Postgres):
    """`folder` is `CDC_HOME/servers/postgres`; the software lies beside it."""

    title: ClassVar[str] = f"Postgres {RELEASE}"
    # The builtin locale provider came with 17.
    locale: ClassVar[tuple[str, ...]] = ("--locale=C",)

    @property
    def tree(self) -> Path:
        """Where packages are unpacked to."""
        return self.folder.parent / f"postgres{RELEASE}"

    def software(self, progress: Progress) -> Software:
        if found := _unpacked(self.tree):
            return found
        if not debian.is_available():
            raise Unavailable(f"there is no apt on this machine to fetch Postgres {RELEASE} with")
        progress(f"Postgres {RELEASE}: fetching packages (20 MB)")
        shutil.rmtree(self.tree, ignore_errors=True)
        debian.unpack(PACKAGES, self.tree, progress)
        if found := _unpacked(self.tree):
            return found
        raise Unavailable(f"the Postgres {RELEASE} unpacked into {self.tree} is not complete: remove it, run again")


def _unpacked(tree: Path) -> Software | None:
    program = tree / "usr" / "lib" / "postgresql" / str(RELEASE) / "bin" / "postgres"
    if not program.exists():
        return None
    libraries = sorted((tree / "usr" / "lib").glob("*-linux-*"))
    return Software(program, {"LD_LIBRARY_PATH": ":".join(map(str, libraries))})
