"""Where a derived table is: its inputs' sources and change logs, what is in it, and how far it is behind."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.capture import resumable
from cdc_platform.engine.derivation.basis import basis_of
from cdc_platform.engine.derivation.opened import Derivation, InputLog
from cdc_platform.engine.feeds import feed_of, open_feed
from cdc_platform.engine.lag import oldest_logged, oldest_uncaptured
from cdc_platform.engine.locks import exclusive
from cdc_platform.errors import Unavailable

_LOCK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Positions as text, `input position` for each input; `lag_seconds` since the oldest change that is missing in the
    table, None where another process captures right now (`busy`)."""

    head: str
    captured: str | None
    applied: str | None
    lag_seconds: float | None
    busy: bool


def standing(
    settings: Settings, environment: Mapping[str, str], everything: Sequence[Pipeline], flow: Derivation
) -> Standing:
    """Asks the inputs' sources. Raises what stands in the way of one of them."""
    heads, busy = [], False
    oldest = [oldest_underived(flow)]
    for name, one in flow.inputs.items():
        with open_feed(settings, environment, everything, feed_of(one.pipeline)) as feed, ExitStack() as lock:
            head = feed.source.head()
            heads.append(f"{name} {feed.source.notation().format(head)}")
            position = one.log.position()
            if position is None:
                continue
            try:
                lock.enter_context(exclusive(feed.locks, feed.lock, wait=_LOCK_SECONDS))
            except Unavailable:
                busy = True
                continue
            resumable(feed, one.table, feed.logs[one.table], position, feed.source.identity())
            oldest.append(oldest_uncaptured(feed, one, head))
    applied = flow.destination.applied(flow.log_id)
    times = [moment for moment in oldest if moment is not None]
    lag = max(0.0, time.time() - min(times).timestamp()) if times else 0.0
    captured = ", ".join(f"{name} {_reached(one)}" for name, one in flow.inputs.items()) if flow.captured() else None
    return Standing(
        ", ".join(heads), captured, applied.position if applied is not None else None, None if busy else lag, busy
    )


def oldest_underived(flow: Derivation) -> datetime | None:
    """Commit time of the first change in an input's log that the table lacks; None where all logs' changes are in, or
    an input has no snapshot yet."""
    if not flow.captured():
        return None
    basis = basis_of(flow.destination.applied(flow.log_id))
    found = [
        oldest_logged(one.log, basis.version_of(name, one.log.id()) if basis is not None else 0)
        for name, one in flow.inputs.items()
    ]
    return min((moment for moment in found if moment is not None), default=None)


def _reached(one: InputLog) -> str:
    position = one.log.position()
    return one.log.format(position) if position is not None else ""
