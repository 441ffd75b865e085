"""Starting, recognising and stopping a server process that outlives the program which started it.

A pid alone proves nothing: after a crash another program may have it. Every question and every signal here
therefore takes a `Mark`, what the command line of the one meant must hold. Layer: servers.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# Children of this very process, to reap them: without it an ended one stays as a zombie until we end.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class Mark:
    """How a server of ours is told from any other process: its program's name and one exact argument."""

    programs: tuple[str, ...]
    argument: str

    def fits(self, arguments: Sequence[str]) -> bool:
        return bool(arguments) and Path(arguments[0]).name in self.programs and self.argument in arguments


def spawn(command: Sequence[str], *, environ: Mapping[str, str], folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own (a Ctrl-C in our terminal is not meant for it), output to `log`."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  the command is composed by this package
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environ),
            start_new_session=True,
        )
    _children[process.pid] = process
    return process


def is_running(pid: int, mark: Mark) -> bool:
    """Whether `pid` is alive (a zombie is not) and is the process that `mark` describes."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
        return False
    return mark.fits(_command_line(pid))


def find(mark: Mark) -> int | None:
    """A process that `mark` describes, whatever its pid (Linux only; None elsewhere)."""
    for entry in Path("/proc").glob("[0-9]*"):
        if is_running(int(entry.name), mark):
            return int(entry.name)
    return None


def send(pid: int, mark: Mark, number: signal.Signals) -> bool:
    """Signal the process if it is the one meant; False when it is not (any more)."""
    try:
        if not hasattr(os, "pidfd_open"):
            if is_running(pid, mark):
                os.kill(pid, number)
                return True
            return False
        # The descriptor pins the process: between the look at its command line and the signal, the pid
        # cannot pass to another one.
        descriptor = os.pidfd_open(pid)
        try:
            if not is_running(pid, mark):
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        return False


def wait_gone(pid: int, mark: Mark, seconds: float) -> bool:
    """Wait until the process has ended; False when it still runs after `seconds`."""
    deadline = time.monotonic() + seconds
    while is_running(pid, mark):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        _sleep_until_exit(pid, min(left, 1.0))
    return True


def read_pid(file: Path) -> int | None:
    """The number in the first line of a pid file; None where there is no usable one."""
    try:
        pid = int(file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return pid if pid > 0 else None  # 0 and below would signal groups


def end_orphans(folder: Path, program: str, seconds: float) -> None:
    """Let the processes of `program` that work in `folder` end, and kill those left after `seconds` (Linux only).

    For children whose parent was killed: they rewrite their command lines, so a Mark cannot tell them.
    """
    deadline = time.monotonic() + seconds
    while orphans := _working_in(folder, program):
        if time.monotonic() > deadline:
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _working_in(folder: Path, program: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder and (entry / "exe").readlink().name == program:
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def _command_line(pid: int) -> list[str]:
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
        except (FileNotFoundError, ProcessLookupError):
            return []
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return shown.stdout.split()


def _sleep_until_exit(pid: int, seconds: float) -> None:
    if not hasattr(os, "pidfd_open"):
        time.sleep(min(seconds, 0.05))
        return
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        waiter = select.poll()
        waiter.register(descriptor, select.POLLIN)
        waiter.poll(seconds * 1000)
    finally:
        os.close(descriptor)
