"""A disk that is full at any write, and clocks that jump."""

from __future__ import annotations

import pytest
from deltalake import DeltaTable

from cdc_platform_tests.crashes.forks import CLOCK, FILE_BYTES
from cdc_platform_tests.crashes.ground import Ground
from cdc_platform_tests.scenarios.equality import assert_events_keep_rules, events_of

DAY = 86_400


def test_no_space_left(stand: Ground) -> None:
    """Files may grow to so many bytes only: what is cut short says so in a line and is done when there is space again.

    Small limits stop the first commit, larger ones a data file, a checkpoint or a catalogue.
    """
    stand.work()
    stand.keep()
    failed = 0
    for limit in (1, 1500, 5000, 12_000, 20_000):
        stand.world.extra = {FILE_BYTES: str(limit)}
        ended = stand.cdc()
        assert ended.code in (0, 3), f"{limit}: exit code {ended.code}: {ended.words}"
        failed += ended.code == 3
        stand.world.extra = {}
        if limit % 1000 == 0:  # else it goes on from what the shorter disk left
            assert stand.cdc().code == 0
            stand.assert_whole()
            stand.put_back("kept")
    assert failed > 2
    assert stand.cdc().code == 0
    stand.assert_whole()


@pytest.mark.parametrize("jumps", [(-400 * DAY, 0), (DAY, 0, -DAY)])
def test_the_clock_jumps(stand: Ground, jumps: tuple[int, ...]) -> None:
    """Back and forth between runs, far and near: rows, order and the rule of an event's times hold."""
    for jump in jumps:
        stand.world.extra = {CLOCK: str(jump)} if jump else {}
        stand.work(shapes=jump == jumps[0])
        ended = stand.cdc()
        assert ended.code == 0, ended.words
    stand.assert_whole()
    for target in stand.pipelines.targets:
        assert_events_keep_rules(events_of(stand.pipelines, target), target.table)
    # Readers take the commits' times as they are.
    for table in ("one_delta_append", "two_delta_upsert"):
        history = DeltaTable(str(stand.world.home / "lake" / "deltalake" / table)).history()
        assert len({entry["version"] for entry in history}) == len(history)
