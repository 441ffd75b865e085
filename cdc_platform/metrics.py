"""What is measured, under which names, and how Prometheus gets it. Layer: innermost; knows nothing of the platform.

    observe(Observation) ──> gauges and counters by pipeline ──> write(file)   for node_exporter's textfile collector
                                                            └──> registry      for whoever serves /metrics

A command that ends leaves its numbers in a file. Counters go on from there in the next process (`read`): a file that is
lost is a counter that begins at 0 again, which Prometheus knows how to take.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

STATE: Final = "cdc_pipeline_state"
GAP_OPEN: Final = "cdc_gap_open"
LAG: Final = "cdc_lag_seconds"
EVENTS: Final = "cdc_events"
QUARANTINED: Final = "cdc_rows_quarantined"
WAL_KEPT: Final = "cdc_wal_kept_bytes"
RUN_TIME: Final = "cdc_last_run_timestamp_seconds"

PIPELINE: Final = "pipeline"
SOURCE: Final = "source"
OPERATION: Final = "operation"
STATES: Final = ("new", "current", "behind", "failed", "gap", "unreachable")


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a pipeline now, and what was done since the last one.

    `state` is one of STATES; `lag_seconds` and `wal_kept_bytes` (of the pipeline's source) are None where they are not
    known. `events` (by operation) and `quarantined` (rows) are added to what was counted before; `at` is seconds since
    1970.
    """

    pipeline: str
    source: str
    state: str
    at: float
    lag_seconds: float | None = None
    wal_kept_bytes: int | None = None
    events: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    quarantined: int = 0


class Metrics:
    """One process's metrics, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        flow = (PIPELINE, SOURCE)
        self._state = Gauge(STATE, "1 for the state that the pipeline is in.", (*flow, "state"), registry=registry)
        self._gap = Gauge(GAP_OPEN, "1 while changes are lost and not resynced.", flow, registry=registry)
        self._lag = Gauge(LAG, "Age of the oldest change that the destination lacks.", flow, registry=registry)
        self._events = Counter(EVENTS, "Change events applied.", (*flow, OPERATION), registry=registry)
        self._quarantined = Counter(QUARANTINED, "Rows put into quarantine.", flow, registry=registry)
        self._kept = Gauge(WAL_KEPT, "Log that the source keeps for the platform.", (SOURCE,), registry=registry)
        self._run = Gauge(RUN_TIME, "When the pipeline was last looked after.", flow, registry=registry)

    def observe(self, seen: Observation) -> None:
        names = (seen.pipeline, seen.source)
        for state in STATES:
            self._state.labels(*names, state).set(1 if state == seen.state else 0)
        self._gap.labels(*names).set(1 if seen.state == "gap" else 0)
        if seen.lag_seconds is not None:
            self._lag.labels(*names).set(seen.lag_seconds)
        if seen.wal_kept_bytes is not None:
            self._kept.labels(seen.source).set(seen.wal_kept_bytes)
        for operation, count in seen.events.items():
            self._events.labels(*names, operation).inc(count)
        self._quarantined.labels(*names).inc(seen.quarantined)
        self._run.labels(*names).set(seen.at)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def read(self, file: Path, pipelines: Mapping[str, str]) -> None:
        """Take over what an earlier process wrote of these pipelines (with their sources); nothing where it cannot.

        Pipelines that are gone are left behind: their gauges would stay as they were for ever.
        """
        try:
            families = list(text_string_to_metric_families(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return
        gauges = {STATE: self._state, GAP_OPEN: self._gap, LAG: self._lag, WAL_KEPT: self._kept, RUN_TIME: self._run}
        counters = {f"{EVENTS}_total": self._events, f"{QUARANTINED}_total": self._quarantined}
        sources = set(pipelines.values())
        for sample in (sample for family in families for sample in family.samples):
            labels = sample.labels
            pipeline = labels.get(PIPELINE)
            known = labels.get(SOURCE) in sources if pipeline is None else pipelines.get(pipeline) == labels[SOURCE]
            if known and (gauge := gauges.get(sample.name)):
                gauge.labels(**labels).set(sample.value)
            elif known and (counter := counters.get(sample.name)):
                counter.labels(**labels).inc(sample.value)

    def write(self, file: Path) -> None:
        """Replace the file at once, so that no scrape sees half of it. Raises OSError."""
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, staged = tempfile.mkstemp(prefix=".cdc-", suffix=".tmp", dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as sink:
                sink.write(self.text())
            Path(staged).chmod(0o644)
            Path(staged).replace(file)
        except BaseException:
            Path(staged).unlink(missing_ok=True)
            raise
