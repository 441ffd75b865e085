"""A pipeline's configuration as dataclasses, in the form of its YAML. Strict: an unknown key is an error.

Reading files and filling `${NAME}` is `load.py`; nothing here touches a file, a variable or a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.dataclasses import dataclass

from cdc_platform.config.publish import PublishConfig
from cdc_platform.config.rules import RuleConfig, check_rules
from cdc_platform.model.event import System
from cdc_platform.model.evolution import Kind, Policy
from cdc_platform.model.projection import ColumnRule, Order
from cdc_platform.model.target import PartitionField, SortField, TableLayout

_LONGEST_NAME = 63
_STRICT = ConfigDict(extra="forbid", validate_default=True)

Cast = Literal["bool", "int", "long", "float", "double", "string", "binary", "date", "timestamp", "timestamp_ntz"]
SourceType = Literal["postgres", "mysql", "deltalake", "iceberg", "kafka"]
Method = Literal["native", "debezium", "timestamp-based"]
CheckType = Literal["row_count", "checksum", "lag_monitoring", "schema"]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TableConfig:
    """A source table: `name` is `table` or `schema.table`; with `schema` given it is taken as it is, dots and all.

    `primary_key` is read from the source when left out.

    The columns in `as_text` are read as the server's own text, for values that their type here cannot hold. `rules`
    say what each row must be. `cdc_column` is the column that the timestamp-based method follows; `topic` is the
    Kafka topic, where it is not `<topic_prefix>.<schema>.<table>`. With `history`, a lake table's rows are changes
    (as those of our own append destinations), not the source's rows.
    """

    name: str = Field(min_length=1)
    schema: str | None = Field(default=None, min_length=1)
    primary_key: list[str] | None = None
    cdc_column: str | None = None
    topic: str | None = Field(default=None, min_length=1)
    history: bool = False
    as_text: list[str] = field(default_factory=list)
    rules: list[RuleConfig] = field(default_factory=list)

    @field_validator("rules")
    @classmethod
    def _named_once(cls, value: list[RuleConfig]) -> list[RuleConfig]:
        return check_rules(value)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SnapshotConfig:
    """How a new table's rows are read: in chunks of about `chunk_rows` by ranges of the primary key's first column,
    `parallel` of them at a time (Postgres), from one snapshot for `hold_seconds` or so."""

    chunk_rows: int = Field(default=1_000_000, ge=1)
    parallel: int = Field(default=1, ge=1, le=16)
    hold_seconds: float = Field(default=30.0, ge=0)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PollingConfig:
    """How the timestamp-based method reads. Each poll goes back by `window_seconds` behind the highest value that was
    read; every `compare_hours` keys and column are compared with the change log; `time_zone` is that of a column whose
    type has none."""

    window_seconds: float = Field(default=300.0, ge=0)
    compare_hours: float = Field(default=24.0, gt=0)
    page_rows: int = Field(default=100_000, ge=1)
    time_zone: str = "UTC"

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise ValueError("no time zone of this name; write one like UTC or Europe/Berlin") from error
        return value


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SourceConfig:
    """Where changes come from. `connection` keeps its `${NAME}`s until a connection is opened (load.resolve).

    `name` tells two sources of one type apart; it is the first part of asset keys and of the slot's name.
    """

    type: SourceType
    connection: dict[str, Any] = field(repr=False)
    tables: list[TableConfig] = Field(min_length=1)
    name: str = ""
    snapshot: SnapshotConfig = field(default_factory=SnapshotConfig)
    polling: PollingConfig | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if value and not value.replace("_", "").isalnum():
            raise ValueError("letters, digits and _ only")
        if len(value.encode()) > _LONGEST_NAME:
            raise ValueError(f"at most {_LONGEST_NAME} bytes")
        return value


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ColumnConfig:
    """What becomes of one source column on its way to the destination."""

    rename: str | None = None
    cast: Cast | None = None
    drop: bool = False
    required: bool = False

    def rule(self) -> ColumnRule:
        """The same in the terms of the model."""
        return ColumnRule(self.rename, self.cast, self.drop, self.required)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SchemaChanges:
    """What becomes of the destination when its source table changes; see model/policy.py.

    `drop_column` is `ignore` for histories and `apply` for current states unless it is given.
    """

    add_column: Policy = "apply"
    drop_column: Policy | None = None
    rename_column: Policy = "apply"
    change_type: Policy = "apply"

    def policies(self, write_mode: Literal["append", "upsert"]) -> dict[Kind, Policy]:
        """The same in the terms of the model."""
        drop = self.drop_column or ("ignore" if write_mode == "append" else "apply")
        return {
            "add_column": self.add_column,
            "drop_column": drop,
            "rename_column": self.rename_column,
            "change_type": self.change_type,
        }


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DestinationConfig:
    """Where rows go. For Iceberg, `path` is the warehouse and `table` is `namespace.name`.

    `on_invalid` says what becomes of a change that breaks an enforced rule, or that the table cannot hold;
    `quarantine` where such changes are kept (a Delta table), in place of `lake/quarantine/<pipeline>`.
    """

    type: Literal["deltalake", "iceberg"]
    path: str = Field(min_length=1)
    write_mode: Literal["append", "upsert"] = "append"
    partition_by: str | list[str] | None = None
    sort_by: str | list[str] | None = None
    table: str | None = None
    catalog: dict[str, Any] | None = field(default=None, repr=False)
    properties: dict[str, str] = field(default_factory=dict)
    columns: dict[str, ColumnConfig] = field(default_factory=dict)
    schema_changes: SchemaChanges = field(default_factory=SchemaChanges)
    preview: int = Field(default=0, ge=0, le=100)
    on_invalid: Literal["stop", "quarantine"] = "stop"
    quarantine: str | None = None

    @model_validator(mode="after")
    def _iceberg_table(self) -> DestinationConfig:
        if self.type == "deltalake" and (self.table or self.catalog):
            raise ValueError("'table' and 'catalog' belong to iceberg destinations; a Delta table is its path")
        if self.quarantine and self.on_invalid == "stop":
            raise ValueError("'quarantine' says where, and on_invalid: quarantine is missing")
        for part in self.table.split(".") if self.table else ():
            # Warehouses make a folder of each part.
            if not part or part != part.strip() or any(c in "/\\" or ord(c) < 32 for c in part):
                raise ValueError("'table' is namespace.name: parts with dots between them, without / \\ or line breaks")
        self.layout()
        return self

    def layout(self) -> TableLayout:
        """Partitions, sort order and properties in the terms of the model."""
        return TableLayout(
            tuple(PartitionField.parse(text) for text in _terms(self.partition_by)),
            tuple(SortField.parse(text) for text in _terms(self.sort_by)),
            tuple(sorted(self.properties.items())),
        )

    @property
    def label(self) -> str:
        """The table's own name: the last part of its asset key."""
        return (self.table or self.path).rstrip("/").replace(".", "/").split("/")[-1]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class QualityCheck:
    """A check of the destination against its source. Without any, row_count, checksum, lag and schema all run."""

    type: CheckType
    enabled: bool = True
    threshold_seconds: float | None = Field(default=None, gt=0)
    columns: list[str] | None = None
    tolerance: float = Field(default=0.0, ge=0.0, lt=1.0)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Observability:
    """`results_days`: for how long validation results are kept."""

    logging_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    metrics_enabled: bool = True
    health_check_port: int = Field(default=8080, ge=0, le=65535)
    results_days: int = Field(default=90, ge=1)
    wal_kept_warning_mb: float = Field(default=1024, gt=0)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DeriveConfig:
    """A table that is made of the source's tables: `definition` names one that comes with the platform, or a Python
    file beside the pipeline's; `inputs` says which table is which of its inputs, where they are called otherwise."""

    definition: str = Field(min_length=1)
    inputs: dict[str, str] = field(default_factory=dict)

    @field_validator("definition")
    @classmethod
    def _beside(cls, value: str) -> str:
        if value != value.strip() or "/" in value or "\\" in value or value.startswith("."):
            raise ValueError("a name, or a file's name with its .py beside the pipeline's file; no path")
        return value


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class PipelineConfig:
    """One flow from a source table to a destination table; with `derive`, from several to one that is made of them."""

    pipeline_id: str = Field(min_length=1)
    source: SourceConfig
    destination: DestinationConfig
    cdc_method: Method | None = None
    quality_checks: list[QualityCheck] = field(default_factory=list)
    observability: Observability = field(default_factory=Observability)
    publish: PublishConfig | None = None
    derive: DeriveConfig | None = None

    @model_validator(mode="after")
    def _derived(self) -> PipelineConfig:
        if self.derive is None:
            return self
        to, names = self.destination, [table.name for table in self.source.tables]
        if to.write_mode != "upsert":
            raise ValueError("destination.write_mode: a derived table is kept as it is now; write upsert")
        for key, said in (("columns", to.columns), ("on_invalid", to.on_invalid != "stop")):
            if said:
                raise ValueError(f"destination.{key}: a derived table's rows are its definition's; say it there")
        if to.schema_changes != SchemaChanges():
            raise ValueError("destination.schema_changes: a derived table has the columns of its definition")
        if self.publish is not None:
            raise ValueError("publish: a derived table has no change log; publish its inputs in pipelines of their own")
        if any(table.rules for table in self.source.tables):
            raise ValueError("source.tables.rules: rules belong to a pipeline of the table itself")
        if len(set(names)) < len(names):
            raise ValueError("source.tables: a table is there twice")
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> PipelineConfig:
        able = _METHODS[self.source.type]
        if self.method not in able:
            raise ValueError(f"cdc_method: {self.method} does not read {self.source.type}; {' or '.join(able)} does")
        if self.source.type == "kafka" and self.source.connection.get("system") not in ("postgres", "mysql"):
            raise ValueError("source.connection.system: say whose events the topics hold, postgres or mysql")
        if self.method == "timestamp-based":
            for table in self.source.tables:
                if table.cdc_column is None:
                    raise ValueError(
                        f"source.tables: {table.name}: write its column that tells when a row changed as cdc_column"
                    )
        elif self.source.polling is not None:
            raise ValueError("source.polling belongs to cdc_method: timestamp-based")
        return self

    @property
    def method(self) -> Method:
        """How changes are read; where nothing is said, the first way that the source has."""
        return self.cdc_method or _METHODS[self.source.type][0]

    @property
    def label(self) -> str:
        """What the source is called: its name, or else its type, and the method where that is not the usual one."""
        usual = self.method == _METHODS[self.source.type][0]
        return self.source.name or (self.source.type if usual else f"{self.source.type}_{self.method.split('-')[0]}")

    @property
    def system(self) -> System:
        """The system whose tables the events are of."""
        if self.source.type == "kafka":
            return "mysql" if self.source.connection["system"] == "mysql" else "postgres"
        return self.source.type

    @property
    def order(self) -> Order:
        """What orders the changes of a key at the destination."""
        return "binlog" if self.system == "mysql" and self.method != "timestamp-based" else "lsn"

    @property
    def table(self) -> TableConfig:
        """The one source table (load.py splits a pipeline of several that is not derived)."""
        (table,) = self.source.tables
        return table


_METHODS: Final[Mapping[SourceType, tuple[Method, ...]]] = {
    "postgres": ("native", "debezium", "timestamp-based"),
    "mysql": ("native", "debezium", "timestamp-based"),
    "deltalake": ("native",),
    "iceberg": ("native",),
    "kafka": ("debezium",),
}


def _terms(value: str | list[str] | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else value
