"""Where a timestamp test stands: one table, a role that may read it and nothing else, four pipelines on it.

    things ──> Delta history, Delta current state, Iceberg history, Iceberg current state

The lake is read by DuckDB, the source by its own driver.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg2
import pymysql

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.verification.verify import Options, Verified, verify
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.readers import duckdb_delta, duckdb_iceberg
from cdc_platform_tests.world import World, latest, plain

SYSTEMS = ("postgres", "mysql")
ALL = ("delta_append", "delta_upsert", "iceberg_append", "iceberg_upsert")
TYPES = {
    "postgres": "id bigint primary key, body text, amount numeric(12,2), flag boolean, changed timestamptz(6)",
    "mysql": "id bigint primary key, body text, amount decimal(12,2), flag tinyint(1), changed datetime(6)",
}
COLUMNS = ("id", "body", "amount", "flag", "changed")
Row = tuple[Any, ...]


@dataclass(slots=True)
class Ground:
    """`owner` makes the table and writes to it; the platform comes as `reader`."""

    system: str
    world: World
    reader: ServerState
    pipelines: tuple[str, ...] = ALL
    polling: dict[str, Any] = field(default_factory=dict)
    table: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    # --- the source ----------------------------------------------------------------------------------------------

    def make(self, columns: str | None = None, *more: str) -> None:
        """The table, an index on its column, and the reader's one right."""
        self.do(f"create table things ({columns or TYPES[self.system]})", "create index on_changed on things (changed)")
        self.do(f"grant select on things to {self.role}", *more)

    @property
    def role(self) -> str:
        return self.reader.user if self.system == "postgres" else f"'{self.reader.user}'@'%'"

    def do(self, *statements: str) -> None:
        (self.world.postgres_do if self.system == "postgres" else self.world.mysql_do)(*statements)

    @contextmanager
    def session(self) -> Iterator[Callable[[str], None]]:
        """A session of the owner's own, in a transaction until it is given `commit`."""
        server = self.world.postgres if self.system == "postgres" else self.world.mysql
        if self.system == "postgres":
            opened: Any = psycopg2.connect(server.dsn())
        else:
            opened = pymysql.connect(
                host=server.host, port=server.port, user=server.user, password=server.password, database=server.database
            )
        with closing(opened), closing(opened.cursor()) as cursor:
            yield cursor.execute

    def rows(self, statement: str) -> list[Row]:
        return (self.world.postgres_rows if self.system == "postgres" else self.world.mysql_rows)(statement)

    def put(self, *rows: Sequence[Any]) -> None:
        """Insert or replace rows (id, body, changed), in one statement."""
        self.do(self.putting(*rows))

    def putting(self, *rows: Sequence[Any]) -> str:
        values = ", ".join(f"({key}, '{body}', {1.5 * key}, {self.true}, {when(at)})" for key, body, at in rows)
        columns = "body, amount, flag, changed".split(", ")
        if self.system == "postgres":
            anew = "on conflict (id) do update set " + ", ".join(f"{c} = excluded.{c}" for c in columns)
        else:
            anew = "on duplicate key update " + ", ".join(f"{c} = values({c})" for c in columns)
        return f"insert into things values {values} {anew}"

    @property
    def true(self) -> str:
        return "true" if self.system == "postgres" else "1"

    # --- the platform --------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """The pipelines' files, as `polling`, `table` and `source` are now."""
        prefix = "POSTGRES" if self.system == "postgres" else "MYSQL"
        server = self.world.postgres if self.system == "postgres" else self.world.mysql
        self.world.extra = {f"{prefix}_USER": self.reader.user, f"{prefix}_PASSWORD": self.reader.password}
        names = {"host": "HOST", "port": "PORT", "database": "DB", "user": "USER", "password": "PASSWORD"}
        assert server.database == self.reader.database
        self.world.folder = self.world.home.parent / "pipelines"
        self.world.folder.mkdir(exist_ok=True)
        for name in self.pipelines:
            lake, mode = name.split("_")
            where = (
                {"type": "deltalake", "path": f"${{CDC_HOME}}/lake/deltalake/{name}"}
                if lake == "delta"
                else {"type": "iceberg", "path": "${CDC_HOME}/lake/iceberg", "table": f"cdc.{name}"}
            )
            pipeline = {
                "pipeline_id": name,
                "source": {
                    "type": self.system,
                    "connection": {key: f"${{{prefix}_{variable}}}" for key, variable in names.items()},
                    "tables": [{"name": "things", "cdc_column": "changed", **self.table}],
                    "polling": self.polling,
                    **self.source,
                },
                "cdc_method": "timestamp-based",
                "destination": {**where, "write_mode": mode},
            }
            (self.world.folder / f"{name}.yaml").write_text(json.dumps(pipeline))

    def run(self) -> dict[str, int]:
        """`cdc run`; what it applied to the first pipeline, by operation."""
        (first, *_) = self.world.run()
        done = {**first.application.events, "SNAPSHOT": first.application.snapshot_rows}
        return {operation: count for operation, count in done.items() if count}

    def verify(self, *, repair: bool = False, full: bool = False) -> list[Verified]:
        everything = self.world.pipelines()
        found = verify(
            self.world.settings, self.world.variables, everything, everything, Options(repair=repair, full=full)
        )
        for one in found:
            if one.error is not None:
                raise one.error
        return found

    @property
    def log(self) -> ChangeLog:
        return ChangeLog(self.world.home / "change_log" / f"{self.system}_timestamp" / "things")

    def events(self) -> pl.DataFrame:
        """All events in the log's order."""
        return pl.concat([frame for part in self.log.read(0) for frame in part.frames()])

    # --- the lake ------------------------------------------------------------------------------------------------

    def lake(self, name: str) -> list[dict[str, Any]]:
        if name.startswith("delta"):
            return duckdb_delta(self.world.home / "lake" / "deltalake" / name).to_dicts()
        return duckdb_iceberg(self.world.iceberg_table(name).metadata_location).to_dicts()

    def assert_lake_is_source(self, columns: Sequence[str] = COLUMNS, without: Sequence[int] = ()) -> None:
        """All destinations hold the source's rows, cell by cell; `without` are keys that are passed over."""
        source = {row[0]: tuple(map(cell, row)) for row in self.rows(f"select {', '.join(columns)} from things")}
        expected = {key: row for key, row in source.items() if key not in without}
        for name in self.pipelines:
            rows = self.lake(name)
            if name.endswith("append"):
                rows = list(latest(rows, ["id"]).values())
            found = {row["id"]: tuple(cell(row[c]) for c in columns) for row in rows if row["id"] not in without}
            assert len(rows) == len({row["id"] for row in rows})
            assert found == expected, name

    def assert_log_holds_each_change_once(self) -> None:
        """Ids are unique, a key comes and goes by turns, and no UPDATE leaves a row as it was."""
        events = self.events()
        assert events["event_id"].is_unique().all()
        alive: dict[Any, Any] = {}
        for event in events.iter_rows(named=True):
            before, after = event["before"], event["after"]
            key = (after or before)["id"]
            assert (event["operation"] == "INSERT") == (key not in alive), event["operation"]
            assert after is None or alive.get(key) != after
            alive[key] = after
            if after is None:
                del alive[key]


def cell(value: Any) -> Any:
    value = plain(value)
    return int(value) if isinstance(value, bool) else value


def when(at: datetime | timedelta | None) -> str:
    """A time as SQL of either server, in UTC; a difference is from now."""
    if at is None:
        return "null"
    moment = datetime.now(UTC) + at if isinstance(at, timedelta) else at
    return f"'{moment:%Y-%m-%d %H:%M:%S.%f}'"


@contextmanager
def ground(system: str, world: World) -> Iterator[Ground]:
    """A ground with a role of its own, which is gone at the end."""
    name, password = f"reader_{secrets.token_hex(4)}", secrets.token_hex(8)
    server = world.postgres if system == "postgres" else world.mysql
    made = Ground(system, world, replace(server, user=name, password=password))
    if system == "postgres":
        made.do(
            f"create role {name} login password '{password}'", f"alter database {server.database} set timezone = 'UTC'"
        )
    else:
        made.do(f"create user {made.role} identified by '{password}'")
    try:
        yield made
    finally:
        world.extra = {}
        if system == "postgres":
            made.do(f"drop owned by {name}", f"drop role {name}")
        else:
            made.do(f"drop user {made.role}")
