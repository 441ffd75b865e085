"""Sample databases come through whole, into Delta and Iceberg, with nothing configured but connection and tables."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from cdc_platform_tests.samples.churn import churn
from cdc_platform_tests.samples.databases import SAMPLES, Sample
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.scenarios.test_scenarios import open_origin
from cdc_platform_tests.world import World

_SERVERS = {"postgres": ("postgres", "postgres15"), "mysql": ("mysql",)}


@pytest.mark.parametrize(
    ("sample", "server"),
    [
        pytest.param(sample, server, id=f"{sample.name}-{server}")
        for sample in SAMPLES
        for server in _SERVERS[sample.system]
    ],
)
def test_a_sample_database_comes_through_whole(
    sample: Sample, server: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    state = request.getfixturevalue(f"{server}_database")
    tables = sample.load(state)
    assert len(tables) > 10  # not a sample that failed to load
    world = World(tmp_path / "home", state, state, folder=tmp_path / "pipelines")
    with closing(open_origin(world, server)) as origin:
        pipelines = Pipelines(world, origin)
        for table in tables:
            pipelines.follow(table, keyed=bool(origin.key(table)))
        pipelines.write()
        world.run()
        _assert_equal(pipelines)
        assert churn(state, tables, operations=600, seed=4) > 300
        world.run()
        _assert_equal(pipelines)
        for table in tables:
            first = next(target for target in pipelines.targets if target.table == table)
            events = equality.events_of(pipelines, first)
            equality.assert_events_keep_rules(events, table)
            if not origin.key(table):
                equality.assert_history_is_replay(pipelines, first, first.lake.read().types, events)


def _assert_equal(pipelines: Pipelines) -> None:
    sources = equality.Sources(pipelines.origin)
    for target in pipelines.targets:
        equality.assert_equal(pipelines, target, target.lake.read(), sources)
