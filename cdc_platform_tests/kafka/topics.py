"""What is in a topic, for tests."""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, Message, TopicPartition

from cdc_platform_tests.kafka.stack import Broker


@dataclass(frozen=True)
class Received:
    """A message as it came."""

    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    partition: int
    offset: int


def consumed(broker: Broker, topic: str, count: int, seconds: float = 60.0) -> list[Received]:
    """The first `count` messages of a topic, those of transactions that were committed. Tombstones have no value."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": secrets.token_hex(8),
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "allow.auto.create.topics": "false",
            "topic.metadata.refresh.interval.ms": "200",
        }
    )
    with closing(consumer):
        consumer.subscribe([topic])
        found: list[Received] = []
        while len(found) < count:
            message = consumer.poll(seconds)
            assert message is not None, f"{len(found)} of {count} messages after {seconds} s"
            if message.error():  # the topic is not there yet
                continue
            found.append(_received(message))
        return found


def committed(broker: Broker, topic: str, seconds: float = 60.0) -> list[Received]:
    """Everything that a reader of committed messages sees in a topic, partition after partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": secrets.token_hex(8),
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": "true",
        }
    )
    with closing(consumer):
        left = {TopicPartition(topic, number, 0) for number in consumer.list_topics(topic).topics[topic].partitions}
        consumer.assign(list(left))
        found: list[Received] = []
        while left:
            message = consumer.poll(seconds)
            assert message is not None, f"topic {topic} does not end"
            error = message.error()
            if error is None:
                found.append(_received(message))
            else:
                assert error.name() == "_PARTITION_EOF", error
                left = {one for one in left if one.partition != message.partition()}
        return sorted(found, key=lambda one: (one.partition, one.offset))


def _received(message: Message) -> Received:
    # The stubs also know another form of headers, which no consumer gives.
    told = cast("list[tuple[str, bytes]]", message.headers() or [])
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Received(message.key(), message.value() or b"", dict(told), partition, offset)
