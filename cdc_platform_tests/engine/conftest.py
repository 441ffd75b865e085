from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.mock_data.endpoint import Address
from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.engine.world import World

SMALL = Sizes(customers=300, orders=500, products=200, inventory=300, evolution=50)


def address(server: ServerState) -> Address:
    return Address(server.host, server.port, server.database, server.user, server.password)


@pytest.fixture
def empty_world(tmp_path: Path, postgres_database: ServerState, mysql_database: ServerState) -> World:
    """The shipped pipelines on empty databases."""
    return World(tmp_path / "home", postgres_database, mysql_database)


@pytest.fixture
def world(empty_world: World) -> World:
    """The shipped pipelines on a small demo."""
    seed(address(empty_world.postgres), address(empty_world.mysql), SMALL, 1)
    return empty_world
