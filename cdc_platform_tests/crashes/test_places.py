"""A process dies, or a reply is lost, at each named place; then `cdc run` again: nothing lost, nothing twice.

Each case of a seed starts from the same place, and meets its death at a time that the seed chooses among those at which
an undisturbed run comes there; half of them die a second time, anywhere. In the end the log has the events of the
undisturbed run, ids and all, the destinations have its rows, and both are what the source has.

`make crashes SEEDS=20` plays as many seeds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

import pytest

from cdc_platform.failpoints import FAILPOINTS, REPLIES
from cdc_platform_tests.crashes.forks import Forks
from cdc_platform_tests.crashes.ground import Contents, Ground, Phase, ground
from cdc_platform_tests.world import World

SEEDS = range(1, 1 + int(os.environ.get("CDC_TESTS_CRASH_SEEDS", "1")))
KILLED = -9

_CHECK = frozenset({"check.recording", "check.recorded"})
# A snapshot that died is begun anew where the table was altered meanwhile: a case of its own.
_CLEARED = "log.cleared"
# What rows a statement changed unlogged is told by MySQL's binlog itself.
_OTHERS = {
    "postgres": ("mysql.log.opened",),
    "mysql": (*(place for place in FAILPOINTS if place.startswith("postgres.")), "capture.shape.marked"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """What happens to a run: `action` at the `hit`-th time that it comes to `place`; then, perhaps, a death of the next
    run at `second`."""

    phase: Phase
    place: str
    action: str
    hit: int
    second: str = ""

    @property
    def plan(self) -> str:
        return f"{self.place}:{self.action}:{self.hit}"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_each_place(empty_world: World, forking: Forks, system: str, seed: int) -> None:
    chance, failures = Random(seed), list[str]()
    with ground(system, empty_world, forking, seed) as stand:
        assert stand.cdc().code == 0
        stand.keep()
        stand.work()

        changes = stand.places()
        stand.assert_whole()
        undisturbed = stand.contents()
        checks = {place: hits for place, hits in stand.places("check").items() if place in _CHECK}
        stand.put_back("begun")
        beginning = stand.places()

        for case in cases({"kept": changes | checks, "begun": beginning}, chance):
            failures += _played(stand, case, undisturbed if case.phase == "kept" else None)
    assert {*changes, *checks, *beginning, _CLEARED, *_OTHERS[system]} == set(FAILPOINTS)
    assert not failures, "\n".join([f"{len(failures)} cases of {system}, seed {seed}:", *failures])


def cases(reached: Mapping[Phase, Mapping[str, int]], chance: Random) -> Iterator[Case]:
    """A death at each place, and a lost reply where there is one: in a phase that comes there, at one of the times that
    it does. Those of the phase that is held against an undisturbed run are first: the others go on with the workload.
    """
    chosen: list[Case] = [Case("begun", _CLEARED, "kill", 1)]
    for place in sorted({*reached["kept"], *reached["begun"]}):
        for action in ("kill", "lost") if place in REPLIES else ("kill",):
            phase = chance.choice([phase for phase, places in reached.items() if place in places])
            hit = chance.randint(1, reached[phase][place])
            second = chance.choice(sorted(reached[phase]))
            again = f"{second}:kill:{chance.randint(1, reached[phase][second])}" if chance.random() < 0.5 else ""
            chosen.append(Case(phase, place, action, hit, again))
    yield from sorted(chosen, key=lambda case: case.phase == "begun")


def _played(stand: Ground, case: Case, undisturbed: Contents | None) -> list[str]:
    """Why the case is not as it should be, if so."""
    stand.put_back(case.phase)
    try:
        _disturb(stand, case)
        stand.assert_whole()
        if undisturbed is not None:
            stand.assert_same(undisturbed)
    except AssertionError as failure:
        return [f"{case}: {failure}"]
    return []


def _disturb(stand: Ground, case: Case) -> None:
    command = "check" if case.place in _CHECK else "run"
    if command == "check":
        assert stand.cdc().code == 0
    if case.place == _CLEARED:
        assert stand.cdc("run", "capture.snapshot.read:kill:1").code == KILLED
        stand.do([f"alter table one add column altered int default {case.hit}"])
    ended = stand.cdc(command, case.plan)
    # A lost reply may be made up for, or the run ends and says so.
    assert ended.code in ((KILLED,) if case.action == "kill" else (0, 3)), f"exit code {ended.code}: {ended.words}"
    if case.phase == "begun":
        stand.work(shapes=False)
    if case.second:
        assert stand.cdc("run", case.second).code in (0, KILLED)
    ended = stand.cdc(command)
    assert ended.code == 0, f"exit code {ended.code}: {ended.words}"
