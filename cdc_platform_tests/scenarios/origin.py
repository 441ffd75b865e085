"""The source as a scenario sees it, through its own driver: sessions that run SQL, and a table's rows as text.

The server itself makes the text; which text depends on the type that the destination gave the column, as DuckDB
names it (`lake.py` has the other half).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions
import pymysql

from cdc_platform.servers.state import ServerState

Row = tuple[str | float | None, ...]
_PATIENCE_SECONDS = 60


class Origin(Protocol):
    """One database of one server. `system` is the source type of pipelines, `kind` and `version` the server's own."""

    system: str
    kind: str
    version: tuple[int, ...]

    def run(self, session: str, statement: str) -> None: ...

    def columns(self, table: str) -> list[str]: ...

    def key(self, table: str) -> list[str]:
        """The columns by which the log tells rows apart; none without a key."""

    def rows(self, table: str, columns: Sequence[str], types: Mapping[str, str]) -> list[Row]: ...

    def close(self) -> None: ...


class PostgresOrigin:
    system: str = "postgres"
    kind: str = "postgres"

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._sessions: dict[str, psycopg2.extensions.connection] = {}
        self.version: tuple[int, ...] = (self._session("eyes").server_version // 10000,)

    def _session(self, name: str) -> psycopg2.extensions.connection:
        if name not in self._sessions:
            options = f"-c statement_timeout={_PATIENCE_SECONDS}s -c timezone=UTC"
            self._sessions[name] = psycopg2.connect(self.state.dsn(), options=options)
            self._sessions[name].autocommit = True
        return self._sessions[name]

    def run(self, session: str, statement: str) -> None:
        with self._session(session).cursor() as cursor:
            cursor.execute(statement)

    def columns(self, table: str) -> list[str]:
        return [
            name
            for (name,) in self._query(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
                "order by attnum",
                _postgres_name(table),
            )
        ]

    def key(self, table: str) -> list[str]:
        """The replica identity's index, or the primary key where that is default or full."""
        return [
            name
            for (name,) in self._query(
                "select a.attname from pg_class c join pg_index i on i.indrelid = c.oid and "
                "case when c.relreplident = 'i' then i.indisreplident else i.indisprimary end "
                "cross join lateral unnest(i.indkey::int2[]) with ordinality as k(number, place) "
                "join pg_attribute a on a.attrelid = c.oid and a.attnum = k.number "
                "where c.oid = %s::regclass order by k.place",
                _postgres_name(table),
            )
        ]

    def rows(self, table: str, columns: Sequence[str], types: Mapping[str, str]) -> list[Row]:
        chosen = ", ".join(_postgres_text(_quoted(column), types[column]) for column in columns)
        name = _postgres_name(table)
        with self._session("eyes").cursor() as cursor:
            ((kind,),) = self._query("select relkind from pg_class where oid = %s::regclass", name)
            # A plain table's rows are its own, not those of tables that inherit from it.
            name = name if kind == "p" else f"only {name}"
            cursor.execute(f"select {chosen} from {name} limit 0")
            # Not a Python value but what the type's own output function says.
            oids = tuple({column.type_code for column in cursor.description or ()} - {701})
            as_text = psycopg2.extensions.new_type(oids, "AS_TEXT", lambda value, _: value)
            psycopg2.extensions.register_type(as_text, cursor)
            cursor.execute(f"select {chosen} from {name}")
            return cursor.fetchall()

    def _query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._session("eyes").cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def close(self) -> None:
        """Nothing stays behind, not even what a scenario that broke off had prepared."""
        for (name,) in self._query("select gid from pg_prepared_xacts where database = current_database()"):
            self.run("eyes", f"rollback prepared '{name}'")
        for session in self._sessions.values():
            session.close()


def _postgres_text(column: str, lake_type: str) -> str:
    match lake_type.split("(")[0]:
        case "BLOB":
            return f"encode({column}, 'hex')"
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')"
        case "FLOAT" | "DOUBLE":
            return f"{column}::float8"
    return column


def _postgres_name(table: str) -> str:
    return ".".join(map(_quoted, table.split(".")))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class MySQLOrigin:
    system: str = "mysql"
    kind: str
    version: tuple[int, ...]

    def __init__(self, state: ServerState) -> None:
        self.state = state
        self._sessions: dict[str, pymysql.connections.Connection[Any]] = {}
        ((text,),) = self._query("select version()")
        self.kind = "mariadb" if "MariaDB" in text else "mysql"
        self.version = tuple(int(part) for part in text.split("-")[0].split(".")[:2])

    def _session(self, name: str) -> pymysql.connections.Connection[Any]:
        if name not in self._sessions:
            state = self.state
            self._sessions[name] = pymysql.connect(
                host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
                charset="utf8mb4", autocommit=True, local_infile=True, read_timeout=_PATIENCE_SECONDS,
                init_command="set time_zone = '+00:00'" if name == "eyes" else None,
            )  # fmt: skip
        return self._sessions[name]

    def run(self, session: str, statement: str) -> None:
        with self._session(session).cursor() as cursor:
            cursor.execute(statement)

    def columns(self, table: str) -> list[str]:
        """All of them, invisible ones too."""
        return [
            name
            for (name,) in self._query(
                "select column_name from information_schema.columns where table_schema = %s and table_name = %s "
                "order by ordinal_position",
                *self._names(table),
            )
        ]

    def key(self, table: str) -> list[str]:
        return [
            name
            for (name,) in self._query(
                "select column_name from information_schema.key_column_usage where table_schema = %s "
                "and table_name = %s and constraint_name = 'PRIMARY' order by ordinal_position",
                *self._names(table),
            )
        ]

    def rows(self, table: str, columns: Sequence[str], types: Mapping[str, str]) -> list[Row]:
        chosen = ", ".join(_mysql_text(_ticked(column), types[column]) for column in columns)
        name = ".".join(map(_ticked, self._names(table)))
        return self._query(f"select {chosen} from {name}")

    def _names(self, table: str) -> tuple[str, str]:
        first, _, rest = table.rpartition(".")
        return first or self.state.database, rest

    def _query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._session("eyes").cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Nothing stays behind, not even what a scenario that broke off had prepared."""
        found = [name for *_, name in self._query("xa recover")]
        texts = [name.decode() if isinstance(name, bytes) else str(name) for name in found]
        prepared = [name for name in texts if self.state.database in name]
        for name, session in self._sessions.items():
            if name != "eyes":
                with suppress(pymysql.err.Error):
                    session.close()
        for name in prepared:
            with suppress(pymysql.err.Error):  # it may have gone with its session
                self._query(f"xa rollback '{name}'")
        for session in self._sessions.values():
            with suppress(pymysql.err.Error):  # the scenario may have ended it
                session.close()


def _mysql_text(column: str, lake_type: str) -> str:
    match lake_type.split("(")[0]:
        case "BLOB":
            return f"lower(hex({column}))"
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return f"date_format({column}, '%Y-%m-%d %H:%i:%s.%f')"
        case "FLOAT" | "DOUBLE":
            return f"cast({column} as double)"
        case "TINYINT" | "SMALLINT" | "INTEGER" | "BIGINT":
            return f"cast({column} + 0 as char)"  # bits as a number, no leading zeros
    return f"cast({column} as char character set utf8mb4)"


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
