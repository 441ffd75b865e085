"""What `publish:` brings to a topic: every event of the change log, as `cdc events` tells it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.kafka_client import administration
from cdc_platform_tests.kafka.shop import EVERY_TYPE, ROW, Shop, shop
from cdc_platform_tests.kafka.stack import Broker
from cdc_platform_tests.world import World

admin = administration()


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


def test_a_topic_has_its_settings_and_gets_them_back(things: Shop) -> None:
    things.world.run()
    assert settings_of(things) == ("3600000", "1073741824", "delete")
    alter(things, "retention.ms", "1000")
    results = things.world.run_all()
    assert [result.error for result in results] == [None]
    assert settings_of(things) == ("3600000", "1073741824", "delete")


@pytest.mark.parametrize(
    ("publish", "code", "words"),
    [
        ({"user": "cdc", "password": "never-this"}, 2, "refuses the login"),
        ({"user": "cdc", "password": "secret"}, 0, ""),
        ({"max_message_bytes": 1024}, 4, "max_message_bytes"),
        ({"format": "xml"}, 2, "publish.format"),
        ({"retention": 1}, 2, "did you mean"),
    ],
)
def test_what_is_wrong_is_said(things: Shop, publish: dict[str, object], code: int, words: str) -> None:
    things.sql("update thing set note = (select string_agg(md5(i::text), '') from generate_series(1, 400) i)")
    things.configure(**publish)
    login = {"KAFKA": things.broker.sasl} if "user" in publish else {}
    said = things.run(code, **login)
    assert words in str(said)
    assert "never-this" not in str(said)


def settings_of(made: Shop) -> tuple[str, ...]:
    client, resource = admin.AdminClient({"bootstrap.servers": made.broker.bootstrap}), _resource(made)
    found = client.describe_configs([resource])[resource].result()
    return tuple(found[name].value for name in ("retention.ms", "retention.bytes", "cleanup.policy"))


def alter(made: Shop, name: str, value: str) -> None:
    client, resource = admin.AdminClient({"bootstrap.servers": made.broker.bootstrap}), _resource(made)
    entry = admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
    resource.add_incremental_config(entry)
    client.incremental_alter_configs([resource])[resource].result()


def _resource(made: Shop) -> Any:
    return admin.ConfigResource(admin.ResourceType.TOPIC, made.topic)
