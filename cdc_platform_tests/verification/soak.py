"""Many verifications under a workload, of which none may find anything: `make verify-soak N=10000`."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import count
from pathlib import Path

from cdc_platform.engine.verification.verify import verify
from cdc_platform.mock_data.seed import seed
from cdc_platform.mock_data.simulate import simulate
from cdc_platform.servers.embedded import up
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.conftest import new_mysql_database, new_postgres_database, temporary_home
from cdc_platform_tests.world import SMALL, World, address

CHAPTER = 300


def soak(world: World, enough: Callable[[int], bool]) -> tuple[list[str], int]:
    """Verify all pipelines until it is enough (asked with the verifications done): what was wrong, and how many."""
    alarms: list[str] = []
    done = 0
    while not enough(done):
        everything = world.pipelines()
        for found in verify(world.settings, world.variables, everything, everything):
            if found.error:
                raise found.error
            if not found.equal:
                alarms.append(f"{found.pipeline} at {found.position}: {found.verdict.actual} {found.keys}")
            done += 1
    return alarms, done


def chapter(home: Path, servers: Mapping[str, ServerState], number: int, wanted: int) -> tuple[list[str], int]:
    """A world of its own, of this seed, verified `wanted` times or a little more while its sources are written to."""
    with (
        new_postgres_database(servers["postgres"]) as postgres,
        new_mysql_database(servers["mysql"]) as mysql,
        ThreadPoolExecutor(1) as threads,
    ):
        world = World(home, postgres, mysql)
        sources = address(postgres), address(mysql)
        seed(*sources, SMALL, number)
        world.run()
        alarms, done = list[str](), 0
        while done < wanted and not alarms:
            load = threads.submit(simulate, *sources, 20.0, 300.0, 1000 * number + done)
            left = wanted - done
            alarms, more = soak(world, lambda so_far, load=load, left=left: load.done() or so_far >= left)  # type: ignore[misc]
            load.result()
            done += more
    return alarms, done


def part(number: int, parts: int, wanted: int) -> list[str]:
    """One of the processes that share the work, with servers of its own; what was wrong."""
    began, done = time.monotonic(), 0
    with temporary_home(f"cdc-soak-{number}-") as settings:
        started = up(settings, environ={})
        for seeded in count(number, parts):
            home = settings.home / f"world-{seeded}"
            alarms, more = chapter(home, started, seeded, min(CHAPTER, wanted - done))
            done += more
            print(
                f"part {number}: {done} verifications in {time.monotonic() - began:.0f} s, "
                f"{len(alarms)} alarms in the world of seed {seeded}",
                flush=True,
            )
            if alarms or done >= wanted:
                return [f"seed {seeded}: {alarm}" for alarm in alarms]
            shutil.rmtree(home)
    return []


def main(wanted: int, parts: int) -> int:
    """So many verifications of the shipped pipelines, on as many processes. Logs grow by every verification's run, so
    each few hundred of them are in a world of their own, with another seed."""
    with ProcessPoolExecutor(parts, multiprocessing.get_context("spawn")) as processes:
        shares = [processes.submit(part, number, parts, -(-wanted // parts)) for number in range(parts)]
        alarms = [alarm for share in shares for alarm in share.result()]
    for alarm in alarms:
        print(alarm)
    return 1 if alarms else 0


if __name__ == "__main__":
    asked = argparse.ArgumentParser()
    asked.add_argument("wanted", type=int)
    asked.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    sys.exit(main(asked.parse_args().wanted, asked.parse_args().jobs))
