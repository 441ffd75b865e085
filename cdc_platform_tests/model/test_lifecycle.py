"""The state machine of a followed table: what may happen in each state, and nothing else."""

from __future__ import annotations

import itertools

import pytest

from cdc_platform.model.lifecycle import TRANSITIONS, Impossible, State, Step, taken

PAIRS = list(itertools.product(State, Step))


@pytest.mark.parametrize(("state", "step"), PAIRS)
def test_what_is_not_in_the_table_is_impossible(state: State, step: Step) -> None:
    if (state, step) in TRANSITIONS:
        assert taken(state, step) == TRANSITIONS[state, step]
    else:
        with pytest.raises(Impossible):
            taken(state, step)


def test_a_gap_is_left_by_a_resync_alone() -> None:
    in_gap = {State.GAP, State.RESYNCING}
    ways_out = {(state, step) for (state, step), to in TRANSITIONS.items() if state in in_gap and to not in in_gap}
    assert ways_out == {(State.RESYNCING, Step.RESYNCED)}
    assert {step for state, step in TRANSITIONS if state == State.GAP} == {Step.RESYNC_BEGUN}


def test_every_state_is_reached_and_left() -> None:
    reached = {State.NEW, *TRANSITIONS.values()}
    assert reached == set(State)
    assert {state for (state, _), to in TRANSITIONS.items() if to != state} == set(State)
