"""Talking to the Postgres source: schema, bulk load, sets of rows as one parameter. The only user of its driver here.

Rows travel as a whole: out of Polars as CSV into COPY, or as one JSON parameter that Postgres unfolds with the
table's own row type. Every error leaves as one of the platform's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from io import BytesIO
from typing import Any, TypeAlias, TypeVar

import numpy as np
import polars as pl
import psycopg2
from numpy.typing import NDArray
from psycopg2 import errorcodes, sql
from psycopg2.errors import DeadlockDetected, LockNotAvailable, SerializationFailure, UndefinedColumn
from psycopg2.extensions import connection

from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable
from cdc_platform.mock_data.endpoint import Endpoint

Connection: TypeAlias = connection

TABLES = ("customers", "orders", "cdc_schema_evolution_test")

T = TypeVar("T")

_TRIES = 5
# A changed column is a table that somebody altered between two statements.
_IN_THE_WAY = (DeadlockDetected, SerializationFailure, LockNotAvailable, UndefinedColumn)
_CHUNK = 200_000
_SETTINGS = "-c timezone=UTC -c datestyle=ISO -c client_min_messages=error"
_SEED_LOCK = 4_707_360_141


@contextmanager
def connect(endpoint: Endpoint) -> Iterator[Connection]:
    """A connection whose work is committed by `commit()` only, closed at the end.

    Raises ConfigError (login refused, tables missing), Unavailable (server down or lost), NeedsPerson (anything
    that Postgres refuses for another reason).
    """
    try:
        opened = psycopg2.connect(
            host=endpoint.host,
            port=endpoint.port,
            dbname=endpoint.database,
            user=endpoint.user,
            password=endpoint.password,
            connect_timeout=10,
            application_name="cdc mock data",
            client_encoding="utf8",
            options=_SETTINGS,
        )
    except psycopg2.OperationalError as error:
        raise _not_connected(endpoint, error) from error
    try:
        yield opened
    except psycopg2.Error as error:
        raise _translated(endpoint, error) from error
    finally:
        opened.close()


def create_tables(connected: Connection) -> bool:
    """Create what is missing of the source tables, and say whether anything was; what is there stays as it is.

    Until the transaction ends nobody else seeds: whoever tries waits, and then finds full tables.
    """
    with connected.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_SEED_LOCK,))
        cursor.execute("select to_regclass(name) is null from unnest(%s) name", (list(TABLES),))
        missing = any(absent for (absent,) in cursor.fetchall())
        if missing:
            cursor.execute(files(__package__).joinpath("postgres.sql").read_text())
    return missing


def create_indexes(connected: Connection) -> None:
    """The indexes and the foreign key of tables that `create_tables` made."""
    with connected.cursor() as cursor:
        cursor.execute(files(__package__).joinpath("postgres_indexes.sql").read_text())


def count(connected: Connection, table: str) -> int:
    with connected.cursor() as cursor:
        cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table)))
        return int(_single(cursor))


def highest(connected: Connection, table: str, key: str) -> int:
    """The highest key, 0 where there is none."""
    with connected.cursor() as cursor:
        cursor.execute(
            sql.SQL("select coalesce(max({}), 0) from {}").format(sql.Identifier(key), sql.Identifier(table))
        )
        return int(_single(cursor))


def columns(connected: Connection, table: str) -> list[str]:
    """The table's columns as they are now, in order. ConfigError where there is no such table."""
    with connected.cursor() as cursor:
        cursor.execute(
            "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped"
            " order by attnum",
            (table,),
        )
        names = [str(name) for (name,) in cursor.fetchall()]
    if not names:
        raise missing_tables(table)
    return names


def copy(connected: Connection, table: str, rows: pl.DataFrame, progress: Progress = silent) -> None:
    """Append all rows; columns that the frame lacks take their defaults."""
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows.columns))
    )
    done = 0
    with connected.cursor() as cursor:
        for part in rows.iter_slices(_CHUNK):
            buffer = BytesIO()
            part.write_csv(buffer, include_header=False)
            buffer.seek(0)
            cursor.copy_expert(statement, buffer)
            done += len(part)
            progress(table, done, len(rows))


def continue_after(connected: Connection, table: str, key: str) -> None:
    """Let the key's sequence go on after the highest value, and refresh the planner's statistics."""
    with connected.cursor() as cursor:
        cursor.execute(
            sql.SQL("select setval(pg_get_serial_sequence(%s, %s), max({})) from {} having max({}) is not null").format(
                sql.Identifier(key), sql.Identifier(table), sql.Identifier(key)
            ),
            (table, key),
        )
        cursor.execute(sql.SQL("analyze {}").format(sql.Identifier(table)))


def read(connected: Connection, query: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The query's rows, columns typed by `schema`; a million of them take a second."""
    buffer = BytesIO()
    with connected.cursor() as cursor:
        cursor.copy_expert(f"copy ({query}) to stdout (format csv)", buffer)
    if not buffer.tell():
        return pl.DataFrame(schema=schema)
    buffer.seek(0)
    return pl.read_csv(buffer, has_header=False, schema=schema)


def fetch(
    cursor: Any, query: str | sql.Composable, values: Sequence[object], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The rows of a statement with parameters: some thousands, as they pass through Python."""
    cursor.execute(query, values)
    return pl.DataFrame(cursor.fetchall(), schema=dict(schema), orient="row")


def keys(connected: Connection, table: str, key: str) -> NDArray[np.int64]:
    """All keys, ascending."""
    name, of = (sql.Identifier(it).as_string(connected) for it in (key, table))
    return read(connected, f"select {name} from {of} order by 1", {key: pl.Int64()})[key].to_numpy()


def transact(connected: Connection, work: Callable[[], T]) -> T:
    """Do the work in one transaction; once more, a few times, where another session was in its way."""
    for tries_left in reversed(range(_TRIES)):
        try:
            result = work()
            connected.commit()
        except _IN_THE_WAY:
            connected.rollback()
            if not tries_left:
                raise
        else:
            return result
    raise AssertionError


def missing_tables(table: str) -> ConfigError:
    return ConfigError(f"Postgres has no table {table}: run `cdc seed` first")


def _single(cursor: Any) -> Any:
    (value,) = cursor.fetchone()
    return value


def _place(endpoint: Endpoint) -> str:
    return f"Postgres at {endpoint.host}:{endpoint.port}/{endpoint.database}"


def _not_connected(endpoint: Endpoint, error: psycopg2.OperationalError) -> CdcError:
    # libpq gives no code for a refused login, only its words.
    words = str(error)
    if "authentication failed" in words or "no password" in words:
        return ConfigError(f"{_place(endpoint)} refuses user {endpoint.user}: check user and password")
    if "does not exist" in words:
        return ConfigError(f"{_place(endpoint)} has no such database or user: check database and user")
    return Unavailable(f"{_place(endpoint)} does not answer: start it (`cdc up`) or check host and port")


def _translated(endpoint: Endpoint, error: psycopg2.Error) -> CdcError:
    """Values never appear: of the server's words only names of tables, columns and constraints are used."""
    code = error.pgcode
    if code is None or code.startswith(("08", "57P")):
        return Unavailable(f"{_place(endpoint)} closed the connection: try again")
    if code == errorcodes.UNDEFINED_TABLE:
        return ConfigError(f"{_place(endpoint)} lacks a source table: run `cdc seed` first")
    if code in (errorcodes.DEADLOCK_DETECTED, errorcodes.LOCK_NOT_AVAILABLE, errorcodes.SERIALIZATION_FAILURE):
        return Unavailable(f"{_place(endpoint)} could not get its locks: try again")
    names = (error.diag.table_name, error.diag.column_name, error.diag.constraint_name)
    about = " ".join(name for name in names if name)
    reason = f"{errorcodes.lookup(code).lower().replace('_', ' ')}{f' ({about})' if about else ''}"
    return NeedsPerson(f"{_place(endpoint)} refused a statement, {reason}: check the table and the user's privileges")
