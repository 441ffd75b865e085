"""A topic with the settings that a pipeline asks for: made with them, and brought back to them. Layer: publishing.

What is set behind our back is put back at the next publishing, and said. Partitions of a topic that is there are left
as they are: more of them would move keys to other partitions, in front of their own history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from cdc_platform.config.publish import PublishConfig
from cdc_platform.failpoints import failpoint
from cdc_platform.kafka_client import PATIENCE, Cluster, Complaints, administration, library

# The smallest segments that a broker allows: a table of places is read whole, and only closed segments are compacted.
_PLACES = {"cleanup.policy": "compact", "segment.bytes": str(1 << 20), "min.cleanable.dirty.ratio": "0.1"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it should be. Partitions and replication are for a new one."""

    name: str
    partitions: int
    replication: int
    settings: Mapping[str, str] = field(default_factory=dict)


def events_topic(name: str, config: PublishConfig) -> Topic:
    """The topic of a pipeline's events."""
    settings = {
        "retention.ms": str(config.retention_ms),
        "retention.bytes": str(config.retention_bytes),
        "cleanup.policy": config.cleanup_policy,
        "max.message.bytes": str(config.max_message_bytes),
    }
    return Topic(name, config.partitions, config.replication, settings)


def places_topic(config: PublishConfig) -> Topic:
    """The topic that says how far pipelines are published: one partition, so that it has one order."""
    return Topic(config.places, 1, config.replication, _PLACES)


def keep(cluster: Cluster, topic: Topic, tell: Callable[[str], object]) -> None:
    """Make the topic, or put its settings right; `tell` gets a line about each that was not."""
    doing = f"looking after topic '{topic.name}'"
    kafka, admin = library(), administration()
    with _errors(cluster, doing) as complaints:
        client = admin.AdminClient(cluster.settings(error_cb=complaints, socket_timeout_ms=int(PATIENCE * 1000)))
        complaints.client = client
        there = client.list_topics(timeout=PATIENCE).topics
        if topic.name not in there:
            new = admin.NewTopic(topic.name, topic.partitions, topic.replication, config=dict(topic.settings))
            try:
                client.create_topics([new], operation_timeout=PATIENCE)[topic.name].result()
            except kafka.KafkaException as error:
                if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                    raise
            failpoint("publish.topic.made")
        resource = admin.ConfigResource(admin.ResourceType.TOPIC, topic.name)
        found = client.describe_configs([resource], request_timeout=PATIENCE)[resource].result()
        wrong = {name: value for name, value in topic.settings.items() if found[name].value != value}
        if not wrong:
            return
        for name, value in wrong.items():
            resource.add_incremental_config(
                admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
            )
        client.incremental_alter_configs([resource], request_timeout=PATIENCE)[resource].result()
        failpoint("publish.topic.mended")
    for name, value in wrong.items():
        tell(f"topic '{topic.name}': {name} was {found[name].value}, put back to {value}")


@contextmanager
def _errors(cluster: Cluster, doing: str) -> Iterator[Complaints]:
    complaints = Complaints()
    try:
        yield complaints
    except library().KafkaException as error:
        raise complaints.explained(cluster, error, doing) from error
