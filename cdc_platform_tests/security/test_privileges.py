"""The roles of `infra/` can do all that capture does, and nothing in them can be left out."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pymysql
import pytest

from cdc_platform.config.settings import PACKAGE
from cdc_platform.errors import CdcError, NeedsPerson
from cdc_platform.servers.embedded import silent
from cdc_platform.servers.postgres import Postgres
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.security.pipelines import things
from cdc_platform_tests.world import World

INFRA = PACKAGE.parent / "infra"
SCHEMA = "shop"

POSTGRES_NEEDS = {
    "login": ("alter role {role} nologin", "alter role {role} login", "may not log in; run: alter role"),
    "replication": ("alter role {role} noreplication", "alter role {role} replication", "may not replicate; run: "),
    "connect": (
        "revoke connect on database {database} from {role}",
        "grant connect on database {database} to {role}",
        "run: grant connect on database",
    ),
    "usage": (
        f"revoke usage on schema {SCHEMA} from {{role}}",
        f"grant usage on schema {SCHEMA} to {{role}}",
        f'run: grant usage on schema "{SCHEMA}"',
    ),
    "select": (
        f"revoke select on {SCHEMA}.things from {{role}}",
        f"grant select on {SCHEMA}.things to {{role}}",
        f'run: grant select on "{SCHEMA}"."things"',
    ),
}


def owner_does(world: World, *statements: str) -> None:
    with closing(psycopg2.connect(world.postgres.dsn())) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def make_postgres_role(owner: ServerState, role: str, password: str) -> None:
    """As infra/README.md has it."""
    program = Postgres(Path("anywhere")).software(silent).program.with_name("psql")
    subprocess.run(
        [str(program), "--no-psqlrc", "--quiet", f"--host={owner.host}", f"--port={owner.port}",
         f"--username={owner.user}", f"--dbname={owner.database}", f"--set=role={role}", f"--set=schema={SCHEMA}",
         f"--file={INFRA / 'postgres-role.sql'}"],
        env={**os.environ, "PGPASSWORD": owner.password, "CAPTURE_PASSWORD": password},
        check=True,
    )  # fmt: skip


def connection(prefix: str) -> dict[str, str]:
    keys = {"host": "HOST", "port": "PORT", "database": "DB", "user": "USER", "password": "PASSWORD"}
    return {key: f"${{{prefix}_{name}}}" for key, name in keys.items()}


def failure(world: World) -> CdcError:
    (result,) = world.run_all()
    assert result.error is not None
    assert "\n" not in str(result.error)
    return result.error


def assert_all_works(world: World) -> None:
    (result,) = world.run_all()
    assert result.error is None, result.error
    assert [v.status for v in world.check()] == ["PASS"] * 4
    (status,) = world.cdc("status", "--json")
    assert status["state"] == "current"


@pytest.mark.parametrize("server", ["postgres", "postgres15"])
def test_the_postgres_role(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> None:
    owner: ServerState = request.getfixturevalue(f"{server}_database")
    mysql: ServerState = request.getfixturevalue("mysql_database")
    role, password = f"capture_{secrets.token_hex(4)}", secrets.token_urlsafe() + "'\\"
    world = World(tmp_path / "home", owner, mysql, things(tmp_path, "postgres", connection("POSTGRES"), "shop.things"))
    world.extra = {"POSTGRES_USER": role, "POSTGRES_PASSWORD": password}
    owner_does(
        world,
        f"create schema {SCHEMA}",
        f"create table {SCHEMA}.things (id int primary key, name text)",
        f"insert into {SCHEMA}.things values (1, 'a')",
        f"revoke all on database {owner.database} from public",
    )
    make_postgres_role(owner, role, password)
    try:
        # Publishing is the owner's to do, once.
        statement = re.search(r"create publication .*\)", str(failure(world)))
        assert statement is not None
        owner_does(world, statement[0])
        assert_all_works(world)
        for revoke, grant, words in POSTGRES_NEEDS.values():
            owner_does(world, revoke.format(role=role, database=owner.database))
            # A table added now needs all of it; those that are followed already need what reading them does.
            later = World(tmp_path / f"home {secrets.token_hex(4)}", owner, mysql, world.folder, world.extra)
            error = failure(later)
            assert isinstance(error, NeedsPerson), error
            assert words in str(error)
            owner_does(world, grant.format(role=role, database=owner.database))
        owner_does(world, f"insert into {SCHEMA}.things values (2, 'b')", f"delete from {SCHEMA}.things where id = 1")
        assert_all_works(world)
        # It can read, and no more.
        with closing(psycopg2.connect(replace(owner, user=role, password=password).dsn())) as reader:
            reader.autocommit = True
            for forbidden in (
                f"insert into {SCHEMA}.things values (3, 'c')",
                f"alter table {SCHEMA}.things replica identity full",
                f"create table {SCHEMA}.other (id int)",
                "create schema other",
            ):
                with pytest.raises(psycopg2.errors.InsufficientPrivilege), reader.cursor() as cursor:
                    cursor.execute(forbidden)
    finally:
        owner_does(world, f"drop owned by {role}", f"drop role {role}")


def run_script(owner: ServerState, password: str) -> None:
    """infra/mysql-role.sql, statement by statement on one connection."""
    script = re.sub(r"^--.*$", "", (INFRA / "mysql-role.sql").read_text(), flags=re.MULTILINE)
    with closing(administrator(owner)) as opened, opened.cursor() as cursor:
        cursor.execute("set @capture_password = %s", (password,))
        for statement in filter(None, map(str.strip, script.split(";\n"))):
            cursor.execute(statement.rstrip(";"))


def administrator(owner: ServerState) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
    return pymysql.connect(
        host=owner.host, port=owner.port, user=owner.user, password=owner.password, database=owner.database,
        autocommit=True,
    )  # fmt: skip


@pytest.fixture
def mysql_role(mysql_database: ServerState) -> Iterator[ServerState]:
    state = replace(mysql_database, user="cdc_capture", password=secrets.token_urlsafe() + "'\\")
    run_script(mysql_database, state.password)
    yield state
    with closing(administrator(mysql_database)) as opened:
        opened.cursor().execute("drop user cdc_capture")


def test_the_mysql_role(
    tmp_path: Path, postgres_database: ServerState, mysql_database: ServerState, mysql_role: ServerState
) -> None:
    world = World(tmp_path / "home", postgres_database, mysql_database, things(tmp_path, "mysql", connection("MYSQL")))
    world.extra = {"MYSQL_USER": mysql_role.user, "MYSQL_PASSWORD": mysql_role.password}
    world.mysql_do("create table things (id int primary key, name text)", "insert into things values (1, 'a')")
    assert_all_works(world)
    ((mariadb,),) = world.mysql_rows("select version() like '%MariaDB%'")
    database = f"`{mysql_database.database}`".replace("_", "\\_")
    needs = {"replication slave": "*.*", "binlog monitor" if mariadb else "replication client": "*.*"}
    needs |= {"select": f"{database}.*"} if mariadb else {"select": f"{database}.*", "reload": "*.*"}
    for privilege, where in needs.items():
        world.mysql_do(f"revoke {privilege} on {where} from cdc_capture@'%'")
        later = World(tmp_path / f"home {privilege}", postgres_database, mysql_database, world.folder, world.extra)
        error = failure(later)
        assert isinstance(error, NeedsPerson), error
        assert "privilege" in str(error) or "RELOAD" in str(error)
        world.mysql_do(f"grant {privilege} on {where} to cdc_capture@'%'")
    world.mysql_do("insert into things values (2, 'b')", "delete from things where id = 1")
    assert_all_works(world)
    with closing(administrator(mysql_role)) as reader, reader.cursor() as cursor:
        for forbidden in ("insert into things values (3, 'c')", "create table other (id int)", "drop table things"):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(forbidden)
