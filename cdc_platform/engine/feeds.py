"""The running parts of a set of pipelines: feeds (a source with its change logs) and flows (a log to a destination).

Pipelines that name the same source share one feed, where the source has one log for all its tables; where each table
has a log of its own, each is a feed. Pipelines that name the same table share its change log.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, connection_of
from cdc_platform.config.pipeline import PipelineConfig, PollingConfig
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.engine.places import file_name, inside, log_folder
from cdc_platform.errors import ConfigError
from cdc_platform.model.event import Connector, System
from cdc_platform.model.schema import TableName
from cdc_platform.sources.asked import Asked, Polling, TableAsked
from cdc_platform.sources.open import default_schema, one_log, open_source
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
class Comparing:
    """For a source that does not tell all: after what time a table is compared with its log, and by which column beside
    its key."""

    every: timedelta
    column: str


@dataclass(frozen=True, slots=True)
class Feed:
    """One source and the change logs of the tables followed in it; `others` are those that are not, for this time.

    `lock` is held by who reads the source's log: there is one reader.
    """

    label: str
    lock: str
    system: System
    connector: Connector
    database: str
    source: Source
    logs: Mapping[TableName, ChangeLog]
    locks: Path
    chunking: Mapping[TableName, Chunking] = field(default_factory=dict)
    others: Mapping[TableName, ChangeLog] = field(default_factory=dict)
    comparing: Mapping[TableName, Comparing] = field(default_factory=dict)

    def chunking_of(self, table: TableName) -> Chunking:
        return self.chunking.get(table, Chunking())

    def only(self, tables: Collection[TableName]) -> Feed:
        """The feed of these tables. What the logs of the others lack holds the source's log as before."""
        logs = {table: log for table, log in self.logs.items() if table in tables}
        others = {table: log for table, log in self.logs.items() if table not in tables}
        return replace(self, logs=logs, others={**self.others, **others})


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


def parts_of(pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """The pipelines as pipelines of one table each: a derived one is one for each table that it is made of."""
    return [part for pipeline in pipelines for part in pipeline.parts]


def source_labels(pipelines: Sequence[Pipeline]) -> list[str]:
    """The sources of the pipelines, each once, in order."""
    return list(dict.fromkeys(p.config.label for p in pipelines))


def feeds_of(pipelines: Sequence[Pipeline]) -> list[str]:
    """The feeds of the pipelines, each once, in order."""
    return list(dict.fromkeys(map(feed_of, parts_of(pipelines))))


def feed_of(pipeline: Pipeline) -> str:
    """What the feed of a pipeline of one table is called: the source's label, and the table where each has a log of
    its own."""
    config = pipeline.config
    if one_log(config.source.type, config.method):
        return config.label
    # The connection as written: two pipelines of one source have the same.
    return f"{config.label}/{table_of(pipeline, default_schema(config.system, config.source.connection))}"


def table_of(pipeline: Pipeline, schema: str) -> TableName:
    """The pipeline's source table; `schema` is what a bare name belongs to."""
    table = pipeline.config.table
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
    settings: Settings, environment: Mapping[str, str], pipelines: Sequence[Pipeline], name: str
) -> Iterator[Feed]:
    """The feed of this name (`feed_of`) with the tables of all `pipelines` that are part of it; closed at the end."""
    mine = [p for p in parts_of(pipelines) if feed_of(p) == name]
    connection, config = connection_of(mine[0], environment), mine[0].config
    system, label = config.system, config.label
    schema = default_schema(system, connection)
    tables = list(dict.fromkeys(table_of(p, schema) for p in mine))
    logs = {table: ChangeLog(log_path(settings, label, table, schema)) for table in tables}
    asked = Asked(
        config.source.type,
        config.method,
        system,
        connection,
        slot_name(settings, label),
        settings.home / "state" / "sources" / file_name(name),
        _asked(mine, schema),
        _polling(config),
    )
    source = open_source(asked)
    try:
        yield Feed(
            label,
            f"source-{label}" if name == label else f"source-{file_name('-'.join((label, *map(str, tables))))}",
            system,
            config.method,
            str(connection.get("database", "")),
            source,
            logs,
            settings.locks,
            _chunking(mine, schema),
            comparing=_comparing(mine, schema),
        )
    finally:
        source.close()


def _asked(pipelines: Sequence[Pipeline], schema: str) -> dict[TableName, TableAsked]:
    """By table: what its first pipeline says, and the columns that any wants as text."""
    found: dict[TableName, TableAsked] = {}
    for pipeline in pipelines:
        table, config = table_of(pipeline, schema), pipeline.config.table
        known = found.setdefault(
            table, TableAsked(config.primary_key, config.cdc_column, config.topic, history=config.history)
        )
        found[table] = replace(known, as_text=frozenset((*known.as_text, *config.as_text)))
    return found


def _polling(config: PipelineConfig) -> Polling:
    how = config.source.polling or PollingConfig()
    return Polling(how.window_seconds, how.page_rows, how.time_zone)


def _comparing(pipelines: Sequence[Pipeline], schema: str) -> dict[TableName, Comparing]:
    """By table: what its first pipeline says."""
    found: dict[TableName, Comparing] = {}
    for pipeline in pipelines:
        config, column = pipeline.config, pipeline.config.table.cdc_column
        if config.method == "timestamp-based" and column is not None:
            every = timedelta(hours=(config.source.polling or PollingConfig()).compare_hours)
            table = table_of(pipeline, schema)
            if found.setdefault(table, Comparing(every, column)).column != column:
                raise ConfigError(
                    f"{pipeline.where}: source.tables[].cdc_column: another pipeline follows {table} by "
                    f"'{found[table].column}', and both read one change log; use one column, or give one a source.name"
                )
    return found


def _chunking(pipelines: Sequence[Pipeline], schema: str) -> dict[TableName, Chunking]:
    """By table: what its first pipeline says, and the keys that any names."""
    found: dict[TableName, Chunking] = {}
    for pipeline in pipelines:
        table, config = table_of(pipeline, schema), pipeline.config
        how = config.source.snapshot
        known = found.setdefault(table, Chunking(how.chunk_rows, how.parallel, how.hold_seconds))
        if config.table.primary_key:
            found[table] = replace(known, keys=known.keys | {frozenset(config.table.primary_key)})
    return found


def open_log(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> tuple[TableName, ChangeLog]:
    """The table of a pipeline of one, and its change log. Touches no server."""
    config = pipeline.config
    schema = default_schema(config.system, connection_of(pipeline, environment))
    table = table_of(pipeline, schema)
    return table, ChangeLog(log_path(settings, config.label, table, schema))


def open_flow(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> Flow:
    """A pipeline's flow. Touches no server: applying goes on from the log while the source is down."""
    if pipeline.derived:
        raise ConfigError(
            f"{pipeline.id} is a derived table, without a change log of its own; its inputs' pipelines have one, and "
            f"'cdc verify {pipeline.id} --repair' computes its rows again"
        )
    return open_part(settings, environment, pipeline)


def open_part(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> Flow:
    """The same for a pipeline of one table, which may be a derived one's part: its table and log, and the destination
    of all parts, which is not to be applied to."""
    table, log = open_log(settings, environment, pipeline)
    return Flow(pipeline, table, log, open_destination(pipeline.config.destination), settings.locks)
