"""From a change log into a topic: the log's commits behind the place that the topic has, batch by batch.

    log.read(after=place.version) ── but for place.rows ──> form.encode ──> events and the next place (publisher.py)

A place lies between any two events of a log, which are read in one order whatever the slices: so a batch is a few
thousand events, also of a snapshot of millions. Layer: engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import polars as pl

from cdc_platform.change_log.slices import Slice
from cdc_platform.config.load import Pipeline
from cdc_platform.config.publish import PublishConfig
from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import ConfigError, NeedsPerson
from cdc_platform.kafka_client import Cluster
from cdc_platform.publishing.form import Form
from cdc_platform.publishing.json_form import JsonForm
from cdc_platform.publishing.place import Place, place_key, read_places
from cdc_platform.publishing.publisher import Publisher
from cdc_platform.publishing.topics import events_topic, keep, places_topic

BATCH_ROWS = 20_000


@dataclass(slots=True)
class Publication:
    """What one publishing did; `position` is where the topic stands now, in the source's words."""

    topic: str
    events: int = 0
    position: str = ""
    seconds: float = 0.0


def publish(
    flow: Flow,
    config: PublishConfig,
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda line: None,
) -> Publication:
    """Bring the topic to the end of the change log. `config` has its `${NAME}`s filled."""
    began = time.monotonic()
    done = Publication(topic_of(flow, config))
    with exclusive(flow.locks, f"publish-{flow.lock}"):
        if flow.log.position() is None:
            return done
        cluster = cluster_of(flow.pipeline, config)
        keep(cluster, places_topic(config), tell)
        keep(cluster, events_topic(done.topic, config), tell)
        largest = config.max_message_bytes
        name = f"{done.topic}-{flow.log.id()}"
        with closing(
            Publisher(cluster, done.topic, config.places, flow.log.id(), config.delivery, name, largest)
        ) as publisher:
            place = _checked(flow, publisher.place(), done.topic)
            done.position = place.position
            form: Form = JsonForm()
            for events, reached in batches(flow, place):
                publisher.send(form.encode(events), reached)
                done.events += events.height
                done.position = reached.position
                progress(f"publish {flow.pipeline.id}", done.events)
    done.seconds = time.monotonic() - began
    return done


def published(flow: Flow, config: PublishConfig) -> Place:
    """How far the flow's log is published."""
    topic, cluster = topic_of(flow, config), cluster_of(flow.pipeline, config)
    return read_places(cluster, config.places).get(place_key(topic, flow.log.id()), Place())


def batches(flow: Flow, place: Place, rows: int = BATCH_ROWS) -> Iterator[tuple[pl.DataFrame, Place]]:
    """The log's events behind `place` in order, at most `rows` at a time, each with the place behind it."""
    base, taken, skip = place, 0, place.rows
    for part in flow.log.read(after=place.version):
        if not part.files:
            continue
        behind = Place(part.version, 0, flow.log.position_of(part.version))
        seen = 0
        for events in _sliced(part, rows):
            seen += events.height
            taken += events.height
            fresh = events.tail(max(0, taken - skip))
            if fresh.height:
                whole = seen == part.rows
                yield fresh, behind if whole else Place(base.version, taken, base.position)
        if taken > skip:
            base, taken, skip = behind, 0, 0


def _sliced(part: Slice, rows: int) -> Iterator[pl.DataFrame]:
    for frame in part.frames():
        yield from frame.iter_slices(rows)


def _checked(flow: Flow, place: Place, topic: str) -> Place:
    if place.version > flow.log.version():
        raise NeedsPerson(
            f"topic '{topic}' has events up to commit {place.version} of the change log at {flow.log.path}, which ends "
            f"before: it is an older copy; put the newer one back, or publish to another topic"
        )
    return place


def topic_of(flow: Flow, config: PublishConfig) -> str:
    try:
        return config.topic_of(flow.pipeline.config.label, flow.table)
    except ValueError as error:
        raise ConfigError(f"{flow.pipeline.where}: publish.topic: {error}") from error


def cluster_of(pipeline: Pipeline, config: PublishConfig) -> Cluster:
    return Cluster(
        config.bootstrap_servers,
        config.protocol,
        config.sasl_mechanism,
        config.user,
        config.password,
        config.ssl_ca,
        config.ssl_certificate,
        config.ssl_key,
        f"{pipeline.where}: publish.bootstrap_servers",
    )
