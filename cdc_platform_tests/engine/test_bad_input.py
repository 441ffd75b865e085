"""Bad input: one clear line, the right exit code, never a traceback, never a secret."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cdc_platform_tests.engine.test_end_to_end import one_pipeline
from cdc_platform_tests.world import World


@pytest.fixture
def things(empty_world: World, tmp_path: Path) -> World:
    empty_world.postgres_do("create table things (id int primary key, name text)", "insert into things values (1, 'a')")
    empty_world.mysql_do("create table things (id int primary key, name text)", "insert into things values (1, 'a')")
    empty_world.folder = tmp_path / "pipelines"
    empty_world.folder.mkdir()
    return empty_world


def write(world: World, system: str = "postgres", change: Callable[[str], str] = str) -> None:
    (world.folder / "one.yaml").write_text(change(one_pipeline(system, "things", "deltalake", "append")))


def fails(world: World, code: int, *words: str, command: tuple[str, ...] = ("run",)) -> None:
    said = world.cdc(*command, code=code)
    complaint = [line for line in said.splitlines() if line.startswith("cdc: ")]
    assert len(complaint) == 1, said
    for word in words:
        assert word in complaint[0], complaint[0]


def test_it_works_to_begin_with(things: World) -> None:
    for system in ("postgres", "mysql"):
        write(things, system)
        things.cdc("run")
        things.home = things.home.parent / "another"


def test_an_unknown_key(things: World) -> None:
    write(things, change=lambda text: text.replace("write_mode", "write_mdoe"))
    fails(things, 2, "one.yaml", "write_mdoe", "write_mode")


def test_a_missing_variable(things: World) -> None:
    write(things, change=lambda text: text.replace("POSTGRES_PASSWORD", "NO_SUCH_VARIABLE"))
    fails(things, 2, "one.yaml", "source.connection.password", "NO_SUCH_VARIABLE")


def test_an_unknown_pipeline(things: World) -> None:
    write(things)
    fails(things, 2, "oen", "'one'", command=("run", "oen"))


def test_an_unknown_command_and_option(things: World) -> None:
    things.cdc("rnu", code=2)
    things.cdc("run", "--jsno", code=2)


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_wrong_password(things: World, system: str) -> None:
    write(things, system)
    things.extra[f"{system.upper()}_PASSWORD"] = "not-this-one"
    fails(things, 2, "password")


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_server_that_is_down(things: World, system: str) -> None:
    write(things, system)
    things.extra[f"{system.upper()}_PORT"] = "1"
    fails(things, 3, "127.0.0.1:1")


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_missing_table_names_the_nearest(things: World, system: str) -> None:
    write(things, system, lambda text: text.replace("name: things", "name: thingz"))
    fails(things, 2, "thingz", "things")


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_an_unknown_connection_key(things: World, system: str) -> None:
    write(things, system, lambda text: text.replace("host: ", "hots: "))
    fails(things, 2, "hots", "host")


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_an_upsert_without_a_primary_key(things: World, system: str) -> None:
    (things.postgres_do if system == "postgres" else things.mysql_do)("create table keyless (a int)")
    write(
        things,
        system,
        lambda text: text.replace("name: things", "name: keyless").replace("append", "upsert"),
    )
    fails(things, 2, "keyless", "primary key", "append")


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
def test_a_path_that_cannot_be_written(things: World, tmp_path: Path, destination: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    text = one_pipeline("postgres", "things", destination, "append").replace("${CDC_HOME}/lake", f"{blocked}/lake")
    (things.folder / "one.yaml").write_text(text)
    fails(things, 2, str(blocked))


def test_a_home_that_cannot_be_written(things: World, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    write(things)
    things.home = blocked / "home"
    fails(things, 2, str(blocked))


def test_a_missing_privilege_of_postgres(things: World) -> None:
    name = f"reader_{os.urandom(4).hex()}"
    things.postgres_do(f"create role {name} login password 'reader-password'")
    try:
        write(things)
        things.extra |= {"POSTGRES_USER": name, "POSTGRES_PASSWORD": "reader-password"}
        fails(things, 4, name, "replication")
    finally:
        things.postgres_do(f"drop role {name}")


def test_a_missing_privilege_of_mysql(things: World) -> None:
    name = f"reader_{os.urandom(4).hex()}"
    things.mysql_do(
        f"create user {name}@'%' identified by 'reader-password'",
        f"grant select on `{things.mysql.database}`.* to {name}@'%'",
    )
    try:
        write(things, "mysql")
        things.extra |= {"MYSQL_USER": name, "MYSQL_PASSWORD": "reader-password"}
        fails(things, 4, "privilege", "BINLOG MONITOR")
    finally:
        things.mysql_do(f"drop user {name}@'%'")
