"""The running parts of a set of pipelines: feeds (a source with its change logs) and flows (a log to a destination).

Pipelines that name the same source share one feed, and those that name the same table share its change log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.engine.places import file_name, inside, log_folder
from cdc_platform.model.event import System
from cdc_platform.model.schema import TableName
from cdc_platform.sources.open import default_schema, open_source
from cdc_platform.sources.source import Source


@dataclass(frozen=True, slots=True)
class Feed:
    """One source and the change logs of the tables followed in it."""

    label: str
    system: System
    database: str
    source: Source
    logs: Mapping[TableName, ChangeLog]
    locks: Path

    @property
    def lock(self) -> str:
        return f"source-{self.label}"


@dataclass(frozen=True, slots=True)
class Flow:
    """One pipeline: from a change log to a destination table."""

    pipeline: Pipeline
    table: TableName
    log: ChangeLog
    destination: Destination
    locks: Path

    @property
    def lock(self) -> str:
        return f"pipeline-{file_name(self.pipeline.id)}"


def source_labels(pipelines: Sequence[Pipeline]) -> list[str]:
    """The sources of the pipelines, each once, in order."""
    return list(dict.fromkeys(p.config.source.label for p in pipelines))


def table_of(pipeline: Pipeline, schema: str) -> TableName:
    """The pipeline's source table; `schema` is what a bare name belongs to."""
    table = pipeline.config.table
    if table.schema is not None:
        return TableName(table.schema, table.name)
    first, dot, rest = table.name.partition(".")
    return TableName(first, rest) if dot else TableName(schema, first)


def log_path(settings: Settings, label: str, table: TableName, schema: str) -> Path:
    """Where a table's change log is: `change_log/<source>/<table>`, the schema before it when not the default.

    Raises ConfigError where a link leads elsewhere.
    """
    root = settings.change_logs
    return inside(root, root / label / log_folder(table, schema))


def slot_name(settings: Settings, label: str) -> str:
    """The slot and publication of a source: of this CDC_HOME alone, so that two installations never share one."""
    suffix = hashlib.blake2b(f"{settings.change_logs}\x00{label}".encode(), digest_size=4).hexdigest()
    return f"cdc_{re.sub('[^a-z0-9_]', '_', label.lower())[:40]}_{suffix}"


@contextmanager
def open_feed(
    settings: Settings, environment: Mapping[str, str], pipelines: Sequence[Pipeline], label: str
) -> Iterator[Feed]:
    """The feed of one source with the tables of all `pipelines` that name it; closed at the end."""
    mine = [p for p in pipelines if p.config.source.label == label]
    connection = connection_of(mine[0], environment)
    system = mine[0].config.source.type
    schema = default_schema(system, connection)
    tables = list(dict.fromkeys(table_of(p, schema) for p in mine))
    logs = {table: ChangeLog(log_path(settings, label, table, schema)) for table in tables}
    as_text: dict[TableName, set[str]] = {}
    for pipeline in mine:
        as_text.setdefault(table_of(pipeline, schema), set()).update(pipeline.config.table.as_text)
    source = open_source(system, connection, slot_name(settings, label), as_text)
    try:
        yield Feed(label, system, str(connection.get("database", "")), source, logs, settings.locks)
    finally:
        source.close()


def open_flow(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> Flow:
    """A pipeline's flow. Touches no server: applying goes on from the log while the source is down."""
    source = pipeline.config.source
    schema = default_schema(source.type, connection_of(pipeline, environment))
    table = table_of(pipeline, schema)
    log = ChangeLog(log_path(settings, source.label, table, schema))
    return Flow(pipeline, table, log, open_destination(pipeline.config.destination), settings.locks)
