"""From configuration to a `Source`. The only place that knows which systems there are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from cdc_platform.model.event import System
from cdc_platform.model.schema import TableName
from cdc_platform.sources.source import Source


def open_source(
    system: System, connection: Mapping[str, Any], slot: str, as_text: Mapping[TableName, Collection[str]]
) -> Source:
    """A source, connected on first use. `slot` names what the platform makes at the server (Postgres only); the
    columns in `as_text` are read as the server's own text.
    """
    # Each system's driver is imported only where it is used: start-up time is what a sensor tick pays.
    if system == "postgres":
        from cdc_platform.sources.postgres.connection import PostgresConnection
        from cdc_platform.sources.postgres.source import PostgresSource

        return PostgresSource(PostgresConnection.from_mapping(dict(connection)), slot, as_text=as_text)
    from cdc_platform.sources.mysql.connection import MySQLConnection
    from cdc_platform.sources.mysql.source import MySQLSource

    return MySQLSource(MySQLConnection.from_mapping(dict(connection)), as_text=as_text)


def default_schema(system: System, connection: Mapping[str, Any]) -> str:
    """The schema of a table that is named without one."""
    return "public" if system == "postgres" else str(connection.get("database", ""))
