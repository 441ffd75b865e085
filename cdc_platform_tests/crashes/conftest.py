"""Commands in processes of their own, and ground to stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc_platform_tests.crashes.forks import Forks, forks
from cdc_platform_tests.crashes.ground import Ground, ground
from cdc_platform_tests.world import World

SEED = 11


@pytest.fixture(scope="session")
def forking() -> Iterator[Forks]:
    with forks() as started:
        yield started


@pytest.fixture(params=["postgres", "mysql"])
def stand(request: pytest.FixtureRequest, empty_world: World, forking: Forks) -> Iterator[Ground]:
    """Behind the snapshot, on either system."""
    with ground(request.param, empty_world, forking, SEED) as made:
        assert made.cdc().code == 0
        yield made
