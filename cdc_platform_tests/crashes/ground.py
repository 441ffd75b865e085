"""Where a crash test stands: two tables, four pipelines, and a CDC_HOME that can be put back to where it was.

    one ──> Delta history, Iceberg current state        two ──> Delta current state, Iceberg history

    begun    nothing was ever run: no home, no slot, no publication
    kept     the home, and on Postgres the slot, as they were behind the snapshot and before the workload

So each case starts from the same place, follows the same log and is held against the same undisturbed run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.feeds import slot_name
from cdc_platform.failpoints import VARIABLE
from cdc_platform.model.event import COMPARED
from cdc_platform_tests.crashes.forks import Ended, Forks
from cdc_platform_tests.crashes.workload import TABLES, Workload, first
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.pipelines import Pipelines
from cdc_platform_tests.world import World

Phase = Literal["begun", "kept"]

ALL = tuple(f"{t}_{lake}_{mode}" for t in TABLES for lake in ("delta", "iceberg") for mode in ("append", "upsert"))
WANTED = ("one_delta_append", "one_iceberg_upsert", "two_delta_upsert", "two_iceberg_append")
_PROPERTIES = {
    "delta": {"delta.checkpointInterval": "2", "delta.enableChangeDataFeed": "true"},
    "iceberg": {"write.metadata.previous-versions-max": "50"},
}
_CHANGED = {
    "delta": {"delta.logRetentionDuration": "interval 40 days"},
    "iceberg": {"write.metadata.previous-versions-max": "60"},
}


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a log; `told` has its images and, unless a comparison made it, its place and the source's time."""

    id: str
    operation: str
    key: str
    compared: bool
    told: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """All that an undisturbed run made: the events of each log and the rows of each destination, times left out."""

    events: dict[str, list[Event]]
    rows: dict[str, Counter[Any]]


@dataclass(frozen=True, slots=True)
class Started:
    """A command under way, and where it prints."""

    pid: int
    words: Path


@dataclass(slots=True)
class Ground:
    system: str
    world: World
    forks: Forks
    origin: Origin
    workload: Workload
    wanted: tuple[str, ...] = WANTED
    pipelines: Pipelines = field(init=False)
    _started: int = 0

    def __post_init__(self) -> None:
        self.world.folder = self._base / "pipelines"
        # Snapshots in several chunks, each of a moment of its own.
        in_chunks = {"snapshot": {"chunk_rows": 5, "hold_seconds": 0}}
        self.pipelines = Pipelines(self.world, self.origin, source=in_chunks)
        for table in TABLES:
            self.pipelines.follow(table, keyed=True)
        self.pipelines.targets = [t for t in self.pipelines.targets if t.pipeline in self.wanted]
        self._configure(_PROPERTIES)
        for transaction in first(self.system):
            self.do(transaction)

    # --- the source ----------------------------------------------------------------------------------------------

    def do(self, transaction: Sequence[str]) -> None:
        """One transaction. A last statement `rollback` takes it back; a change of shape ends by itself."""
        *statements, last = transaction
        if last != "rollback":
            statements, last = [*statements, last], "commit"
        for statement in ("begin", *statements, last):
            self.origin.run("writer", statement)

    def work(self, *, shapes: bool = True) -> int:
        """Some of the workload; how many transactions that were."""
        transactions = self.workload.transactions(shapes=shapes)
        for transaction in transactions:
            self.do(transaction)
        return len(transactions)

    def replace_two(self) -> None:
        """The table is dropped and made again, with its first rows."""
        self.do(["drop table two"])
        for transaction in first(self.system):
            if any(" two " in statement for statement in transaction):
                self.do(transaction)

    def reconnect(self) -> None:
        """The server went and came back."""
        self.origin = self.pipelines.origin = _origin(self.system, self.world)

    # --- the home ------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """What is now is the `kept` phase; the pipelines are configured otherwise from then on."""
        self._drop_slot(self._kept_slot)
        if self.system == "postgres":
            self._ask(f"select pg_copy_logical_replication_slot('{self._slot}', '{self._kept_slot}')")
        shutil.copytree(self.world.home, self._kept_home)
        self._configure({kind: _PROPERTIES[kind] | _CHANGED[kind] for kind in _PROPERTIES})

    def put_back(self, phase: Phase) -> None:
        """The home of the phase is the platform's from now on. Each has a slot and a publication of its own."""
        self.world.home = self._base / ("home" if phase == "kept" else "new")
        shutil.rmtree(self.world.home, ignore_errors=True)
        self._drop_slot(self._slot)
        if phase == "kept":
            shutil.copytree(self._kept_home, self.world.home)
            if self.system == "postgres":
                self._ask(f"select pg_copy_logical_replication_slot('{self._kept_slot}', '{self._slot}')")
        elif self.system == "postgres":
            self._ask(f"drop publication if exists {self._slot}")

    def cdc(self, command: str = "run", *arguments: str, plan: str = "") -> Ended:
        """The command in a process of its own, to which this happens (see failpoints.py)."""
        return self.ended(self.start(command, *arguments, plan=plan))

    def ends_well(self, *command: str) -> None:
        ended = self.cdc(*command)
        assert ended.code == 0, f"{' '.join(command)}: exit code {ended.code}: {ended.words}"

    def start(self, command: str = "run", *arguments: str, plan: str = "") -> Started:
        """The same, not waited for."""
        self._started += 1
        words = self._base / f"words-{self._started}.txt"
        variables = self.world.variables | ({VARIABLE: plan} if plan else {})
        return Started(self.forks.start(variables, words, command, *arguments), words)

    def ended(self, started: Started) -> Ended:
        ended = Ended(self.forks.wait(started.pid), started.words.read_text())
        for sign in ("Traceback", "unexpected"):
            assert sign not in ended.words, ended.words
        return ended

    @contextmanager
    def stopped_at(self, place: str) -> Iterator[Started]:
        """A run that stops where it comes to this place, and goes on when the block is done."""
        started = self.start("run", plan=f"{place}:stop")
        assert self.forks.wait(started.pid, stopped=True) == -signal.SIGSTOP, started.words.read_text()
        try:
            yield started
        finally:
            os.kill(started.pid, signal.SIGCONT)

    def places(self, command: str = "run") -> Counter[str]:
        """How often the command, which ends well, comes to each place."""
        trace = self._base / "places"
        trace.write_text("")
        ended = self.cdc(command, plan=f"*:trace:{trace}")
        assert ended.code == 0, ended.words
        return Counter(trace.read_text().splitlines())

    # --- what must hold ------------------------------------------------------------------------------------------

    def contents(self) -> Contents:
        events = {table: self._events(table) for table in TABLES}
        rows = {}
        for target in self.pipelines.targets:
            lake = target.lake.read()
            rows[target.pipeline] = Counter(lake.query("select * exclude (_cdc_timestamp) from it"))
        return Contents(events, rows)

    def assert_whole(self) -> None:
        """Every destination is its source, every event is in the log once and in a history once."""
        for target in self.pipelines.targets:
            lake = target.lake.read()
            equality.assert_equal(self.pipelines, target, lake, equality.Sources(self.origin))
            if target.mode == "append":
                assert lake.query("select count(*) from it") == [(len(self._events(target.table)),)]
        for table in TABLES:
            assert self._log(table).unlogged() is None
            events = self._events(table)
            ids = {event.id for event in events}
            assert len(ids) == len(events), f"{table}: an event is in the log twice"
            alive: set[str] = set()
            for event in events:
                assert (event.operation == "INSERT") == (event.key not in alive), f"{table}: {event} out of turn"
                (alive.discard if event.operation == "DELETE" else alive.add)(event.key)

    def assert_same(self, undisturbed: Contents) -> None:
        """All that is there is what an undisturbed run makes of the same changes, event ids and all."""
        found = self.contents()
        for table, events in undisturbed.events.items():
            expected, there = ([e for e in some if not e.compared] for some in (events, found.events[table]))
            assert there == expected, f"{table}: other events than undisturbed, from {_first_other(expected, there)} on"
            differing, rows = (Counter(e.told for e in some if e.compared) for some in (events, found.events[table]))
            assert rows == differing, f"{table}: the comparison found other rows"
        for pipeline, bag in undisturbed.rows.items():
            lacking, surplus = bag - found.rows[pipeline], found.rows[pipeline] - bag
            assert not lacking + surplus, f"{pipeline} lacks {lacking}, has too much {surplus}"

    def events(self) -> int:
        """How many there are in the logs."""
        return sum(len(self._events(table)) for table in TABLES)

    def _log(self, table: str) -> ChangeLog:
        (path,) = (self.world.home / "change_log").glob(f"*/{table}")
        return ChangeLog(path)

    def _events(self, table: str) -> list[Event]:
        """The events in order. Those that a comparison made are told by their rows: ids and places are its own."""
        found = []
        for part in self._log(table).read(0):
            for frame in part.frames():
                for row in frame.iter_rows(named=True):
                    before, after = row["before"], row["after"]
                    images = (json.dumps(before, default=str), json.dumps(after, default=str))
                    key = [(after or before)[name] for name in row["metadata"]["primary_key"]]
                    compared = row["_ordinal"] >= COMPARED
                    place = () if compared else (row["_at"], row["_ordinal"], row["timestamp"]["source_ts"])
                    found.append(Event(row["event_id"], row["operation"], str(key), compared, (*images, *place)))
        return found

    def _configure(self, properties: dict[str, dict[str, str]]) -> None:
        for kind, chosen in properties.items():
            self.pipelines.destination = {"properties": chosen}
            everything = self.pipelines.targets
            self.pipelines.targets = [t for t in everything if t.lake.format == kind]
            self.pipelines.write()
            self.pipelines.targets = everything
        self.pipelines.destination = {}

    # --- Postgres ------------------------------------------------------------------------------------------------

    @property
    def _base(self) -> Path:
        return self.world.home.parent

    @property
    def _kept_home(self) -> Path:
        return self._base / "kept"

    @property
    def _slot(self) -> str:
        label = next(iter(self.pipelines.loaded.values())).config.label
        return slot_name(self.world.settings, label)

    @property
    def _kept_slot(self) -> str:
        return "kept_" + self.world.postgres.database

    def _ask(self, statement: str) -> None:
        self.origin.run("slots", statement)

    def _drop_slot(self, name: str) -> None:
        if self.system == "postgres":
            # A process that was killed a moment ago may hold it still.
            self._ask(
                "select pg_terminate_backend(active_pid, 5000) from pg_replication_slots "
                f"where slot_name = '{name}' and active_pid is not null"
            )
            self._ask(
                f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{name}'"
            )


def _first_other(expected: list[Event], there: list[Event]) -> str:
    for number, (wanted, found) in enumerate(zip(expected, there, strict=False)):
        if wanted != found:
            return f"number {number}: {wanted} was expected, {found} is there"
    return f"the end: {len(expected)} were expected, {len(there)} are there"


@contextmanager
def ground(system: str, world: World, forks: Forks, seed: int, wanted: tuple[str, ...] = WANTED) -> Iterator[Ground]:
    """A new ground; `wanted` are its pipelines, some of `ALL`."""
    made = Ground(system, world, forks, _origin(system, world), Workload(system, Random(seed)), wanted)
    try:
        yield made
    finally:
        made.origin.close()


def _origin(system: str, world: World) -> Origin:
    return PostgresOrigin(world.postgres) if system == "postgres" else MySQLOrigin(world.mysql)
