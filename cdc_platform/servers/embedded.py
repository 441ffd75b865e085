"""The embedded servers as one: up, down, status. Layer: servers, used by the command line and the tests.

A data folder goes through these steps, each of which a crash may follow:

    <name>/data.XXXX.partial   being made; whatever is found here at the next start is thrown away
    <name>.json                port and password are on record
    <name>/data                renamed into place: complete, with that password

so a folder called `data` is whole and its password known. If the record is lost later, a new password is set.
The two commands take one lock, so any number of them may run at once. What runs is never on record: a server is
found by its command line (process.Mark), so there is nothing that a crash could leave wrong.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from cdc_platform.config.settings import SERVER_VARIABLES, Settings
from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.servers.account import Account, account_for
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.postgres import Postgres
from cdc_platform.servers.process import find, is_running, read_pid, send, spawn, wait_gone
from cdc_platform.servers.server import Progress, Server
from cdc_platform.servers.software import Software, failure_in
from cdc_platform.servers.state import LOOPBACK, ServerState, read_state, write_state

START_SECONDS = 120.0  # recovery after a crash may take its time
LOCK_SECONDS = 600.0  # another `up` may be downloading
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """`pid` is None when the server is not running, `state` when it was never made."""

    name: str
    pid: int | None
    state: ServerState | None


def silent(message: str) -> None:
    """Progress for those who do not want any."""
    del message


def up(
    settings: Settings,
    progress: Progress = silent,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, ServerState]:
    """Start the servers that are not running, making them first if need be. Idempotent.

    A server whose place is taken by one's own (POSTGRES_HOST or MYSQL_HOST is in `environ`,
    by default the real one) is left out.
    `options` are server settings by server name, applied at a start. Raises Unavailable, ConfigError.
    """
    environ = os.environ if environ is None else environ
    wanted = [
        server
        for server in _servers(settings, options or {})
        if not environ.get(f"{SERVER_VARIABLES[server.name]}_HOST")
    ]
    with _alone(settings):
        software = {server.name: server.software(progress) for server in wanted}
        return {server.name: _start(server, software[server.name], settings, progress) for server in wanted}


def down(settings: Settings) -> list[str]:
    """Stop those that run, by pid; their data stays. Names of the servers stopped."""
    with _usable(settings):
        if not (settings.home / "servers").exists():
            return []
    with _alone(settings):
        running = [(server, pid) for server in _servers(settings, {}) if (pid := _pid(server)) is not None]
        # All get the first signal before any is waited for.
        for server, pid in running:
            send(pid, server.mark, server.stop_signals[0][0])
        for server, pid in running:
            _stop(server, pid)
        return [server.name for server, _ in running]


@contextmanager
def running(server: Server, settings: Settings, progress: Progress = silent) -> Iterator[ServerState]:
    """A server that is none of the demo's (another release), started in `settings.home` and stopped at the end."""
    with _alone(settings):
        state = _start(server, server.software(progress), settings, progress)
    try:
        yield state
    finally:
        with _alone(settings):
            if (pid := _pid(server)) is not None:
                _stop(server, pid)


def status(settings: Settings) -> dict[str, ServerStatus]:
    """What is there and what runs, without changing anything."""
    found = {}
    with _usable(settings):
        for server in _servers(settings, {}):
            state = read_state(settings.server_file(server.name), server.scheme)
            found[server.name] = ServerStatus(server.name, _pid(server), state)
    return found


def _servers(settings: Settings, options: Mapping[str, Mapping[str, str]]) -> tuple[Server, ...]:
    # Resolved: a server is recognised by its data folder's name, however CDC_HOME was spelt this time.
    home = settings.home.resolve() / "servers"
    return (
        Postgres(home / "postgres", options.get("postgres", {})),
        MariaDB(home / "mysql", options.get("mysql", {})),
    )


@contextmanager
def _usable(settings: Settings) -> Iterator[None]:
    """Whatever the file system refuses is a matter of where CDC_HOME is and whose."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ConfigError(f"cannot use CDC_HOME {settings.home} ({what}): set it to a folder of yours") from error


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    file = settings.home / "servers" / "servers.lock"
    with _usable(settings):
        file.parent.mkdir(parents=True, exist_ok=True)
        (settings.home / "logs").mkdir(exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            raise Unavailable(
                f"another command has been starting or stopping servers for long (it holds {file})"
            ) from error
        try:
            yield
        finally:
            lock.release()


def _pid(server: Server) -> int | None:
    """The server's process, if it runs: by its pid file, or one too young to have written that."""
    pid = read_pid(server.pid_file)
    return pid if pid is not None and is_running(pid, server.mark) else find(server.mark)


def _start(server: Server, software: Software, settings: Settings, progress: Progress) -> ServerState:
    file = settings.server_file(server.name)
    log = settings.home / "logs" / f"{server.name}.log"
    state = read_state(file, server.scheme)
    if state is not None and _joined(server, state):
        return state
    if (pid := _pid(server)) is not None:
        # Running under a password that nobody knows any more.
        _stop(server, pid)
    server.folder.mkdir(parents=True, exist_ok=True)
    account = account_for(server.folder, software, server.data)
    state = _made(server, software, account, state, file, progress)
    return _launch(server, software, account, state, file, log, progress)


def _made(
    server: Server, software: Software, account: Account, state: ServerState | None, file: Path, progress: Progress
) -> ServerState:
    """See to it that the data folder and the record of its password exist and agree."""
    if server.data.exists() and not server.complete(server.data):
        aside = server.data.with_name(f"data.{int(time.time())}.incomplete")
        progress(f"{server.title}: its data folder is not one; put aside as {aside}")
        server.data.rename(aside)
    if server.data.exists():
        if state is None:
            progress(f"{server.title}: {file.name} is lost; setting a new password")
            state = ServerState.generate(server.scheme, _free_port())
            variables = {**software.variables, **server.before_start(read_pid(server.pid_file))}
            server.grant(replace(software, variables=variables), account, server.data, state)
            write_state(file, state)
        return state
    for left_over in server.folder.glob("data.*.partial"):
        # Its maker may have been killed and a child of it still be writing: then the rest goes next time.
        shutil.rmtree(left_over, ignore_errors=True)
    progress(f"{server.title}: making its data folder")
    state = state or ServerState.generate(server.scheme, _free_port())
    partial = Path(tempfile.mkdtemp(prefix="data.", suffix=".partial", dir=server.folder))
    try:
        account.give(partial)
        server.create(software, account, partial)
        server.grant(software, account, partial, state)
        write_state(file, state)
        partial.rename(server.data)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return state


def _launch(
    server: Server,
    software: Software,
    account: Account,
    state: ServerState,
    file: Path,
    log: Path,
    progress: Progress,
) -> ServerState:
    for attempt in range(_ATTEMPTS):
        if _joined(server, state):
            return state
        if not _is_free(state.port):
            progress(f"{server.title}: port {state.port} is taken by another program; taking another")
            state = replace(state, port=_free_port())
            write_state(file, state)
        recorded = read_pid(server.pid_file)
        variables = server.before_start(recorded)
        begin = log.stat().st_size if log.exists() else 0
        process = spawn(
            [*account.prefix, *server.command(software, state.port)],
            environ={**software.environ, **variables},
            folder=server.folder,
            log=log,
        )
        if _becomes_ready(server, process.pid, state.port, partial(_lives, process)):
            progress(f"{server.title}: running at {state.host}:{state.port}")
            return state
        # Ended at once: the port was taken in the meantime, or what a killed server leaves is still in use.
        time.sleep(0.2 * (attempt + 1))
    words = failure_in(log.read_bytes()[begin:].decode(errors="replace"))
    raise Unavailable(f"{server.title} does not start: {words} (see {log})")


def _becomes_ready(server: Server, pid: int, port: int, is_alive: Callable[[], bool]) -> bool:
    """True once it accepts connections, False when it has ended. Raises Unavailable when neither happens."""
    deadline = time.monotonic() + START_SECONDS
    while is_alive():
        if server.is_ready(pid, port):
            return True
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{server.title} (process {pid}) is not ready after {START_SECONDS:.0f} s: "
                "wait and try again, or 'cdc down' and 'cdc up'"
            )
        time.sleep(0.02)
    return False


def _lives(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def _joined(server: Server, state: ServerState) -> bool:
    """Whether it runs already, possibly started a moment ago by an `up` that was killed."""
    pid = _pid(server)
    return pid is not None and _becomes_ready(server, pid, state.port, lambda: is_running(pid, server.mark))


def _stop(server: Server, pid: int) -> None:
    for number, seconds in server.stop_signals:
        send(pid, server.mark, number)
        if wait_gone(pid, server.mark, seconds):
            return
    raise Unavailable(f"{server.title} (process {pid}) does not end, not even when killed")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    """A free port below those that systems hand out to outgoing connections, so that it stays free."""
    for _ in range(100):
        port = 15_000 + secrets.randbelow(15_000)
        if _is_free(port):
            return port
    raise Unavailable("no free port found between 15000 and 29999")
