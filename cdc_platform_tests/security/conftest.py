"""Servers with certificates, in CDC_HOMEs of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
import pytest

from cdc_platform.config.settings import Settings
from cdc_platform.servers.embedded import running
from cdc_platform.servers.mariadb import MariaDB
from cdc_platform.servers.mysql import MySQL
from cdc_platform.servers.postgres15 import Postgres15
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.conftest import share_software, temporary_home
from cdc_platform_tests.security.certificates import HOST, Authority, Pair

CLIENT = "cdc_client"
"""The user that is let in by a certificate alone."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """`ours` signed the server's and the client's certificate; `theirs` signed `stranger`, and nothing here."""

    ours: Authority
    theirs: Authority
    server: Pair
    client: Pair
    stranger: Pair
    locked: Pair


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ours, theirs = Authority.make(folder / "ours"), Authority.make(folder / "theirs")
    return Certificates(
        ours, theirs, ours.sign(HOST), ours.sign(CLIENT), theirs.sign(CLIENT), ours.sign("locked", b"a password")
    )


@pytest.fixture(scope="session")
def encrypted_postgres(certificates: Certificates) -> Iterator[ServerState]:
    """Lets nobody in without encryption, CLIENT with its certificate only."""
    with temporary_home() as settings:
        options = {
            "ssl": "on",
            "ssl_ca_file": str(certificates.ours.cert),
            "ssl_cert_file": str(certificates.server.cert),
            "ssl_key_file": str(certificates.server.key),
        }
        server = Postgres15(settings.home / "servers" / "postgres", options)
        if refused := share_software(server, settings.home):
            pytest.skip(f"no {server.title}: {refused}")
        with running(server, settings) as state:
            _let_in(server.data / "pg_hba.conf", state)
            yield replace(state, host=HOST)


def _let_in(access: Path, state: ServerState) -> None:
    ours = access.read_text()
    connection = psycopg2.connect(state.dsn())
    connection.autocommit = True
    access.write_text(
        f"hostssl all {CLIENT} all cert\n" + ours.replace("host ", "hostssl ").replace("host\t", "hostssl\t")
    )
    with connection.cursor() as cursor:
        cursor.execute(f"create role {CLIENT} login superuser")
        cursor.execute("select pg_reload_conf()")
    connection.close()


@pytest.fixture(scope="session")
def encrypted_mysql(certificates: Certificates) -> Iterator[ServerState]:
    """A MariaDB, or with CDC_TESTS_MYSQL a MySQL, that has a certificate and takes plain text as well."""
    with temporary_home() as settings, running(_mysql(settings, certificates), settings) as state:
        yield replace(state, host=HOST)


def _mysql(settings: Settings, certificates: Certificates) -> MariaDB | MySQL:
    options = {
        "ssl-ca": str(certificates.ours.cert),
        "ssl-cert": str(certificates.server.cert),
        "ssl-key": str(certificates.server.key),
    }
    folder = settings.home / "servers" / "mysql"
    if "CDC_TESTS_MYSQL" not in os.environ:
        return MariaDB(folder, options)
    server = MySQL(folder, options)
    if refused := share_software(server, settings.home):
        pytest.skip(f"no {server.title}: {refused}")
    return server
