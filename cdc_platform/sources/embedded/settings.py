"""The engine's properties: what is fixed, and what a pipeline may set. Pure. Layer: sources.

Fixed is what decides which changes are delivered, in which order and as which values. What is left to
`source.debezium.properties` is how fast and with how much memory, how connections are kept, and time-outs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Final

from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableName
from cdc_platform.sources.embedded.frames import PREFIX
from cdc_platform.sources.postgres.connection import SETTINGS, PostgresConnection

_FREE: Final = re.compile(
    r"max\.batch\.size|max\.queue\.size(\.in\.bytes)?|poll\.interval\.ms|status\.update\.interval\.ms"
    r"|record\.processing\.threads|slot\.(max\.retries|retry\.delay\.ms)|xmin\.fetch\.interval\.ms"
    r"|database\.(query\.timeout\.ms|tcpKeepAlive)|driver\.(socketTimeout|loginTimeout|sslfactory)"
    r"|connect\.(timeout\.ms|keep\.alive(\.interval\.ms)?)"
)
_DRIVERS: Final = ("client_encoding", "datestyle")  # that Java's driver sets by itself, and insists on
_KNOWN: Final = "max.batch.size, max.queue.size, poll.interval.ms, time-outs and the like"

COMMON: Final[Mapping[str, str]] = {
    "name": PREFIX,
    "topic.prefix": PREFIX,
    "offset.storage": "cdc.GivenOffset",
    "errors.max.retries": "0",  # the platform starts again, from its logs
    "tombstones.on.delete": "false",
    "skipped.operations": "none",
    "provide.transaction.metadata": "true",
    "heartbeat.interval.ms": "1000",
    "snapshot.mode": "no_data",
    "max.batch.size": "8192",
    "max.queue.size": "32768",
    "max.queue.size.in.bytes": str(64 << 20),
    "poll.interval.ms": "50",
    # Values as exact as Debezium has them.
    "decimal.handling.mode": "string",  # elsewhere NaN is null
    "time.precision.mode": "adaptive_time_microseconds",
    "binary.handling.mode": "bytes",
    "hstore.handling.mode": "json",
    "interval.handling.mode": "string",
}


def check_properties(properties: Mapping[str, str]) -> None:
    """Raise ConfigError about one that is not free to be set."""
    for name in properties:
        if not _FREE.fullmatch(name):
            raise ConfigError(
                f"source.debezium.properties: '{name}' is fixed, as it may change what is delivered; free are {_KNOWN}"
            )


def postgres_properties(
    connection: PostgresConnection,
    slot: str,
    begin: int,
    whole: Collection[TableName],
    properties: Mapping[str, str],
) -> dict[str, str]:
    """An engine that reads the slot, and the publication of its name, from the LSN `begin` on. `whole` are the tables
    whose old rows are in the log.

    An offset without `lsn_commit` and `lsn_proc` makes Debezium deliver all that the server sends; the server sends the
    transactions whose commit record begins at or after `begin` and the slot's own mark. `lsn.flush.mode: manual`: that
    mark is not moved, by Debezium or its driver.
    """
    if connection.sslrootcert == "system":
        raise ConfigError("connection: sslrootcert: system is not known to Java's driver; name a file of authorities")
    encryption = {
        "database.sslmode": connection.sslmode,
        "database.sslrootcert": connection.sslrootcert,
        "database.sslcert": connection.sslcert,
        "database.sslkey": connection.sslkey,
    }
    return {
        **COMMON,
        **properties,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": connection.host,
        "database.port": str(connection.port),
        "database.user": connection.user,
        "database.password": connection.password,
        "database.dbname": connection.database,
        **{name: value for name, value in encryption.items() if value},
        # What the server writes must not depend on what the role, the database or Java's own zone have set.
        "driver.options": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items() if name not in _DRIVERS),
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "slot.drop.on.stop": "false",
        "publication.name": slot,
        "publication.autocreate.mode": "disabled",
        "lsn.flush.mode": "manual",
        "offset.mismatch.strategy": "no_validation",
        "include.unknown.datatypes": "true",
        "cdc.whole": json.dumps([str(table) for table in whole]),
        "cdc.offset.key": json.dumps([PREFIX, {"server": PREFIX}], separators=(",", ":")),
        "cdc.offset.value": json.dumps({"lsn": begin, "ts_usec": 0}),
    }
