"""Whether a server can be captured from: settings, privileges, tables. Each finding is one line that says what to do.

Layer: sources. What can only be seen in the log itself (a session that logs statements) is found by `follow.py`.
"""

from __future__ import annotations

from collections.abc import Iterable

from cdc_platform.errors import NeedsPerson, NotUnderstood
from cdc_platform.sources.mysql.catalogue import Catalogue, Table, quoted
from cdc_platform.sources.mysql.characters import UTF8
from cdc_platform.sources.mysql.connection import Session
from cdc_platform.sources.mysql.server import Head, Server
from cdc_platform.sources.mysql.types import STRINGS

FULL = "FULL"

_WANTED = {
    "log_bin": ("ON", "set log_bin in the server's configuration and restart it"),
    "binlog_format": ("ROW", "run: set global binlog_format = 'ROW'"),
    "binlog_row_metadata": ("FULL", "run: set global binlog_row_metadata = 'FULL'"),
    "log_bin_compress": ("OFF", "run: set global log_bin_compress = OFF"),
    "binlog_transaction_compression": ("OFF", "run: set global binlog_transaction_compression = OFF"),
    "binlog_row_value_options": ("", "run: set global binlog_row_value_options = ''"),
}


def check_settings(session: Session) -> None:
    """NeedsPerson unless the binlog holds rows with their columns' names, uncompressed."""
    values = session.variables(*_WANTED)
    for name, (wanted, action) in _WANTED.items():
        if name in values and values[name].upper() != wanted:
            raise NeedsPerson(
                f"MySQL: {name} is {values[name] or 'empty'}, capture needs {wanted or 'it empty'}; {action}"
            )


def check_images(session: Session, server: Server, catalogue: Catalogue, tables: Iterable[Table]) -> None:
    """Where row images lack columns, NeedsPerson for a table whose rows could not be completed from them."""
    values = session.variables("binlog_row_image")
    if values.get("binlog_row_image", FULL).upper() == FULL:
        return
    for table in tables:
        name = table.schema.table
        action = "run: set global binlog_row_image = 'FULL'"
        if not table.schema.primary_key:
            raise NeedsPerson(f"{name} has no primary key, and MySQL logs only part of a row's columns; {action}")
        virtual = set(table.schema.names) - catalogue.rules(name, certain=False, mariadb=server.mariadb).stored
        if virtual and server.mariadb:
            raise NeedsPerson(
                f"{name} has the virtual column {min(virtual)}, and MariaDB leaves such columns out of the parts of"
                f" rows that it logs; {action}"
            )


def check_filters(head: Head, tables: Iterable[Table]) -> None:
    """NeedsPerson for a table whose database the server leaves out of its binlog."""
    for table in tables:
        database = table.schema.table.schema
        if database in head.ignored or (head.included and database not in head.included):
            raise NeedsPerson(
                f"MySQL leaves database {database} out of its binlog;"
                " change binlog_do_db or binlog_ignore_db and restart it"
            )


def check_tables(session: Session, catalogue: Catalogue, tables: Iterable[Table]) -> None:
    """Whether each table can be read, and read consistently, and its rows understood."""
    engines = {
        str(name).lower()
        for (name,) in session.rows("select engine from information_schema.engines where transactions = 'YES'")
    }
    for table in tables:
        name = table.schema.table
        session.run(f"select 1 from {quoted(name)} limit 0")
        if table.engine.lower() not in engines:
            raise NeedsPerson(
                f"{name} is kept by {table.engine}, which has no consistent snapshots;"
                f" run: alter table {quoted(name)} engine=InnoDB"
            )
        for column, kind in zip(table.schema.columns, table.types, strict=True):
            if kind.base in STRINGS and kind.charset not in UTF8 and catalogue.codepage(kind.charset) is None:
                raise NotUnderstood(
                    f"{name}, column {column.name}: character set {kind.charset} is not understood;"
                    " convert the column to utf8mb4"
                )


def check_snapshot_privilege(session: Session, server: Server) -> None:
    """MySQL's snapshot takes a short global read lock, which needs RELOAD. What a role grants is not seen here."""
    if server.mariadb:
        return
    grants = [str(row[0]).upper() for row in session.rows("show grants")]
    if any(grant.startswith("GRANT `") for grant in grants):
        return
    if not any(("RELOAD" in grant or "ALL PRIVILEGES" in grant) and " ON *.* " in grant for grant in grants):
        raise NeedsPerson(
            "MySQL: the user lacks RELOAD, which a consistent snapshot needs; run: grant reload on *.* to the user"
        )
