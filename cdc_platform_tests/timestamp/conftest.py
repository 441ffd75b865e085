from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc_platform_tests.crashes.forks import Forks, forks
from cdc_platform_tests.timestamp.ground import SYSTEMS, Ground, ground
from cdc_platform_tests.world import World


@pytest.fixture(params=SYSTEMS)
def things(request: pytest.FixtureRequest, empty_world: World) -> Iterator[Ground]:
    """A table `things` on either server, and the reader's pipelines on it."""
    with ground(request.param, empty_world) as made:
        made.make()
        made.configure()
        yield made


@pytest.fixture(scope="session")
def forking() -> Iterator[Forks]:
    with forks() as started:
        yield started
