"""From configuration to a `Source`. The only place that knows which systems and methods there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cdc_platform.errors import ConfigError
from cdc_platform.model.event import System
from cdc_platform.sources.asked import Asked, Method, SourceType
from cdc_platform.sources.source import Source


def open_source(asked: Asked) -> Source:
    """A source, connected on first use."""
    # Each system's driver is imported only where it is used: start-up time is what a sensor tick pays.
    match asked.type, asked.method:
        case "postgres", "native":
            from cdc_platform.sources.postgres.connection import PostgresConnection
            from cdc_platform.sources.postgres.source import PostgresSource

            connection = PostgresConnection.from_mapping(dict(asked.connection))
            return PostgresSource(connection, asked.name, as_text=asked.as_text)
        case "mysql", "native":
            from cdc_platform.sources.mysql.connection import MySQLConnection
            from cdc_platform.sources.mysql.source import MySQLSource

            return MySQLSource(MySQLConnection.from_mapping(dict(asked.connection)), as_text=asked.as_text)
        case (("postgres" | "mysql"), "timestamp-based"):
            from cdc_platform.sources.timestamp.open import open_timestamp_source

            return open_timestamp_source(asked)
        case "kafka", "debezium":
            from cdc_platform.sources.kafka.connection import KafkaConnection
            from cdc_platform.sources.kafka.source import KafkaSource

            topics = {table: one.topic for table, one in asked.tables.items()}
            return KafkaSource(KafkaConnection.from_mapping(asked.connection), asked.name, topics)
        case "deltalake", "native":
            from cdc_platform.sources.lake.connection import delta_source

            return delta_source(asked)
        case "iceberg", "native":
            from cdc_platform.sources.lake.connection import iceberg_source

            return iceberg_source(asked)
        case other:
            raise ConfigError(f"source.type: {other[0]} cannot be read by cdc_method: {other[1]} yet")


def default_schema(system: System, connection: Mapping[str, Any]) -> str:
    """The schema of a table that is named without one."""
    match system:
        case "postgres":
            return "public"
        case "mysql":
            return str(connection.get("database", ""))
        case "deltalake" | "iceberg":
            return "default"


def one_log(source: SourceType, method: Method) -> bool:
    """Whether the source has one log for all its tables; otherwise each table has positions of its own."""
    return source in ("postgres", "mysql") and method != "timestamp-based"
