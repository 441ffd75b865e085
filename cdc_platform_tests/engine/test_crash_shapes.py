"""A death while the table changes its shape in the catalogue alone: the comparison is not forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.engine import follow
from cdc_platform_tests.engine.test_checks import GREEN, small_world, statuses
from cdc_platform_tests.world import World


def test_death_before_a_shape_that_the_catalogue_alone_tells_is_recorded(
    empty_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that its default gave a value are compared all the same."""

    class Died(BaseException):
        pass

    def die(*arguments: object) -> None:
        raise Died

    world = small_world(empty_world, tmp_path, "")
    world.run()
    world.postgres_do("alter table things add column more int default 7")
    with monkeypatch.context() as patch:
        patch.setattr(follow, "evolve", die)
        with pytest.raises(Died):
            world.run()
    (result,) = world.run()
    assert result.application.events["UPDATE"] == 1
    assert statuses(world, "one") == GREEN
