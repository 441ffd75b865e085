"""What every Dagster body begins with: the settings, the pipelines, and the environment as it is at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.engine.derivation.opened import Derivation, open_derivation
from cdc_platform.engine.feeds import Feed, Flow, open_feed, open_flow, open_log
from cdc_platform.model.schema import TableName


@dataclass(frozen=True, slots=True)
class Installation:
    """One CDC_HOME with its pipelines.

    The environment is read anew at each use: a code server outlives the embedded servers' ports and passwords.
    """

    settings: Settings
    pipelines: tuple[Pipeline, ...]

    def environment(self) -> dict[str, str]:
        return self.settings.environment()

    @contextmanager
    def feed(self, name: str) -> Iterator[Feed]:
        """The feed of this name with the change logs of all its tables."""
        with open_feed(self.settings, self.environment(), self.pipelines, name) as feed:
            yield feed

    def flow(self, pipeline: Pipeline) -> Flow:
        return open_flow(self.settings, self.environment(), pipeline)

    def derivation(self, pipeline: Pipeline) -> Derivation:
        return open_derivation(self.settings, self.environment(), pipeline)

    def log(self, part: Pipeline) -> tuple[TableName, ChangeLog]:
        """The source table and change log of a pipeline of one table, whatever becomes of its destination."""
        return open_log(self.settings, self.environment(), part)

    def of_source(self, label: str) -> list[Pipeline]:
        return [p for p in self.pipelines if p.config.label == label]
