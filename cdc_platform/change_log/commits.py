"""What a change log's commits say besides their events: how far each reaches, and where the log is not to be trusted.

Rows may change at the source without a word in its log, or its log may be lost (a mark says so, see log.py), until a
comparison finds out how. In between the change log is not what the source was; `doubts` says where. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cdc_platform.model.position import Position


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: the position it reaches; whether it is (a part of) the snapshot; why rows may have changed without
    events before its position or from it on, if it marks that; whether with it the log was found equal to its source,
    and whether a comparison made events for that.
    """

    version: int
    position: Position
    snapshot: bool = False
    marked: str | None = None
    compared: bool = False
    differed: bool = False


@dataclass(frozen=True, slots=True)
class Doubt:
    """Behind `since` and before `until` (None: up to now) rows may have changed without events, for this reason."""

    since: Position
    until: Position | None
    reason: str

    def touches(self, place: Position) -> bool:
        """Whether the log's state at this bound may not be what the source was."""
        return self.since < place and (self.until is None or place < self.until)


def beginning(commits: Iterable[Commit]) -> Position | None:
    """The position from which on the log has the table's state: that of its snapshot; None while there is none."""
    return max((commit.position for commit in commits if commit.snapshot), default=None)


def doubts(commits: Iterable[Commit]) -> Iterator[Doubt]:
    """The stretches in which rows may have changed without events, in order.

    One begins at a mark. A comparison without a mark (the server's files were replaced) that found differences makes
    all since the comparison before it, or the snapshot, doubtful: nothing says when the rows changed.
    """
    since: Position | None = None
    sound = before = Position(0)
    reason = ""
    for commit in commits:
        if commit.marked is not None and since is None:
            since, reason = before, commit.marked
        if commit.compared:
            if since is not None:
                yield Doubt(since, commit.position, reason)
            elif commit.differed:
                yield Doubt(sound, commit.position, "rows were found changed when the table was compared")
            since = None
        if commit.compared or commit.snapshot:
            sound = commit.position
        before = commit.position
    if since is not None:
        yield Doubt(since, None, reason)
