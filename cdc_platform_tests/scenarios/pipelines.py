"""The pipelines of a scenario: four a table, {Delta, Iceberg} x {append, upsert}, on one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from cdc_platform.config.load import Pipeline
from cdc_platform.engine.run import PipelineRun, run
from cdc_platform_tests.scenarios.lake import LakeTable
from cdc_platform_tests.scenarios.origin import Origin
from cdc_platform_tests.world import World

FORMATS = {"delta": "deltalake", "iceberg": "iceberg"}


@dataclass(frozen=True, slots=True)
class Target:
    """One pipeline: a source table, and the table in the lake that it fills."""

    table: str
    mode: str
    lake: LakeTable

    @property
    def pipeline(self) -> str:
        return self.lake.name

    def is_meant(self, words: Sequence[str]) -> bool:
        """Whether words of an expectation speak of it; no words speak of all."""
        return all(word in (self.table, self.lake.format, self.mode) for word in words)


@dataclass(slots=True)
class Pipelines:
    """`targets` of the tables that are followed, and the options that all of them have.

    `loaded` has their pipelines as they were written last, by id.
    """

    world: World
    origin: Origin
    destination: dict[str, Any] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    loaded: dict[str, Pipeline] = field(default_factory=dict)

    def follow(self, table: str, *, keyed: bool) -> None:
        for kind in FORMATS:
            for mode in ("append", "upsert") if keyed else ("append",):
                name = f"{table.replace('.', '_')}_{kind}_{mode}"
                self.targets.append(Target(table, mode, LakeTable(self.world, kind, name)))

    def write(self) -> None:
        """The YAML as it is now, a file a pipeline, and what the platform reads in it."""
        self.world.folder.mkdir(parents=True, exist_ok=True)
        for target in self.targets:
            file = self.world.folder / f"{target.pipeline}.yaml"
            file.write_text(yaml.dump(self._document(target), Dumper=yaml.CSafeDumper, sort_keys=False))
        self.loaded = {pipeline.id: pipeline for pipeline in self.world.pipelines()}

    def run(self) -> dict[str, PipelineRun]:
        """`cdc run` of what was written last, in this process; results by pipeline."""
        world, everything = self.world, list(self.loaded.values())
        return {result.pipeline: result for result in run(world.settings, world.variables, everything, everything)}

    def destination_name(self, column: str) -> str | None:
        """What the destination calls a source column; None for one that the configuration drops."""
        options: Mapping[str, Any] = self.destination.get("columns", {}).get(column, {})
        return None if options.get("drop") else options.get("rename", column)

    @property
    def ignores_changes(self) -> bool:
        return "ignore" in self.destination.get("schema_changes", {}).values()

    def _document(self, target: Target) -> dict[str, Any]:
        system = self.origin.system
        keys = {"host": "HOST", "port": "PORT", "database": "DB", "user": "USER", "password": "PASSWORD"}
        connection = {key: f"${{{system.upper()}_{name}}}" for key, name in keys.items()}
        destination: dict[str, Any] = {"type": FORMATS[target.lake.format], "write_mode": target.mode}
        if target.lake.format == "delta":
            destination["path"] = f"${{CDC_HOME}}/lake/deltalake/{target.lake.name}"
        else:
            destination |= {"path": "${CDC_HOME}/lake/iceberg", "table": f"cdc.{target.lake.name}"}
        return {
            "pipeline_id": target.pipeline,
            "source": {
                "type": system,
                "connection": connection,
                "tables": [{"name": target.table, **self.table}],
                **self.source,
            },
            "destination": destination | self.destination,
        }
