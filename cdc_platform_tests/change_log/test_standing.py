"""A change log's own commits keep to the state machine: tried for each state, with each write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.errors import Gap, Lost
from cdc_platform.model.event import Origin
from cdc_platform.model.lifecycle import TRANSITIONS, Impossible, State, Step
from cdc_platform.model.position import LSN, Position
from cdc_platform.model.schema import Fingerprint
from cdc_platform_tests.model.changes import SCHEMA, TABLE

ORIGIN = Origin("postgres", "shop", TABLE, "postgres/1/2")
HERE, PRINT = Position(100), Fingerprint("table 1; held by table 2", "3")

STEPS: dict[Step, Callable[[ChangeLog], object]] = {
    Step.CHANGES: lambda log: log.advance(HERE, HERE),
    Step.DOUBT: lambda log: log.mark_unlogged("why", HERE, HERE),
    Step.COMPARED: lambda log: log.append([], HERE, HERE, compared=PRINT),
    Step.GAP_FOUND: lambda log: log.mark_gap(Lost.LOG_PURGED, "it is gone", "00000000/00000200", HERE),
    Step.RESYNC_BEGUN: lambda log: log.begin_resync("postgres/7/8", HERE),
}
# A log's `append` is a different step when a resync has begun.
MEANT = {Step.CHANGES: Step.DIFFERENCES, Step.COMPARED: Step.RESYNCED}
WAYS: dict[State, list[Step]] = {
    State.FOLLOWING: [],
    State.DOUBTED: [Step.DOUBT],
    State.GAP: [Step.GAP_FOUND],
    State.RESYNCING: [Step.GAP_FOUND, Step.RESYNC_BEGUN],
}


def log_in(path: Path, state: State) -> ChangeLog:
    log = ChangeLog(path)
    log.create(SCHEMA, ORIGIN, LSN, PRINT)
    log.append([], HERE, None, snapshot=True)
    for step in WAYS[state]:
        STEPS[step](log)
    assert ChangeLog(path).state() == state
    return log


@pytest.mark.parametrize("state", WAYS)
@pytest.mark.parametrize("step", STEPS)
def test_each_write_in_each_state(tmp_path: Path, state: State, step: Step) -> None:
    log = log_in(tmp_path / "log", state)
    meant = MEANT.get(step, step) if state == State.RESYNCING else step
    version = log.version()
    if (state, meant) in TRANSITIONS:
        STEPS[step](log)
        assert ChangeLog(log.path).state() == TRANSITIONS[state, meant]
    else:
        with pytest.raises(Impossible):
            STEPS[step](log)
        assert ChangeLog(log.path).version() == version


def test_a_gap_survives_checkpoints_and_says_all_of_itself(tmp_path: Path) -> None:
    log = log_in(tmp_path / "log", State.GAP)
    log.begin_resync("postgres/7/8", HERE)
    for _ in range(120):  # over a checkpoint
        log.advance(HERE, HERE)
    assert list((log.path / "_delta_log").glob("*.checkpoint*"))
    gap = ChangeLog(log.path).gap()
    assert gap is not None
    assert (gap.lost, gap.reason, gap.first_available) == (Lost.LOG_PURGED, "it is gone", "00000000/00000200")
    assert gap.last_sure == "00000000/00000064"
    assert isinstance(gap.error(), Gap)
    assert ChangeLog(log.path).origin().identity == "postgres/7/8"
    log.append([], HERE, HERE, compared=PRINT)
    assert ChangeLog(log.path).gap() is None
