"""A pid is believed only when the process behind it is the one meant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.servers.process import Mark, end_orphans, is_running, read_pid, send, spawn, wait_gone

_SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this package's starting that ignores SIGTERM; its folder and mark are tmp_path."""
    process = spawn(
        [sys.executable, "-c", _SLEEP, str(tmp_path)],
        environ=dict(os.environ),
        folder=tmp_path,
        log=tmp_path / "log",
    )
    while (tmp_path / "log").read_text() == "":
        assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def _mark(argument: object, program: str | None = None) -> Mark:
    return Mark((program or Path(sys.executable).name,), str(argument))


def test_only_the_right_process_is_signalled(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for wrong in (_mark("another argument"), _mark(tmp_path, "postgres"), _mark(str(tmp_path)[:-1])):
        assert not is_running(sleeper.pid, wrong)
        assert not send(sleeper.pid, wrong, signal.SIGKILL)
    assert sleeper.poll() is None
    right = _mark(tmp_path)
    assert is_running(sleeper.pid, right)
    assert send(sleeper.pid, right, signal.SIGTERM)
    assert not wait_gone(sleeper.pid, right, 0.2)
    assert send(sleeper.pid, right, signal.SIGKILL)
    assert wait_gone(sleeper.pid, right, 5)
    assert not send(sleeper.pid, right, signal.SIGKILL)


def test_it_has_a_session_of_its_own(sleeper: subprocess.Popen[bytes]) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid != os.getsid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_orphans_in_a_folder_are_ended(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    program = Path(f"/proc/{sleeper.pid}/exe").readlink().name
    end_orphans(tmp_path / "elsewhere", program, seconds=0)
    end_orphans(tmp_path, "postgres", seconds=0)
    assert sleeper.poll() is None
    end_orphans(tmp_path, program, seconds=0.1)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_pid_files(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    assert read_pid(file) is None
    for content, pid in (
        ("", None),
        ("text\n", None),
        ("123", 123),
        ("123\n/data\n", 123),
        ("-5\n", None),
        ("0", None),
    ):
        file.write_text(content)
        assert read_pid(file) == pid
    assert read_pid(file / "below") is None
