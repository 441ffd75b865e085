"""Postgres over TLS: what is let through, and the one line for each thing that is not right."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform_tests.conftest import new_postgres_database
from cdc_platform_tests.readers import duckdb_delta
from cdc_platform_tests.security.conftest import CLIENT, Certificates
from cdc_platform_tests.security.pipelines import things
from cdc_platform_tests.world import World


@pytest.fixture
def database(encrypted_postgres: ServerState) -> Iterator[ServerState]:
    with new_postgres_database(encrypted_postgres) as state:
        yield state


def options(state: ServerState, **changed: Any) -> dict[str, Any]:
    address = {"host": state.host, "port": state.port, "database": state.database}
    given = address | {"user": state.user, "password": state.password} | changed
    return {key: value for key, value in given.items() if value is not None}


def bring(world: World, folder: Path, connection: dict[str, Any]) -> None:
    """A row by snapshot and one from the log, and all checks, over this connection."""
    world.folder = things(folder, "postgres", connection)
    world.postgres_do("create table things (id int primary key, name text)", "insert into things values (1, 'a')")
    world.run()
    world.postgres_do("insert into things values (2, 'b')")
    world.run()
    assert [v.status for v in world.check()] == ["PASS"] * 4
    rows = duckdb_delta(world.home / "lake" / "deltalake" / "things").to_dicts()
    assert sorted((row["id"], row["name"]) for row in rows) == [(1, "a"), (2, "b")]


def test_everything_goes_over_a_verified_connection(
    tmp_path: Path, database: ServerState, mysql_database: ServerState, certificates: Certificates
) -> None:
    """The server lets no unencrypted session in: whatever is asked, in whichever way, was encrypted."""
    world = World(tmp_path / "home", database, mysql_database)
    bring(world, tmp_path, options(database, sslmode="verify-full", sslrootcert=str(certificates.ours.cert)))


def test_a_client_certificate_stands_for_a_password(
    tmp_path: Path, database: ServerState, mysql_database: ServerState, certificates: Certificates
) -> None:
    world = World(tmp_path / "home", database, mysql_database)
    files = {"sslcert": str(certificates.client.cert), "sslkey": str(certificates.client.key)}
    files["sslrootcert"] = str(certificates.ours.cert)
    bring(world, tmp_path, options(database, user=CLIENT, password=None, **files))


def both(mapping: dict[str, Any]) -> list[str]:
    """What the two drivers' sessions say when they are refused."""
    connection = PostgresConnection.from_mapping(mapping)
    said = []
    for session in (connection.control, connection.arrow):
        with pytest.raises(ConfigError) as caught:
            session().close()
        said.append(str(caught.value))
        assert "\n" not in said[-1]
        assert not connection.password or connection.password not in said[-1]
    return said


def test_another_authority_is_refused(database: ServerState, certificates: Certificates) -> None:
    for line in both(options(database, sslrootcert=str(certificates.theirs.cert))):
        assert "no encrypted connection" in line
        assert "certificate verify failed" in line


def test_another_host_name_is_refused(database: ServerState, certificates: Certificates) -> None:
    wrong = options(database, host="127.0.0.1", sslrootcert=str(certificates.ours.cert))
    for line in both(wrong):
        assert 'does not match host name "127.0.0.1"' in line
    PostgresConnection.from_mapping(wrong | {"sslmode": "verify-ca"}).arrow().close()


def test_a_server_that_takes_no_plain_text(database: ServerState) -> None:
    for line in both(options(database, sslmode="disable")):
        assert "without encryption; set sslmode" in line


def test_a_server_that_cannot_encrypt(postgres: ServerState) -> None:
    for line in both(options(postgres, sslmode="require")):
        assert "server does not support SSL" in line


def test_a_client_certificate_that_is_not_the_one(database: ServerState, certificates: Certificates) -> None:
    ours = str(certificates.ours.cert)
    for pair, sign in ((None, "certificate"), (certificates.stranger, "unknown ca"), (certificates.server, CLIENT)):
        files = {"sslcert": str(pair.cert), "sslkey": str(pair.key)} if pair else {}
        for line in both(options(database, user=CLIENT, password="", sslrootcert=ours, **files)):
            assert sign in line


def test_files_that_cannot_be_used(tmp_path: Path, database: ServerState, certificates: Certificates) -> None:
    missing, client = str(tmp_path / "missing.pem"), certificates.client
    for line in both(options(database, sslrootcert=missing)):
        assert missing in line
    for line in both(options(database, sslcert=missing, sslkey=str(client.key))):
        assert missing in line
    readable = tmp_path / "readable.key"
    readable.write_bytes(client.key.read_bytes())
    readable.chmod(0o644)
    for line in both(options(database, sslcert=str(client.cert), sslkey=str(readable))):
        assert "has group or world access" in line
    assert stat.S_IMODE(client.key.stat().st_mode) == 0o600
    locked = {"sslcert": str(certificates.locked.cert), "sslkey": str(certificates.locked.key)}
    for line in both(options(database, **locked)):
        assert "private key" in line


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "prefer"),
        ({"sslrootcert": "ca.pem"}, "verify-full"),
        ({"sslrootcert": "ca.pem", "sslmode": "verify-ca"}, "verify-ca"),
        ({"sslcert": "c.pem", "sslkey": "c.key"}, "require"),
    ],
)
def test_the_mode_follows_from_the_files(given: dict[str, str], mode: str, postgres: ServerState) -> None:
    assert PostgresConnection.from_mapping(options(postgres, **given)).sslmode == mode


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sslrootcert": "ca.pem", "sslmode": "prefer"}, "may leave sslrootcert aside"),
        ({"sslcert": "c.pem"}, "give both sslcert and sslkey"),
        ({"sslrootcert": 1}, "'sslrootcert' is not text"),
        ({"sslrotcert": "ca.pem"}, "did you mean 'sslrootcert'"),
    ],
)
def test_options_that_contradict_each_other(given: dict[str, Any], words: str, postgres: ServerState) -> None:
    with pytest.raises(ConfigError, match=words):
        PostgresConnection.from_mapping(options(postgres, **given))


@pytest.mark.parametrize(
    "text",
    [
        "SSL SYSCALL error: EOF detected",
        "SSL connection has been closed unexpectedly",
        "SSL error: unexpected eof while reading",
    ],
)
def test_an_encrypted_line_that_breaks_is_no_wrong_configuration(text: str, postgres: ServerState) -> None:
    connection = PostgresConnection.from_mapping(options(postgres))
    with pytest.raises(Unavailable), connection.errors():
        raise psycopg2.OperationalError(text)


def test_a_wrong_authority_is_exit_code_2(
    tmp_path: Path, database: ServerState, mysql_database: ServerState, certificates: Certificates
) -> None:
    connection = options(database, sslrootcert=str(certificates.theirs.cert), password="${POSTGRES_PASSWORD}")
    folder = things(tmp_path, "postgres", connection)
    world = World(tmp_path / "home", replace(database, host="127.0.0.1"), mysql_database, folder)
    assert "certificate verify failed" in world.cdc("run", code=2)
