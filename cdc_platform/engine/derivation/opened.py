"""A derived pipeline, opened: its definition, the change logs of its inputs, its destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.open import open_destination
from cdc_platform.engine.derivation.definition import Definition, Wanted, load, wanted
from cdc_platform.engine.feeds import open_log
from cdc_platform.engine.places import file_name, quarantine_folder
from cdc_platform.errors import ConfigError, SchemaConflict
from cdc_platform.model.lifecycle import OpenGap
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.model.target import TargetSchema


@dataclass(frozen=True, slots=True)
class InputLog:
    """An input's table and change log; `pipeline` is of this table alone."""

    pipeline: Pipeline
    table: TableName
    log: ChangeLog


@dataclass(frozen=True, slots=True)
class Derivation:
    """One derived pipeline: from the change logs of its inputs, by their names, to a destination table."""

    pipeline: Pipeline
    definition: Definition
    inputs: Mapping[str, InputLog]
    destination: Destination
    target: TargetSchema
    locks: Path
    folder: Path

    @property
    def lock(self) -> str:
        return f"pipeline-{file_name(self.pipeline.id)}"

    @property
    def log_id(self) -> str:
        """What its destination's commits have in the place of a change log's id."""
        return f"derived:{self.definition.name}"

    def check(self, table: TableName, shape: TableSchema) -> None:
        """Raise ConfigError where a table of this shape is not what its input needs."""
        for name, one in self.inputs.items():
            if one.table == table:
                try:
                    wanted(self.definition.table, name, self.definition.table.inputs[name], shape)
                except SchemaConflict as error:
                    raise ConfigError(f"{self.pipeline.where}: {error}") from error

    def captured(self) -> bool:
        """Whether all inputs have their snapshots."""
        return all(one.log.position() is not None for one in self.inputs.values())

    def gap(self) -> OpenGap | None:
        """The open gap of an input, if one has one."""
        for one in self.inputs.values():
            if one.log.position() is not None and (gap := one.log.gap()) is not None:
                return gap
        return None

    def wanted(self, versions: Mapping[str, int]) -> dict[str, Wanted]:
        """What is read of each input, in the shape that its log has at this version."""
        found = {}
        for name, one in self.inputs.items():
            shape = one.log.shape_at(versions[name]).schema
            found[name] = wanted(self.definition.table, name, self.definition.table.inputs[name], shape)
        return found

    def position(self, versions: Mapping[str, int]) -> str:
        """Where the inputs are at these versions of their logs, as text for people."""
        return ", ".join(f"{name} {one.log.position_of(versions[name])}" for name, one in self.inputs.items())


def open_derivation(settings: Settings, environment: Mapping[str, str], pipeline: Pipeline) -> Derivation:
    """A derived pipeline's. Touches no server; raises ConfigError."""
    derive = pipeline.config.derive
    assert derive is not None
    try:
        definition = load(derive.definition, pipeline.file.parent)
        named = _named(derive.inputs, definition, [table.name for table in pipeline.config.source.tables])
    except ConfigError as error:
        raise ConfigError(f"{pipeline.where}: {error}") from error
    logs = {part.config.table.name: InputLog(part, *open_log(settings, environment, part)) for part in pipeline.parts}
    return Derivation(
        pipeline,
        definition,
        {name: logs[table] for name, table in named.items()},
        open_destination(pipeline.config.destination),
        definition.table.target(pipeline.config.destination.type),
        settings.locks,
        settings.home / "state" / "derived" / quarantine_folder(pipeline.id),
    )


def _named(given: Mapping[str, str], definition: Definition, tables: list[str]) -> dict[str, str]:
    """The table of each input, as the pipeline writes it."""
    inputs = definition.table.inputs
    for name in given:
        if name not in inputs:
            raise ConfigError(f"derive.inputs: {definition.name} has no input '{name}'; it has: {', '.join(inputs)}")
    found = {name: given.get(name, name) for name in inputs}
    for name, table in found.items():
        if table not in tables:
            raise ConfigError(f"derive.inputs: input '{name}' is table '{table}', which is not in source.tables")
    if unused := [table for table in tables if table not in found.values()]:
        raise ConfigError(f"derive.inputs: no input of {definition.name} is table {', '.join(unused)}")
    return found
