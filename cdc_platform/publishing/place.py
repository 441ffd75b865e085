"""How far a change log is published: records of a compacted topic, the last one of a key counts.

    key     topic, log id              a log that was begun anew is published anew
    value   {"version", "rows", "position"}

A place is "everything up to `version` of the log, and `rows` events behind it". It lives beside the events: a cluster
that lost its topics has lost the places with them. Layer: publishing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import uuid4

from cdc_platform.errors import NotUnderstood, Unavailable
from cdc_platform.kafka_client import PATIENCE, Cluster, Complaints, library

_WAIT: Final = 70.0
"""Longer than a transaction of another process that died may hold back what is behind it."""


@dataclass(frozen=True, slots=True)
class Place:
    """`position` is the source's at `version`, for people."""

    version: int = 0
    rows: int = 0
    position: str = ""

    def value(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def place_key(topic: str, log_id: str) -> bytes:
    return json.dumps([topic, log_id]).encode()


def read_places(cluster: Cluster, topic: str, wait: float = _WAIT) -> Mapping[bytes, Place]:
    """All places by key, as of now: what transactions that were committed say. Empty where there is no such topic.

    Waits for transactions that are open, as a place of ours may lie behind them.
    """
    kafka, complaints = library(), Complaints()
    consumer = kafka.Consumer(
        cluster.settings(
            group_id=f"cdc_platform-{uuid4()}",  # required, and never committed to
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_partition_eof=True,
            error_cb=complaints,
        )
    )
    complaints.client = consumer
    doing, found = f"reading topic '{topic}'", dict[bytes, Place]()
    try:
        if topic not in consumer.list_topics(timeout=PATIENCE).topics:
            return found
        end = _end(cluster, topic)
        consumer.assign([kafka.TopicPartition(topic, 0, 0)])
        reached, deadline = 0, time.monotonic() + wait
        while reached < end:
            message = consumer.poll(0.5)
            if message is None:
                if time.monotonic() > deadline:
                    raise Unavailable(f"{doing}: a transaction of another process is open; run again")
            elif message.error() is None:
                found[message.key()] = _place(topic, message.value())
                reached = message.offset() + 1
            elif message.error().name() == "_PARTITION_EOF":
                reached = max(reached, message.offset())
            else:
                _fail(message.error())
    except kafka.KafkaException as error:
        raise complaints.explained(cluster, error, doing) from error
    finally:
        consumer.close()
    return found


def _fail(error: Any) -> None:
    raise library().KafkaException(error)


def _end(cluster: Cluster, topic: str) -> int:
    """The offset behind the last record, of open transactions, too."""
    kafka = library()
    consumer = kafka.Consumer(cluster.settings(group_id="cdc_platform", isolation_level="read_uncommitted"))
    try:
        return int(consumer.get_watermark_offsets(kafka.TopicPartition(topic, 0), timeout=PATIENCE)[1])
    finally:
        consumer.close()


def _place(topic: str, value: bytes | None) -> Place:
    try:
        return Place(**json.loads(value or b""))
    except (ValueError, TypeError) as error:
        raise NotUnderstood(
            f"topic '{topic}' holds something that is no place of a pipeline; name another with publish.places"
        ) from error
