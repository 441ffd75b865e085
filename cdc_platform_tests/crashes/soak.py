"""A long soak: `make soak MINUTES=60 SEED=7`.

Servers of its own; on each a workload with changes of shape, and `cdc run` again and again beside it into Delta and
Iceberg, histories and current states. Runs are killed at named places and at any moment, servers are killed and started
again. Now and then, and at the end, a run may end by itself, and everything must be whole: destinations equal to
their sources, each change in its log once and in its history once. The first difference ends it, with its seed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from random import Random

from cdc_platform.config.settings import Settings
from cdc_platform.failpoints import FAILPOINTS
from cdc_platform.servers.embedded import status, up
from cdc_platform_tests.conftest import temporary_home
from cdc_platform_tests.crashes.forks import Forks, forks
from cdc_platform_tests.crashes.ground import ALL, Ground, Started, ground
from cdc_platform_tests.world import World

_KILLED = -9
_ROUNDS_BETWEEN = 8
_PROGRESS_SECONDS = 30
_RUN_SECONDS = 4.0


@dataclass(slots=True)
class Soak:
    """One soak on its own servers. `counts` tells what happened so far."""

    settings: Settings
    chance: Random
    counts: Counter[str] = field(default_factory=Counter)

    def round(self, stand: Ground) -> None:
        """Work at the source, beside a run to which something may happen."""
        plan = ""
        if self.chance.random() < 0.4:
            plan = f"{self.chance.choice(sorted(FAILPOINTS))}:kill:{self.chance.randint(1, 4)}"
        run = stand.start("run", plan=plan)
        shapes = self.chance.random() < 0.25
        self.counts["transactions"] += stand.work(shapes=shapes)
        self.counts["changes of shape"] += 4 * shapes
        fate = self.chance.random()
        if fate < 0.25:
            time.sleep(self.chance.uniform(0, _RUN_SECONDS))
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGKILL)
        elif fate < 0.30:
            time.sleep(self.chance.uniform(0, _RUN_SECONDS / 2))
            self._kill_server(stand)
            return self._end(stand, run, restart=True)
        return self._end(stand, run)

    def settle(self, stand: Ground) -> None:
        """Two runs by themselves: the second finds what committed while the first was at work. Then all is whole."""
        for _ in range(2):
            ended = stand.cdc()
            assert ended.code == 0, f"exit code {ended.code}: {ended.words}"
        stand.assert_whole()
        self.counts["comparisons of all"] += 1

    def _end(self, stand: Ground, run: Started, *, restart: bool = False) -> None:
        ended = stand.ended(run)
        assert ended.code in (0, 3, _KILLED), f"exit code {ended.code}: {ended.words}"
        self.counts[{0: "runs", 3: "runs that said try again", _KILLED: "runs killed"}[ended.code]] += 1
        if restart:
            up(self.settings, environ={})
            stand.reconnect()

    def _kill_server(self, stand: Ground) -> None:
        pid = status(self.settings)[stand.system].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.counts[f"{stand.system} killed"] += 1


def soak(minutes: float, seed: int) -> Counter[str]:
    """Raises AssertionError with what differs."""
    with ExitStack() as stack:
        settings = stack.enter_context(temporary_home("cdc-soak-"))
        servers = up(settings, environ={})
        forking: Forks = stack.enter_context(forks())
        stands = []
        for number, system in enumerate(("postgres", "mysql")):
            home = settings.home / f"platform-{system}"
            world = World(home / "home", servers["postgres"], servers["mysql"])
            home.mkdir()
            stands.append(stack.enter_context(ground(system, world, forking, seed + number, ALL)))
        return _until(time.monotonic() + 60 * minutes, Soak(settings, Random(seed)), stands)


def _until(end: float, work: Soak, stands: Sequence[Ground]) -> Counter[str]:
    shown, began, rounds = time.monotonic(), time.monotonic(), 0
    while time.monotonic() < end:
        for stand in stands:
            work.round(stand)
            rounds += 1
            if rounds % _ROUNDS_BETWEEN < len(stands):
                work.settle(stand)
        if time.monotonic() - shown > _PROGRESS_SECONDS:
            shown = time.monotonic()
            print(f"{shown - began:5.0f} s  {_told(work.counts)}", flush=True)
    for stand in stands:
        work.settle(stand)
        work.counts["events"] += stand.events()
    return work.counts


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items()))


def main(arguments: Sequence[str]) -> int:
    minutes, seed = float(arguments[0]), int(arguments[1]) if len(arguments) > 1 else int(time.time())
    print(f"soaking for {minutes:g} minutes, seed {seed}", flush=True)
    try:
        counts = soak(minutes, seed)
    except AssertionError as difference:
        print(f"seed {seed}: {difference}", flush=True)
        return 1
    print(f"all is whole: {_told(counts)} (seed {seed})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
