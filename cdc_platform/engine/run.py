"""`cdc run`: capture each source once, then apply each pipeline. What fails is reported, the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.apply import Application, apply
from cdc_platform.engine.capture import capture
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_flow
from cdc_platform.engine.follow import Capture
from cdc_platform.engine.measuring import kept_bytes, observation, publish
from cdc_platform.engine.memory import remember
from cdc_platform.engine.orphans import tidy
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.shaping import first_projection
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.failpoints import failpoint


@dataclass(slots=True)
class PipelineRun:
    """What a run did to one pipeline. With an error, the rest says how far it came."""

    pipeline: str
    application: Application = field(default_factory=Application)
    error: CdcError | None = None
    seconds: float = 0.0


def run(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    chosen: Sequence[Pipeline],
    progress: Progress = silent,
    tell: Callable[[str], object] = lambda line: None,
) -> list[PipelineRun]:
    """Capture the sources of the chosen pipelines and apply these; one result for each, in order.

    A source is read for all pipelines that name it, so that its log moves on for every table. `tell` gets a line about
    each thing that removed pipelines had left at the source (orphans.py).
    """
    kept: dict[str, int] = {}
    captures: dict[str, Capture | CdcError] = {}
    refused: dict[str, CdcError] = {}
    seconds: dict[str, float] = {}
    for name in feeds_of(chosen):
        began = time.monotonic()
        try:
            with open_feed(settings, environment, everything, name) as feed:
                flows = [open_flow(settings, environment, p) for p in chosen if feed_of(p) == name]
                refused |= _refusals(feed, flows)
                captures[name] = capture(_without(feed, flows, refused), progress=progress)
                for line in tidy(settings, everything, feed):
                    tell(line)
                kept |= kept_bytes(feed)
        except CdcError as error:
            captures[name] = error
        seconds[name] = time.monotonic() - began
    failpoint("run.captured")
    results = []
    for pipeline in chosen:
        began = time.monotonic()
        result = PipelineRun(pipeline.id)
        try:
            flow = open_flow(settings, environment, pipeline)
            result.application = apply(flow, progress)
            result.error = failure_of(flow, captures[feed_of(pipeline)])
        except CdcError as error:
            result.error = error
        result.error = refused.get(pipeline.id, result.error)
        remember(settings.home, pipeline.id, result.error)
        result.seconds = seconds[feed_of(pipeline)] + time.monotonic() - began
        results.append(result)
    seen = [observation(p, r.application, r.error, kept) for p, r in zip(chosen, results, strict=True)]
    publish(settings, everything, seen)
    return results


def _refusals(feed: Feed, flows: Sequence[Flow]) -> dict[str, CdcError]:
    """New pipelines that their table cannot serve, by id: told before a long snapshot, not after it."""
    refused: dict[str, CdcError] = {}
    for flow in flows:
        # A log that is there keeps its table in the feed, whatever is wrong: it holds the source's log for the table.
        if flow.log.path.exists():
            continue
        try:
            first_projection(flow, feed.source.schemas([flow.table])[flow.table])
        except ConfigError as error:
            refused[flow.pipeline.id] = error
    return refused


def _without(feed: Feed, flows: Sequence[Flow], refused: Mapping[str, CdcError]) -> Feed:
    """The feed without the tables that only refused pipelines ask for."""
    wanted = {flow.table for flow in flows if flow.pipeline.id not in refused}
    unwanted = {flow.table for flow in flows} - wanted
    return feed.only(feed.logs.keys() - unwanted)


def failure_of(flow: Flow, captured: Capture | CdcError) -> CdcError | None:
    """Why a flow's table was not captured to the end, if so; an open gap, first of all."""
    if flow.log.position() is not None and (gap := flow.log.gap()) is not None:
        return gap.error()
    return captured if isinstance(captured, CdcError) else captured.failures.get(flow.table)
