"""What a pipeline's configuration asks of a source, in plain terms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cdc_platform.model.event import System
from cdc_platform.model.schema import TableName

SourceType = Literal["postgres", "mysql", "deltalake", "iceberg", "kafka"]
Method = Literal["native", "debezium", "timestamp-based"]


@dataclass(frozen=True, slots=True)
class TableAsked:
    """A table: its key where it is not the source's own, the column that tells when a row changed, the topic of its
    events, and the columns that are read as the server's own text. Of a `history` the rows are changes themselves."""

    primary_key: Sequence[str] | None = None
    cdc_column: str | None = None
    topic: str | None = None
    as_text: Collection[str] = frozenset()
    history: bool = False


@dataclass(frozen=True, slots=True)
class Polling:
    """How tables are polled that are followed by a column: how far back each poll reads (seconds), how many rows at a
    time, and what zone the column's times are in where its type has none."""

    window: float = 300.0
    page_rows: int = 100_000
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Asked:
    """A source. `connection` has its variables filled; `name` is that of what the platform makes at the server, `state`
    a folder for what the source may lose. `polling` is for the timestamp-based method, `properties` are those of
    Debezium's engine."""

    type: SourceType
    method: Method
    system: System
    connection: Mapping[str, Any] = field(repr=False)
    name: str
    state: Path
    tables: Mapping[TableName, TableAsked] = field(default_factory=dict)
    polling: Polling = field(default_factory=Polling)
    properties: Mapping[str, str] = field(default_factory=dict)

    @property
    def as_text(self) -> dict[TableName, Collection[str]]:
        return {table: asked.as_text for table, asked in self.tables.items()}
