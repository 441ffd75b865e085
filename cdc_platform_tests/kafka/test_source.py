"""A topic of Debezium's events as a source: nothing lost, nothing twice."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from cdc_platform.errors import CdcError, ConfigError, Gap, InvalidRow, Unavailable
from cdc_platform_tests.kafka.feeding import EXTRA, Feeding, delete, insert, read, update
from cdc_platform_tests.kafka.stack import Broker


@pytest.fixture
def topic(broker: Broker, tmp_path: Path) -> Feeding:
    return Feeding(broker, tmp_path)


def test_rows_read_and_changed(topic: Feeding) -> None:
    topic.write(read(1, "a"), read(2, "b"))
    topic.run()
    assert topic.state() == {1: "a", 2: "b"}
    topic.write(insert(3, "c"), update(1, "A"), delete(2))
    topic.run()
    assert topic.state() == {1: "A", 3: "c"}
    topic.run()
    assert topic.history() == [
        ("INSERT", 1, "a"), ("INSERT", 2, "b"), ("INSERT", 3, "c"), ("UPDATE", 1, "A"), ("DELETE", 2, None),
    ]  # fmt: skip


def test_several_partitions_and_one_that_is_added(topic: Feeding, broker: Broker) -> None:
    """The changes of a key keep their order; each arrives once, in whatever order partitions are read."""
    topic.spread(3)
    topic.write(*(read(n, "r") for n in range(20)))
    topic.run()
    for n in range(20):
        topic.write(update(n, "u"), delete(n) if n % 3 else update(n, "v"))
    topic.run()
    topic.spread(4)
    topic.write(*(insert(n, "n") for n in range(100, 140)))
    topic.run()
    assert topic.state() == dict.fromkeys(range(0, 20, 3), "v") | dict.fromkeys(range(100, 140), "n")
    assert len(topic.history()) == 20 + 40 + 40


def test_what_a_connector_sends_again_is_dropped(topic: Feeding) -> None:
    """After a restart it goes on from an older offset of its own; a key's change is two events at one position."""
    topic.write(read(1, "a"))
    sent = topic.write(insert(2, "b"), update(1, "c"), delete(2), insert(2, "d"))
    moved = topic.messages(delete(1), insert(9, "c"))
    moved[-1] = (moved[-1][0], (moved[-1][1] or b"").replace(str(topic.lsn).encode(), str(topic.lsn - 0x40).encode()))
    topic.send(moved)
    topic.run()
    topic.send(sent[1:])
    topic.send(moved)
    topic.write(update(9, "e"))
    topic.run()
    topic.send(sent[-1:])
    topic.send(moved[:1])
    topic.run()
    assert topic.state() == {2: "d", 9: "e"}
    assert sorted(op for op, *_ in topic.history()) == ["DELETE"] * 2 + ["INSERT"] * 4 + ["UPDATE"] * 2


def test_a_source_that_was_restored_is_no_repeat(topic: Feeding) -> None:
    """Its log goes on at lower positions, which order nothing any more; its clock does not go back."""
    topic.write(read(1, "a"), insert(2, "b"))
    topic.run()
    topic.lsn, topic.commit, topic.later = 0x4000, 0x3F00, 1_000_000_000
    topic.write(insert(3, "c"))
    for _ in range(2):
        with pytest.raises(Gap, match="at offset 2 of partition 0"):
            topic.run()
    assert topic.state() == {1: "a", 2: "b"}


def test_a_column_comes_and_goes(topic: Feeding) -> None:
    topic.write(read(1, "a"))
    topic.run()
    topic.fields.append(EXTRA)
    topic.write(insert(2, "b", extra=5))
    del topic.fields[-1]
    topic.write(insert(3, "c"))
    topic.run()
    assert topic.state() == {1: "a", 2: "b", 3: "c"}


def test_poison_stops_the_table_in_front_of_it(topic: Feeding) -> None:
    topic.write(read(1, "a"))
    topic.send([(b"{}", b"not json")])
    topic.write(insert(2, "b"))
    for _ in range(2):
        with pytest.raises(InvalidRow, match=rf"offset 1 of partition 0 of topic '{topic.topic}'"):
            topic.run()
    assert topic.state() == {1: "a"}


def test_what_retention_took_before_it_was_read_is_a_gap(topic: Feeding) -> None:
    topic.write(read(1, "a"))
    topic.run()
    topic.write(insert(2, "b"), insert(3, "c"))
    topic.forget(2)
    for _ in range(2):
        with pytest.raises(Gap, match="begins at offset 2"):
            topic.run()
    topic.write(read(1, "a"), read(3, "c"))
    topic.resync()
    assert topic.state() == {1: "a", 3: "c"}


def test_a_topic_that_was_made_anew_is_a_gap(topic: Feeding) -> None:
    topic.write(read(1, "a"), read(2, "b"))
    topic.run()
    topic.remove()
    topic.make()
    topic.write(read(1, "x"), read(2, "y"), read(3, "z"))
    with pytest.raises(Gap, match="topic"):
        topic.run()
    assert topic.state() == {1: "a", 2: "b"}


def test_the_broker_dies_and_comes_back(topic: Feeding, broker: Broker) -> None:
    topic.write(read(1, "a"))
    topic.run()
    topic.write(insert(2, "b"))
    broker.kill()
    try:
        with pytest.raises(Unavailable):
            topic.run()
    finally:
        broker.start()
    topic.run()
    assert topic.state() == {1: "a", 2: "b"}
    assert len(topic.history()) == 2


def test_wrong_addresses_topics_and_passwords(topic: Feeding, broker: Broker) -> None:
    topic.write(read(1, "a"))
    wrong: list[tuple[dict[str, str], type[CdcError], str]] = [
        ({"bootstrap_servers": "127.0.0.1:1"}, Unavailable, "127.0.0.1:1"),
        ({"bootstrap_servers": "no.such.host.invalid:9092"}, CdcError, "no.such.host.invalid"),
        ({"topic_prefix": topic.prefix + "x"}, ConfigError, f"did you mean '{topic.topic}'"),
        ({"bootstrap_servers": broker.sasl, "user": "cdc", "password": "wrong"}, ConfigError, "refuses us"),
        ({"topic_prefixx": "a"}, ConfigError, "did you mean 'topic_prefix'"),
    ]
    for changed, kind, words in wrong:
        topic.connection = changed
        with pytest.raises(kind) as caught:
            topic.run()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
    topic.connection = {"bootstrap_servers": broker.sasl, "user": "cdc", "password": "secret"}
    topic.run()
    assert topic.state() == {1: "a"}


def test_the_group_shows_the_lag_to_others(topic: Feeding, broker: Broker) -> None:
    topic.connection = {"group_id": f"{topic.prefix}-group"}
    topic.write(read(1, "a"), insert(2, "b"))
    topic.run()
    topic.run()
    with closing(Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"{topic.prefix}-group"})) as other:
        (place,) = other.committed([TopicPartition(topic.topic, 0)], 30)
    assert place.offset == 2


def test_there_is_nothing_to_compare_with(topic: Feeding) -> None:
    """And what is not there is not taken for an empty table; a resync reads the topic from its beginning."""
    topic.write(read(1, "a"), read(2, "b"))
    topic.run()
    for command in ("check", "verify"):
        assert "not ours to read" in topic.cdc(command, code=4)
    topic.resync(anew=False)
    assert topic.state() == {1: "a", 2: "b"}


@pytest.mark.parametrize("partitions", [1, 3])
def test_it_dies_anywhere(topic: Feeding, partitions: int) -> None:
    if partitions > 1:
        topic.spread(partitions)
    topic.write(*(read(n, "r") for n in range(9)))
    expected = 9
    for place in ("capture.fetched", "log.files.written", "log.commit.made", "capture.recorded",
                  "capture.acknowledging", "log.evolve.committing", "run.captured"):  # fmt: skip
        if place == "log.evolve.committing":
            topic.fields.append(EXTRA)
        extra = {"extra": 1} if len(topic.fields) > 3 else {}
        topic.write(*(update(n, place, **extra) for n in range(9)))
        expected += 9
        topic.cdc("run", code=-9, CDC_FAILPOINT=place)
        topic.cdc("run")
        assert topic.state() == dict.fromkeys(range(9), place)
        assert len(topic.history()) == expected
