"""Sample databases made elsewhere, unmodified beside this file with their licences, and how they are loaded.

Nothing here knows about capture: a sample is SQL for one kind of server.
"""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
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
_COPY = re.compile(r"^(COPY .*? FROM stdin;)\n(.*?)^\\\.$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sample:
    """`files` hold SQL, in this order."""

    name: str
    system: str
    files: tuple[str, ...]

    def load(self, state: ServerState) -> list[str]:
        """Into an empty database; its base tables."""
        load = _load_postgres if self.system == "postgres" else _load_mysql
        return load(state, [_text(FOLDER / name) for name in self.files])


SAMPLES = (
    Sample("sakila", "postgres", ("postgres-sakila-schema.sql", "postgres-sakila-insert-data-using-copy.sql.gz")),
    Sample("sakila", "mysql", ("mysql-sakila-schema.sql", "mysql-sakila-data.sql.gz")),
)


def _text(file: Path) -> str:
    content = file.read_bytes()
    return (gzip.decompress(content) if file.suffix == ".gz" else content).decode()


def _load_postgres(state: ServerState, texts: list[str]) -> list[str]:
    with closing(psycopg2.connect(state.dsn())) as connection, connection.cursor() as cursor:
        for text in texts:
            connection.autocommit = True
            for statement, data in _with_copies(text):
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


def _load_mysql(state: ServerState, texts: list[str]) -> list[str]:
    connection = pymysql.connect(
        host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
        charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    with closing(connection), connection.cursor() as cursor:
        for text in texts:
            for statement in _delimited(text):
                if not _DATABASE.match(statement):
                    cursor.execute(_ITS_NAME.sub("", statement))
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
