"""The running parts of a set of pipelines: feeds (a source with its change logs) and flows (a log to a destination).

Pipelines that name the same source share one feed, and those that name the same table share its change log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.pipeline import TableConfig
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.engine.places import file_name, inside, log_folder
from cdc_platform.errors import ConfigError
from cdc_platform.model.event import System
from cdc_platform.model.schema import TableName
from cdc_platform.sources.open import default_schema, open_source
from cdc_platform.sources.source import Source


@dataclass(frozen=True, slots=True)
class Chunking:
    """How a table's snapshot is taken: `rows` a chunk, so many `readers` at a time, one snapshot for some `seconds`.

    `keys` are those that pipelines name as their own: that they tell all rows apart is checked where a snapshot is one.
    """

    rows: int = 1_000_000
    readers: int = 1
    seconds: float = 30.0
    keys: frozenset[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Feed:
    """One source and the change logs of the tables followed in it; `others` are those that are not, for this time."""

    label: str
    system: System
    database: str
    source: Source
    logs: Mapping[TableName, ChangeLog]
    locks: Path
    chunking: Mapping[TableName, Chunking] = field(default_factory=dict)
    others: Mapping[TableName, ChangeLog] = field(default_factory=dict)

    def chunking_of(self, table: TableName) -> Chunking:
        return self.chunking.get(table, Chunking())

    def only(self, tables: Collection[TableName]) -> Feed:
        """The feed of these tables. What the logs of the others lack holds the source's log as before."""
        logs = {table: log for table, log in self.logs.items() if table in tables}
        others = {table: log for table, log in self.logs.items() if table not in tables}
        return replace(self, logs=logs, others={**self.others, **others})

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
    return table_name(pipeline.config.table, schema)


def table_name(table: TableConfig, schema: str) -> TableName:
    """A table as a pipeline configures it; `schema` is what a bare name belongs to."""
    if table.schema is not None:
        return TableName(table.schema, table.name)
    return table_named(table.name, schema)


def table_named(name: str, schema: str) -> TableName:
    """A table as a pipeline writes it: `table` or `schema.table`."""
    first, dot, rest = name.partition(".")
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
    configured = [(table_name(config, schema), config, p) for p in mine for config in p.config.source.tables]
    tables = list(dict.fromkeys(table for table, _, _ in configured))
    logs = {table: ChangeLog(log_path(settings, label, table, schema)) for table in tables}
    as_text: dict[TableName, set[str]] = {}
    for table, config, _ in configured:
        as_text.setdefault(table, set()).update(config.as_text)
    source = open_source(system, connection, slot_name(settings, label), as_text)
    try:
        database = str(connection.get("database", ""))
        yield Feed(label, system, database, source, logs, settings.locks, _chunking(configured))
    finally:
        source.close()


def _chunking(configured: Sequence[tuple[TableName, TableConfig, Pipeline]]) -> dict[TableName, Chunking]:
    """By table: what its first pipeline says, and the keys that any names."""
    found: dict[TableName, Chunking] = {}
    for table, config, pipeline in configured:
        how = pipeline.config.source.snapshot
        known = found.setdefault(table, Chunking(how.chunk_rows, how.parallel, how.hold_seconds))
        if config.primary_key:
            found[table] = replace(known, keys=known.keys | {frozenset(config.primary_key)})
    return found


def table_logs(
    settings: Settings, environment: Mapping[str, str], pipeline: Pipeline
) -> list[tuple[TableConfig, TableName, ChangeLog]]:
    """The source tables of a pipeline, with their change logs. Touches no server."""
    source = pipeline.config.source
    schema = default_schema(source.type, connection_of(pipeline, environment))
    tables = [(config, table_name(config, schema)) for config in source.tables]
    return [(config, t, ChangeLog(log_path(settings, source.label, t, schema))) for config, t in tables]


def open_flow(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> Flow:
    """A pipeline's flow. Touches no server: applying goes on from the log while the source is down."""
    if pipeline.derived:
        raise ConfigError(
            f"{pipeline.id} is a derived table and has no change log of its own; name a pipeline of one of its inputs"
        )
    ((_, table, log),) = table_logs(settings, environment, pipeline)
    return Flow(pipeline, table, log, open_destination(pipeline.config.destination), settings.locks)
