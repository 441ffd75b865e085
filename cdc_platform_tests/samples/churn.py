"""Random changes of any table, made with SQL from what its catalogue says.

A value of one row moves to another, rows are copied to new keys, rows go. What a constraint refuses does not count.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import pymysql

from cdc_platform.servers.state import ServerState

_REFUSED = (psycopg2.IntegrityError, psycopg2.DataError, pymysql.err.IntegrityError, pymysql.err.DataError)


@dataclass(frozen=True, slots=True)
class _Table:
    """`columns` are those that can be written; `numbered` is the key's column that a new row counts up, if any."""

    name: str
    columns: tuple[str, ...]
    numbered: str | None


def churn(state: ServerState, tables: Sequence[str], operations: int, seed: int) -> int:
    """So many statements over the tables, each a transaction; how many of them the server took."""
    if state.scheme == "postgresql":
        with closing(psycopg2.connect(state.dsn())) as postgres:
            postgres.autocommit = True
            with postgres.cursor() as cursor:
                # Foreign keys and triggers would refuse most of it.
                cursor.execute(f"set session_replication_role = replica; select setseed({seed % 100 / 100})")
                return _churn(cursor, _postgres_tables(cursor, tables), _postgres_statement, operations, seed)
    connection = pymysql.connect(
        host=state.host, port=state.port, user=state.user, password=state.password, database=state.database,
        charset="utf8mb4", autocommit=True,
    )  # fmt: skip
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("set foreign_key_checks = 0")
        return _churn(cursor, _mysql_tables(cursor, tables), _mysql_statement, operations, seed)


_Statement = Callable[[str, _Table, str], str]


def _churn(cursor: Any, tables: Sequence[_Table], statement: _Statement, operations: int, seed: int) -> int:
    chance = random.Random(seed)
    done = 0
    for _ in range(operations):
        table = chance.choice(tables)
        operation = chance.choices(("update", "insert", "delete"), (6, 3, 1))[0]
        try:
            cursor.execute(statement(operation, table, chance.choice(table.columns)))
        except _REFUSED:
            continue
        done += 1
    return done


def _postgres_tables(cursor: Any, names: Sequence[str]) -> list[_Table]:
    tables = []
    for name in names:
        cursor.execute(
            "select attname, atttypid::regtype::text in ('smallint', 'integer', 'bigint') and attnum = any ("
            "  select unnest(indkey) from pg_index where indrelid = attrelid and indisprimary) "
            "from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' "
            "order by attnum",
            [_quoted(name)],
        )
        tables.append(_table(name, cursor.fetchall(), _quoted))
    return tables


def _mysql_tables(cursor: Any, names: Sequence[str]) -> list[_Table]:
    tables = []
    for name in names:
        cursor.execute(
            "select column_name, column_key = 'PRI' and data_type like '%%int' from information_schema.columns "
            "where table_schema = database() and table_name = %s and generation_expression is null "
            "or table_schema = database() and table_name = %s and generation_expression = '' order by ordinal_position",
            [name, name],
        )
        tables.append(_table(name, cursor.fetchall(), _ticked))
    return tables


def _table(name: str, columns: Sequence[tuple[str, Any]], quoted: Callable[[str], str]) -> _Table:
    numbered = next((quoted(column) for column, counts in columns if counts), None)
    return _Table(quoted(name), tuple(quoted(column) for column, _ in columns), numbered)


def _postgres_statement(operation: str, table: _Table, column: str) -> str:
    any_row = f"ctid = (select ctid from only {table.name} order by random() limit 1)"
    if operation == "update":
        value = f"(select {column} from only {table.name} order by random() limit 1)"
        return f"update only {table.name} set {column} = {value} where {any_row}"
    if operation == "delete":
        return f"delete from only {table.name} where {any_row}"
    return f"insert into {table.name} ({', '.join(table.columns)}) {_copied(table)} where {any_row}"


def _mysql_statement(operation: str, table: _Table, column: str) -> str:
    if operation == "update":
        value = f"(select v from (select {column} as v from {table.name} order by rand() limit 1) as picked)"
        return f"update {table.name} set {column} = {value} order by rand() limit 1"
    if operation == "delete":
        return f"delete from {table.name} order by rand() limit 1"
    return f"insert into {table.name} ({', '.join(table.columns)}) {_copied(table)} order by rand() limit 1"


def _copied(table: _Table) -> str:
    """A row as it is, but for its number."""
    following = f"(select max({table.numbered}) + 1 from {table.name})"
    chosen = ", ".join(following if column == table.numbered else column for column in table.columns)
    return f"select {chosen} from {table.name}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _ticked(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
