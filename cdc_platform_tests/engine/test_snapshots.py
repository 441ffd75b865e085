"""Snapshots in chunks: exact whatever is written meanwhile, and gone on with after a death."""

from __future__ import annotations

import pytest

from cdc_platform_tests.engine.chunked import Shop, around_snapshots
from cdc_platform_tests.world import World


@pytest.fixture(params=["postgres", "mysql"])
def shop(request: pytest.FixtureRequest, empty_world: World) -> Shop:
    return Shop(empty_world, request.param)


def test_rows_that_change_while_the_snapshot_is_taken(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.prepare()
    with around_snapshots(monkeypatch, shop, lambda: shop.change(25), lambda: shop.change(10)) as taken:
        shop.world.run()
    assert taken[0] >= 8
    assert shop.chunks() == taken[0]
    shop.world.run()
    shop.assert_exact()
    assert all(v.status == "PASS" for v in shop.world.check())
