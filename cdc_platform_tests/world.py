"""A platform of one test's own: a CDC_HOME, pipelines on the test's databases, and eyes that are not the platform's.

The sources are read with their own drivers, the lake with DuckDB and pyiceberg: nothing here trusts the code under
test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg2
import pymysql
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from cdc_platform.cli.main import main
from cdc_platform.config.load import Pipeline, load_pipelines, select
from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.engine.check import check
from cdc_platform.engine.run import PipelineRun, run
from cdc_platform.mock_data.endpoint import Address
from cdc_platform.mock_data.seed import Sizes
from cdc_platform.quality.checks import Verdict
from cdc_platform.servers.state import ServerState

TIMEOUT_SECONDS = 120
SMALL = Sizes(customers=300, orders=500, products=200, inventory=300, evolution=50)


def address(server: ServerState) -> Address:
    """Where a server is, as the mock data wants it."""
    return Address(server.host, server.port, server.database, server.user, server.password)


@dataclass
class World:
    """Settings and servers of one test; `cdc` is the command, `run` the same in this process."""

    home: Path
    postgres: ServerState
    mysql: ServerState
    folder: Path = PACKAGE / "pipelines"
    extra: dict[str, str] = field(default_factory=dict)
    _loaded: tuple[object, list[Pipeline]] | None = None

    @property
    def settings(self) -> Settings:
        return Settings(self.home, self.folder)

    @property
    def variables(self) -> dict[str, str]:
        found = {"CDC_HOME": str(self.home), "CDC_PIPELINES": str(self.folder)}
        for prefix, server in (("POSTGRES", self.postgres), ("MYSQL", self.mysql)):
            found |= {
                f"{prefix}_HOST": server.host,
                f"{prefix}_PORT": str(server.port),
                f"{prefix}_DB": server.database,
                f"{prefix}_USER": server.user,
                f"{prefix}_PASSWORD": server.password,
            }
        return found | self.extra

    def pipelines(self, *names: str) -> list[Pipeline]:
        """Read again where the files or variables are others: most of a small run's time goes into YAML otherwise."""
        asked = ({file: file.read_bytes() for file in self.folder.glob("*.y*ml")}, self.variables)
        if self._loaded is None or self._loaded[0] != asked:
            self._loaded = asked, load_pipelines(self.folder, self.variables)
        return select(self._loaded[1], names)

    def run(self, *names: str) -> list[PipelineRun]:
        """`cdc run` in this process; raises the first pipeline's error."""
        results = self.run_all(*names)
        for result in results:
            if result.error:
                raise result.error
        return results

    def run_all(self, *names: str) -> list[PipelineRun]:
        everything = self.pipelines()
        return run(self.settings, self.variables, everything, select(everything, names))

    def check(self, *names: str) -> list[Verdict]:
        """`cdc check` in this process; raises the first pipeline's error."""
        verdicts: list[Verdict] = []
        everything = self.pipelines()
        for checked in check(self.settings, self.variables, everything, select(everything, names)):
            if checked.error:
                raise checked.error
            verdicts += checked.verdicts
        return verdicts

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command as a process of its own, under way."""
        return subprocess.Popen(
            [sys.executable, "-m", "cdc_platform.cli.main", *arguments],
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def cdc(self, *arguments: str, code: int = 0) -> Any:
        """The command's JSON (or text) and, when it is not as expected, its words.

        It runs in this process: loading the libraries anew takes longer than most commands.
        """
        return self._said(arguments, code, *self.invoke(*arguments))

    def invoke(self, *arguments: str) -> tuple[int, str, str]:
        """The command in this process: its exit code, and its words on stdout and stderr."""
        out, err = StringIO(), StringIO()
        with ExitStack() as outside:
            outside.enter_context(patch.dict(os.environ, self.variables))
            outside.enter_context(patch.object(sys, "argv", ["cdc", *arguments]))
            outside.enter_context(redirect_stdout(out))
            outside.enter_context(redirect_stderr(err))
            try:
                main()
                ended = 0
            except SystemExit as exit:
                ended = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        return ended, out.getvalue(), err.getvalue()

    def cdc_apart(self, *arguments: str, code: int = 0) -> Any:
        """The same in a process of its own."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
        return self._said(arguments, code, process.returncode, out, err)

    def _said(self, arguments: Sequence[str], code: int, ended: int, out: str, err: str) -> Any:
        assert ended == code, f"exit code {ended}: {out}{err}"
        assert "Traceback" not in err
        for secret in (self.postgres.password, self.mysql.password):
            assert secret not in err
            assert secret not in out
        return json.loads(out) if "--json" in arguments and out else (out + err)

    def iceberg_table(self, name: str) -> Table:
        """A table of the default warehouse, opened with nothing but pyiceberg and the documented places."""
        warehouse = self.home / "lake" / "iceberg"
        catalog = SqlCatalog("default", uri=f"sqlite:///{warehouse}/catalog.db", warehouse=f"file://{warehouse}")
        return catalog.load_table(f"cdc.{name}")

    def postgres_rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.postgres.dsn())) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def postgres_do(self, *statements: str) -> None:
        """Each statement in a transaction of its own."""
        with closing(psycopg2.connect(self.postgres.dsn())) as connection:
            for statement in statements:
                with connection, connection.cursor() as cursor:
                    cursor.execute(statement)

    def _mysql(self) -> pymysql.connections.Connection[pymysql.cursors.Cursor]:
        server = self.mysql
        return pymysql.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=server.database,
            charset="utf8mb4",
            autocommit=True,
        )

    def mysql_rows(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(self._mysql()) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def mysql_do(self, *statements: str) -> None:
        with closing(self._mysql()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def latest(rows: Iterable[dict[str, Any]], key: Sequence[str]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The current state that a reader derives from a history: the last row of each key by log position, if alive."""

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        if "_cdc_source_lsn" in row:
            return (row["_cdc_source_lsn"],)
        return (row["_cdc_binlog_file"], row["_cdc_binlog_position"])

    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        name = tuple(row[k] for k in key)
        if name not in last or order(row) > order(last[name]):
            last[name] = row
    return {name: row for name, row in last.items() if row["_cdc_operation"] != "DELETE"}


def plain(value: Any) -> Any:
    """One form for what drivers and readers give differently: times in UTC without zone, JSON by its content."""
    if isinstance(value, datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    if isinstance(value, (dict, list)):
        return json.dumps(value, sort_keys=True)
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.dumps(json.loads(value), sort_keys=True)
        except ValueError:
            return value
    return value


def assert_same(
    source: Sequence[tuple[Any, ...]], columns: Sequence[str], state: dict[tuple[Any, ...], dict[str, Any]], keys: int
) -> None:
    """Source rows (key columns first) and a destination's state are the same, row by row and cell by cell."""
    expected = {tuple(row[:keys]): tuple(plain(v) for v in row) for row in source}
    found = {key: tuple(plain(row[c]) for c in columns) for key, row in state.items()}
    assert len(source) == len(expected)
    assert found.keys() == expected.keys()
    assert found == expected
