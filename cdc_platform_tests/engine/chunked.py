"""A table whose snapshot is taken in many chunks, and a random workload on it that moves rows between them.

What must hold of its log and destinations is said by readers that are not ours: the source's driver and DuckDB.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pymysql
import pytest
from psycopg2 import connect

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.sources.mysql.source import MySQLSource
from cdc_platform.sources.postgres.source import PostgresSource
from cdc_platform_tests import readers
from cdc_platform_tests.engine.test_end_to_end import one_pipeline
from cdc_platform_tests.world import World, latest

SOURCES: dict[str, Any] = {"postgres": PostgresSource, "mysql": MySQLSource}
ROWS = 200
SPREAD = 1000


def chunked_pipeline(system: str, table: str, mode: str, rows: int = 40, hold: float = 0, parallel: int = 1) -> str:
    """A pipeline on Delta whose snapshot is cut every so many rows, each chunk in a snapshot of its own."""
    text = one_pipeline(system, table, "deltalake", mode).replace("_id: one", f"_id: {table}_{mode}")
    how = f"  snapshot: {{chunk_rows: {rows}, hold_seconds: {hold}, parallel: {parallel}}}\n  tables:"
    return text.replace("target", f"{table}_{mode}").replace("  tables:", how)


@dataclass
class Shop:
    """Table `things (id, k, name)` in one system, with rows, writers, and pipelines in both modes."""

    world: World
    system: str
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    table: str = "things"

    def prepare(self, pipelines: str | None = None, rows: int = ROWS) -> None:
        self.do(f"create table {self.table} (id bigint primary key, k int, name varchar(40))")
        keys = self.chance.sample(range(-SPREAD, SPREAD), rows)
        self.do(f"insert into {self.table} values " + ", ".join(f"({key}, {key}, 'first')" for key in keys))
        self.configure(pipelines or self.pipelines())

    def pipelines(self, **how: Any) -> str:
        return "\n---\n".join(chunked_pipeline(self.system, self.table, mode, **how) for mode in ("append", "upsert"))

    def configure(self, *texts: str) -> None:
        self.world.folder = self.world.home.parent / "pipelines"
        self.world.folder.mkdir(exist_ok=True)
        (self.world.folder / "all.yaml").write_text("\n---\n".join(texts))

    @property
    def log(self) -> ChangeLog:
        return ChangeLog(self.world.home / "change_log" / self.system / self.table)

    def do(self, *statements: str) -> None:
        (self.world.postgres_do if self.system == "postgres" else self.world.mysql_do)(*statements)

    def rows(self, columns: str = "id, k, name") -> list[tuple[Any, ...]]:
        query = f"select {columns} from {self.table} order by id"
        return self.world.postgres_rows(query) if self.system == "postgres" else self.world.mysql_rows(query)

    @contextmanager
    def session(self) -> Iterator[Any]:
        server = self.world.postgres if self.system == "postgres" else self.world.mysql
        if self.system == "postgres":
            with closing(connect(server.dsn())) as session:
                session.autocommit = True
                yield session
            return
        with closing(
            pymysql.connect(
                host=server.host, port=server.port, user=server.user, password=server.password,
                database=server.database, autocommit=True,
            )
        ) as session:  # fmt: skip
            yield session

    def change(self, times: int) -> None:
        """Random changes, one transaction each: rows come, go, change, and take other keys, far away or near."""
        with self.session() as session, session.cursor() as cursor:
            for _ in range(times):
                cursor.execute(f"select id from {self.table} order by id")
                keys = [row[0] for row in cursor.fetchall()]
                free = sorted(set(range(-SPREAD, SPREAD)) - set(keys))
                key, other = self.chance.choice(keys), self.chance.choice(free)
                match self.chance.choice(("insert", "update", "delete", "move", "move", "swap")):
                    case "insert":
                        cursor.execute(f"insert into {self.table} values ({other}, {key}, 'new')")
                    case "update":
                        cursor.execute(f"update {self.table} set k = k + 1, name = 'changed' where id = {key}")
                    case "delete":
                        cursor.execute(f"delete from {self.table} where id = {key}")
                    case "move":
                        cursor.execute(f"update {self.table} set id = {other}, name = 'moved' where id = {key}")
                    case "swap":  # a key changes hands inside one transaction
                        cursor.execute("begin")
                        cursor.execute(f"update {self.table} set id = {other} where id = {key}")
                        cursor.execute(f"insert into {self.table} values ({key}, 0, 'in its place')")
                        cursor.execute(f"update {self.table} set name = 'gone on' where id = {other}")
                        cursor.execute("commit")

    def chunks(self) -> int:
        """How many commits of the log are chunks."""
        actions = (self.log._actions(version) for version in range(1, self.log.version() + 1))
        return sum("cdc.chunk" in action["commitInfo"][0] for action in actions)

    def assert_exact(self, columns: str = "id, k, name") -> None:
        """Both destinations are the source, and the log is a history that can be played."""
        expected, names = self.rows(columns), columns.split(", ")
        lake = self.world.home / "lake" / "deltalake"
        current = readers.duckdb_delta(lake / f"{self.table}_upsert").to_dicts()
        history = readers.duckdb_delta(lake / f"{self.table}_append").to_dicts()
        assert sorted(tuple(row[name] for name in names) for row in current) == expected
        state = latest(history, ["id"]).values()
        assert sorted(tuple(row[name] for name in names) for row in state) == expected
        # `title` was called `name` once, and a column that came later is null in rows that did not change since.
        played = [{"title": row.get("name"), **row} for row in replayed(self.log).values()]
        assert sorted(tuple(row.get(name) for name in names) for row in played) == expected
        assert len(history) == sum(part.rows for part in self.log.read(0))


def replayed(log: ChangeLog) -> dict[int, dict[str, Any]]:
    """The rows after all events, one after the other: none comes twice, none goes that is not there, no id twice."""
    rows: dict[int, dict[str, Any]] = {}
    ids: set[str] = set()
    last = -1
    for part in log.read(0):
        for frame in part.frames():
            for event in frame.iter_rows(named=True):
                assert event["event_id"] not in ids
                ids.add(event["event_id"])
                assert event["_at"] >= last
                last = event["_at"]
                before, after = event["before"], event["after"]
                match event["operation"]:
                    case "INSERT":
                        assert after["id"] not in rows
                    case "UPDATE":
                        assert before["id"] == after["id"]
                        assert after["id"] in rows
                    case "DELETE":
                        del rows[before["id"]]
                if after:
                    rows[after["id"]] = after
    return rows


@contextmanager
def around_snapshots(patch: pytest.MonkeyPatch, shop: Shop, before: Any, after: Any) -> Iterator[list[int]]:
    """Call `before()` before each snapshot of the source and `after()` once it is open; counts snapshots."""
    source = SOURCES[shop.system]
    real, taken = source.snapshot, [0]

    @contextmanager
    def watched(self: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
        taken[0] += 1
        before()
        with real(self, *arguments, **named) as snapshot:
            after()
            yield snapshot

    with patch.context() as patched:
        patched.setattr(source, "snapshot", watched)
        yield taken
