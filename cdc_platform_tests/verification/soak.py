"""Many verifications under a workload, of which none may find anything: `make verify-soak N=10000`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cdc_platform.engine.verification.verify import verify
from cdc_platform.mock_data.seed import seed
from cdc_platform.mock_data.simulate import simulate
from cdc_platform.servers.embedded import up
from cdc_platform_tests.conftest import new_postgres_database, temporary_home
from cdc_platform_tests.world import SMALL, World, address


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


def main(wanted: int) -> int:
    """So many verifications of the shipped pipelines while their sources are written to all the time."""
    with temporary_home("cdc-soak-") as settings:
        started = up(settings, environ={})
        with new_postgres_database(started["postgres"]) as postgres, ThreadPoolExecutor(1) as threads:
            world = World(settings.home, postgres, started["mysql"])
            sources = address(world.postgres), address(world.mysql)
            seed(*sources, SMALL, 1)
            world.run()
            began, alarms, done = time.monotonic(), list[str](), 0
            while done < wanted and not alarms:
                load = threads.submit(simulate, *sources, 20.0, 300.0, 7 + done)
                alarms, more = soak(world, lambda _, load=load: load.done())  # type: ignore[misc]
                load.result()
                done += more
                print(f"{done} verifications in {time.monotonic() - began:.0f} s, {len(alarms)} alarms", flush=True)
    for alarm in alarms:
        print(alarm)
    return 1 if alarms else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
