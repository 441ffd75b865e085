"""`cdc` in processes of its own, quickly: forked from one that has imported everything and started nothing.

    Forks ── a job a line ──> this module as a process ── fork ──> cdc run ... ──> its exit code, or how it was killed

A command costs what it does, not the seconds of its imports. Threads do not survive a fork, so the process that forks
decodes, reads and writes nothing itself; those that libraries start when they are imported are the allocators' and
Polars' own cleaner, which do without.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

_PRELOADED = (
    "cdc_platform.cli.main cdc_platform.engine.run cdc_platform.engine.check "
    "cdc_platform.sources.postgres.source cdc_platform.sources.mysql.source "
    "cdc_platform.sources.timestamp.postgres cdc_platform.sources.timestamp.mysql cdc_platform.sources.timestamp.open "
    "cdc_platform.destinations.delta cdc_platform.destinations.iceberg cdc_platform.destinations.iceberg_live "
    "cdc_platform.destinations.iceberg_snapshot cdc_platform.destinations.iceberg_files pyiceberg.catalog.sql "
    "numpy.ma importlib.readers sqlalchemy.dialects.sqlite.pysqlite polars._utils.parquet pyiceberg.avro.decoder_fast"
).split()


FILE_BYTES, CLOCK, LOCK = "CDC_TESTS_FILE_BYTES", "CDC_TESTS_CLOCK", "CDC_TESTS_LOCK"
"""Variables of a job: no file may grow beyond so many bytes; the process's clock goes wrong by so many seconds; a lock
is waited for so many seconds."""
IMPATIENT_SECONDS = 4


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that killed it; and all that it printed."""

    code: int
    words: str


@dataclass(frozen=True, slots=True)
class Forks:
    """`small` lets commands work in small portions, so that little data comes to many places."""

    process: subprocess.Popen[str]

    def start(self, variables: Mapping[str, str], words: Path, *arguments: str) -> int:
        """Begin `cdc <arguments>` with these variables; gives its process id. `words` is where it prints."""
        self._say({"do": "start", "variables": dict(variables), "words": str(words), "arguments": arguments})
        return int(self._answer())

    def wait(self, pid: int, *, stopped: bool = False) -> int:
        """The exit code, or minus the signal; `stopped` waits for its being stopped, too."""
        self._say({"do": "wait", "pid": pid, "stopped": stopped})
        return int(self._answer())

    def runs(self, pid: int) -> bool:
        """Whether a command that was not waited for is still at work, or stopped."""
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

    def run(self, variables: Mapping[str, str], words: Path, *arguments: str) -> Ended:
        code = self.wait(self.start(variables, words, *arguments))
        return Ended(code, words.read_text())

    def _say(self, job: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def _answer(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the process that forks is gone"
        return line


@contextmanager
def forks() -> Iterator[Forks]:
    command = [sys.executable, "-m", "cdc_platform_tests.crashes.forks"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Forks(process)
    finally:
        process.communicate(timeout=60)


def in_small_portions() -> None:
    """Stretches of a few changes, a checkpoint every few commits, and short waits for a silent server."""
    from cdc_platform.change_log import files, log
    from cdc_platform.sources.mysql import connection
    from cdc_platform.sources.mysql import source as mysql
    from cdc_platform.sources.postgres import source as postgres
    from cdc_platform.sources.postgres.stream import Pace

    vars(postgres)["Pace"] = partial(Pace, changes=40, stretch_changes=10, batch_bytes=2048)
    defaults = mysql.MySQLSource.__init__.__kwdefaults__
    assert defaults is not None
    defaults["stretch_bytes"] = 1500
    log._CHECKPOINT_COMMITS = 4
    files.FILE_ROWS = 4
    connection._SILENCE_SECONDS = IMPATIENT_SECONDS


def _serve() -> None:
    for name in _PRELOADED:
        importlib.import_module(name)
    in_small_portions()
    answers = os.fdopen(os.dup(1), "w")
    imported = _threads()
    for line in sys.stdin:
        job = json.loads(line)
        if job["do"] == "start":
            assert _threads() <= imported, "the process that forks works itself"
            pid = os.fork()
            if pid == 0:
                _command(job)
            answer = pid
        else:
            _, status = os.waitpid(job["pid"], os.WUNTRACED if job["stopped"] else 0)
            answer = -os.WSTOPSIG(status) if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)
        answers.write(f"{answer}\n")
        answers.flush()


def _threads() -> set[str]:
    return {task.name for task in Path("/proc/self/task").iterdir()}


def _command(job: dict[str, Any]) -> None:
    """`cdc` as its own process would do it; never returns."""
    from cdc_platform.cli.main import main
    from cdc_platform.engine.locks import exclusive

    os.environ.update(job["variables"])
    sink = os.open(job["words"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, target in ((0, nothing), (1, sink), (2, sink)):
        os.dup2(target, stream)
    if limit := job["variables"].get(FILE_BYTES):
        _print_elsewhere(sink)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    if wrong := job["variables"].get(CLOCK):
        _shift_clock(float(wrong))
    if patience := job["variables"].get(LOCK):
        exclusive.__wrapped__.__defaults__ = (float(patience),)  # type: ignore[attr-defined]
    sys.argv = ["cdc", *job["arguments"]]
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    os.closerange(0, 3)
    with suppress(ChildProcessError):
        os.wait()
    os._exit(code)


def _print_elsewhere(sink: int) -> None:
    """What is printed is not bounded by the bound of files: a child of this process writes it."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        for stream in (1, 2, writing):
            os.close(stream)
        while words := os.read(reading, 4096):
            os.write(sink, words)
        os._exit(0)
    os.close(reading)
    for stream in (1, 2):
        os.dup2(writing, stream)
    os.close(writing)


def _shift_clock(seconds: float) -> None:
    """Every clock that tells a date goes wrong by so much; those that measure durations do not, nor do files' times."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=seconds)

    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + seconds
    time.time_ns = lambda: real_ns() + int(seconds * 1e9)
    for name, module in list(sys.modules.items()):
        if name.startswith(("cdc_platform.", "pyiceberg.")) and vars(module).get("datetime") is datetime:
            module.datetime = Shifted  # type: ignore[attr-defined]


if __name__ == "__main__":
    _serve()
