"""A scenario played on a server: its SQL, its runs, and what must hold after each of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

from cdc_platform.engine.capture import capture
from cdc_platform.engine.feeds import open_feed
from cdc_platform.engine.run import PipelineRun
from cdc_platform_tests.scenarios import equality
from cdc_platform_tests.scenarios.equality import Event, Sources
from cdc_platform_tests.scenarios.lake import ORDER, LakeRows
from cdc_platform_tests.scenarios.origin import Origin
from cdc_platform_tests.scenarios.pipelines import Pipelines, Target
from cdc_platform_tests.scenarios.script import Capture, Config, File, Follow, Run, Scenario, Sql, Stop
from cdc_platform_tests.world import World


class Player:
    """Plays one scenario in a world of its own."""

    def __init__(self, scenario: Scenario, world: World, origin: Origin) -> None:
        self.scenario, self.origin = scenario, origin
        self.pipelines = Pipelines(world, origin)
        self.files = world.home.parent
        self._seen: dict[str, int] = {}
        self._tables: list[str] = []
        self._timers: list[Timer] = []

    def play(self) -> None:
        for step in self.scenario.steps:
            match step:
                case Sql():
                    self._sql(step)
                case File():
                    Path(self.files / step.name).write_text(step.text)
                case Config():
                    self.pipelines.destination |= step.destination
                    self.pipelines.table |= step.table
                case Follow():
                    self._tables.append(step.table)
                case Capture():
                    self._capture()
                case Run():
                    self._run(step)

    def _sql(self, step: Sql) -> None:
        statements = [self._filled(statement) for statement in step.statements]
        if step.delay is None:
            self._execute(step.session, statements)
        else:
            timer = Timer(step.delay, self._execute, (step.session, statements))
            timer.start()
            self._timers.append(timer)

    def _execute(self, session: str, statements: Sequence[str]) -> None:
        for statement in statements:
            self.origin.run(session, statement)

    def _filled(self, statement: str) -> str:
        """Names that are known only now: the folder of files, and the database's own name."""
        return statement.replace("$folder", str(self.files)).replace(
            "$database", self.pipelines.world.postgres.database
        )

    def _run(self, step: Run) -> None:
        self._follow()
        pipelines = self.pipelines
        pipelines.write()
        before = {target.pipeline: target.lake.read() for target in self._named(step.nothing_written)}
        results = pipelines.run()
        while self._timers:
            self._timers.pop().join()
        stopped = {target.pipeline for stop in step.stops for target in self._stopped(stop, results)}
        going = [target for target in pipelines.targets if target.pipeline not in stopped]
        for target in going:
            if error := results[target.pipeline].error:
                raise AssertionError(f"{target.pipeline} stopped: {type(error).__name__}: {error}") from error
        lake = {target.pipeline: target.lake.read() for target in pipelines.targets}
        for name, old in before.items():
            assert lake[name].everything() == old.everything(), f"{name} was written to"
        sources = Sources(self.origin)
        for target in going:
            columns_said = any(target.is_meant(words) for words, _ in step.columns)
            whole = not (columns_said or pipelines.ignores_changes)
            equality.assert_equal(pipelines, target, lake[target.pipeline], sources, whole=whole)
        self._check_events(step, going, lake)
        self._check_shapes(step, lake)

    def _capture(self) -> None:
        world = self.pipelines.world
        with open_feed(world.settings, world.variables, world.pipelines(), self.origin.system) as feed:
            capture(feed)

    def _follow(self) -> None:
        """At a table's first run it is there, and tells whether it has a key."""
        followed = {target.table for target in self.pipelines.targets}
        for table in self._tables:
            if table not in followed:
                self.pipelines.follow(table, keyed=bool(self.origin.key(table)))

    def _named(self, lists: Sequence[Sequence[str]]) -> list[Target]:
        return [target for target in self.pipelines.targets if any(target.is_meant(words) for words in lists)]

    def _stopped(self, stop: Stop, results: dict[str, PipelineRun]) -> list[Target]:
        meant = self._named([stop.pipelines])
        assert meant, f"no pipeline is meant by {stop}"
        for target in meant:
            error = results[target.pipeline].error
            assert error is not None, f"{target.pipeline} went on; expected was stop {stop.code}: {stop.text}"
            assert error.exit_code == stop.code, f"{target.pipeline} ended with {error.exit_code}: {error}"
            assert _says(str(error), stop.text), f"{target.pipeline} said: {error}"
        return meant

    def _check_events(self, step: Run, going: Sequence[Target], lake: Mapping[str, LakeRows]) -> None:
        for table in self._tables:
            target = next((t for t in going if t.table == table), None)
            if target is None or self.scenario.large:
                continue
            events = equality.events_of(self.pipelines, target)
            equality.assert_events_keep_rules(events, table)
            if not self.origin.key(table):
                equality.assert_history_is_replay(self.pipelines, target, lake[target.pipeline].types, events)
            new = events[self._seen.get(table, 0) :]
            self._seen[table] = len(events)
            if table in step.events:
                wanted, found = _golden_text(step.events[table]), _golden(new)
                assert found == wanted, f"events of {table}\nexpected:\n{wanted}\nlogged:\n{found}"

    def _check_shapes(self, step: Run, lake: Mapping[str, LakeRows]) -> None:
        for words, names in step.columns:
            for target in self._named([words]):
                shown = [name for name in lake[target.pipeline].types if not name.startswith("_cdc_")]
                assert shown == list(names), f"{target.pipeline} has the columns {', '.join(shown)}"
        for table, (header, *rows) in step.rows.items():
            for target in self.pipelines.targets:
                if target.table == table:
                    found = self._shown(target, lake[target.pipeline], header)
                    assert sorted(found) == sorted(rows), f"{target.pipeline} holds {sorted(found)}"

    def _shown(self, target: Target, lake: LakeRows, header: Sequence[str]) -> list[list[str]]:
        if target.mode == "upsert":
            found = lake.current(header)
        else:
            found = lake.latest(header, self.origin.key(target.table), ORDER[self.origin.system])
        return [["null" if cell is None else str(cell) for cell in row] for row in found]


def _says(words: str, text: str) -> bool:
    """Whether the words have the text in them; `...` in it stands for a place, a name, a number."""
    return re.search(".*?".join(map(re.escape, text.split("..."))), words) is not None


def _golden(events: Sequence[Event]) -> str:
    return _golden_text([(event["operation"], event["before"], event["after"]) for event in events])


def _golden_text(events: Sequence[tuple[str, Any, Any]]) -> str:
    return "\n".join(f"{op}  {json.dumps(before)}  {json.dumps(after)}" for op, before, after in events)
