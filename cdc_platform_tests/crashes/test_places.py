"""A process dies, or a reply is lost, at each named place; then `cdc run` again: nothing lost, nothing twice.

Each case of a seed starts from the same place, and meets its death at a time that the seed chooses among those at which
an undisturbed run comes there; half of them die a second time, anywhere. In the end the log has the events of the
undisturbed run, ids and all, the destinations have its rows, and both are what the source has.

`make crashes SEEDS=20` plays as many seeds, each with every place on both systems. The default suite plays one, and
shares the places that both systems have between them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import pytest

from cdc_platform.failpoints import FAILPOINTS, REPLIES
from cdc_platform_tests.crashes.forks import Forks
from cdc_platform_tests.crashes.ground import Contents, Ground, Phase, ground
from cdc_platform_tests.world import World

_ASKED = os.environ.get("CDC_TESTS_CRASH_SEEDS")
SEEDS = range(1, 1 + int(_ASKED or "1"))
KILLED = -9
GAP = 4

_CHECK = frozenset({"check.recording", "check.recorded"})
# A snapshot that died is begun anew where the table was altered meanwhile.
_ANEW = ("log.cleared", "log.discarded")
# Changes are lost where a table was dropped and made again, until a resync.
_GAP, _RESYNC = "log.gap.committing", "log.resync.committing"
_STAGED = (*_ANEW, _GAP, _RESYNC)
"""Places that a stage has to be set for; so they are cases of their own."""
# Of derived tables, which meet their deaths in derivation/test_random.py.
_DERIVED = tuple(place for place in FAILPOINTS if place.startswith("derive."))
_KAFKA = frozenset(place for place in FAILPOINTS if place.startswith("publish."))
"""Places that are met with a broker only: kafka/test_publish_crashes.py."""
# What rows a statement changed unlogged is told by MySQL's binlog itself.
_OTHERS = {
    "postgres": ("mysql.log.opened", *_DERIVED),
    "mysql": (*_DERIVED, *(place for place in FAILPOINTS if place.startswith("postgres.")), "capture.shape.marked"),
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
@pytest.mark.parametrize("phase", ["kept", "begun"])
def test_each_place(empty_world: World, forking: Forks, system: str, seed: int, phase: Phase) -> None:
    """The cases of one phase; which places are met in which, the seed chooses."""
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
            if case.phase == phase and (_ASKED or _played_here(system, case.place)):
                failures += _played(stand, case, undisturbed if phase == "kept" else None)
    assert {*changes, *checks, *beginning, *_STAGED, *_OTHERS[system], *_KAFKA} == set(FAILPOINTS)
    assert not failures, "\n".join([f"{len(failures)} cases of {system}, {phase}, seed {seed}:", *failures])


def _played_here(system: str, place: str) -> bool:
    """Whether the default suite plays this place on this system."""
    both = [p for p in FAILPOINTS if not any(p in others for others in _OTHERS.values())]
    return place not in both or both.index(place) % len(_OTHERS) == list(_OTHERS).index(system)


def cases(reached: Mapping[Phase, Mapping[str, int]], chance: Random) -> list[Case]:
    """A death at each place, and a lost reply where there is one: in a phase that comes there, at one of the times that
    it does.
    """
    chosen = [Case("begun", place, "kill", 1) for place in _STAGED]
    for place in sorted({*reached["kept"], *reached["begun"]} - {*_STAGED}):
        for action in ("kill", "lost") if place in REPLIES else ("kill",):
            phase = chance.choice([phase for phase, places in reached.items() if place in places])
            hit = chance.randint(1, reached[phase][place])
            second = chance.choice(sorted(reached[phase]))
            again = f"{second}:kill:{chance.randint(1, reached[phase][second])}" if chance.random() < 0.5 else ""
            chosen.append(Case(phase, place, action, hit, again))
    return chosen


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
    command = ["check"] if case.place in _CHECK else ["run"]
    if case.place in _STAGED:
        command = _set_stage(stand, case.place)
    elif case.place in _CHECK:
        stand.ends_well("run")
    ended = stand.cdc(*command, plan=case.plan)
    # A lost reply may be made up for, or the run ends and says so.
    assert ended.code in ((KILLED,) if case.action == "kill" else (0, 3)), f"exit code {ended.code}: {ended.words}"
    if case.phase == "begun":
        stand.work(shapes=False)
    if case.second:
        assert stand.cdc("run", plan=case.second).code in (0, KILLED)
    if case.place in (_GAP, _RESYNC):
        if case.place == _GAP:
            assert stand.cdc("run").code == GAP
        stand.ends_well(*_RESYNC_COMMAND)
        command = ["run"]
    stand.ends_well(*command)


_RESYNC_COMMAND = ("resync", "two_delta_upsert")


def _set_stage(stand: Ground, place: str) -> list[str]:
    """What has to happen before a command comes to this place; gives the command."""
    if place in _ANEW:
        assert stand.cdc("run", plan="capture.snapshot.read:kill:1").code == KILLED
        stand.do([f"alter table one add column {place.replace('.', '_')} int default 1"])
        return ["run"]
    stand.ends_well("run")
    stand.replace_two()
    if place == _GAP:
        return ["run"]
    assert stand.cdc("run").code == GAP
    return [*_RESYNC_COMMAND]
