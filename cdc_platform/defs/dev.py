"""`python -m cdc_platform.defs.dev`: Dagster's UI and daemon on this machine, sensors on. What `make dev` runs.

Listens on the loopback address only: the UI has no login.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.defs.instance import end_interrupted_runs, hold_dagster_home, prepare_dagster_home
from cdc_platform.errors import CdcError

HOST = "127.0.0.1"
USUAL_PORT = 3000


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Becomes `dagster dev`; exits with the error's code where it cannot."""
    parser = argparse.ArgumentParser(prog="python -m cdc_platform.defs.dev", description=__doc__)
    parser.add_argument("--port", type=int, help=f"of the UI; by default {USUAL_PORT}, or a free one when it is taken")
    parser.add_argument("--sensors", choices=["on", "off"], default="on", help="whether they run from the start")
    options = parser.parse_args(arguments)
    settings = Settings.load()
    try:
        home = prepare_dagster_home(settings)
        hold_dagster_home(home)
        interrupted = end_interrupted_runs(home)
    except CdcError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if interrupted:
        print(f"{interrupted} interrupted run(s) of the last time marked as failed", file=sys.stderr)
    _become_dagster(options.port or free_port(USUAL_PORT), environment(settings, str(home), options.sensors))


def _become_dagster(port: int, variables: Mapping[str, str]) -> NoReturn:
    print(f"Dagster: http://{HOST}:{port}", file=sys.stderr)
    os.chdir(PACKAGE.parent)
    # Dagster treats SIGTERM as it finds SIGINT, and a shell starts what is in the background with SIGINT ignored:
    # it would be ended by neither.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", HOST, "-p", str(port)]
    os.execve(sys.executable, command, variables)  # noqa: S606  no shell


def environment(settings: Settings, dagster_home: str, sensors: str) -> Mapping[str, str]:
    """The present environment with what Dagster's processes need to find the same CDC_HOME."""
    return {
        **os.environ,
        "CDC_HOME": str(settings.home),
        "CDC_PIPELINES": str(settings.pipelines),
        "CDC_SENSORS": sensors,
        "DAGSTER_HOME": dagster_home,
    }


def free_port(wanted: int) -> int:
    """`wanted` when nobody listens there, else one that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise OSError("no free port")


if __name__ == "__main__":
    main()
