"""A process that dies between two steps while the table changes its shape, then a new one: nothing lost, nothing twice.

Each place is where the process dies again and again: at the first time that it comes there, then, started anew, at the
next time, until a run ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cdc_platform.change_log import log as change_log
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.destinations import delta_log, iceberg_snapshot
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform_tests.engine.changing_table import (
    assert_exact,
    assert_histories_are_the_log,
    changing_table,
    log_of,
    statements,
)
from cdc_platform_tests.engine.test_failpoints import Killed
from cdc_platform_tests.world import World

MOST_DEATHS = 40

PLACES = [
    (ChangeLog, "append", "before"),
    (ChangeLog, "append", "after"),
    (ChangeLog, "evolve", "before"),
    (ChangeLog, "evolve", "after"),
    (ChangeLog, "mark_unlogged", "before"),
    (ChangeLog, "mark_unlogged", "after"),
    (DeltaDestination, "evolve", "before"),
    (DeltaDestination, "evolve", "after"),
    (DeltaDestination, "ensure", "before"),
    (DeltaDestination, "append", "after"),
    (DeltaDestination, "upsert", "after"),
    (IcebergDestination, "evolve", "before"),
    (IcebergDestination, "evolve", "after"),
    (IcebergDestination, "ensure", "before"),
    (IcebergDestination, "append", "after"),
    (IcebergDestination, "upsert", "after"),
]

# Done, and the reply lost: the change log's commit, Delta's, Iceberg's.
REPLIES = [(change_log, "put"), (delta_log, "put"), (iceberg_snapshot, "commit")]


@pytest.mark.parametrize("system", ["postgres", "mysql"])
@pytest.mark.parametrize(("owner", "method", "when"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_death_between_two_steps(
    empty_world: World, monkeypatch: pytest.MonkeyPatch, system: str, owner: Any, method: str, when: str
) -> None:
    formats = {DeltaDestination: "delta", IcebergDestination: "iceberg"}
    with changing_table(empty_world, system, formats.get(owner, "delta")) as pipelines:
        empty_world.run()
        for statement in statements(system):
            pipelines.origin.run("writer", statement)
        deaths = _die_often(monkeypatch, empty_world, owner, method, when)
        assert deaths > 0, "nothing comes to this place"
        assert_exact(pipelines)
        assert_histories_are_the_log(pipelines)


def _die_often(patch: pytest.MonkeyPatch, world: World, owner: Any, method: str, when: str) -> int:
    """Run until a run ends by itself. `before`, the place is passed one time more in each run, or nothing would go on.

    Returns how often it died.
    """
    real = getattr(owner, method)
    for deaths in range(MOST_DEATHS):
        left = [deaths if when == "before" else 0]
        with patch.context() as armed:
            armed.setattr(owner, method, deadly(real, when, left))
            try:
                world.run()
            except Killed:
                continue
        return deaths
    raise AssertionError(f"it still dies after {MOST_DEATHS} runs")


def deadly(real: Callable[..., Any], when: str, left: list[int]) -> Callable[..., Any]:
    def deadly(*arguments: Any, **named: Any) -> Any:
        if when == "before" and left[0] == 0:
            raise Killed
        left[0] -= 1
        result = real(*arguments, **named)
        if when == "after":
            raise Killed
        return result

    return deadly


@pytest.mark.parametrize("system", ["postgres", "mysql"])
@pytest.mark.parametrize(("owner", "method"), REPLIES, ids=lambda value: getattr(value, "__name__", value))
def test_every_second_reply_is_lost(
    empty_world: World, monkeypatch: pytest.MonkeyPatch, system: str, owner: Any, method: str
) -> None:
    real, calls = getattr(owner, method), [0]

    def lossy(*arguments: Any, **named: Any) -> Any:
        result = real(*arguments, **named)
        calls[0] += 1
        if calls[0] % 2:
            raise OSError("the reply was lost")
        return result

    with changing_table(empty_world, system) as pipelines:
        empty_world.run()
        for statement in statements(system):
            pipelines.origin.run("writer", statement)
        with monkeypatch.context() as armed:
            armed.setattr(owner, method, lossy)
            for _ in range(MOST_DEATHS):
                if not any(result.error for result in empty_world.run_all()):
                    break
        assert calls[0] > 1
        empty_world.run()
        assert_exact(pipelines)
        assert_histories_are_the_log(pipelines)


def test_shapes_are_recorded_where_they_begin(empty_world: World) -> None:
    """The test's own ground: the workload gives the log all its shapes, whatever the moments of the runs."""
    with changing_table(empty_world, "postgres") as pipelines:
        empty_world.run()
        for statement in statements("postgres"):
            pipelines.origin.run("writer", statement)
        empty_world.run()
        changes = [change.split("'")[1] for shape in log_of(pipelines).shapes() for change in shape.changes]
        assert changes == ["score", "body", "n", "name", "name", "late"]
        assert_exact(pipelines)
