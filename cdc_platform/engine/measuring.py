"""What a run leaves to Prometheus: one file for all pipelines of a CDC_HOME (metrics.py has the names).

Runs of other pipelines may end at the same time, so reading the file's counters and writing it again is done alone.
Metrics are no reason for a run to fail: a file that cannot be written is passed over. Layer: engine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.apply import Application
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.locks import exclusive
from cdc_platform.errors import CdcError, Gap, Unavailable
from cdc_platform.metrics import Metrics, Observation

_LOCK = "metrics"


def metrics_file(settings: Settings) -> Path:
    return settings.home / "metrics" / "cdc.prom"


def observation(
    pipeline: Pipeline, application: Application, error: CdcError | None, kept: Mapping[str, int]
) -> Observation:
    """What a run says of a pipeline; `kept` are the bytes that each source keeps of its log."""
    source = pipeline.config.label
    return Observation(
        pipeline.id,
        source,
        _state(error),
        time.time(),
        application.lag_seconds if error is not None or application.lag_seconds else 0.0,
        kept.get(source),
        application.events,
        application.quarantined,
    )


def kept_bytes(feed: Feed) -> dict[str, int]:
    """What the feed's source keeps of its log, by its label; nothing where it does not say."""
    positions = [p for log in feed.logs.values() if (p := log.reached()) is not None]
    try:
        kept = feed.source.keeping(min(positions)).kept_bytes if positions else None
    except CdcError:
        kept = None
    return {} if kept is None else {feed.label: kept}


def publish(settings: Settings, everything: Sequence[Pipeline], seen: Sequence[Observation]) -> None:
    """Bring the file up to date with what was seen."""
    measured = {p.id: p.config.label for p in everything if p.config.observability.metrics_enabled}
    wanted = [one for one in seen if one.pipeline in measured]
    if not wanted:
        return
    file, metrics = metrics_file(settings), Metrics()
    try:
        with exclusive(settings.locks, _LOCK):
            metrics.read(file, measured)
            for one in wanted:
                metrics.observe(one)
            metrics.write(file)
    except (OSError, CdcError):
        return


def _state(error: CdcError | None) -> str:
    if error is None:
        return "current"
    if isinstance(error, Gap):
        return "gap"
    return "unreachable" if isinstance(error, Unavailable) else "failed"
