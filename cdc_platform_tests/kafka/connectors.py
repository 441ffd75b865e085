"""Configurations of connectors: what Connect is told to capture, and how to write it."""

from __future__ import annotations

from cdc_platform.servers.state import ServerState
from cdc_platform_tests.kafka.stack import Registry


def debezium_postgres(database: ServerState, prefix: str) -> dict[str, str]:
    """A connector's configuration for all of a database's tables."""
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "topic.prefix": prefix,
        "database.hostname": database.host,
        "database.port": str(database.port),
        "database.user": database.user,
        "database.password": database.password,
        "database.dbname": database.database,
        "plugin.name": "pgoutput",
        "slot.name": prefix,
        "publication.name": prefix,
        "slot.drop.on.stop": "true",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
    }


def avro_converters(registry: Registry) -> dict[str, str]:
    """What a connector's configuration says to write Avro in Confluent's form: 0, the schema's id, the value."""
    settings: dict[str, str] = {}
    for part in ("key", "value"):
        prefix = f"{part}.converter"
        settings |= {
            prefix: "io.apicurio.registry.utils.converter.AvroConverter",
            f"{prefix}.apicurio.registry.url": registry.own_url,
            f"{prefix}.apicurio.registry.auto-register": "true",
            f"{prefix}.apicurio.registry.find-latest": "true",
            f"{prefix}.apicurio.registry.as-confluent": "true",
            f"{prefix}.apicurio.registry.use-id": "contentId",
            f"{prefix}.apicurio.registry.headers.enabled": "false",
            f"{prefix}.schemas.enable": "false",
        }
    return settings
