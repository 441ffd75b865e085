"""No secret in anything that is said or kept: every command, going well and badly, Dagster's events, and all files."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, quote_plus

import dagster as dg
import pytest

from cdc_platform.defs.build import build
from cdc_platform_tests.defs.runs import everything_said, execute
from cdc_platform_tests.security.pipelines import things
from cdc_platform_tests.world import TIMEOUT_SECONDS, World

USER = "cdc_secretive"
ADDRESS = {"host": "HOST", "port": "PORT", "database": "DB", "user": "USER", "password": "PASSWORD"}


@pytest.fixture
def password() -> str:
    """Not to be mistaken for anything else, and changed by every way of quoting."""
    return f"sentinel {secrets.token_hex(8)}/@:é%'\"\\"


@pytest.fixture
def secretive(empty_world: World, tmp_path: Path, password: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """One pipeline of each system, signed in to with the password."""
    world, literal = empty_world, password.replace("'", "''")
    name = f"{USER}_{secrets.token_hex(4)}"
    world.postgres_do(
        f"create role {name} superuser login password '{literal}'", "create table things (id int primary key)"
    )
    mysql = literal.replace("\\", "\\\\")
    world.mysql_do(
        f"create user {name}@'%' identified by '{mysql}'",
        f"grant all on *.* to {name}@'%'",
        "create table things (id int primary key)",
    )
    world.extra = {f"{prefix}_{key}": value for prefix in ("POSTGRES", "MYSQL")
                   for key, value in (("USER", name), ("PASSWORD", password))}  # fmt: skip
    texts = []
    for system in ("postgres", "mysql"):
        connection = {key: f"${{{system.upper()}_{variable}}}" for key, variable in ADDRESS.items()}
        world.folder = things(tmp_path, system, connection)
        texts.append((world.folder / "one.yaml").read_text().replace('"one"', f'"{system}_one"'))
    catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "token": "${MYSQL_PASSWORD}"}
    iceberg = {"type": "iceberg", "path": "${CDC_HOME}/ice", "catalog": catalog}
    other = json.loads(texts[1])
    other["destination"] = iceberg
    (world.folder / "one.yaml").write_text("\n---\n".join([texts[0], json.dumps(other)]))
    for key, value in world.variables.items():
        monkeypatch.setenv(key, value)
    yield world
    world.postgres_do(f"drop owned by {name}", f"drop role {name}")
    world.mysql_do(f"drop user {name}@'%'")


def forms(password: str) -> list[str]:
    """The password as it is, and as URLs, JSON, SQL and reprs have it; and the part that none of them changes."""
    core = password.split("/")[0].removeprefix("sentinel ")
    return [core, password, quote(password, safe=""), quote_plus(password), json.dumps(password), repr(password)]


def found_in(text: str | bytes, password: str) -> list[str]:
    raw = text.encode() if isinstance(text, str) else text
    return [form for form in forms(password) if form.encode() in raw]


def says(world: World, password: str, *arguments: str) -> int:
    """Run the command and look at its words."""
    ended, out, err = world.invoke(*arguments)
    assert not found_in(out + err, password), arguments
    assert "Traceback" not in out + err
    return ended


def says_apart(world: World, password: str, *arguments: str) -> int:
    """The same in a process of its own; while it runs, its arguments and those of all that it starts are seen, too."""
    process = world.start(*arguments)
    for _ in range(3):
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                assert not found_in(file.read_bytes(), password)
            except OSError:
                continue
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert not found_in(out + err, password), arguments
    assert "Traceback" not in out + err
    return process.returncode


def keeps(folder: Path, password: str) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert not found_in(file.read_bytes(), password), file


def test_the_search_finds_what_it_is_to_find(tmp_path: Path, password: str) -> None:
    for form in forms(password):
        (tmp_path / "log").write_text(f"before {form} after")
        with pytest.raises(AssertionError):
            keeps(tmp_path, password)


def test_no_command_says_or_keeps_a_password(secretive: World, password: str) -> None:
    world = secretive
    assert says_apart(world, password, "run") == 0
    world.postgres_do("insert into things values (1)")
    world.mysql_do("insert into things values (1)")
    for arguments in (["run", "--json"], ["check", "--json"], ["status"], ["events", "mysql_one"],
                      ["schema", "postgres_one"], ["verify", "--json"], ["quarantine", "list"],
                      ["at", "postgres_one", "--time", "now"], ["diff", "postgres_one", "now", "now"],
                      ["replay", "mysql_one"], ["resync", "mysql_one", "--dry-run"]):  # fmt: skip
        assert says(world, password, *arguments) == 0
    for wrong, code in (
        ({"POSTGRES_DB": "nowhere", "MYSQL_DB": "nowhere"}, 2),
        ({"POSTGRES_PORT": "1", "MYSQL_PORT": "1"}, 3),
        ({"POSTGRES_PASSWORD": password + "x", "MYSQL_PASSWORD": password + "x"}, 2),
        ({"POSTGRES_PORT": password, "MYSQL_PORT": password}, 2),  # in the wrong place
    ):
        with changed(world, wrong):
            assert says(world, password, "run") == code
    with changed(world, {"POSTGRES_DB": "nowhere", "MYSQL_DB": "nowhere"}):
        assert says(world, password, "status", "--json") == 0
        assert says(world, password, "check") != 0
    keeps(world.home, password)


@contextmanager
def changed(world: World, variables: dict[str, str]) -> Iterator[None]:
    before = dict(world.extra)
    world.extra |= variables
    try:
        yield
    finally:
        world.extra = before


def test_dagster_says_and_keeps_no_password(
    secretive: World, password: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What its UI shows comes from the instance's storage and from the definitions."""
    world = secretive
    home = world.home / "dagster"
    home.mkdir(parents=True)
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.local_temp(str(home)))
        definitions = build(world.settings, world.pipelines())
        assert not found_in(repr(definitions.get_repository_def().get_all_jobs()), password)
        good = execute(definitions, instance)
        assert good.success
        assert not found_in(everything_said(instance, good.run_id), password)
        for key in ("POSTGRES_DB", "MYSQL_DB"):
            monkeypatch.setenv(key, "nowhere")
        bad = execute(definitions, instance)
        assert not bad.success
        assert not found_in(everything_said(instance, bad.run_id), password)
    out, err = capfd.readouterr()
    assert not found_in(out + err, password)
    keeps(world.home, password)


def test_what_describes_a_connection_leaves_the_password_out(secretive: World, password: str) -> None:
    for pipeline in secretive.pipelines():
        assert not found_in(repr(pipeline), password)
    assert not found_in(repr(replace(secretive.postgres, password=password)), password)


def test_files_with_passwords_are_their_owners_alone(servers: object) -> None:
    from cdc_platform_tests.conftest import Servers

    assert isinstance(servers, Servers)
    for name in ("postgres", "mysql"):
        assert servers.settings.server_file(name).stat().st_mode & 0o777 == 0o600
