"""From configuration to a timestamp-based source."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from cdc_platform.errors import ConfigError
from cdc_platform.sources.asked import Asked
from cdc_platform.sources.timestamp.column import Column
from cdc_platform.sources.timestamp.server import Server
from cdc_platform.sources.timestamp.source import TimestampSource


def open_timestamp_source(asked: Asked) -> TimestampSource:
    """A source, connected on first use. Raises ConfigError for a table without a cdc_column."""
    zone = ZoneInfo(asked.polling.zone)
    columns = {}
    for table, one in asked.tables.items():
        if one.cdc_column is None:
            raise ConfigError(f"source.tables[].cdc_column: say which column of {table} tells when a row changed")
        columns[table] = Column(one.cdc_column, tuple(one.primary_key or ()), zone)
    return TimestampSource(_server(asked), columns, asked.polling.window, asked.polling.page_rows)


def _server(asked: Asked) -> Server:
    # A driver is imported only where it is used.
    if asked.type == "postgres":
        from cdc_platform.sources.postgres.connection import PostgresConnection
        from cdc_platform.sources.timestamp.postgres import PostgresServer

        return PostgresServer(PostgresConnection.from_mapping(dict(asked.connection)), asked.as_text)
    from cdc_platform.sources.mysql.connection import MySQLConnection
    from cdc_platform.sources.timestamp.mysql import MySQLServer

    return MySQLServer(MySQLConnection.from_mapping(dict(asked.connection)), asked.as_text)
