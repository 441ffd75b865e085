"""Tables whose shape and files stay as they are for a while: locks that readers take, held by a session of their own.

ACCESS SHARE is what every SELECT takes. It keeps nobody from reading and writing rows; ALTER, TRUNCATE, DROP and VACUUM
FULL wait until it is given back (and whoever comes after them on that table waits behind them). Layer: sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from psycopg2.errors import InsufficientPrivilege, LockNotAvailable, UndefinedTable

from cdc_platform.errors import CdcError, NeedsPerson, Unavailable
from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres.catalogue import AsText, CatalogueTable, Session, read_tables
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier
from cdc_platform.sources.postgres.slot import blocker

# Publications and catalogue functions open tables too: any table of the database may be the one that is waited for.
_HOLDERS = """
select n.nspname, c.relname, l.pid, extract(epoch from clock_timestamp() - a.xact_start)::int
from pg_locks l join pg_class c on c.oid = l.relation join pg_namespace n on n.oid = c.relnamespace
left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and c.relkind in ('r', 'p')
  and l.database = (select oid from pg_database where datname = current_database())
order by not l.granted, 4 desc nulls last limit 3
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """Tables with the shapes that they keep; and those that could not be locked, with the reason of each."""

    shapes: Mapping[TableName, CatalogueTable]
    failures: Mapping[TableName, CdcError]


@contextmanager
def locked(
    connection: PostgresConnection,
    control: Session,
    tables: Sequence[TableName],
    publication: str,
    as_text: AsText,
    seconds: float,
) -> Iterator[Locked]:
    """Keep the tables from being altered. Waits `seconds` for each at most, then Unavailable names who is in the way.

    A table that the user may not read is a failure of its own; the others are locked.
    """
    with closing(connection.control()) as session:
        try:
            with connection.errors("locking tables"):
                found = _lock_all(connection, session, tables, publication, as_text, seconds)
        except Unavailable as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise Unavailable(
                    f"{connection.label}: after {seconds:g} s still waiting: {_holders(control)}; "
                    f"run again when that has ended, or end it (select pg_terminate_backend(pid))"
                ) from error
            raise
        yield found


def own_rows(shape: CatalogueTable) -> str:
    """The table in SQL. Rows of inheriting tables are published under their own names, those of partitions are not."""
    table = shape.schema.table
    name = f"{identifier(table.schema)}.{identifier(table.name)}"
    return name if shape.partitioned else f"only {name}"


def _lock_all(
    connection: PostgresConnection,
    session: Session,
    tables: Sequence[TableName],
    publication: str,
    as_text: AsText,
    seconds: float,
) -> Locked:
    failures: dict[TableName, CdcError] = {}
    with session.cursor() as cursor:
        cursor.execute("begin")
        cursor.execute("select set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
        for table, shape in sorted(read_tables(session, tables, publication, as_text).items()):
            cursor.execute("savepoint before_lock")
            try:
                cursor.execute(f"lock table {own_rows(shape)} in access share mode")
            except InsufficientPrivilege as error:
                cursor.execute("rollback to savepoint before_lock")
                text = error.diag.message_primary
                failures[table] = NeedsPerson(
                    f"{connection.label}: reading {table}: user '{connection.user}' lacks a privilege ({text})"
                )
            except UndefinedTable:
                raise Unavailable(f"{table} was dropped or renamed meanwhile; run again") from None
    return Locked(read_tables(session, [t for t in tables if t not in failures], publication, as_text), failures)


def _holders(control: Session) -> str:
    with control.cursor() as cursor:
        cursor.execute(_HOLDERS)
        rows = cursor.fetchall()
    who = [f"{TableName(schema, name)} is locked by {blocker(pid, age)}" for schema, name, pid, age in rows]
    return ", ".join(who) or "a table was locked by another session"
