"""Real servers for every test that asks for one: started once a session, gone with it, whatever happens.

    servers                           both, in a CDC_HOME of the session's own
    postgres, postgres15, mysql       the address and login of each
    postgres_database, mysql_database a new, empty database for one test; its slots are dropped with it
    empty_world, world                the shipped pipelines on such databases, empty or with a small demo

Area-specific fixtures belong in the area's own conftest.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg2
import pymysql
import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings
from psycopg2 import errors, sql

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.errors import Unavailable
from cdc_platform.mock_data.seed import seed
from cdc_platform.servers.embedded import running, silent, up
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.mysql import MySQL
from cdc_platform.servers.postgres15 import Postgres15
from cdc_platform.servers.server import Progress
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.world import SMALL, World, address

# Tests share two cores: how long one example takes says nothing.
hypothesis_settings.register_profile("shared", deadline=None)
hypothesis_settings.load_profile("shared")

# Runs beside the tests until their end of the pipe closes, which also happens when they are killed.
_GUARD = """
import shutil, sys
from pathlib import Path
from cdc_platform.config.settings import Settings
from cdc_platform.mock_data.seed import seed
from cdc_platform.servers.embedded import down
sys.stdin.read()
home = Path(sys.argv[1])
try:
    down(Settings(home, home))
finally:
    shutil.rmtree(home, ignore_errors=True)
"""


PackagedServer = MariaDB | MySQL | Postgres15


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, and the settings whose CDC_HOME they live in."""

    settings: Settings
    postgres: ServerState
    mysql: ServerState


@contextmanager
def temporary_home(prefix: str = "cdc-tests-") -> Iterator[Settings]:
    """A CDC_HOME whose servers are stopped, and which is removed, at the end or when this process dies."""
    home = Path(tempfile.mkdtemp(prefix=prefix)).resolve()
    guard = subprocess.Popen(
        [sys.executable, "-c", _GUARD, str(home)], stdin=subprocess.PIPE, cwd=PACKAGE.parent, start_new_session=True
    )
    try:
        if refused := share_software(MariaDB(home / "servers" / "mysql"), home):
            raise refused
        yield Settings(home, PACKAGE / "pipelines")
    finally:
        guard.communicate(timeout=120)


def share_software(server: PackagedServer, home: Path, progress: Progress = silent) -> Unavailable | None:
    """Let `home` use the packages unpacked in the project's own CDC_HOME: one download for all tests.

    Gives back why there are none.
    """
    shared = PACKAGE.parent / ".cdc" / "servers"
    shared.mkdir(parents=True, exist_ok=True)
    with FileLock(shared / "servers.lock"):
        common = replace(server, folder=shared / server.name)
        try:
            common.software(progress)
        except Unavailable as error:
            return error
    (home / "servers").mkdir(exist_ok=True)
    if common.tree.exists():
        (home / "servers" / common.tree.name).symlink_to(common.tree)
    return None


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with temporary_home() as settings:
        started = up(settings, environ={})
        yield Servers(settings, started["postgres"], started["mysql"])


@pytest.fixture(scope="session")
def postgres(servers: Servers) -> ServerState:
    return servers.postgres


@pytest.fixture(scope="session")
def mysql(request: pytest.FixtureRequest) -> ServerState:
    """The embedded MariaDB, or the server of CDC_TESTS_MYSQL=mysql://user:password@host:port/database."""
    if url := os.environ.get("CDC_TESTS_MYSQL"):
        parts = urlsplit(url)
        return ServerState(
            "mysql", parts.hostname or "", parts.port or 3306, parts.path.strip("/"),
            unquote(parts.username or ""), unquote(parts.password or ""),
        )  # fmt: skip
    servers: Servers = request.getfixturevalue("servers")
    return servers.mysql


@pytest.fixture(scope="session")
def postgres15() -> Iterator[ServerState]:
    """The oldest release that is tested; tests that need it are skipped where its packages cannot be had."""
    with temporary_home() as settings:
        server = Postgres15(settings.home / "servers" / "postgres")
        refused = share_software(server, settings.home)
        if refused:
            pytest.skip(f"no {server.title}: {refused}")
        with running(server, settings) as state:
            yield state


@pytest.fixture
def postgres_database(postgres: ServerState) -> Iterator[ServerState]:
    with new_postgres_database(postgres) as state:
        yield state


@pytest.fixture
def postgres15_database(postgres15: ServerState) -> Iterator[ServerState]:
    with new_postgres_database(postgres15) as state:
        yield state


@contextmanager
def new_postgres_database(postgres: ServerState) -> Iterator[ServerState]:
    """An empty database; it and its slots are dropped at the end."""
    database = f"test_{secrets.token_hex(6)}"
    with closing(psycopg2.connect(postgres.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
            try:
                yield replace(postgres, database=database)
            finally:
                drop_slots(cursor, database)
                cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database)))


def drop_slots(cursor: psycopg2.extensions.cursor, database: str) -> None:
    """Drop the database's slots, ending whoever still reads from them."""
    deadline = time.monotonic() + 10
    while True:
        cursor.execute("select slot_name, active_pid from pg_replication_slots where database = %s", (database,))
        if not (slots := cursor.fetchall()):
            return
        for name, reader in slots:
            if reader is not None:
                cursor.execute("select pg_terminate_backend(%s, 5000)", (reader,))
            try:
                cursor.execute("select pg_drop_replication_slot(%s)", (name,))
            except (errors.ObjectInUse, errors.UndefinedObject):
                if time.monotonic() > deadline:
                    raise


@pytest.fixture
def mysql_database(mysql: ServerState) -> Iterator[ServerState]:
    with new_mysql_database(mysql) as state:
        yield state


@contextmanager
def new_mysql_database(mysql: ServerState) -> Iterator[ServerState]:
    """An empty database, dropped at the end."""
    database = f"test_{secrets.token_hex(6)}"
    with closing(
        pymysql.connect(
            host=mysql.host, port=mysql.port, user=mysql.user, password=mysql.password, database=mysql.database
        )
    ) as connection:
        # The name is made of our own letters and digits.
        connection.cursor().execute(f"create database `{database}` character set utf8mb4")
        try:
            yield replace(mysql, database=database)
        finally:
            # A transaction left open by the test would make the drop wait for ever.
            _end_connections(connection, database)
            connection.cursor().execute(f"drop database `{database}`")


def _end_connections(connection: pymysql.connections.Connection[pymysql.cursors.Cursor], database: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select id from information_schema.processlist where db = %s", (database,))
        for (reader,) in cursor.fetchall():
            try:
                cursor.execute("kill %s", (reader,))
            except pymysql.err.OperationalError as error:
                if error.args[0] != 1094:  # ended by itself
                    raise


@pytest.fixture
def empty_world(tmp_path: Path, postgres_database: ServerState, mysql_database: ServerState) -> World:
    return World(tmp_path / "home", postgres_database, mysql_database)


@pytest.fixture
def world(empty_world: World) -> World:
    seed(address(empty_world.postgres), address(empty_world.mysql), SMALL, 1)
    return empty_world
