"""The states of a followed table, and what may happen in each: the one state machine of a change log.

    new ──snapshot──> following ──doubt──> doubted ──compared──> following
    new ──chunk──> snapshotting ──last chunk──> following
    following, doubted ──gap found──> gap ──resync begun──> resyncing ──resynced──> following

What is not in the table below cannot happen: a change log asks `taken` before each of its commits. So nothing is logged
behind an open gap as if it followed, and only a resync ends one. Where a table stands is read from its log's commits
(change_log/log.py); nothing else remembers it. Pure. Layer: model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from cdc_platform.errors import Gap, Lost


class State(StrEnum):
    """Where a table stands."""

    NEW = "new"  # nothing of it is logged
    SNAPSHOTTING = "snapshotting"  # some chunks of its snapshot are, and what happened to their keys
    FOLLOWING = "following"
    DOUBTED = "doubted"  # followed, and rows may have changed unlogged: to be compared once
    GAP = "gap"  # changes are lost behind the log's position
    RESYNCING = "resyncing"  # the same, and a comparison with the source has begun to be logged


class Step(StrEnum):
    """What a commit of a change log says."""

    CHUNK = "a chunk of a snapshot"
    SNAPSHOT = "a snapshot"  # or its last chunk; a doubt that came in between is one from there on
    CHANGES = "changes"  # also none, or another shape: the log goes on
    DOUBT = "a doubt"
    COMPARED = "a comparison"
    GAP_FOUND = "a gap"
    RESYNC_BEGUN = "the beginning of a resync"
    DIFFERENCES = "what a resync found"
    RESYNCED = "the end of a resync"


TRANSITIONS: Mapping[tuple[State, Step], State] = MappingProxyType(
    {
        (State.NEW, Step.SNAPSHOT): State.FOLLOWING,
        (State.NEW, Step.CHUNK): State.SNAPSHOTTING,
        (State.SNAPSHOTTING, Step.CHUNK): State.SNAPSHOTTING,
        (State.SNAPSHOTTING, Step.SNAPSHOT): State.FOLLOWING,
        (State.SNAPSHOTTING, Step.CHANGES): State.SNAPSHOTTING,
        (State.SNAPSHOTTING, Step.DOUBT): State.SNAPSHOTTING,
        (State.FOLLOWING, Step.CHANGES): State.FOLLOWING,
        (State.FOLLOWING, Step.DOUBT): State.DOUBTED,
        (State.FOLLOWING, Step.COMPARED): State.FOLLOWING,
        (State.FOLLOWING, Step.GAP_FOUND): State.GAP,
        (State.DOUBTED, Step.CHANGES): State.DOUBTED,
        (State.DOUBTED, Step.DOUBT): State.DOUBTED,
        (State.DOUBTED, Step.COMPARED): State.FOLLOWING,
        (State.DOUBTED, Step.GAP_FOUND): State.GAP,
        (State.GAP, Step.RESYNC_BEGUN): State.RESYNCING,
        (State.RESYNCING, Step.RESYNC_BEGUN): State.RESYNCING,
        (State.RESYNCING, Step.DIFFERENCES): State.RESYNCING,
        (State.RESYNCING, Step.RESYNCED): State.FOLLOWING,
    }
)


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap that is not closed: what is uncertain are the source's changes from `last_sure` on.

    `reason` is the line with which it was found, `since` when, `first_available` the first position from which the
    source had its log then (as text; empty where it could not be told). `last_sure` is the log's own position.
    """

    lost: Lost
    reason: str
    since: datetime
    last_sure: str
    first_available: str

    def error(self) -> Gap:
        """What whoever asks for the table is told, as long as the gap is open."""
        return Gap(self.reason, self.lost)


class Impossible(AssertionError):
    """A step that a table in this state cannot take: a fault of the platform."""


def taken(state: State, step: Step) -> State:
    """The state after this step. Raises Impossible."""
    try:
        return TRANSITIONS[state, step]
    except KeyError:
        raise Impossible(f"{step} in the state '{state}'") from None
