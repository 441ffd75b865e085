"""Kafka through librdkafka: topics, how far they go, and their messages in blocks. Layer: sources; the driver's room.

Partitions are assigned, not subscribed to: where reading goes on is said by the change log, never by the group's own
committed offsets, which are written for other people's displays alone.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, Unavailable
from cdc_platform.sources.cells import Ints
from cdc_platform.sources.debezium.messages import Messages
from cdc_platform.sources.kafka.connection import KafkaConnection

try:
    import confluent_kafka as kafka
    from confluent_kafka import admin
except ImportError as error:
    raise ConfigError("reading Kafka needs the extra 'kafka': pip install 'cdc-platform[kafka]'") from error

ANSWER_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 60.0
"""For how long a broker that has messages for us may give none."""

_FETCH: Final = 10_000
_DENIED: Final = (
    kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED,
    kafka.KafkaError.GROUP_AUTHORIZATION_FAILED,
    kafka.KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)
_SIGN_IN: Final = (kafka.KafkaError._AUTHENTICATION, kafka.KafkaError.SASL_AUTHENTICATION_FAILED)
_WRONG: Final = (kafka.KafkaError._INVALID_ARG, kafka.KafkaError._SSL, kafka.KafkaError._RESOLVE)


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is now; `id` is another one where it was deleted and made again."""

    name: str
    id: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Messages in the order in which they came; arrays of one length. `reached` is by partition the offset before which
    everything has been seen, control records too."""

    messages: Messages
    partitions: Ints
    offsets: Ints
    timestamps: Ints
    reached: Mapping[int, int]
    bytes: int


@dataclass(slots=True)
class Client:
    """Connected on first use."""

    connection: KafkaConnection
    group: str
    _consumer: Any = None
    _admin: Any = None
    _said: list[Any] = field(default_factory=list)

    def cluster(self) -> str:
        """The cluster's own id."""
        with self._errors("asking who the cluster is"):
            return str(self._metadata(None).cluster_id)

    def topic(self, name: str) -> Topic:
        """ConfigError, with near names, where there is none."""
        with self._errors(f"looking at topic '{name}'"):
            found = self._administration().describe_topics(kafka.TopicCollection([name]))[name]
            try:
                described = found.result(ANSWER_SECONDS)
            except kafka.KafkaException as error:
                if error.args[0].code() != kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
                near = difflib.get_close_matches(name, list(self._metadata(None).topics), 1)
                hint = f"did you mean '{near[0]}'?" if near else "correct topic_prefix, the table's name, or give topic"
                raise ConfigError(f"there is no topic '{name}' at {self.connection}; {hint}") from error
            partitions = tuple(sorted(int(one.id) for one in described.partitions))
            return Topic(name, str(described.topic_id), partitions)

    def ends(self, topic: Topic) -> dict[int, tuple[int, int]]:
        """By partition: the first offset that is kept, and the one behind the last that may be read."""
        with self._errors(f"looking how far topic '{topic.name}' goes"):
            found = {}
            for number in topic.partitions:
                place = kafka.TopicPartition(topic.name, number)
                found[number] = self._opened().get_watermark_offsets(place, ANSWER_SECONDS)
            return {number: (int(low), int(high)) for number, (low, high) in found.items()}

    def read(self, topic: Topic, since: Mapping[int, int], until: Mapping[int, int], size: int) -> Iterator[Block]:
        """All messages in [since, until) of each partition, in blocks of about `size` bytes."""
        reached = dict(since)
        open_ones = {p for p in topic.partitions if reached[p] < until[p]}
        if not open_ones:
            return
        consumer = self._opened()
        places = [kafka.TopicPartition(topic.name, p, reached[p]) for p in sorted(open_ones)]
        with self._errors(f"reading topic '{topic.name}'"):
            consumer.assign(places)
        gathered, total, heard = [], 0, time.monotonic()
        while open_ones:
            with self._errors(f"reading topic '{topic.name}'"):
                got = consumer.consume(_FETCH, 1.0)
            if got:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS or self._refused():
                self._raise_silent(topic)
            for message in got:
                if (error := message.error()) is not None:
                    if error.code() != kafka.KafkaError._PARTITION_EOF:
                        with self._errors(f"reading topic '{topic.name}'"):
                            raise kafka.KafkaException(error)
                    reached[message.partition()] = max(reached[message.partition()], message.offset())
                elif message.offset() < until[message.partition()]:
                    gathered.append(message)
                    reached[message.partition()] = message.offset() + 1
                    total += len(message)
                else:
                    reached[message.partition()] = max(reached[message.partition()], until[message.partition()])
            open_ones = {p for p in open_ones if reached[p] < until[p]}
            if total >= size or (not open_ones and gathered):
                yield _block(gathered, {p: min(reached[p], until[p]) for p in topic.partitions}, total)
                gathered, total = [], 0
        with self._errors(f"reading topic '{topic.name}'"):
            consumer.unassign()

    def last(self, topic: Topic, ends: Mapping[int, tuple[int, int]], count: int) -> Block | None:
        """The last `count` offsets' messages of each partition."""
        since = {p: max(low, high - count) for p, (low, high) in ends.items()}
        blocks = list(self.read(topic, since, {p: high for p, (_, high) in ends.items()}, 1 << 62))
        return blocks[0] if blocks else None

    def commit(self, topic: str, offsets: Mapping[int, int]) -> None:
        """Tell the group's offsets, for others to see the lag by. That it fails is nothing to us."""
        try:
            places = [kafka.TopicPartition(topic, p, offset) for p, offset in offsets.items()]
            self._opened().commit(offsets=places, asynchronous=True)
        except kafka.KafkaException:
            return

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _metadata(self, topic: str | None) -> Any:
        return (
            self._opened().list_topics(topic, ANSWER_SECONDS)
            if topic
            else self._opened().list_topics(timeout=ANSWER_SECONDS)
        )

    def _settings(self) -> dict[str, Any]:
        given = self.connection
        settings: dict[str, Any] = {
            "bootstrap.servers": given.bootstrap_servers,
            "security.protocol": given.security_protocol,
            "error_cb": self._said.append,
            "socket.connection.setup.timeout.ms": 10_000,
            "reconnect.backoff.max.ms": 2_000,
            "log_level": 0,
        }
        optional = {
            "sasl.mechanism": given.sasl_mechanism, "sasl.username": given.user, "sasl.password": given.password,
            "ssl.ca.location": given.ssl_ca,
        }  # fmt: skip
        return settings | {key: value for key, value in optional.items() if value is not None}

    def _opened(self) -> Any:
        if self._consumer is None:
            own = {
                "group.id": self.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "fetch.max.bytes": 64 << 20,
                "max.partition.fetch.bytes": 16 << 20,
                "queued.max.messages.kbytes": 128 << 10,
                "fetch.queue.backoff.ms": 5,
            }
            with self._errors("connecting"):
                self._consumer = kafka.Consumer(self._settings() | own)
        return self._consumer

    def _administration(self) -> Any:
        if self._admin is None:
            with self._errors("connecting"):
                self._admin = admin.AdminClient(self._settings())
        return self._admin

    def _refused(self) -> bool:
        return any(said.code() in _SIGN_IN for said in self._said)

    def _raise_silent(self, topic: Topic) -> None:
        with self._errors(f"reading topic '{topic.name}'"):
            raise kafka.KafkaException(kafka.KafkaError(kafka.KafkaError._TIMED_OUT))

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except CdcError:
            raise
        except (kafka.KafkaException, TimeoutError) as error:
            told = error.args[0] if isinstance(error, kafka.KafkaException) else None
            raise self._translated(told, doing) from error

    def _translated(self, told: Any, doing: str) -> CdcError:
        for one in (self._admin, self._consumer):
            if one is not None:
                one.poll(0)  # what brokers said is told in here
        at, code = f"Kafka at {self.connection}", told.code() if told is not None else None
        if self._refused() or code in _SIGN_IN:
            return ConfigError(f"{at} refuses us while {doing}; correct user, password and sasl_mechanism")
        if code in _DENIED:
            return NeedsPerson(f"{at}: {doing} is not allowed to us: {told.str()}; grant read and describe")
        if code in _WRONG or any(said.code() in _WRONG for said in self._said):
            said = next((one for one in self._said if one.code() in _WRONG), told)
            return ConfigError(f"{at}: {doing} failed: {said.str()}; correct the connection")
        if code == kafka.KafkaError._AUTO_OFFSET_RESET or code == kafka.KafkaError.OFFSET_OUT_OF_RANGE:
            return Unavailable(f"{at}: what is to be read went while {doing}; run again")
        words = told.str() if told is not None else "no answer"
        return Unavailable(f"{at}: {doing} was not possible: {words}; is it up? run again")


def _block(messages: list[Any], reached: Mapping[int, int], size: int) -> Block:
    """In order of their timestamps, which is that of the source where one connector writes several partitions; those of
    a partition stay in theirs."""
    partitions = np.fromiter((m.partition() for m in messages), np.int64, len(messages))
    offsets = np.fromiter((m.offset() for m in messages), np.int64, len(messages))
    stamps = np.fromiter((m.timestamp()[1] for m in messages), np.int64, len(messages))
    keys, values = [m.key() for m in messages], [m.value() for m in messages]
    if len(reached) > 1 and len(messages):
        for partition in np.unique(partitions):
            own = partitions == partition
            stamps[own] = np.maximum.accumulate(stamps[own])
        order = np.argsort(stamps, kind="stable")
        partitions, offsets, stamps = partitions[order], offsets[order], stamps[order]
        keys, values = [keys[i] for i in order], [values[i] for i in order]
    return Block(Messages.of(keys, values), partitions, offsets, stamps, dict(reached), size)
