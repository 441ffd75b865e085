"""The files of `infra/` do on real servers what they promise."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import yaml

from cdc_platform.config.settings import PACKAGE
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.change import Followed
from cdc_platform.model.schema import TableName
from cdc_platform.servers import mariadb, postgres
from cdc_platform.servers.embedded import silent
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.postgres import Postgres
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.asked import Asked
from cdc_platform.sources.open import open_source
from cdc_platform.sources.source import Source
from cdc_platform_tests.conftest import Servers
from cdc_platform_tests.servers.conftest import Ask

INFRA = PACKAGE.parent / "infra"


def _source(state: ServerState, slot: str) -> Source:
    connection = {
        "host": state.host,
        "port": state.port,
        "database": state.database,
        "user": state.user,
        "password": state.password,
    }
    system: Literal["postgres", "mysql"] = "postgres" if state.scheme == "postgresql" else "mysql"
    return open_source(Asked(system, "native", system, connection, slot, Path()))


def _capture_two_rows(source: Source, state: ServerState, owner: ServerState, table: TableName, ask: Ask) -> None:
    """One row by snapshot, one from the log."""
    ask(owner, "insert into orders values (1)")
    source.prepare([table])
    with source.snapshot([table]) as snapshot:
        start, shape = snapshot.position, snapshot.schema(table)
        assert sum(len(batch) for batch in snapshot.read(table)) == 1
    ask(owner, "insert into orders values (2)")
    captured = list(source.changes({table: Followed(shape, start)}, start, source.head()))
    assert sum(len(batch) for stretch in captured for batch in stretch.batches) == 1


@pytest.fixture
def postgres_role(servers: Servers, postgres_database: ServerState, ask: Ask) -> Iterator[ServerState]:
    role = f"Capture {secrets.token_hex(4)}"
    state = replace(postgres_database, user=role, password=secrets.token_urlsafe() + "'\\")
    program = Postgres(servers.settings.home / "postgres").software(silent).program.with_name("psql")
    owner = postgres_database
    subprocess.run(
        [
            str(program),
            "--no-psqlrc",
            f"--host={owner.host}",
            f"--port={owner.port}",
            f"--username={owner.user}",
            f"--dbname={owner.database}",
            f"--set=role={role}",
            "--set=schema=public",
            f"--file={INFRA / 'postgres-role.sql'}",
        ],
        env={**os.environ, "PGPASSWORD": owner.password, "CAPTURE_PASSWORD": state.password},
        check=True,
    )
    yield state
    ask(owner, f'drop owned by "{role}"')
    ask(owner, f'drop role "{role}"')


def test_the_postgres_role_is_enough_for_capture(
    postgres_database: ServerState, postgres_role: ServerState, ask: Ask
) -> None:
    ask(postgres_database, "create table orders (id int primary key)")
    table = TableName("public", "orders")
    with closing(_source(postgres_role, "least_privilege")) as source:
        with pytest.raises(NeedsPerson) as raised:
            source.prepare([table])
        statement = re.search(r"create publication .*\)", str(raised.value))
        assert statement is not None
        ask(postgres_database, statement[0])
        _capture_two_rows(source, postgres_role, postgres_database, table, ask)


@pytest.fixture
def mysql_role(servers: Servers, mysql_database: ServerState, ask: Ask) -> Iterator[ServerState]:
    state = replace(mysql_database, user="cdc_capture", password=secrets.token_urlsafe())
    software = MariaDB(servers.settings.home / "servers" / "mysql").software(silent)
    owner = mysql_database
    script = f"set @capture_password = '{state.password}';\n" + (INFRA / "mysql-role.sql").read_text()
    client = software.program.parent.parent / "bin" / "mariadb"
    address = [f"--host={owner.host}", f"--port={owner.port}", f"--user={owner.user}"]
    subprocess.run(
        [str(client), "--no-defaults", *address, owner.database],
        input=script,
        text=True,
        env={**software.environ, "MYSQL_PWD": owner.password},
        check=True,
    )
    yield state
    ask(owner, "drop user cdc_capture")


def test_the_mysql_role_is_enough_for_capture(mysql_database: ServerState, mysql_role: ServerState, ask: Ask) -> None:
    ask(mysql_database, "create table orders (id int primary key)")
    grants = " ".join(str(row[0]) for row in ask(mysql_role, "show grants"))
    assert "RELOAD" not in grants
    assert "ALL PRIVILEGES" not in grants
    with closing(_source(mysql_role, "")) as source:
        _capture_two_rows(source, mysql_role, mysql_database, TableName(mysql_database.database, "orders"), ask)


def _compose() -> dict[str, dict[str, object]]:
    content = yaml.safe_load((INFRA / "docker-compose.yaml").read_text())
    services: dict[str, dict[str, object]] = content["services"]
    return services


def test_compose_agrees_with_the_embedded_servers() -> None:
    services = _compose()
    for name, settings, extra in (
        ("postgres", postgres.SETTINGS, set()),
        ("mysql", mariadb.SETTINGS, {"binlog-transaction-compression", "gtid-mode", "enforce-gtid-consistency"}),
        ("mariadb", mariadb.SETTINGS, set()),
    ):
        command = services[name]["command"]
        assert isinstance(command, list)
        flags = dict(re.sub("^(-c|--)", "", flag).split("=", 1) for flag in command if flag.startswith("-"))
        assert {key: settings[key] for key in flags if key not in extra} == {
            key: value for key, value in flags.items() if key not in extra
        }, name


def test_compose_listens_on_this_machine_only_and_holds_no_password() -> None:
    for name, service in _compose().items():
        ports, environment = service["ports"], service["environment"]
        assert isinstance(ports, list)
        assert all(port.startswith("127.0.0.1:") for port in ports), name
        assert isinstance(environment, dict)
        for variable, value in environment.items():
            if variable.endswith("PASSWORD"):
                assert re.fullmatch(r"\$\{[A-Z_]+(:\?[^}]+|:-\$\{[A-Z_]+\})\}", value), variable
        assert "healthcheck" in service


def test_every_mounted_file_exists() -> None:
    for service in _compose().values():
        volumes = service["volumes"]
        assert isinstance(volumes, list)
        for volume in volumes:
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (INFRA / Path(source)).exists()
