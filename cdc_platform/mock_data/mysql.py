"""Talking to the MySQL or MariaDB source: schema, bulk load, rows as one parameter. The only user of its driver here.

Rows travel as a whole: as a CSV file into LOAD DATA where the server allows it (110,000 rows/s), else as one JSON
parameter that JSON_TABLE unfolds (30,000 rows/s). Every error leaves as one of the platform's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias, TypeVar

import numpy as np
import polars as pl
import pymysql
from numpy.typing import NDArray
from pymysql.connections import Connection as PyMySQLConnection
from pymysql.constants import ER
from pymysql.cursors import Cursor

from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable
from cdc_platform.mock_data.endpoint import Endpoint

Connection: TypeAlias = "PyMySQLConnection[Cursor]"

TABLES = ("products", "inventory_transactions")

T = TypeVar("T")

_TRIES = 5
_IN_THE_WAY = (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT)
_FILE_ROWS = 200_000
_JSON_ROWS = 1_000
# With at most 21 characters a number, a list stays far below the megabyte that it may have.
_LIST_LENGTH = 10_000
_SEED_LOCK = "cdc mock data"
# Strict, so that what does not fit is refused; without ANSI_QUOTES and NO_BACKSLASH_ESCAPES, which change literals.
_SESSION = "set time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"


@contextmanager
def connect(endpoint: Endpoint) -> Iterator[Connection]:
    """A connection whose work is committed by `commit()` only, closed at the end.

    Raises ConfigError (login refused, tables missing), Unavailable (server down or lost), NeedsPerson (anything
    that the server refuses for another reason).
    """
    try:
        opened: Connection = pymysql.connect(
            host=endpoint.host,
            port=endpoint.port,
            database=endpoint.database,
            user=endpoint.user,
            password=endpoint.password,
            charset="utf8mb4",
            connect_timeout=10,
            autocommit=False,
            local_infile=True,
        )
    except (pymysql.err.OperationalError, RuntimeError) as error:
        raise _not_connected(endpoint, error) from error
    try:
        with opened.cursor() as cursor:
            cursor.execute("set session transaction isolation level read committed")
            cursor.execute(_SESSION)
        yield opened
    except pymysql.err.Error as error:
        raise _translated(endpoint, error) from error
    finally:
        if opened.open:
            opened.close()


def create_tables(connected: Connection) -> None:
    """Create what is missing of the source tables; what is there stays as it is.

    Until the connection closes nobody else seeds: whoever tries waits, and then finds full tables.
    """
    with connected.cursor() as cursor:
        cursor.execute("select get_lock(%s, 3600)", (_SEED_LOCK,))
        if not single(cursor):
            raise Unavailable("another `cdc seed` is at work on MySQL for an hour: wait for it or end it")
        for statement in files(__package__).joinpath("mysql.sql").read_text().split(";"):
            if statement.strip():
                cursor.execute(statement)


def count(connected: Connection, table: str) -> int:
    with connected.cursor() as cursor:
        cursor.execute(f"select count(*) from {quoted(table)}")
        return int(single(cursor))


def load(connected: Connection, table: str, rows: pl.DataFrame, progress: Progress = silent) -> None:
    """Append all rows; columns that the frame lacks take their defaults."""
    with connected.cursor() as cursor:
        cursor.execute("select @@local_infile")
        by_file = bool(single(cursor))
        done = 0
        for part in rows.iter_slices(_FILE_ROWS if by_file else _JSON_ROWS):
            (load_file if by_file else insert)(cursor, table, part)
            done += len(part)
            progress(table, done, len(rows))


def insert(cursor: Cursor, table: str, rows: pl.DataFrame) -> None:
    """Append some hundreds of rows by one statement."""
    names = ", ".join(map(quoted, rows.columns))
    cursor.execute(f"insert into {quoted(table)} ({names}) select {names} from {json_rows(rows)}", (rows.write_json(),))


def json_rows(rows: pl.DataFrame) -> str:
    """SQL for a table `given` of these rows, whose JSON is the statement's next parameter."""
    fields = ", ".join(f"{quoted(name)} {_json_type(dtype)} path '$.{name}'" for name, dtype in rows.schema.items())
    return f"json_table(%s, '$[*]' columns ({fields})) given"


def update(cursor: Cursor, table: str, key: str, rows: pl.DataFrame, assignments: str) -> None:
    """Change the rows that share a key with `rows`, whose other columns the assignments may use.

    The short side leads the join, whatever the optimiser thinks.
    """
    same_key = f"{quoted(table)}.{quoted(key)} = given.{quoted(key)}"
    cursor.execute(
        f"update {json_rows(rows)} straight_join {quoted(table)} on {same_key} set {assignments}",
        (rows.write_json(),),
    )


def integers(connected: Connection, query: str, *columns: str) -> pl.DataFrame:
    """The query's whole numbers, none of them null, in the order of the first column, which is a key.

    The server joins them to lists of thousands: a million rows take a second, of which the driver alone, which
    reads row by row, would need eight.
    """
    key = quoted(columns[0])
    lists = ", ".join(f"group_concat({quoted(name)} order by {key})" for name in columns)
    with connected.cursor() as cursor:
        cursor.execute("set session group_concat_max_len = 1000000")
        cursor.execute(f"select {lists} from ({query}) numbers group by {key} div {_LIST_LENGTH} order by min({key})")
        found = pl.DataFrame(list(cursor.fetchall()), dict.fromkeys(columns, pl.String()), orient="row")
    return found.select(pl.all().str.split(",")).explode(columns).cast(pl.Int64)


def keys(connected: Connection, table: str, key: str) -> NDArray[np.int64]:
    """All keys, ascending."""
    return integers(connected, f"select {quoted(key)} from {quoted(table)}", key)[key].to_numpy()


def transact(connected: Connection, work: Callable[[], T]) -> T:
    """Do the work in one transaction; once more, a few times, where another session was in its way."""
    for tries_left in reversed(range(_TRIES)):
        try:
            result = work()
            connected.commit()
        except pymysql.err.OperationalError as error:
            if error.args[0] not in _IN_THE_WAY or not tries_left:
                raise
            connected.rollback()
        else:
            return result
    raise AssertionError


def quoted(name: str) -> str:
    """An identifier in MySQL's quotes."""
    return "`" + name.replace("`", "``") + "`"


def single(cursor: Cursor) -> Any:
    """The one value of a one-row answer."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def load_file(cursor: Cursor, table: str, rows: pl.DataFrame) -> None:
    """Append any number of rows by LOAD DATA; raises NeedsPerson where the server did not take each of them."""
    names = ", ".join(map(quoted, rows.columns))
    with NamedTemporaryFile(prefix="cdc-mock-data-", suffix=".csv") as file:
        # Text is always in quotes and NULL never, so that no text is taken for it; nothing is escaped.
        rows.write_csv(file.name, include_header=False, null_value="NULL", quote_style="non_numeric")
        cursor.execute(
            f"load data local infile %s into table {quoted(table)} character set utf8mb4"
            " fields terminated by ',' enclosed by '\"' escaped by '' lines terminated by '\\n'"
            f" ({names})",
            (file.name,),
        )
    # LOCAL turns errors into warnings: a row that did not get in must not go unnoticed.
    if cursor.warning_count or cursor.rowcount != len(rows):
        raise NeedsPerson(
            f"MySQL took {cursor.rowcount} of {len(rows)} rows into {table}: empty the table and seed again"
        )


def _json_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, pl.Datetime):
        return "datetime"
    return "bigint" if dtype.is_integer() else "longtext"


def _place(endpoint: Endpoint) -> str:
    return f"MySQL at {endpoint.host}:{endpoint.port}/{endpoint.database}"


def _not_connected(endpoint: Endpoint, error: Exception) -> CdcError:
    code = error.args[0] if error.args else None
    if code == ER.ACCESS_DENIED_ERROR:
        return ConfigError(f"{_place(endpoint)} refuses user {endpoint.user}: check user and password")
    if code in (ER.BAD_DB_ERROR, ER.DBACCESS_DENIED_ERROR):
        return ConfigError(f"{_place(endpoint)} has no such database for user {endpoint.user}: check database and user")
    return Unavailable(f"{_place(endpoint)} does not answer: start it (`cdc up`) or check host and port")


def _translated(endpoint: Endpoint, error: pymysql.err.Error) -> CdcError:
    """Values never appear: the server's words, which may hold some, are left out for its error number."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code == ER.NO_SUCH_TABLE:
        return ConfigError(f"{_place(endpoint)} lacks a source table: run `cdc seed` first")
    if code in (ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT):
        return Unavailable(f"{_place(endpoint)} could not get its locks: try again")
    # 2xxx are the client's own: the connection is gone. 0 is PyMySQL's on a closed one.
    if code == 0 or 2000 <= code < 3000 or code in (ER.SERVER_SHUTDOWN, ER.NORMAL_SHUTDOWN):
        return Unavailable(f"{_place(endpoint)} closed the connection: try again")
    return NeedsPerson(
        f"{_place(endpoint)} refused a statement (error {code}): check the table and the user's privileges"
    )
