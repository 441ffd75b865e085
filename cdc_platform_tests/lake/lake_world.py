"""Pipelines from lake tables to lake tables, without a server: written by deltalake and pyiceberg, read by DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import Pipeline, load_pipelines, select
from cdc_platform.config.settings import Settings
from cdc_platform.engine.check import check
from cdc_platform.engine.resync import Resynced, resync
from cdc_platform.engine.run import PipelineRun, run
from cdc_platform.engine.verification.verify import verify
from cdc_platform_tests import readers


@dataclass
class LakeWorld:
    """`source` holds the tables that are followed; pipelines are written by `follow`."""

    home: Path
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        return self.home / "source"

    @property
    def folder(self) -> Path:
        return self.home / "pipelines"

    @property
    def settings(self) -> Settings:
        return Settings(self.home / "cdc", self.folder)

    @property
    def variables(self) -> dict[str, str]:
        return {"CDC_HOME": str(self.settings.home), "CDC_PIPELINES": str(self.folder)}

    def follow(self, name: str, kind: str, table: Mapping[str, Any], to: str, mode: str, **destination: Any) -> None:
        """A pipeline called `name` from a table of `kind` to a table of the kind `to`, also called `name`."""
        connection = {"path": str(self.source)} if kind == "deltalake" else {"warehouse": str(self.source)}
        place: dict[str, Any] = {"path": str(self.home / "lake" / name)}
        if to == "iceberg":
            place = {"path": str(self.home / "warehouse"), "table": f"cdc.{name}"}
        document = {
            "pipeline_id": name,
            "source": {"type": kind, "connection": connection, "tables": [dict(table)]},
            "destination": {"type": to, **place, "write_mode": mode, **destination},
        }
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(document))

    def pipelines(self, *names: str) -> list[Pipeline]:
        return select(load_pipelines(self.folder, self.variables), names)

    def run_all(self, *names: str) -> list[PipelineRun]:
        return run(self.settings, self.variables, self.pipelines(), self.pipelines(*names))

    def run(self, *names: str) -> list[PipelineRun]:
        """Raises the first pipeline's error."""
        results = self.run_all(*names)
        for result in results:
            if result.error:
                raise result.error
        return results

    def check(self, *names: str) -> dict[str, str]:
        """Statuses by pipeline and type of check."""
        found: dict[str, str] = {}
        for checked in check(self.settings, self.variables, self.pipelines(), self.pipelines(*names)):
            if checked.error:
                raise checked.error
            found |= {f"{checked.pipeline}.{v.type}": v.status for v in checked.verdicts}
        return found

    def verify(self, *names: str) -> list[Any]:
        return list(verify(self.settings, self.variables, self.pipelines(), self.pipelines(*names)))

    def resync(self, *names: str) -> list[Resynced]:
        return resync(self.settings, self.variables, self.pipelines(), self.pipelines(*names))

    def log(self, kind: str, table: str) -> ChangeLog:
        return ChangeLog(self.settings.change_logs / kind / table)

    def events(self, kind: str, table: str) -> pl.DataFrame:
        """All events of a change log, in its order."""
        log = self.log(kind, table)
        frames = [frame for part in log.slices() for frame in part.frames()]
        return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()

    def rows(self, name: str, to: str, query: str = "select * from it") -> pl.DataFrame:
        """A destination, by DuckDB."""
        if to == "deltalake":
            return readers.duckdb_delta(self.home / "lake" / name, query)
        return readers.duckdb_iceberg(self.catalog("warehouse").load_table(f"cdc.{name}").metadata_location, query)

    def catalog(self, folder: str) -> SqlCatalog:
        warehouse = self.home / folder
        warehouse.mkdir(exist_ok=True)
        return SqlCatalog("default", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")

    def iceberg(self, name: str) -> Table:
        """A source table, by pyiceberg."""
        return self.catalog("source").load_table(f"shop.{name}")

    def cdc(self, *arguments: str, code: int = 0) -> Any:
        """The command's JSON, or its words."""
        process = subprocess.run(
            [sys.executable, "-m", "cdc_platform.cli.main", *arguments],
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.returncode == code, f"exit code {process.returncode}: {process.stdout}{process.stderr}"
        assert "Traceback" not in process.stderr
        return json.loads(process.stdout) if "--json" in arguments else process.stdout + process.stderr
