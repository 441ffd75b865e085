"""Events and their place on their way to Kafka, batch after batch.

    at-least-once    produce events ── all acknowledged ──> produce the place ── acknowledged
    transactional    begin ── events, place ──> commit: both or neither

After a death the place is read back and publishing goes on from there: at least once, the events of the batch that was
under way come a second time, with the same ids; in transactions none does, for readers of what is committed. The
transactional id is the pipeline's, so that a process which comes back from the dead is fenced by the one that took
over; it opens its transactions before the place is read, which ends those that were left.

The producer is idempotent in both ways: an acknowledgement that was lost makes no event come twice, nor out of order.
Layer: publishing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cdc_platform.config.publish import Delivery
from cdc_platform.errors import CdcError, NeedsPerson, Unavailable
from cdc_platform.failpoints import failpoint
from cdc_platform.kafka_client import PATIENCE, Cluster, Complaints, library
from cdc_platform.publishing.form import Messages
from cdc_platform.publishing.place import Place, place_key, read_places

EVENT_ID: Final = "event_id"
_DELIVERY_SECONDS: Final = 60.0
_TRANSACTION_SECONDS: Final = 60.0


class Publisher:
    """One log's way into one topic; the only one at a time (the engine holds the pipeline's lock)."""

    def __init__(
        self, cluster: Cluster, topic: str, places: str, log_id: str, delivery: Delivery, name: str, largest: int
    ) -> None:
        self._cluster, self._topic, self._places = cluster, topic, places
        self._key = place_key(topic, log_id)
        self._transactional = delivery == "transactional"
        self._doing = f"publishing to topic '{topic}'"
        self._failed: list[Any] = []
        self._complaints = Complaints()
        kafka = library()
        more: dict[str, object] = {
            "enable_idempotence": True,
            # As Java's clients: a key is in the same partition whoever writes it.
            "partitioner": "murmur2_random",
            "compression_type": "lz4",
            "linger_ms": 20,
            "batch_size": 1 << 20,
            "message_max_bytes": largest + 4096,
            "delivery_report_only_error": True,
            "error_cb": self._complaints,
        }
        if self._transactional:
            more |= {"transactional_id": f"cdc_platform-{name}"}
            more |= {"transaction_timeout_ms": int(_TRANSACTION_SECONDS * 1000)}
        else:
            more |= {"message_timeout_ms": int(_DELIVERY_SECONDS * 1000)}
        with self._errors():
            self._producer = kafka.Producer(cluster.settings(**more))
            self._complaints.client = self._producer
            if self._transactional:
                self._producer.init_transactions(_DELIVERY_SECONDS)

    def place(self) -> Place:
        """How far the log is published; the beginning, where it never was."""
        return read_places(self._cluster, self._places).get(self._key, Place())

    def send(self, messages: Messages, place: Place) -> None:
        """Publish these, and with them that the log is published up to `place`. On return both are with the broker.

        An error means that the events may be there, and the place may be: open anew and ask.
        """
        with self._errors():
            if self._transactional:
                self._producer.begin_transaction()
            try:
                self._produce_all(messages)
                self._flush()
                failpoint("publish.sent")
                self._producer.produce(self._places, place.value(), self._key, on_delivery=self._noted)
                if self._transactional:
                    self._producer.commit_transaction(_TRANSACTION_SECONDS)
                else:
                    self._flush()
            except BaseException:
                self._abort()
                raise
        failpoint("publish.placed", Unavailable)

    def close(self) -> None:
        """Let what is still in the queue go: nothing of it is acknowledged."""
        self._producer.purge()
        self._producer.close()

    def _produce_all(self, messages: Messages) -> None:
        produce, poll, topic, noted = self._producer.produce, self._producer.poll, self._topic, self._noted
        middle = len(messages) // 2
        for number, (key, value, event_id) in enumerate(zip(messages.keys, messages.values, messages.ids, strict=True)):
            if number == middle:
                poll(0)
                failpoint("publish.sending")
            while True:
                try:
                    produce(topic, value, key, headers=[(EVENT_ID, event_id)], on_delivery=noted)
                    break
                except BufferError:  # the queue is full: wait for acknowledgements
                    poll(1.0)
                    self._raise_failed()
                except library().KafkaException as error:
                    if error.args[0].name() == "MSG_SIZE_TOO_LARGE":
                        raise self._too_large(len(value), event_id) from error
                    raise

    def _too_large(self, size: int, event_id: bytes) -> CdcError:
        return NeedsPerson(
            f"{self._doing}: event {event_id.decode()} takes {size:,} bytes; raise publish.max_message_bytes, "
            "and the broker's own bound where there is one"
        )

    def _flush(self) -> None:
        deadline = time.monotonic() + _DELIVERY_SECONDS + PATIENCE
        while self._producer.flush(1.0):
            self._raise_failed()
            if time.monotonic() > deadline:
                raise Unavailable(f"{self._doing}: Kafka at {self._cluster.bootstrap} does not answer; run again")
        self._raise_failed()

    def _noted(self, error: Any, message: Any) -> None:
        """Called for messages that could not be delivered, and for no others."""
        if error is not None:
            self._failed.append(error)

    def _raise_failed(self) -> None:
        if self._failed:
            raise library().KafkaException(self._failed[0])

    def _abort(self) -> None:
        if not self._transactional:
            return
        try:
            self._producer.purge()
            self._producer.abort_transaction(PATIENCE)
        except library().KafkaException:
            return  # the next who opens transactions of this id ends it

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except library().KafkaException as error:
            raise self._complaints.explained(self._cluster, error, self._doing) from error
