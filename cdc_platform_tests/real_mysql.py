"""`make test-mysql`: what is tested on the embedded MariaDB, on a real MySQL. Arguments go on to pytest.

The server is made for this one run, below a temporary CDC_HOME; its packages stay in the project's own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from cdc_platform.servers.embedded import running
from cdc_platform.servers.mysql import MySQL
from cdc_platform_tests.conftest import share_software, temporary_home

_FOLDERS = [f"cdc_platform_tests/{name}" for name in ("mysql", "scenarios", "samples", "security")]


def main(arguments: Sequence[str]) -> int:
    """pytest's exit code, or 0 where there is no MySQL to be had."""
    with temporary_home() as settings:
        server = MySQL(settings.home / "servers" / "mysql")
        if refused := share_software(server, settings.home, print):
            print(f"skipped, there is no MySQL to test on: {refused}")
            return 0
        with running(server, settings) as state:
            return subprocess.run(
                # One worker: the tests change settings of the one server.
                [sys.executable, "-m", "pytest", "-n", "0", *_FOLDERS, "-k", "mysql", *arguments],
                env={**os.environ, "CDC_TESTS_MYSQL": state.dsn()},
                check=False,
            ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
