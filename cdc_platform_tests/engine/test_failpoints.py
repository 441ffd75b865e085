"""A process that dies between the steps of three tables' logs, then a new one: each log holds each change once.

Deaths at each named place, on random workloads, are in cdc_platform_tests/crashes; here they are calls, in one process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests.engine.test_crash import assert_logs_hold_each_change_once
from cdc_platform_tests.engine.test_end_to_end import delta_rows, one_pipeline
from cdc_platform_tests.engine.test_odd_tables import pipelines
from cdc_platform_tests.world import World


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing after it runs."""


TABLES = ("one", "two", "three")
PLACES = [
    (ChangeLog, "append", "before"),
    (ChangeLog, "append", "after"),
    (PostgresSource, "acknowledge", "before"),
    (PostgresSource, "acknowledge", "after"),
    (DeltaDestination, "ensure", "after"),
    (DeltaDestination, "append", "before"),
    (DeltaDestination, "append", "after"),
]


@pytest.fixture
def shop(empty_world: World, tmp_path: Path) -> World:
    texts = [
        one_pipeline("postgres", t, "deltalake", "append").replace("target", t).replace("_id: one", f"_id: p_{t}")
        for t in TABLES
    ]
    world = pipelines(empty_world, tmp_path, *texts)
    for table in TABLES:
        world.postgres_do(f"create table {table} (id serial primary key)", f"insert into {table} default values")
    return world


def arm(patch: pytest.MonkeyPatch, owner: type, method: str, when: str, call: int) -> None:
    """Let the `call`-th call of a method be the last thing that happens, before or after its work."""
    real, calls = getattr(owner, method), [0]

    def deadly(self: Any, *arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and when == "before":
            raise Killed
        result = real(self, *arguments, **named)
        if calls[0] == call:
            raise Killed
        return result

    patch.setattr(owner, method, deadly)


def deadly(real: Callable[..., Any], when: str, left: list[int]) -> Callable[..., Any]:
    """A call that is the last thing that happens: before its work once `left[0]` were let pass, or after it."""

    def deadly(*arguments: Any, **named: Any) -> Any:
        if when == "before" and left[0] == 0:
            raise Killed
        left[0] -= 1
        result = real(*arguments, **named)
        if when == "after":
            raise Killed
        return result

    return deadly


@pytest.mark.parametrize("call", [2])
@pytest.mark.parametrize("phase", ["snapshot", "changes"])
@pytest.mark.parametrize(("owner", "method", "when"), PLACES)
def test_death_between_two_steps(
    shop: World,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    when: str,
    phase: str,
    call: int,
) -> None:
    if phase == "changes":
        shop.run()
        shop.postgres_do(*(f"insert into {table} select from generate_series(1, 3)" for table in TABLES))
    with monkeypatch.context() as armed:
        arm(armed, owner, method, when, call)
        # Fewer calls than that: the run ends by itself, and all must hold as well.
        with contextlib.suppress(Killed):
            shop.run()
    shop.postgres_do(*(f"insert into {table} default values" for table in TABLES))
    shop.run()
    assert_logs_hold_each_change_once(shop)
    for table in TABLES:
        ids = sorted(row["id"] for row in delta_rows(shop, table))
        assert ids == sorted(i for (i,) in shop.postgres_rows(f"select id from {table}")), table
