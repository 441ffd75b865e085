"""What the server, the role and the tables must be like before anything is made there. Reads only. Layer: sources.

Each failure says what to run. Nothing is warned about: what would lose changes later, or would make the source's own
updates fail, stops here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cdc_platform.errors import NeedsPerson, NotUnderstood
from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session
from cdc_platform.sources.postgres.connection import identifier
from cdc_platform.sources.postgres.partitions import foreign_partition, foreign_partitions

_OLDEST = 140000

_SERVER = """
select current_setting('wal_level'), current_setting('server_encoding'),
       current_setting('max_replication_slots')::int, (select count(*) from pg_replication_slots)::int,
       r.rolsuper or r.rolreplication
       or exists (select from pg_roles g where g.rolname = 'rds_replication' and pg_has_role(g.oid, 'member')),
       pg_is_in_recovery()
from pg_roles r where r.rolname = current_user
"""

_ACCESS = """
select has_schema_privilege(c.relnamespace, 'usage'), has_table_privilege(c.oid, 'select'), row_security_active(c.oid)
from pg_class c where c.oid = %s::bigint::oid
"""


@dataclass(frozen=True, slots=True)
class _Server:
    wal_level: str
    encoding: str
    max_slots: int
    used_slots: int
    may_replicate: bool
    in_recovery: bool


def check_readable(session: Session, tables: Mapping[TableName, CatalogueTable]) -> None:
    """Whether the role may read every row of the tables, as text that is understood."""
    with session.cursor() as cursor:
        cursor.execute("select current_setting('server_encoding')")
        _check_encoding(*(cursor.fetchone() or ("",)))
    for table, shape in tables.items():
        _check_access(session.info.user, table, *_access(session, shape))


def check_server(session: Session, new_slots: int) -> None:
    """Version, settings and the role's right to replicate; `new_slots` are about to be made (0: none is)."""
    if session.server_version < _OLDEST:
        version = session.server_version // 10000
        raise NotUnderstood(f"the server is Postgres {version}; 14 and newer are understood")
    with session.cursor() as cursor:
        cursor.execute(_SERVER)
        row = cursor.fetchone()
    assert row is not None
    server, user = _Server(*row), session.info.user
    if server.in_recovery:
        raise NeedsPerson("the server is a standby; point the pipeline at the primary")
    if server.wal_level != "logical":
        raise NeedsPerson(
            f"wal_level is '{server.wal_level}'; run: alter system set wal_level = 'logical', and restart the server"
        )
    _check_encoding(server.encoding)
    if not server.may_replicate:
        raise NeedsPerson(f"user '{user}' may not replicate; run: alter role {identifier(user)} replication")
    if server.used_slots + new_slots > server.max_slots:
        raise NeedsPerson(
            f"no replication slot is free ({server.used_slots} of max_replication_slots = {server.max_slots} are used, "
            f"{new_slots} more are needed); drop unused ones, or raise it and restart the server"
        )


def check_tables(session: Session, tables: Mapping[TableName, CatalogueTable]) -> None:
    """Readable in full, and logged in a way that tells which row an update or delete is about."""
    for table, shape in tables.items():
        if session.server_version >= 180000:
            _check_generated(table, shape)
        _check_table(session.info.user, table, shape, *_access(session, shape))
        for partition in foreign_partitions(session, shape):
            raise NeedsPerson(foreign_partition(table, partition))


def _access(session: Session, shape: CatalogueTable) -> tuple[bool, bool, bool]:
    """Whether the role may use the schema, may read the table, and does not see all of its rows."""
    with session.cursor() as cursor:
        cursor.execute(_ACCESS, [shape.oid])
        row = cursor.fetchone()
    assert row is not None
    usage, select, secured = row
    return usage, select, secured


def _check_encoding(encoding: str) -> None:
    if encoding == "SQL_ASCII":
        raise NotUnderstood("the database has encoding SQL_ASCII: its text may be in any encoding; make it UTF8")


def _check_generated(table: TableName, shape: CatalogueTable) -> None:
    """A replica identity must hold logged columns only, or the source's own updates and deletes fail once published.

    Identity full holds every column. A table without a key (or with one that is not logged whole) would need it.
    """
    if shape.left_out and (shape.identity in ("f", "n") or not shape.schema.primary_key):
        raise NeedsPerson(
            f"{table} has a generated column '{shape.left_out[0]}' that is not logged, and as Postgres 18 has it the "
            f"source could not update or delete its rows under replica identity full; give it a primary key with "
            f"replica identity default, or make the column stored and publish it (publish_generated_columns = stored)"
        )


def _check_table(user: str, table: TableName, shape: CatalogueTable, usage: bool, select: bool, secured: bool) -> None:
    name = f"{identifier(table.schema)}.{identifier(table.name)}"
    if not shape.permanent:
        raise NotUnderstood(f"{table} is temporary or unlogged, so not in the log; run: alter table {name} set logged")
    _check_access(user, table, usage, select, secured)
    keyed = shape.identity == "f" or (shape.identity != "n" and shape.schema.primary_key)
    if not keyed:
        # Published like this, the source's own updates and deletes of the table would fail.
        raise NeedsPerson(
            f"{table} has no replica identity, so updates and deletes cannot be followed; "
            f"run: alter table {name} replica identity full"
        )


def _check_access(user: str, table: TableName, usage: bool, select: bool, secured: bool) -> None:
    schema, name = identifier(table.schema), f"{identifier(table.schema)}.{identifier(table.name)}"
    if not usage:
        raise NeedsPerson(
            f"user '{user}' may not use schema {table.schema}; run: "
            f"grant usage on schema {schema} to {identifier(user)}"
        )
    if not select:
        raise NeedsPerson(f"user '{user}' may not read {table}; run: grant select on {name} to {identifier(user)}")
    if secured:
        raise NeedsPerson(
            f"row security hides rows of {table} from user '{user}'; run: alter role {identifier(user)} bypassrls"
        )
