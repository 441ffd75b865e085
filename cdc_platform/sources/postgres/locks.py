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
from cdc_platform.sources.postgres.catalogue import CatalogueTable, Session, read_tables
from cdc_platform.sources.postgres.connection import PostgresConnection, identifier
from cdc_platform.sources.postgres.slot import blocker

_HOLDERS = """
select l.pid, extract(epoch from clock_timestamp() - a.xact_start)::int
from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
  and l.database = (select oid from pg_database where datname = current_database())
  and l.relation in (select %(oid)s::bigint::oid union select relid from pg_partition_tree(%(oid)s::bigint::oid))
order by not l.granted, 2 desc nulls last, 1
"""


@dataclass(frozen=True, slots=True)
class Locked:
    """Tables with the shapes that they keep; and those that could not be locked, with the reason of each."""

    shapes: Mapping[TableName, CatalogueTable]
    failures: Mapping[TableName, CdcError]


@contextmanager
def locked(
    connection: PostgresConnection, control: Session, tables: Sequence[TableName], publication: str, seconds: float
) -> Iterator[Locked]:
    """Keep the tables from being altered. Waits `seconds` for each at most, then Unavailable names who is in the way.

    A table that the user may not read is a failure of its own; the others are locked.
    """
    with closing(connection.control()) as session:
        failures: dict[TableName, CdcError] = {}
        with connection.errors("locking tables"), session.cursor() as cursor:
            before = read_tables(control, tables, publication)
            cursor.execute("begin")
            cursor.execute("select set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
            for table in sorted(tables):
                failure = _lock(connection, session, control, before[table], seconds)
                if failure is not None:
                    failures[table] = failure
            shapes = read_tables(session, [table for table in tables if table not in failures], publication)
        yield Locked(shapes, failures)


def own_rows(shape: CatalogueTable) -> str:
    """The table in SQL. Rows of inheriting tables are published under their own names, those of partitions are not."""
    table = shape.schema.table
    name = f"{identifier(table.schema)}.{identifier(table.name)}"
    return name if shape.partitioned else f"only {name}"


def _lock(
    connection: PostgresConnection, session: Session, control: Session, shape: CatalogueTable, seconds: float
) -> CdcError | None:
    table = shape.schema.table
    with session.cursor() as cursor:
        cursor.execute("savepoint before_lock")
        try:
            cursor.execute(f"lock table {own_rows(shape)} in access share mode")
        except InsufficientPrivilege as error:
            text = (error.diag.message_primary or "permission denied").strip()
            cursor.execute("rollback to savepoint before_lock")
            return NeedsPerson(
                f"{connection.label}: reading {table}: user '{connection.user}' lacks a privilege ({text})"
            )
        except UndefinedTable:
            raise Unavailable(f"{table} was dropped or renamed meanwhile; run again") from None
        except LockNotAvailable:
            raise Unavailable(
                f"{connection.label}: after {seconds:g} s {table} is still locked by {_holders(control, shape)}; "
                f"run again when that has ended, or end it (select pg_terminate_backend(pid))"
            ) from None
    return None


def _holders(control: Session, shape: CatalogueTable) -> str:
    with control.cursor() as cursor:
        cursor.execute(_HOLDERS, {"oid": shape.oid})
        rows = cursor.fetchall()
    return ", ".join(blocker(pid, age) for pid, age in rows) or "another session"
