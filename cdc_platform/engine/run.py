"""`cdc run`: capture each source once, then apply each pipeline. What fails is reported, the rest goes on.

    databases ──> their pipelines ──> lake tables as sources ──> their pipelines ──> derived tables

So one run brings a change at a database to all that is made of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, publish_of
from cdc_platform.config.settings import Settings
from cdc_platform.engine.apply import Application, apply
from cdc_platform.engine.capture import capture
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.derivation.opened import open_derivation
from cdc_platform.engine.feeds import Feed, Flow, feed_of, feeds_of, open_feed, open_flow, open_log, parts_of
from cdc_platform.engine.follow import Capture
from cdc_platform.engine.handing_on import awaited
from cdc_platform.engine.measuring import kept_bytes, observation, publish
from cdc_platform.engine.memory import remember
from cdc_platform.engine.orphans import tidy
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.publication import Publication
from cdc_platform.engine.publication import publish as publish_events
from cdc_platform.engine.shaping import first_projection
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.failpoints import failpoint
from cdc_platform.model.schema import TableName

_LAKES: Final = ("deltalake", "iceberg")


@dataclass(slots=True)
class PipelineRun:
    """What a run did to one pipeline. With an error, the rest says how far it came."""

    pipeline: str
    application: Application = field(default_factory=Application)
    publication: Publication | None = None
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
    done = _Run(settings, environment, everything, chosen, progress, tell)
    for names in stages(chosen):
        for name in names:
            done.capture(name)
        failpoint("run.captured")
        for pipeline in chosen:
            if not pipeline.derived and feed_of(pipeline) in names:
                done.apply(pipeline)
    for pipeline in chosen:
        if pipeline.derived:
            done.derive(pipeline)
    results = [done.results[pipeline.id] for pipeline in chosen]
    seen = [observation(p, r.application, r.error, done.kept) for p, r in zip(chosen, results, strict=True)]
    publish(settings, everything, seen)
    return results


def stages(pipelines: Sequence[Pipeline]) -> list[list[str]]:
    """The feeds of the pipelines, in the order in which they are captured and applied: lake tables, which other
    pipelines may have written to in this run, behind all others."""
    parts = parts_of(pipelines)
    databases = feeds_of([part for part in parts if part.config.source.type not in _LAKES])
    lakes = [name for name in feeds_of(parts) if name not in databases]
    return [names for names in (databases, lakes) if names]


@dataclass(slots=True)
class _Run:
    settings: Settings
    environment: Mapping[str, str]
    everything: Sequence[Pipeline]
    chosen: Sequence[Pipeline]
    progress: Progress
    tell: Callable[[str], object]
    results: dict[str, PipelineRun] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    captures: dict[str, Capture | CdcError] = field(default_factory=dict)
    refused: dict[str, CdcError] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def capture(self, name: str) -> None:
        """Capture a feed for the chosen pipelines."""
        began = time.monotonic()
        try:
            with open_feed(self.settings, self.environment, self.everything, name) as feed:
                self.captures[name] = capture(self._welcome(feed, name), progress=self.progress)
                for line in tidy(self.settings, self.everything, feed):
                    self.tell(line)
                self.kept |= kept_bytes(feed)
        except CdcError as error:
            self.captures[name] = self._awaited(name) or error
        self.seconds[name] = time.monotonic() - began

    def apply(self, pipeline: Pipeline) -> None:
        """Apply a pipeline's change log."""
        with self._result(pipeline) as result:
            flow = open_flow(self.settings, self.environment, pipeline)
            try:
                result.application = apply(flow, self.progress)
            finally:
                # Whatever becomes of the destination: the topic follows the change log by itself.
                result.publication = self._published(flow)
            result.error = failure_of(flow.log, flow.table, self.captures[feed_of(pipeline)])

    def _published(self, flow: Flow) -> Publication | None:
        """What was published; None where the pipeline has no topic."""
        config = publish_of(flow.pipeline, self.environment)
        return publish_events(flow, config, self.progress, self.tell) if config else None

    def derive(self, pipeline: Pipeline) -> None:
        """Bring a derived table up to date with the change logs of its inputs."""
        with self._result(pipeline) as result:
            flow = open_derivation(self.settings, self.environment, pipeline)
            result.application = derive(flow, self.progress)
            failures = [
                failure_of(one.log, one.table, self.captures[feed_of(one.pipeline)]) for one in flow.inputs.values()
            ]
            result.error = next((failure for failure in failures if failure is not None), None)

    @contextmanager
    def _result(self, pipeline: Pipeline) -> Iterator[PipelineRun]:
        """The pipeline's result, to be filled; an error that is raised is part of it."""
        began = time.monotonic()
        result = self.results[pipeline.id] = PipelineRun(pipeline.id)
        try:
            yield result
        except CdcError as error:
            result.error = error
        result.error = self.refused.get(pipeline.id, result.error)
        remember(self.settings.home, pipeline.id, result.error)
        result.seconds = sum(self.seconds[name] for name in feeds_of([pipeline])) + time.monotonic() - began

    def _awaited(self, name: str) -> CdcError | None:
        """Where a feed cannot be captured because another pipeline has not made its table yet, that."""
        parts = (part for part in parts_of(self.chosen) if feed_of(part) == name)
        return next((why for p in parts if (why := awaited(p, self.everything, self.environment)) is not None), None)

    def _welcome(self, feed: Feed, name: str) -> Feed:
        """The feed without the tables that only new pipelines ask for which they cannot serve: that is told before a
        long snapshot, not after it."""
        wanted: set[TableName] = set()
        unwanted: set[TableName] = set()
        for part in parts_of(self.chosen):
            if feed_of(part) != name:
                continue
            table, log = open_log(self.settings, self.environment, part)
            # A log that is there keeps its table in the feed, whatever is wrong: it holds the source's log for it.
            error = None if log.path.exists() else self._refusal(part, feed, table)
            if error is not None:
                self.refused[part.id] = error
            (wanted if error is None else unwanted).add(table)
        return feed.only(feed.logs.keys() - (unwanted - wanted))

    def _refusal(self, part: Pipeline, feed: Feed, table: TableName) -> ConfigError | None:
        try:
            if part.derived:
                (whole,) = (pipeline for pipeline in self.chosen if pipeline.id == part.id)
                schema = feed.source.schemas([table])[table]
                open_derivation(self.settings, self.environment, whole).check(table, schema)
            else:
                flow = open_flow(self.settings, self.environment, part)
                first_projection(flow, feed.source.schemas([table])[table])
        except ConfigError as error:
            return error
        return None


def failure_of(log: ChangeLog, table: TableName, captured: Capture | CdcError) -> CdcError | None:
    """Why a table was not captured to the end, if so; an open gap, first of all."""
    if log.position() is not None and (gap := log.gap()) is not None:
        return gap.error()
    return captured if isinstance(captured, CdcError) else captured.failures.get(table)
