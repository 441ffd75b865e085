"""A topic of Debezium's events as a source: nothing lost, nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform_tests.kafka.feeding import Feeding, delete, insert, read, update
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
