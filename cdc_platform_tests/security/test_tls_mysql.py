"""MySQL and MariaDB over TLS: the driver's packets and those that are read from its socket in bulk."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
import pytest

from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.servers.state import ServerState
from cdc_platform.sources.mysql.connection import MySQLConnection, connect, session
from cdc_platform.sources.mysql.tls import Tls
from cdc_platform_tests.readers import duckdb_delta
from cdc_platform_tests.security.certificates import HOST
from cdc_platform_tests.security.conftest import CLIENT, Certificates
from cdc_platform_tests.security.pipelines import things
from cdc_platform_tests.world import World

ROWS, WIDE = 3_000, 500
"""More than one chunk of packets and many TLS records."""


@contextmanager
def administrator(state: ServerState) -> Iterator[pymysql.connections.Connection[Any]]:
    with closing(
        pymysql.connect(
            host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
            autocommit=True,
        )
    ) as connection:  # fmt: skip
        yield connection


def do(state: ServerState, *statements: str) -> list[tuple[Any, ...]]:
    with administrator(state) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


@pytest.fixture
def database(encrypted_mysql: ServerState) -> Iterator[ServerState]:
    name = f"test_{secrets.token_hex(6)}"
    do(encrypted_mysql, f"create database {name}")
    yield replace(encrypted_mysql, database=name)
    do(encrypted_mysql, f"drop database {name}")


@pytest.fixture
def client(database: ServerState) -> Iterator[str]:
    """A user that has no password, and must show a certificate of ours."""
    do(
        database,
        f"create user {CLIENT}@'%' identified by '' require x509",
        f"grant select on `{database.database}`.* to {CLIENT}@'%'",
        f"grant reload, replication slave, replication client on *.* to {CLIENT}@'%'",
    )
    yield CLIENT
    do(database, f"drop user {CLIENT}@'%'")


@pytest.fixture
def encrypted_only(database: ServerState) -> Iterator[ServerState]:
    do(database, "set global require_secure_transport = on")
    yield database
    with closing(connect(target(database, Tls("required")))) as connection, connection.cursor() as cursor:
        cursor.execute("set global require_secure_transport = off")


def target(state: ServerState, tls: Tls, **changed: Any) -> MySQLConnection:
    given = MySQLConnection(state.host, state.port, state.database, state.user, state.password, tls)
    return replace(given, **changed)


def refused(wrong: MySQLConnection) -> str:
    with pytest.raises(ConfigError) as caught:
        connect(wrong).close()
    assert "\n" not in str(caught.value)
    assert not wrong.password or wrong.password not in str(caught.value)
    return str(caught.value)


def bring(world: World, folder: Path, connection: dict[str, Any]) -> None:
    """Wide rows by snapshot and from the log, and all checks, over this connection."""
    world.folder = things(folder, "mysql", connection)
    with closing(connect(target(world.mysql, Tls("required")))) as opened, opened.cursor() as cursor:
        cursor.execute("create table things (id int primary key, name text)")
        cursor.executemany("insert into things values (%s, %s)", [(n, str(n) * WIDE) for n in range(ROWS)])
        world.run()
        cursor.execute(f"update things set name = concat(name, 'b') where id >= {ROWS // 2}")
        world.run()
    assert [v.status for v in world.check()] == ["PASS"] * 4
    rows = duckdb_delta(world.home / "lake" / "deltalake" / "things").to_dicts()
    last = {row["id"]: row["name"] for row in sorted(rows, key=lambda row: row["_cdc_binlog_position"])}
    assert last == {n: str(n) * WIDE + "b" * (n >= ROWS // 2) for n in range(ROWS)}


def options(state: ServerState, **changed: Any) -> dict[str, Any]:
    address = {"host": state.host, "port": state.port, "database": state.database}
    given = address | {"user": state.user, "password": state.password} | changed
    return {key: value for key, value in given.items() if value is not None}


def test_everything_goes_over_a_verified_connection(
    tmp_path: Path, encrypted_only: ServerState, postgres_database: ServerState, certificates: Certificates
) -> None:
    """The server takes no plain text: rows and binlog, which are read past the driver, were encrypted."""
    world = World(tmp_path / "home", postgres_database, encrypted_only)
    bring(world, tmp_path, options(encrypted_only, ssl_ca=str(certificates.ours.cert)))


def test_a_client_certificate_stands_for_a_password(
    tmp_path: Path, database: ServerState, client: str, postgres_database: ServerState, certificates: Certificates
) -> None:
    world = World(tmp_path / "home", postgres_database, database)
    files = {"ssl_cert": str(certificates.client.cert), "ssl_key": str(certificates.client.key)}
    files["ssl_ca"] = str(certificates.ours.cert)
    bring(world, tmp_path, options(database, user=client, password=None, **files))


def cipher(given: MySQLConnection) -> str:
    with session(given) as opened:
        ((_, value),) = opened.rows("show session status like 'Ssl_cipher'")
    return str(value)


def test_what_can_be_encrypted_is(database: ServerState, mysql_database: ServerState) -> None:
    assert cipher(target(database, Tls()))
    assert not cipher(target(database, Tls("disabled")))
    connect(target(mysql_database, Tls())).close()


def test_another_authority_is_refused(database: ServerState, certificates: Certificates) -> None:
    theirs = str(certificates.theirs.cert)
    for mode in (None, "verify_ca", "verify_identity"):
        line = refused(target(database, Tls(mode, theirs)))
        assert "no encrypted connection: " in line
        assert "issuer certificate" in line or "self-signed certificate" in line
    assert "certificate" in refused(target(database, Tls("verify_identity")))  # the system's authorities


def test_another_host_name_is_refused(database: ServerState, certificates: Certificates) -> None:
    ours = str(certificates.ours.cert)
    assert "IP address mismatch" in refused(target(database, Tls(None, ours), host="127.0.0.1"))
    assert cipher(target(database, Tls("verify_ca", ours), host="127.0.0.1"))


def test_a_server_that_takes_no_plain_text(encrypted_only: ServerState) -> None:
    """MySQL names the reason, MariaDB speaks of the password only."""
    assert "ssl_mode" in refused(target(encrypted_only, Tls("disabled")))


def test_a_server_that_cannot_encrypt(mysql_database: ServerState) -> None:
    if do(mysql_database, "select @@version not like '%MariaDB%'") == [(1,)]:
        pytest.skip("a MySQL always can")
    assert "doesn't support" in refused(target(mysql_database, Tls("required")))


def test_a_client_certificate_that_is_not_the_one(
    database: ServerState, client: str, certificates: Certificates
) -> None:
    ours, stranger = str(certificates.ours.cert), certificates.stranger
    as_client = target(database, Tls(None, ours), user=client, password="")
    assert "refuses the user or password" in refused(as_client)
    shown = Tls(None, ours, str(stranger.cert), str(stranger.key))
    # Which of the two comes is the network's choice.
    line = refused(replace(as_client, tls=shown))
    assert "unknown ca" in line or "when ssl_cert was shown" in line, line


def test_files_that_cannot_be_used(tmp_path: Path, database: ServerState, certificates: Certificates) -> None:
    missing = str(tmp_path / "missing.pem")
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("not a certificate")
    ours, key = certificates.client, str(certificates.client.key)
    for tls, words in (
        (Tls(None, missing), "No such file"),
        (Tls(None, str(garbage)), "no certificate or crl found"),
        (Tls(None, None, missing, key), "No such file"),
        (Tls(None, None, str(ours.cert), str(certificates.stranger.key)), "mismatch"),
        (Tls(None, None, str(certificates.locked.cert), str(certificates.locked.key)), "or encrypted"),
    ):
        line = refused(target(database, tls))
        assert words in line, line
        assert any(file in line for file in (tls.ca, tls.cert) if file)


@pytest.mark.parametrize(
    ("tls", "mode"),
    [
        (Tls(), "preferred"),
        (Tls(ca="ca.pem"), "verify_identity"),
        (Tls("verify_ca", "ca.pem"), "verify_ca"),
        (Tls(cert="c.pem", key="c.key"), "required"),
    ],
)
def test_the_mode_follows_from_the_files(tls: Tls, mode: str) -> None:
    assert tls.resolved == mode


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ssl_mode": "on"}, "ssl_mode is one of disabled"),
        ({"ssl_mode": True}, "'ssl_mode' is not text"),
        ({"ssl_mode": "required", "ssl_ca": "ca.pem"}, "required does not check against ssl_ca"),
        ({"ssl_mode": "preferred", "ssl_cert": "c.pem"}, "preferred may not show ssl_cert"),
        ({"ssl_key": "c.key"}, "ssl_key without ssl_cert"),
        ({"ssl_cipher": "x"}, "unknown key 'ssl_cipher'; did you mean"),
        ({"password": None}, "'password' is missing"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], words: str) -> None:
    base = {"host": HOST, "port": 3306, "database": "d", "user": "u", "password": "p"}
    with pytest.raises(ConfigError, match=words):
        MySQLConnection.from_mapping(base | given)


def test_a_line_that_breaks_is_no_wrong_configuration(database: ServerState) -> None:
    with session(target(database, Tls("required"))) as opened:
        ((number,),) = opened.rows("select connection_id()")
        do(database, f"kill {number}")
        with pytest.raises(CdcError) as caught:
            opened.rows("select 1")
        assert caught.value.exit_code == 3
