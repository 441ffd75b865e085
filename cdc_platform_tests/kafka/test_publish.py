"""What `publish:` brings to a topic: every event of the change log, as `cdc events` tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform_tests.kafka.shop import EVERY_TYPE, ROW, Shop, shop
from cdc_platform_tests.kafka.stack import Broker
from cdc_platform_tests.world import World


@pytest.fixture
def things(empty_world: World, broker: Broker, tmp_path: Path) -> Iterator[Shop]:
    """A table of every type with three rows, nothing captured yet."""
    with shop(empty_world, broker, tmp_path / "pipelines") as made:
        made.sql(EVERY_TYPE, *(ROW.format(id=number) for number in (1, 2, 3)))
        yield made


@pytest.mark.parametrize("delivery", ["at-least-once", "transactional"])
def test_the_topic_has_the_events_of_the_log(things: Shop, delivery: str) -> None:
    things.configure(delivery=delivery)
    assert things.run()["published"]["events"] == 3
    things.sql(
        "update thing set note = null, ratio = 'NaN', exact = '-Infinity' where id = 1",
        "update thing set id = 20 where id = 2",
        "delete from thing where id = 3",
    )
    assert things.run()["published"]["events"] == 4
    assert things.run()["published"]["events"] == 0

    log, received = things.events(), things.received()
    assert len(log) == 7
    assert [json.loads(message.value) for message in received] == log
    assert [message.headers["event_id"].decode() for message in received] == [event["event_id"] for event in log]
    for message, event in zip(received, log, strict=True):
        image = event["after"] or event["before"]
        assert message.key is not None
        assert json.loads(message.key) == {"id": image["id"], "part": image["part"]}
