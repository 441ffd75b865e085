"""Each thing that keeps a server from being captured is told in one line, with the right exit code and no secret."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.sources.mysql.connection import MySQLConnection, server_error
from cdc_platform.sources.mysql.source import MySQLSource
from cdc_platform_tests.mysql.conftest import Database
from cdc_platform_tests.mysql.test_failures import global_setting


@pytest.fixture
def prepared(database: Database) -> Database:
    database.run("create table t (id int primary key, v varchar(10))")
    return database


def test_a_server_that_is_set_up_passes_twice(prepared: Database) -> None:
    source = prepared.source()
    source.prepare([prepared.table("t")])
    source.prepare([prepared.table("t")])
    source.check_resumable(source.head())
    assert source.identity() == prepared.source().identity()
    ((file, offset, *_),) = prepared.query("show master status" if prepared.mariadb else "show binary log status")
    assert source.format(source.head()) == f"{file}:{offset}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("binlog_format", "'STATEMENT'"),
        ("binlog_format", "'MIXED'"),
        ("binlog_row_metadata", "'MINIMAL'"),
        ("log_bin_compress", "ON"),
        ("binlog_transaction_compression", "ON"),
        ("binlog_row_value_options", "'PARTIAL_JSON'"),
    ],
)
def test_settings(prepared: Database, name: str, value: str) -> None:
    if not prepared.query(f"show global variables like '{name}'"):
        pytest.skip(f"this server has no {name}")
    with (
        global_setting(prepared, name, value),
        pytest.raises(NeedsPerson, match=f"{name} is .*; run: set global {name}"),
    ):
        prepared.source().prepare([prepared.table("t")])


@pytest.fixture
def stranger(prepared: Database) -> Iterator[tuple[Database, str]]:
    """A user that may do nothing yet."""
    name = f"u{secrets.token_hex(4)}"
    prepared.run(
        f"create user {name}@'%' identified by 'sesame'", f"grant select on `{prepared.state.database}`.t to {name}@'%'"
    )
    try:
        yield prepared, name
    finally:
        prepared.run(f"drop user {name}@'%'")


def as_user(database: Database, name: str, password: str = "sesame") -> MySQLSource:
    return MySQLSource(replace(database.target, user=name, password=password))


def test_privileges(stranger: tuple[Database, str]) -> None:
    database, name = stranger
    table = database.table("t")
    wanted = ["binlog monitor" if database.mariadb else "replication client", "replication slave"]
    if not database.mariadb:
        wanted.append("reload")
    for privilege in wanted:
        with pytest.raises(NeedsPerson, match=r"privilege|RELOAD"):
            as_user(database, name).prepare([table])
        database.run(f"grant {privilege} on *.* to {name}@'%'")
    as_user(database, name).prepare([table])
    with as_user(database, name).snapshot([table]) as snapshot:
        assert snapshot.count(table) == 0
    database.run("create table hidden (id int primary key)")
    with pytest.raises(NeedsPerson, match=r"a privilege is missing: SELECT .* table .*hidden"):
        as_user(database, name).prepare([database.table("hidden")])


def test_a_missing_table_names_near_ones(prepared: Database) -> None:
    prepared.run("create table customers (id int primary key)", "create view seen as select * from customers")
    with pytest.raises(ConfigError, match="did you mean customers"):
        prepared.source().schemas([prepared.table("custmers")])
    with pytest.raises(ConfigError, match="is a view"):
        prepared.source().schemas([prepared.table("seen")])
    if prepared.mariadb:
        prepared.run("create sequence numbers", "create table old (id int) with system versioning")
        with pytest.raises(ConfigError, match="is a sequence"):
            prepared.source().schemas([prepared.table("numbers")])
        with pytest.raises(NotUnderstood, match="keeps its rows' history"):
            prepared.source().schemas([prepared.table("old")])


def test_engines_without_transactions(prepared: Database) -> None:
    prepared.run("create table m (id int primary key) engine=MyISAM")
    with pytest.raises(NeedsPerson, match="engine=InnoDB"):
        prepared.source().prepare([prepared.table("m")])


def test_wrong_login_and_database(prepared: Database) -> None:
    wrong = [replace(prepared.target, password="not it"), replace(prepared.target, user="nobody_here"),
             replace(prepared.target, database="no_such_database")]  # fmt: skip
    for target in wrong:
        with pytest.raises(ConfigError) as caught:
            MySQLSource(target).head()
        assert_quiet(caught.value, target)


def assert_quiet(error: CdcError, target: MySQLConnection) -> None:
    assert target.password not in str(error)
    assert target.password not in repr(target)
    assert "\n" not in str(error)


def test_a_server_that_is_down() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    target = MySQLConnection("127.0.0.1", port, "d", "u", "hush hush")
    with pytest.raises(Unavailable) as caught:
        MySQLSource(target).head()
    assert_quiet(caught.value, target)


def test_a_server_that_says_nothing_useful() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        listening.close()
        with pytest.raises(Unavailable):
            MySQLSource(MySQLConnection("127.0.0.1", port, "d", "u", "p")).head()


def test_a_lost_connection_is_made_anew(prepared: Database) -> None:
    source = prepared.source()
    source.head()
    for (number,) in prepared.query("select id from information_schema.processlist where id <> connection_id()"
                                    f" and db = '{prepared.state.database}'"):  # fmt: skip
        prepared.run(f"kill {number}")
    assert source.head() == prepared.source().head()


GOOD = {"host": "h", "port": "3307", "database": "d", "user": "u", "password": "p"}


def test_connections_from_configuration() -> None:
    assert MySQLConnection.from_mapping(GOOD) == MySQLConnection("h", 3307, "d", "u", "p")
    assert MySQLConnection.from_mapping({k: v for k, v in GOOD.items() if k != "port"}).port == 3306


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hots": "x"}, "unknown key 'hots'"),
        ({"port": "many"}, "'port' must be a number"),
        ({"password": None}, "'password' is missing"),
    ],
)
def test_bad_configuration(change: dict[str, object], words: str) -> None:
    values = {key: value for key, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        MySQLConnection.from_mapping(values)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1045, ConfigError), (1049, ConfigError), (1227, NeedsPerson), (2013, Unavailable), (9999, Unavailable)],
)
def test_server_errors_have_their_place_in_the_tree(code: int, kind: type[CdcError]) -> None:
    assert type(server_error(code, "some\ntext")) is kind
    assert "some text" in str(server_error(code, "some\ntext"))
