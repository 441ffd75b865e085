"""The publisher dies, or a reply is lost, at each place; the broker dies in mid-batch.

Nothing is lost, and in transactions nothing comes twice for a reader of what is committed.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.failpoints import FAILPOINTS, REPLIES, VARIABLE
from cdc_platform_tests.crashes.conftest import forking  # noqa: F401  a fixture
from cdc_platform_tests.crashes.forks import Forks
from cdc_platform_tests.kafka.shop import Shop, shop
from cdc_platform_tests.kafka.stack import Broker
from cdc_platform_tests.kafka.topics import consumed
from cdc_platform_tests.world import World

PLACES = ("publish.sending", "publish.sent", "publish.placed")
TOPICS = ("publish.topic.made", "publish.topic.mended")
DELIVERIES = ("at-least-once", "transactional")


@pytest.fixture
def numbers(empty_world: World, broker: Broker, tmp_path: Path) -> Iterator[Shop]:
    """A table of one row."""
    with shop(empty_world, broker, tmp_path / "pipelines", "number") as made:
        made.sql("create table number (id int primary key, text text)", "insert into number values (0, 'zero')")
        yield made


def test_all_places_are_met_here() -> None:
    assert {*PLACES, *TOPICS} == {place for place in FAILPOINTS if place.startswith("publish.")}


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_death_at_each_place(numbers: Shop, forking: Forks, tmp_path: Path, delivery: str) -> None:  # noqa: F811
    numbers.configure(delivery=delivery)
    words = tmp_path / "words"
    cases = [(place, action) for place in PLACES for action in ("kill", "lost") if action == "kill" or place in REPLIES]
    assert len(cases) == 4
    for number, (place, action) in enumerate(cases, start=1):
        first = number * 1000
        numbers.sql(f"insert into number select i, 'x' from generate_series({first}, {first + 99}) i")
        variables = {**numbers.world.variables, VARIABLE: f"{place}:{action}:1"}
        ended = forking.run(variables, words, "run", "--json")
        assert ended.code == (-signal.SIGKILL if action == "kill" else 3), (place, ended.words)
        ended = forking.run(numbers.world.variables, words, "run", "--json")
        assert ended.code == 0, (place, ended.words)
    log = [event["event_id"] for event in numbers.events()]
    read = [message.headers["event_id"].decode() for message in numbers.received()]
    assert len(log) == 401
    assert list(dict.fromkeys(read)) == log, "all of them, in their order but for those that come again"
    twice = len(read) - len(log)
    if delivery == "transactional":
        assert twice == 0
    else:
        assert twice > 0, "killed before the place was said, a batch comes again (the forks work in small portions)"


def test_a_death_when_the_topic_was_made_and_mended(numbers: Shop, forking: Forks, tmp_path: Path) -> None:  # noqa: F811
    words = tmp_path / "words"
    for place in TOPICS:
        ended = forking.run({**numbers.world.variables, VARIABLE: f"{place}:kill:2"}, words, "run", "--json")
        if place == "publish.topic.made":
            assert ended.code == -signal.SIGKILL, ended.words
    assert forking.run(numbers.world.variables, words, "run", "--json").code == 0
    assert [m.headers["event_id"].decode() for m in numbers.received()] == [e["event_id"] for e in numbers.events()]


@pytest.mark.parametrize("delivery", DELIVERIES)
def test_the_broker_dies_in_mid_batch(numbers: Shop, forking: Forks, tmp_path: Path, delivery: str) -> None:  # noqa: F811
    numbers.configure(delivery=delivery)
    words = tmp_path / "words"
    assert forking.run(numbers.world.variables, words, "run", "--json").code == 0
    # In transactions of their own: the forked command reads in stretches of a few changes.
    numbers.sql(
        *(f"insert into number select i, repeat('x', 500) from generate_series({n + 1}, {n + 100}) i"
          for n in range(0, 1000, 100))
    )  # fmt: skip
    pid = forking.start({**numbers.world.variables, VARIABLE: "publish.sending:stop:1"}, words, "run", "--json")
    forking.wait(pid, stopped=True)
    numbers.broker.kill()
    os.kill(pid, signal.SIGCONT)
    time.sleep(1.0)
    numbers.broker.start()
    code = forking.wait(pid)
    assert code in (0, 3), words.read_text()
    if code:
        assert forking.run(numbers.world.variables, words, "run", "--json").code == 0
    log = [event["event_id"] for event in numbers.events()]
    read = [message.headers["event_id"].decode() for message in numbers.received()]
    assert set(read) == set(log)
    assert len(log) == 1001
    assert delivery == "at-least-once" or len(read) == len(log)


def test_a_broker_that_is_down_is_tried_again(numbers: Shop, forking: Forks, tmp_path: Path) -> None:  # noqa: F811
    words = tmp_path / "words"
    variables = {**numbers.world.variables, "KAFKA": "127.0.0.1:1"}
    ended = forking.run(variables, words, "run", "--json")
    assert ended.code == 3
    assert "Kafka at 127.0.0.1:1" in ended.words
    assert forking.run(numbers.world.variables, words, "run", "--json").code == 0
    assert len(consumed(numbers.broker, numbers.topic, 1)) == 1
