"""The parts work together: what Debezium writes of a database comes back from the broker, as JSON and as Avro."""

from __future__ import annotations

import json
import secrets
import struct
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest

from cdc_platform.servers.state import ServerState
from cdc_platform_tests.kafka.connectors import avro_converters, debezium_postgres
from cdc_platform_tests.kafka.stack import Broker, Connect, Registry
from cdc_platform_tests.kafka.topics import consumed


@pytest.fixture
def person(postgres_database: ServerState) -> Iterator[ServerState]:
    """A database with a table of one row."""
    with closing(psycopg2.connect(postgres_database.dsn())) as session:
        session.autocommit = True
        session.cursor().execute("create table person (id int primary key, name text)")
        session.cursor().execute("insert into person values (1, 'Ada')")
        yield postgres_database


def test_debezium_writes_json(person: ServerState, connect: Connect, broker: Broker) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    with connect.running(prefix, debezium_postgres(person, prefix)):
        (message,) = consumed(broker, f"{prefix}.public.person", 1)
    assert json.loads(message.value)["payload"]["after"] == {"id": 1, "name": "Ada"}
    assert message.key is not None
    assert json.loads(message.key)["payload"] == {"id": 1}


def test_debezium_writes_avro(person: ServerState, connect: Connect, broker: Broker, registry: Registry) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    config = {**debezium_postgres(person, prefix), **avro_converters(registry)}
    with connect.running(prefix, config):
        (message,) = consumed(broker, f"{prefix}.public.person", 1)
    magic, number = struct.unpack(">bI", message.value[:5])
    assert magic == 0
    with urllib.request.urlopen(f"{registry.url}/schemas/ids/{number}") as answer:
        schema = json.loads(json.loads(answer.read())["schema"])
    assert schema["name"] == "Envelope"
    assert b"Ada" in message.value
