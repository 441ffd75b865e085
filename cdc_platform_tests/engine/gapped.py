"""Pipelines on one table of each kind of destination, and the ways in which a source loses what they need."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.resync import Resynced, resync
from cdc_platform.engine.status import PipelineStatus, status
from cdc_platform.errors import CdcError
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World

MADE = ("create table things (id int primary key, name varchar(20))",)
FILLED = ("insert into things values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')",)


@dataclass(slots=True)
class Gapped:
    """A world whose pipelines follow the table `things`, and whatever else a test adds."""

    world: World
    system: str
    pipelines: Pipelines
    opened: list[Origin] = field(default_factory=list)

    def do(self, *statements: str) -> None:
        for statement in statements:
            self.pipelines.origin.run("writer", statement)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self.world.postgres_rows(statement) if self.system == "postgres" else self.world.mysql_rows(statement)

    @property
    def ids(self) -> list[str]:
        return [target.pipeline for target in self.pipelines.targets]

    @property
    def log(self) -> ChangeLog:
        return ChangeLog(self.world.home / "change_log" / self.system / "things")

    @property
    def slot(self) -> str:
        ((name,),) = self.ask("select pubname from pg_publication where pubname like 'cdc_%'")
        return str(name)

    def errors(self) -> dict[str, CdcError | None]:
        """`cdc run`: errors by pipeline."""
        return {result.pipeline: result.error for result in self.world.run_all()}

    def resync(self, *names: str, **options: Any) -> list[Resynced]:
        world, everything = self.world, self.world.pipelines()
        chosen = self.world.pipelines(*(names or self.ids[:1]))
        return resync(world.settings, world.variables, everything, chosen, **options)

    def statuses(self) -> list[PipelineStatus]:
        world, everything = self.world, self.world.pipelines()
        return status(world.settings, world.variables, everything, everything)

    def assert_equal(self) -> None:
        """Every destination is the source, now and after more changes, and all checks say so."""
        for target in self.pipelines.targets:
            equality.assert_equal_now(self.pipelines, target)
        self.do("update things set name = 'later' where id = 2", "insert into things (id, name) values (77, 'late')")
        self.do("delete from things where id = 77")
        self.world.run()
        for target in self.pipelines.targets:
            equality.assert_equal_now(self.pipelines, target)
        found = {(v.type, v.status) for v in self.world.check() if v.status != "PASS"}
        assert not found, found

    def leave(self) -> None:
        """Let go of the server, which is about to stop."""
        self.opened.remove(self.pipelines.origin)
        self.pipelines.origin.close()

    def move_to(self, server: ServerState) -> None:
        """Let another server stand where the source was."""
        if self.system == "postgres":
            self.world.postgres = server
            self.pipelines.origin = PostgresOrigin(server)
        else:
            self.world.mysql = server
            self.pipelines.origin = MySQLOrigin(server)
        self.opened.append(self.pipelines.origin)


@contextmanager
def following(world: World, system: str, *formats: str) -> Iterator[Gapped]:
    """The table made and filled, and its pipelines run once."""
    origin = PostgresOrigin(world.postgres) if system == "postgres" else MySQLOrigin(world.mysql)
    world.folder = world.home.parent / "pipelines"
    found = Gapped(world, system, Pipelines(world, origin), [origin])
    try:
        found.do(*MADE, *FILLED)
        found.pipelines.follow("things", keyed=True)
        wanted = formats or ("delta_append", "iceberg_upsert")
        found.pipelines.targets = [t for t in found.pipelines.targets if f"{t.lake.format}_{t.mode}" in wanted]
        found.pipelines.write()
        world.run()
        found.do("update things set name = 'known' where id = 1")
        world.run()
        yield found
    finally:
        for one in found.opened:
            one.close()


# --- what gets lost ------------------------------------------------------------------------------------------------

LOST_CHANGES = (
    "update things set name = 'lost' where id = 1",
    "delete from things where id = 3",
    "insert into things values (5, 'unseen')",
    "update things set id = 40 where id = 4",
)


def slot_missing(gapped: Gapped) -> None:
    gapped.do(f"select pg_drop_replication_slot('{gapped.slot}')", *LOST_CHANGES)


def slot_moved(gapped: Gapped) -> None:
    slot_missing(gapped)
    gapped.do(f"select pg_create_logical_replication_slot('{gapped.slot}', 'pgoutput')")


def noise(size: int) -> str:
    """So many bytes of log that are no change of any table."""
    return f"select pg_logical_emit_message(false, 'noise', repeat('x', {size}))"


def unpublished(gapped: Gapped) -> None:
    gapped.do(f"alter publication {gapped.slot} drop table things", *LOST_CHANGES)


def unpublished_for_a_while(gapped: Gapped) -> None:
    unpublished(gapped)
    gapped.do(f"alter publication {gapped.slot} add table things")


def publication_made_anew(gapped: Gapped) -> None:
    slot = gapped.slot
    gapped.do(f"drop publication {slot}", *LOST_CHANGES, f"create publication {slot} for table things")


def table_made_again(gapped: Gapped) -> None:
    gapped.do("drop table things", *MADE, "insert into things values (1, 'known'), (2, 'B'), (9, 'i')")


def table_of_other_columns(gapped: Gapped) -> None:
    gapped.do("drop table things", "create table things (id int primary key, size int, name varchar(20))")
    gapped.do("insert into things values (1, 7, 'known'), (2, 8, 'B')")


def log_purged(gapped: Gapped) -> None:
    gapped.do(*LOST_CHANGES, "flush binary logs", "flush binary logs")
    last = gapped.ask("show binary logs")[-1][0]
    deadline = time.monotonic() + 10  # files that the engine may still need to recover stay for a moment
    while len(gapped.ask("show binary logs")) > 1 and time.monotonic() < deadline:
        gapped.do(f"purge binary logs to '{last}'")


def log_reset(gapped: Gapped) -> None:
    # So far that what is written after the reset does not reach the place again.
    gapped.do("flush binary logs", *LOST_CHANGES[:1])
    gapped.world.run()
    gapped.do("reset master", *LOST_CHANGES[1:])


def run_on(server: ServerState, statement: str) -> None:
    origin = PostgresOrigin(server) if server.scheme == "postgresql" else MySQLOrigin(server)
    with closing(origin):
        origin.run("writer", statement)


def copy_of(data: Path, place: Path) -> None:
    """A stopped server's folder as it is, owners included."""
    subprocess.run(["cp", "-a", str(data), str(place)], check=True)


def put_back(place: Path, data: Path) -> None:
    subprocess.run(["rm", "-rf", str(data)], check=True)
    subprocess.run(["cp", "-a", str(place), str(data)], check=True)
