"""What every Dagster body begins with: the settings, the pipelines, and the environment as it is at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.settings import Settings
from cdc_platform.engine.feeds import Feed, Flow, log_path, open_feed, open_flow, table_of
from cdc_platform.model.schema import TableName
from cdc_platform.sources.open import default_schema


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

    def log(self, pipeline: Pipeline) -> tuple[TableName, ChangeLog]:
        """The pipeline's source table and change log, whatever becomes of its destination."""
        config = pipeline.config
        schema = default_schema(config.system, connection_of(pipeline, self.environment()))
        table = table_of(pipeline, schema)
        return table, ChangeLog(log_path(self.settings, config.label, table, schema))

    def of_source(self, label: str) -> list[Pipeline]:
        return [p for p in self.pipelines if p.config.label == label]
