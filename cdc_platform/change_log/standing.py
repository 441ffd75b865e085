"""Where a table stands, read from its change log's app transactions. Each names the last commit that said so:

    cdc.at         the position, hence a snapshot's first commit
    cdc.chunk      a chunk of the snapshot came in             cdc.whole      the last one did
    cdc.unlogged   rows may have changed without events        cdc.compared   the log was compared with its source
    cdc.gap        changes were lost                           cdc.resync     a resync began
                                                               cdc.resynced   it ended
App transactions survive checkpoints and are part of the commit, so a state is never ahead of or behind its log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cdc_platform.errors import Lost
from cdc_platform.model.lifecycle import OpenGap, State, Step

AT: Final = "cdc.at"
UNLOGGED, COMPARED = "cdc.unlogged", "cdc.compared"
CHUNK, WHOLE = "cdc.chunk", "cdc.whole"
GAP, RESYNC, RESYNCED = "cdc.gap", "cdc.resync", "cdc.resynced"


def state_of(said: Callable[[str], int | None]) -> State:
    """`said` gives an app transaction's version, None where there is none of the name."""
    if said(AT) is None:
        return State.NEW
    if said(CHUNK) is not None and said(WHOLE) is None:
        return State.SNAPSHOTTING
    gap = said(GAP) or 0
    if gap > (said(RESYNCED) or 0):
        return State.RESYNCING if (said(RESYNC) or 0) > gap else State.GAP
    doubted = (said(UNLOGGED) or 0) > (said(COMPARED) or 0)
    return State.DOUBTED if doubted else State.FOLLOWING


def step_of(state: State, snapshot: bool, compared: bool, chunk: bool = False) -> Step:
    """What a commit of events is: it depends on what goes on."""
    if snapshot:
        return Step.CHUNK if chunk else Step.SNAPSHOT
    if state == State.RESYNCING:
        return Step.RESYNCED if compared else Step.DIFFERENCES
    return Step.COMPARED if compared else Step.CHANGES


def noted(lost: Lost, reason: str, first_available: str) -> dict[str, str]:
    """What the commit that marks a gap says of it."""
    return {"cdc.reason": reason, "cdc.lost": lost.value, "cdc.first_available": first_available}


def doubt_of(version: int, known: Mapping[str, int], info: Mapping[str, Any]) -> str | None:
    """Why rows may have changed without events before this commit, or from it on; None where it does not say so.

    `known` are the commit's app transactions.
    """
    if known.get(GAP) == version:
        return f"changes were lost: {info['cdc.reason']}"
    return str(info["cdc.reason"]) if known.get(UNLOGGED) == version else None


def open_gap(info: Mapping[str, Any]) -> OpenGap:
    """The inverse of `noted`, from the commit's information."""
    since = datetime.fromtimestamp(info["timestamp"] / 1000, UTC)
    return OpenGap(Lost(info["cdc.lost"]), info["cdc.reason"], since, info["cdc.position"], info["cdc.first_available"])
