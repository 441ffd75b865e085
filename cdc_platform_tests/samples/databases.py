"""Sample databases made elsewhere, unmodified beside this file with their licences, and how they are loaded.

Nothing here knows about capture: a sample is SQL for one kind of server.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psycopg2
import pymysql

from cdc_platform.servers.state import ServerState
from cdc_platform_tests.scenarios.script import split

FOLDER = Path(__file__).parent
# A dump sets owners that a server need not have, and asks for what Postgres dropped in release 12.
_NOT_FOR_US = re.compile(r"\bOWNER TO\b|default_with_oids|\b(FROM|TO) postgres\b")
# The database has its name already; a dump's own would be the same for every test.
_DATABASE = re.compile(r"\s*(DROP|CREATE) (SCHEMA|DATABASE)\b|\s*USE\b", re.IGNORECASE)
_ITS_NAME = re.compile(r"\bsakila\.")
_ITS_SCHEMA = re.compile(r'"(?:chinook|steelwheels)"\.')
_DOUBLE = re.compile(r"(?<=\" )DOUBLE\b")
# Its scripts quote by the standard, and fill tables in the order of their names.
_AS_HSQLDB = {
    "postgres": ("set session_replication_role = replica",),
    "mysql": ("set sql_mode = 'ansi_quotes,no_backslash_escapes'", "set foreign_key_checks = 0"),
}
_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")
_COPY = re.compile(r"^(COPY .*? FROM stdin;)\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sample:
    """`files` hold SQL, in this order."""

    name: str
    system: str
    files: tuple[str, ...]

    def load(self, state: ServerState) -> list[str]:
        """Into an empty database; its base tables."""
        statements = (pair for file in self.files for pair in self._statements(file))
        return _load_postgres(state, statements) if self.system == "postgres" else _load_mysql(state, statements)

    def _statements(self, name: str) -> Iterator[tuple[str, str | None]]:
        """Statements, and with those that are a COPY their data."""
        content = (FOLDER / name).read_bytes()
        text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
        if name.startswith("hsqldb"):
            mode = _AS_HSQLDB[self.system]
            return ((statement, None) for statement in chain(mode, _standard_sql(text)))
        if self.system == "postgres":
            return _with_copies(text)
        return ((_ITS_NAME.sub("", statement), None) for statement in _delimited(text))


SAMPLES = (
    Sample("sakila", "postgres", ("postgres-sakila-schema.sql", "postgres-sakila-insert-data-using-copy.sql.gz")),
    Sample("sakila", "mysql", ("mysql-sakila-schema.sql", "mysql-sakila-data.sql.gz")),
    *(
        Sample(name, system, (f"hsqldb-{name}.script.gz",))
        for name in ("chinook", "steelwheels")
        for system in ("postgres", "mysql")
    ),
)


def _standard_sql(script: str) -> Iterator[str]:
    """Tables and rows of an HSQLDB script: standard SQL, a statement a line, once its own words are taken out."""
    for line in script.splitlines():
        if line.startswith(("CREATE MEMORY TABLE", "CREATE UNIQUE INDEX", "ALTER TABLE", 'INSERT INTO "')):
            statement = _ITS_SCHEMA.sub("", line).replace("CREATE MEMORY TABLE", "CREATE TABLE", 1)
            yield _ESCAPED.sub(lambda code: chr(int(code[1], 16)), _DOUBLE.sub("DOUBLE PRECISION", statement))


def _load_postgres(state: ServerState, statements: Iterable[tuple[str, str | None]]) -> list[str]:
    with closing(psycopg2.connect(state.dsn())) as connection, connection, connection.cursor() as cursor:
        for statement, data in statements:
            if data is not None:
                cursor.copy_expert(statement, io.StringIO(data))
            elif not _NOT_FOR_US.search(statement):
                cursor.execute(statement)
        cursor.execute(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') "
            "and not relispartition order by relname"
        )
        return [name for (name,) in cursor.fetchall()]


def _with_copies(text: str) -> Iterator[tuple[str, str | None]]:
    """Statements, and with those that are a COPY their data."""
    end = 0
    for copy in _COPY.finditer(text):
        for statement in split(text[end : copy.start()]):
            yield statement, None
        yield copy[1], copy[2]
        end = copy.end()
    for statement in split(text[end:]):
        yield statement, None


def _load_mysql(state: ServerState, statements: Iterable[tuple[str, str | None]]) -> list[str]:
    connection = pymysql.connect(
        host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
        charset="utf8mb4", autocommit=False,
    )  # fmt: skip
    with closing(connection), connection.cursor() as cursor:
        for statement, _ in statements:
            if not _DATABASE.match(statement):
                cursor.execute(statement)
        connection.commit()
        cursor.execute(
            "select table_name from information_schema.tables where table_schema = database() "
            "and table_type = 'BASE TABLE' order by table_name"
        )
        return [name for (name,) in cursor.fetchall()]


def _delimited(text: str) -> Iterator[str]:
    """Statements of a script for the `mysql` program, whose DELIMITER lines are its own."""
    parts = re.split(r"^DELIMITER (\S+)\s*$", text, flags=re.MULTILINE)
    yield from split(parts[0])
    for delimiter, part in zip(parts[1::2], parts[2::2], strict=True):
        if delimiter == ";":
            yield from split(part)
        else:
            yield from (statement for statement in part.split(delimiter) if statement.strip())
