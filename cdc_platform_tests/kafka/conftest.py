"""Kafka's parts, started once a session when a test first asks for them (stack.py).

    broker, registry, connect     the parts; a test that kills one starts it again

Without CDC_KAFKA (`make test-kafka` sets it) nothing in this folder is collected.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc_platform_tests.kafka.stack import Broker, Connect, Registry, Stack, software

if software() is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    folder = software()
    assert folder is not None
    with Stack(folder) as stack:
        yield stack


@pytest.fixture
def broker(stack: Stack) -> Broker:
    return stack.broker()


@pytest.fixture
def registry(stack: Stack) -> Registry:
    return stack.registry()


@pytest.fixture
def connect(stack: Stack) -> Connect:
    return stack.connect()
