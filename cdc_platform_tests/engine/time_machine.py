"""A source whose states are written down as it goes, by its own driver: what looks back is held against them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl

from cdc_platform.engine.at import AsOf, as_of
from cdc_platform.engine.feeds import Flow, open_flow
from cdc_platform.engine.moment import Moment, moment, parse_asked, source_ahead
from cdc_platform_tests import readers
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.lake import ORDER
from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines, Target
from cdc_platform_tests.world import World

Rows = Counter[tuple[Any, ...]]
KEYED = (
    "create table things (id int primary key, name varchar(20), n int, amount numeric(10, 2))",
    "insert into things values (1, 'one', 1, 1.5), (2, 'two', 2, null), (3, null, null, 3.25)",
)


@dataclass(frozen=True, slots=True)
class State:
    """All rows of the table (columns by name) after exactly the transactions before `position`, at `time`."""

    position: str
    time: datetime
    columns: tuple[str, ...]
    rows: Rows

    def seen(self, frame: pl.DataFrame) -> Rows:
        """Rows of a frame as this state has its own."""
        return Counter(frame.select(self.columns).rows()) if frame.width else Counter()


@dataclass(slots=True)
class TimeMachine:
    """Four pipelines on one table, {Delta, Iceberg} x {append, upsert}, and every state that was noted."""

    pipelines: Pipelines
    chance: random.Random
    states: list[State] = field(default_factory=list)

    @property
    def world(self) -> World:
        return self.pipelines.world

    @property
    def origin(self) -> Any:
        return self.pipelines.origin

    @property
    def targets(self) -> list[Target]:
        return self.pipelines.targets

    def do(self, *statements: str) -> None:
        for statement in statements:
            self.origin.run("writer", statement)

    def transaction(self, *statements: str) -> None:
        """Statements as one transaction, and the state after it."""
        self.do("begin", *statements, "commit")
        self.note()

    def run(self) -> None:
        """`cdc run`."""
        for result in self.pipelines.run().values():
            if result.error:
                raise result.error

    def note(self) -> None:
        """Write down the present state."""
        if self.origin.system == "postgres":
            ((place,),) = self.origin._query("select pg_current_wal_insert_lsn()::text")
            ((now,),) = self.origin._query("select clock_timestamp()")
        else:
            ((file, offset, *_),) = self.origin._query("show master status")
            place = f"{file}:{offset}"
            ((now,),) = self.origin._query("select utc_timestamp(6)")
        columns = tuple(sorted(self.origin.columns("things")))
        rows = self.origin._query(f"select {', '.join(columns)} from things")
        self.states.append(State(str(place), now.replace(tzinfo=now.tzinfo or UTC), columns, Counter(rows)))

    def churn(self, transactions: int) -> None:
        """Random transactions of one to four statements."""
        for _ in range(transactions):
            self.transaction(*(self._statement() for _ in range(self.chance.randint(1, 4))))

    def _statement(self) -> str:
        key, n = self.chance.randint(1, 12), self.chance.randint(0, 99)
        match self.chance.randint(0, 5):
            case 0 | 1:
                return f"delete from things where id = {key}"
            case 2:
                return f"update things set n = {n}, amount = {n}.5 where id between {key} and {key + 3}"
            case 3:
                free = f"not exists (select 1 from (select id from things where id = {n + 20}) taken)"
                return f"update things set id = {n + 20} where id = {key} and {free}"
        values = f"{key}, 'new {n}', {n}, {n}.25"
        if self.origin.system == "postgres":
            return f"insert into things (id, name, n, amount) values ({values}) on conflict (id) do update set n = {n}"
        return f"insert into things (id, name, n, amount) values ({values}) on duplicate key update n = {n}"

    def flow(self, target: Target) -> Flow:
        return open_flow(self.world.settings, self.world.variables, self.pipelines.loaded[target.pipeline])

    def moment(self, target: Target, text: str) -> Moment:
        flow = self.flow(target)
        everything = list(self.pipelines.loaded.values())
        ahead = source_ahead(self.world.settings, self.world.variables, everything, flow)
        return moment(flow, parse_asked(text, flow.log.notation(), datetime.now(UTC)), ahead)

    def at(self, target: Target, text: str, limit: int = 10_000) -> AsOf:
        return as_of(self.flow(target), self.moment(target, text), limit)

    def events(self, target: Target) -> list[dict[str, Any]]:
        """All of the table's events, as `cdc events` prints them."""
        return equality.events_of(self.pipelines, target)

    def by_duckdb(self, target: Target, found: AsOf) -> pl.DataFrame:
        """The named version read by DuckDB: the table's rows then, of a history the latest ones that are no DELETE."""
        assert found.version is not None
        words = self.flow(target).destination.opening(found.version.number)["duckdb"]
        table = words.removeprefix("from ")
        order = ", ".join(f"{name} desc" for name in ORDER[self.origin.system])
        last = f"qualify rank() over (partition by id order by {order}) = 1"
        whole = f"select * from it {last}" if target.mode == "append" else "select * from it"
        extensions = ("delta",) if target.lake.format == "delta" else ("avro", "iceberg")
        return readers.duckdb_scan(extensions, table, f"select * from ({whole}) where _cdc_operation <> 'DELETE'")


@contextmanager
def time_machine(
    world: World, system: str, seed: int, create: Sequence[str] = KEYED, destination: Mapping[str, Any] | None = None
) -> Iterator[TimeMachine]:
    """The table with its first rows, its snapshot taken, nothing applied behind it yet."""
    state = world.postgres if system == "postgres" else world.mysql
    origin: Origin = PostgresOrigin(state) if system == "postgres" else MySQLOrigin(state)
    with closing(origin):
        world.folder = world.home.parent / "pipelines"
        machine = TimeMachine(Pipelines(world, origin, dict(destination or {})), random.Random(seed))
        machine.do(*create)
        machine.pipelines.follow("things", keyed=create is KEYED)
        machine.pipelines.write()
        machine.run()
        machine.note()
        yield machine
