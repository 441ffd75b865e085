"""Up and down: data stays, crashes are recovered from, strangers are left alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.errors import Unavailable
from cdc_platform.servers.embedded import down, status, up
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.postgres import Postgres
from cdc_platform.servers.process import read_pid
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.servers.conftest import Ask

BOTH = ["postgres", "mysql"]

_UP = """
import sys
from pathlib import Path
from cdc_platform.config.settings import Settings
from cdc_platform.servers.embedded import up
home = Path(sys.argv[1])
up(Settings(home, home), lambda message: print(message, flush=True), {})
"""


def _start(settings: Settings) -> dict[str, ServerState]:
    return up(settings, environ={})


def _pids(settings: Settings) -> dict[str, int | None]:
    return {name: found.pid for name, found in status(settings).items()}


def _up_elsewhere(settings: Settings) -> subprocess.Popen[str]:
    """`up` in another process, its progress on standard output."""
    return subprocess.Popen(
        [sys.executable, "-c", _UP, str(settings.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PACKAGE.parent,
    )


def _remember(ask: Ask, state: ServerState, value: int) -> None:
    ask(state, "create table if not exists kept (value int primary key)")
    ask(state, f"insert into kept values ({value})")


def _remembered(ask: Ask, state: ServerState) -> list[int]:
    return [value for (value,) in ask(state, "select value from kept order by value")]


def test_up_is_idempotent_and_data_outlives_down(used_home: Settings, ask: Ask) -> None:
    first = _start(used_home)
    pids = _pids(used_home)
    assert all(pids.values())
    assert _start(used_home) == first
    assert _pids(used_home) == pids
    for state in first.values():
        ask(state, "drop table if exists kept")
        _remember(ask, state, 1)
    assert down(used_home) == BOTH
    assert _pids(used_home) == {"postgres": None, "mysql": None}
    assert down(used_home) == []
    begin = time.monotonic()
    again = _start(used_home)
    assert time.monotonic() - begin < 10
    assert again == first
    for state in again.values():
        assert _remembered(ask, state) == [1]


def test_a_killed_server_comes_back_with_what_was_committed(used_home: Settings, ask: Ask) -> None:
    for value in (2, 3):
        for name, state in _start(used_home).items():
            _remember(ask, state, value * 100)
            pid = status(used_home)[name].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
    for name, state in _start(used_home).items():
        assert {200, 300} <= set(_remembered(ask, state)), name


def test_a_server_killed_in_the_middle_of_queries_comes_back(used_home: Settings, ask: Ask) -> None:
    busy = _start(used_home)["postgres"]
    with ThreadPoolExecutor() as pool:
        # A backend that computes does not notice its postmaster's end, and keeps the shared memory in use.
        query = pool.submit(ask, busy, "select count(*) from generate_series(1, 100000000) a where a % 7 = 3")
        deadline = time.monotonic() + 10
        while not ask(
            busy, "select 1 from pg_stat_activity where query like '%generate_series(1%' and pid <> pg_backend_pid()"
        ):
            assert time.monotonic() < deadline
        pid = status(used_home)["postgres"].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        again = _start(used_home)["postgres"]
        assert ask(again, "select 1") == [(1,)]
        assert query.exception(60) is not None


@pytest.mark.parametrize("recorded", [True, False], ids=["password known", "password lost"])
@pytest.mark.parametrize("name", BOTH)
def test_another_program_with_a_recorded_pid_is_left_alone(
    used_home: Settings, ask: Ask, name: str, recorded: bool
) -> None:
    _start(used_home)
    server = (
        Postgres(used_home.home / "servers" / name)
        if name == "postgres"
        else MariaDB(used_home.home / "servers" / name)
    )
    pid = status(used_home)[name].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    down(used_home)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        try:
            lines = server.pid_file.read_text().splitlines()
            server.pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
            if not recorded:
                used_home.server_file(name).unlink()
            assert status(used_home)[name].pid is None
            assert down(used_home) == []
            assert ask(_start(used_home)[name], "select 1") == [(1,)]
            assert read_pid(server.pid_file) == status(used_home)[name].pid != stranger.pid
            down(used_home)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_port_taken_meanwhile_is_replaced(used_home: Settings, ask: Ask) -> None:
    before = _start(used_home)
    down(used_home)
    with socket.socket() as postgres, socket.socket() as mysql:
        for taker, name in ((postgres, "postgres"), (mysql, "mysql")):
            taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taker.bind((before[name].host, before[name].port))
            taker.listen()
        after = _start(used_home)
        for name in BOTH:
            assert after[name].port != before[name].port
            assert after[name].password == before[name].password
            assert ask(after[name], "select 1") == [(1,)]
    assert _start(used_home) == after
    assert {name: found.state for name, found in status(used_home).items()} == after


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_lost_password_is_replaced(used_home: Settings, ask: Ask, running: bool) -> None:
    before = _start(used_home)
    if not running:
        down(used_home)
    for name in BOTH:
        used_home.server_file(name).unlink()
    after = _start(used_home)
    for name in BOTH:
        assert after[name].password != before[name].password
        assert ask(after[name], "select 1") == [(1,)]


def test_a_server_of_ones_own_is_not_started(used_home: Settings) -> None:
    down(used_home)
    assert list(up(used_home, environ={"MYSQL_HOST": "db.example"})) == ["postgres"]
    assert up(used_home, environ={"POSTGRES_HOST": "db.example", "MYSQL_HOST": "db.example"}) == {}
    assert _pids(used_home)["mysql"] is None


def test_other_settings_hold_from_the_next_start(used_home: Settings, ask: Ask) -> None:
    down(used_home)
    options = {"postgres": {"wal_level": "replica"}, "mysql": {"binlog-format": "STATEMENT"}}
    changed = up(used_home, environ={}, options=options)
    assert ask(changed["postgres"], "show wal_level") == [("replica",)]
    assert ask(changed["mysql"], "select @@global.binlog_format") == [("STATEMENT",)]
    down(used_home)
    assert ask(_start(used_home)["postgres"], "show wal_level") == [("logical",)]


def test_a_setting_that_the_server_refuses_is_told_in_its_words(used_home: Settings) -> None:
    down(used_home)
    with pytest.raises(Unavailable, match=r'Postgres does not start: .*"no_such_setting" \(see .*postgres\.log\)'):
        up(used_home, environ={}, options={"postgres": {"no_such_setting": "1"}})
    with pytest.raises(Unavailable, match=r"MariaDB does not start: .*no-such-setting.*mysql\.log"):
        up(used_home, environ={}, options={"mysql": {"no-such-setting": "1"}})


def test_folders_that_are_not_data_folders_are_put_aside(used_home: Settings, ask: Ask) -> None:
    _start(used_home)
    down(used_home)
    folders = [used_home.home / "servers" / name / "data" for name in BOTH]
    (folders[0] / "PG_VERSION").unlink()
    shutil.rmtree(folders[1] / "mysql")
    for name, state in _start(used_home).items():
        assert ask(state, "select 1") == [(1,)]
        assert len(list((used_home.home / "servers" / name).glob("data.*.incomplete"))) == 1


def test_many_ups_at_once_start_one_of_each(home: Settings, ask: Ask) -> None:
    starters = [_up_elsewhere(home) for _ in range(3)]
    said = [starter.communicate(timeout=120) for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], said
    assert sum(output.count("making its data folder") for output, _ in said) == 2
    for state in _start(home).values():
        assert ask(state, "select 1") == [(1,)]
    # They outlive the processes that started them, and are stopped by one that did not.
    assert all(_pids(home).values())
    assert down(home) == BOTH


def test_servers_of_tests_that_were_killed_go_as_well() -> None:
    script = """
import time
from cdc_platform.servers.embedded import status, up
from cdc_platform_tests.conftest import temporary_home
with temporary_home() as settings:
    up(settings, environ={})
    print(settings.home, *(found.pid for found in status(settings).values()), flush=True)
    time.sleep(60)
"""
    tests = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=PACKAGE.parent)
    assert tests.stdout is not None
    home, *pids = tests.stdout.readline().split()
    assert len(pids) == 2
    tests.kill()
    tests.communicate()
    deadline = time.monotonic() + 30
    while Path(home).exists() or any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("moment", "delay"),
    [
        ("Postgres: making", 0.0),
        ("Postgres: making", 0.3),
        ("Postgres: running", 0.0),
        ("MariaDB: making", 0.2),
        ("MariaDB: making", 0.6),
    ],
)
def test_up_killed_while_making_the_servers(home: Settings, ask: Ask, moment: str, delay: float) -> None:
    killed = _up_elsewhere(home)
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.startswith(moment):
            break
    time.sleep(delay)
    killed.kill()
    killed.communicate()
    for name, state in _start(home).items():
        assert ask(state, "select 1") == [(1,)]
        assert _partial(home.home / "servers" / name) <= 1
    down(home)


def _partial(folder: Path) -> int:
    """Half-made data folders: a child of a killed maker may still be writing one, which goes at the next making."""
    return len(list(folder.glob("data.*.partial")))
