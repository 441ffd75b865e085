"""Random work and deaths at random places, against a plain model of what a poll can know.

`make polls SEEDS=10` plays as many seeds on both systems, of more rounds than the default suite does.

believed    what the log must hold: a poll puts into it every source row from (high - window) on and every row without
            a time, a comparison makes it the source
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cdc_platform.failpoints import VARIABLE
from cdc_platform_tests.crashes.forks import Ended, Forks
from cdc_platform_tests.timestamp.ground import COLUMNS, SYSTEMS, Ground, Row, cell, ground
from cdc_platform_tests.world import World

ROUNDS = int(os.environ.get("CDC_TESTS_TIMESTAMP_ROUNDS", "4"))
SEEDS = range(1, 1 + int(os.environ.get("CDC_TESTS_TIMESTAMP_SEEDS", "1")))
WINDOW = timedelta(seconds=600)
LATE = 1_000_000
NEVER = datetime(9999, 12, 31, tzinfo=UTC)
PLACES = (
    "capture.snapshot.read capture.fetched capture.recorded log.files.written log.commit.made log.checkpointed "
    "reconcile.appended reconcile.comparing delta.files.written delta.commit.made iceberg.files.written "
    "iceberg.commit.made apply.committed run.captured"
).split()


@dataclass(slots=True)
class Model:
    """Times are in UTC without a zone, as drivers and readers give them here."""

    believed: dict[int, Row] = field(default_factory=dict)
    high: datetime | None = None

    def polled(self, source: dict[int, Row]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None)
        since = None if self.high is None else min(self.high, now) - WINDOW
        for key, row in source.items():
            if since is None or row[-1] is None or row[-1] >= since:
                self.believed[key] = row
        for row in source.values():
            if row[-1] is not None and row[-1] <= now:
                self.high = row[-1] if self.high is None else max(self.high, row[-1])

    def compared(self, source: dict[int, Row]) -> None:
        self.polled(source)
        self.believed = dict(source)


@dataclass(slots=True)
class Play:
    things: Ground
    forking: Forks
    chance: Random
    folder: Path
    late: ExitStack
    model: Model = field(default_factory=Model)
    waiting: list[Any] = field(default_factory=list)
    key: int = 0
    deaths: int = 0

    def work(self) -> None:
        """Some rows come, change and go; a transaction stays open, one that did commits."""
        chance, now = self.chance, datetime.now(UTC)
        alike = now - timedelta(seconds=chance.uniform(0, 5))
        rows = []
        for _ in range(chance.randint(5, 25)):
            at = chance.choice([alike, alike, now - timedelta(seconds=chance.uniform(0, 60)), None, NEVER])
            rows.append((self._any_key(), f"{chance.random():.6f}", at))
        self.things.put(*{row[0]: row for row in rows}.values())
        for _ in range(chance.randint(0, 4)):
            self.things.do(f"delete from things where id = {chance.randint(1, max(1, self.key))}")
        while self.waiting and chance.random() < 0.6:
            self.waiting.pop()("commit")
        if chance.random() < 0.7:
            session = self.late.enter_context(self.things.session())
            session("begin")
            # Its time is of now; it commits after the next polls, and is late by less than the window, or by more.
            at = now - timedelta(seconds=chance.choice([1, 200, 7200]))
            # Keys of its own: nobody may wait for a session of the same thread.
            first = LATE + self._new_key()
            session(self.things.putting((first, "late", at), (first + LATE, "late", at)))
            self.waiting.append(session)

    def source(self) -> dict[int, Row]:
        rows = self.things.rows(f"select {', '.join(COLUMNS)} from things")
        return {row[0]: tuple(map(cell, row)) for row in rows}

    def logged(self) -> dict[int, Row]:
        """The log's events, replayed one by one."""
        held: dict[int, Row] = {}
        for event in self.things.events().iter_rows(named=True):
            if event["after"] is None:
                del held[event["before"]["id"]]
            else:
                held[event["after"]["id"]] = tuple(cell(event["after"][c]) for c in COLUMNS)
        return held

    def run(self, *command: str, plan: str = "") -> Ended:
        variables = self.things.world.variables | ({VARIABLE: plan} if plan else {})
        return self.forking.run(variables, self.folder / "words.txt", *command)

    def dies_somewhere(self, command: str) -> None:
        plan = f"{self.chance.choice(PLACES)}:kill:{self.chance.choice([1, 1, 2, 3, 5])}"
        ended = self.run(command, plan=plan)
        assert ended.code in (0, -9), f"{plan}: {ended.words}"
        self.deaths += ended.code == -9

    def ends_well(self, command: str) -> None:
        ended = self.run(command)
        assert ended.code == 0, ended.words

    def _new_key(self) -> int:
        self.key += 1
        return self.key

    def _any_key(self) -> int:
        return self._new_key() if self.chance.random() < 0.5 or not self.key else self.chance.randint(1, self.key)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_random_work(empty_world: World, forking: Forks, system: str, seed: int, tmp_path: Path) -> None:
    with ground(system, empty_world) as things, ExitStack() as late:
        things.pipelines = ("delta_append", "iceberg_upsert")
        things.polling = {"window_seconds": WINDOW.total_seconds(), "page_rows": 5}
        things.source = {"snapshot": {"chunk_rows": 10, "hold_seconds": 0}}
        things.make()
        things.configure()
        play = Play(things, forking, Random(seed), tmp_path, late)
        for number in range(ROUNDS):
            play.work()
            if number:  # of a snapshot that is unfinished, more is known than the model says
                play.dies_somewhere("run")
            play.ends_well("run")
            play.model.polled(play.source())
            assert play.logged() == play.model.believed, f"round {number}"
            if number % 3 == 2:
                play.dies_somewhere("check")
                play.ends_well("check")
                play.model.compared(play.source())
                assert play.logged() == play.model.believed, f"comparison of round {number}"
        for session in play.waiting:
            session("commit")
        play.ends_well("check")
        things.assert_lake_is_source()
        things.assert_log_holds_each_change_once()
        assert play.deaths
