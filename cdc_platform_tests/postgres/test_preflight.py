"""What is missing is said in one line with what to run, before anything is made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import LogicalReplicationConnection

from cdc_platform.errors import CdcError, ConfigError, Gap, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.sources.postgres import preflight
from cdc_platform.sources.postgres.connection import PostgresConnection
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests.postgres.conftest import Database, follow, following, images, table

A, B = table("a"), table("b")
PASSWORD = 'it\'s a \\ "secret" ü'


@pytest.fixture
def role(database: Database) -> Iterator[str]:
    """A role that may log in and replicate, and nothing else."""
    name = f"role_{database.state.database}"
    database.run(f"create role {name} login replication password %s", PASSWORD)
    database.run("create table a (id int primary key, name text)")
    try:
        yield name
    finally:
        database.run(f"drop owned by {name} cascade; drop role {name}")


def made(database: Database) -> tuple[int, int]:
    """Publications and slots of the database."""
    return tuple(database.run("select (select count(*) from pg_publication)::int, (select count(*) from"
                              " pg_replication_slots where database = current_database())::int")[0])  # fmt: skip


# --- reaching the server -----------------------------------------------------------------------------------------


def refused(source: PostgresSource, kind: type[CdcError]) -> str:
    with pytest.raises(kind) as caught:
        source.prepare([A])
    return str(caught.value)


def test_wrong_password_user_database_host_and_port(database: Database) -> None:
    label = f"postgres at {database.state.host}:{database.state.port}"
    text = refused(database.source(password="guess work"), ConfigError)
    assert text == f"{label}: password rejected for user '{database.state.user}'"
    assert "rejected" in refused(database.source(user="nobody else"), ConfigError)
    assert refused(database.source(database="elsewhere"), ConfigError) == f"{label}: there is no database 'elsewhere'"
    assert "connection refused" in refused(database.source(port=1), Unavailable)
    assert "host's name is not known" in refused(database.source(host="no.such.host.invalid"), Unavailable)


def test_an_arrow_session_is_refused_in_the_same_words(database: Database) -> None:
    for kind, changed in ((ConfigError, {"password": "guess work"}), (Unavailable, {"port": 1})):
        with pytest.raises(kind) as caught:
            database.connection(**changed).arrow()
        assert "guess work" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_password_with_any_characters(database: Database, role: str) -> None:
    connection = database.connection(user=role, password=PASSWORD)
    connection.control().close()
    connection.arrow().close()
    assert PASSWORD not in repr(connection)
    assert "secret" not in repr(connection)


GOOD = {"host": "localhost", "database": "d", "user": "u", "password": "p"}


def test_connection_from_a_mapping() -> None:
    assert PostgresConnection.from_mapping(GOOD) == PostgresConnection("localhost", 5432, "d", "u", "p")
    assert PostgresConnection.from_mapping({**GOOD, "port": "6543", "sslmode": "require"}).port == 6543


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hots": "x"}, "unknown key 'hots'; did you mean 'host'?"),
        ({"port": "abc"}, "'port' is no whole number"),
        ({"port": 0}, "'port' is no whole number"),
        ({"sslmode": "on"}, "sslmode is one of"),
        ({"password": None}, "'password' is not text"),
        ({"host": ["x"]}, "'host' is not text"),
    ],
)
def test_connection_from_a_wrong_mapping(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        PostgresConnection.from_mapping({**GOOD, **changed})
    for key in GOOD:
        with pytest.raises(ConfigError, match=f"'{key}' is missing"):
            PostgresConnection.from_mapping({k: v for k, v in GOOD.items() if k != key})


@pytest.mark.parametrize("name", ["", "Upper", "with-dash", "x" * 64, "it's"])
def test_a_name_that_no_slot_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match="is no slot name"):
        PostgresSource(PostgresConnection.from_mapping(GOOD), name)


# --- tables ------------------------------------------------------------------------------------------------------


def test_a_missing_table_is_named_with_near_ones(database: Database) -> None:
    database.run("create table customers (id int primary key); create schema shop; create table shop.orders (id int)")
    source = database.source()
    with pytest.raises(ConfigError, match=r"no table public\.custmers in database .*did you mean public\.customers\?"):
        source.schemas([table("custmers")])
    with pytest.raises(ConfigError, match=r"did you mean shop\.orders\?"):
        source.prepare([table("orders")])
    with pytest.raises(ConfigError, match=r"database 'test_\w+'$"):
        source.schemas([table("something quite else")])


def test_what_is_no_table(database: Database) -> None:
    database.run("create view a as select 1 as x; create sequence b")
    with pytest.raises(ConfigError, match=r"public\.a is a view; only tables"):
        database.source().prepare([A])
    with pytest.raises(ConfigError, match=r"public\.b is a sequence; only tables"):
        database.source().prepare([B])


@pytest.mark.parametrize(
    ("table_", "kind", "message"),
    [
        (
            "create table a (id int primary key); alter table a replica identity nothing",
            NeedsPerson,
            "replica identity",
        ),
        ("create unlogged table a (id int primary key)", NotUnderstood, 'alter table "public"."a" set logged'),
        ("create table a ()", NotUnderstood, "has no column"),
    ],
)
def test_tables_that_cannot_be_followed(database: Database, table_: str, kind: type[CdcError], message: str) -> None:
    database.run(table_)
    assert message in refused(database.source(), kind)
    assert made(database) == (0, 0)


def test_an_index_as_replica_identity(database: Database) -> None:
    database.run("create table a (x int not null, y int); create unique index i on a (x)")
    database.run("alter table a replica identity using index i")
    source = database.source()
    source.prepare([A])
    start = source.head()
    database.run("insert into a values (1, 1); update a set y = 2; delete from a")
    before = [before for _, before, _ in images(follow(source, [A], start))]
    assert before == [None, {"x": 1, "y": None}, {"x": 1, "y": None}]


# --- the server --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"wal_level": "replica"}, "alter system set wal_level = 'logical'"),
        ({"encoding": "SQL_ASCII"}, "encoding SQL_ASCII"),
        ({"max_slots": 3, "used_slots": 2}, "no replication slot is free"),
        ({"in_recovery": True}, "a standby"),
    ],
)
def test_servers_that_cannot_be_followed(
    database: Database, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], message: str
) -> None:
    database.run("create table a (id int primary key)")
    real = preflight._Server
    monkeypatch.setattr(preflight, "_Server", lambda *facts: replace(real(*facts), **changed))
    assert message in refused(database.source(), CdcError)
    assert made(database) == (0, 0)


# --- privileges --------------------------------------------------------------------------------------------------


def test_the_least_privileged_role(database: Database, role: str) -> None:
    """Each refusal says what to run; when that has been run, the next one; and at last it works."""
    source = database.source(user=role, password=PASSWORD)
    database.run(f"alter role {role} noreplication; revoke usage on schema public from public")
    steps = [
        (f'alter role "{role}" replication', f"alter role {role} replication"),
        (f'grant usage on schema "public" to "{role}"', f"grant usage on schema public to {role}"),
        (f'grant select on "public"."a" to "{role}"', f"grant select on a to {role}"),
        (
            f'create publication "{database.slot}" for table only "public"."a"',
            f"create publication {database.slot} for table a",
        ),
    ]
    for advice, statement in steps:
        assert advice in refused(source, NeedsPerson)
        assert made(database) == (0, 0)
        database.run(statement)
    source.prepare([A])
    assert made(database) == (1, 1)
    start = source.head()
    assert source.identity()
    database.run("insert into a values (1, 'x')")
    assert images(follow(source, [A], start)) == [("INSERT", None, {"id": 1, "name": "x"})]
    with source.snapshot([A]) as snapshot:
        assert snapshot.count(A) == 1
    source.acknowledge(source.head())


def test_adding_a_table_that_is_not_ones_own(database: Database, role: str) -> None:
    database.run(f"create table b (id int primary key); grant select on a, b to {role}")
    database.run(f"create publication {database.slot} for table a")
    text = refused_tables(database.source(user=role, password=PASSWORD))
    assert f'alter publication "{database.slot}" add table only "public"."b"' in text


def refused_tables(source: PostgresSource) -> str:
    with pytest.raises(NeedsPerson) as caught:
        source.prepare([A, B])
    return str(caught.value)


def test_row_security_is_not_read_past(database: Database, role: str) -> None:
    database.run(f"grant select on a to {role}; alter table a enable row level security")
    database.run(f"create publication {database.slot} for table a")
    assert f'alter role "{role}" bypassrls' in refused(database.source(user=role, password=PASSWORD), NeedsPerson)


# --- publication and slot ------------------------------------------------------------------------------------------


@pytest.fixture
def tables(database: Database) -> Database:
    database.run("create table a (id int primary key); create table b (id int primary key)")
    return database


def test_preparing_again_adds_what_is_missing(tables: Database) -> None:
    source = tables.source()
    source.prepare([A])
    source.prepare([A])
    source.prepare([B])
    source.prepare([A, B])
    assert tables.run("select tablename from pg_publication_tables order by 1") == [("a",), ("b",)]
    assert made(tables) == (1, 1)


def test_a_publication_of_all_tables_is_taken(tables: Database) -> None:
    tables.run(f"create publication {tables.slot} for all tables with (publish_via_partition_root = true)")
    source = tables.source()
    source.prepare([A])
    start = source.head()
    tables.run("insert into b values (1); insert into a values (1)")
    assert images(follow(source, [A], start)) == [("INSERT", None, {"id": 1})]


@pytest.mark.parametrize(
    ("publication", "kind", "message"),
    [
        ("for table a with (publish = 'insert')", NeedsPerson, "set (publish = 'insert, update, delete, truncate')"),
        ("for table a where (id > 5)", NotUnderstood, "filters the rows of public.a"),
    ],
)
def test_publications_that_leave_something_out(
    tables: Database, publication: str, kind: type[CdcError], message: str
) -> None:
    tables.run(f"create publication {tables.slot} {publication}")
    assert message in refused(tables.source(), kind)


def test_a_partitioned_table_published_by_partition(database: Database) -> None:
    database.run("create table a (id int primary key) partition by list (id)")
    database.run(f"create publication {database.slot} for table a")
    assert "publish_via_partition_root = true" in refused(database.source(), NeedsPerson)


def test_a_column_list_narrows_both_paths(tables: Database) -> None:
    tables.run(f"alter table a add x int, add y int; create publication {tables.slot} for table a (id, y), b")
    source = tables.source()
    source.prepare([A])
    start = source.head()
    tables.run("insert into a values (1, 2, 3)")
    assert source.schemas([A])[A].names == ("id", "y")
    assert images(follow(source, [A], start)) == [("INSERT", None, {"id": 1, "y": 3})]
    with source.snapshot([A]) as snapshot:
        (batch,) = snapshot.read(A)
    assert batch.frame["after"].to_list() == [{"id": 1, "y": 3}]


def test_a_slot_of_another_kind_is_left_alone(tables: Database) -> None:
    tables.run("select pg_create_logical_replication_slot(%s, 'test_decoding')", tables.slot)
    assert "of another kind" in refused(tables.source(), NeedsPerson)


def test_a_slot_that_waits_for_an_open_transaction(tables: Database) -> None:
    with tables.other_session() as session, session.cursor() as cursor:
        cursor.execute("insert into a values (1)")
        text = refused(tables.source(wait=0.5), Unavailable)
        assert f"pid {session.info.backend_pid}" in text
    session.close()
    tables.source().prepare([A])
    assert made(tables) == (1, 1)


# --- gaps ----------------------------------------------------------------------------------------------------------


def test_gaps(tables: Database) -> None:
    source = tables.source()
    with pytest.raises(Gap, match="does not exist any more"):
        source.check_resumable(ORIGIN)
    source.prepare([A])
    start = source.head()
    source.check_resumable(start)
    tables.run("insert into a values (1)")
    tables.run("select pg_drop_replication_slot(%s)", tables.slot)
    for attempt in (lambda: source.check_resumable(start), lambda: follow(source, [A], start)):
        with pytest.raises(Gap, match="does not exist any more"):
            attempt()
    source.prepare([A])
    with pytest.raises(Gap, match="was made anew, or another reader uses it"):
        source.check_resumable(start)
    with pytest.raises(Gap, match="was made anew, or another reader uses it"):
        follow(source, [A], start)
    source.check_resumable(source.head())


def test_an_invalidated_slot_is_a_gap(tables: Database) -> None:
    source = tables.source()
    source.prepare([A])
    start = source.head()
    tables.run("alter system set idle_replication_slot_timeout = '1s'")
    try:
        tables.run("select pg_reload_conf()")
        tables.run("select pg_sleep(1.5)")
        tables.run("insert into b values (1); checkpoint")
        tables.run("select pg_sleep(0.5); checkpoint")
        status = tables.run("select wal_status from pg_replication_slots where slot_name = %s", tables.slot)
        assert status == [("lost",)]
    finally:
        tables.run("alter system reset idle_replication_slot_timeout")
        tables.run("select pg_reload_conf()")
    with pytest.raises(Gap, match=r"invalidated by the server.*cdc resync"):
        source.check_resumable(start)
    with pytest.raises(Gap):
        list(source.changes(following(source, [A], start), start, replace(start, at=start.at + 1)))


def test_a_publication_that_is_gone_is_a_gap(tables: Database) -> None:
    source = tables.source()
    source.prepare([A])
    start = source.head()
    tables.run(f"drop publication {tables.slot}; insert into a values (1)")
    captured = follow(source, [A], start)
    assert isinstance(captured[0].failures[A], Gap)


def test_a_slot_that_somebody_reads_is_unavailable(tables: Database) -> None:
    source = tables.source()
    source.prepare([A])
    start = source.head()
    with psycopg2.connect(tables.state.dsn(), connection_factory=LogicalReplicationConnection) as replication:
        cursor = replication.cursor()
        cursor.start_replication(
            slot_name=tables.slot, options={"proto_version": "1", "publication_names": tables.slot}
        )
        tables.run("insert into a values (1)")
        with pytest.raises(Unavailable, match="in use by another session"):
            follow(source, [A], start)
    replication.close()


def test_identity_tells_databases_apart(tables: Database) -> None:
    source = tables.source()
    identity = source.identity()
    assert identity == tables.source().identity()
    assert identity.startswith("postgres/")
    assert tables.source(database="postgres").identity() != identity


def test_positions_are_written_as_the_server_writes_them(tables: Database) -> None:
    source = tables.source()
    text = source.format(Position(0x16_B374_D848))
    assert text == "00000016/B374D848"
    assert tables.run("select %s::pg_lsn = '16/B374D848'::pg_lsn", text) == [(True,)]


def test_a_lost_session_is_replaced(tables: Database) -> None:
    source = tables.source()
    source.prepare([A])
    tables.run("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'cdc_platform'"
               " and datname = current_database()")  # fmt: skip
    with pytest.raises(Unavailable):
        source.head()
    assert source.head() > ORIGIN
