"""`cdc simulate`: a mixed workload on both systems at a given rate, keeping all rules.

One thread a system, each with half of the rate. What each does is a sequence of transactions drawn from the seed
(kind, size, rows, values); time decides only how far it gets, so the same seed on the same tables makes the same
changes. The pace: a transaction starts when the changes before it are due, at `changes / rate` seconds after the
start. A server that is slower than asked is never hurried beyond `seconds`; the answer counts what happened.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock

import numpy as np

from cdc_platform.engine.progress import Progress, silent
from cdc_platform.errors import ConfigError
from cdc_platform.mock_data import mysql, postgres, shop, warehouse
from cdc_platform.mock_data.endpoint import Endpoint
from cdc_platform.mock_data.people import People, people
from cdc_platform.mock_data.products import Catalogue, catalogue
from cdc_platform.mock_data.sampling import generator
from cdc_platform.mock_data.workload import Keys, Operation, Outcome, Script, by_table

_TRANSACTIONS_PER_SECOND = 50


def simulate(
    postgres_at: Endpoint,
    mysql_at: Endpoint,
    seconds: float,
    rate: float,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[str, int]]:
    """Change rows for `seconds` at `rate` changes a second over both systems; gives changes by table and operation.

    A change is a row inserted, updated or deleted. Raises ConfigError (tables missing, senseless numbers),
    Unavailable or NeedsPerson; what was committed by then stays.
    """
    if not rate > 0 or not seconds >= 0:
        raise ConfigError("simulate needs a rate above 0 and a number of seconds from 0")
    with postgres.connect(postgres_at) as connected:
        last_order = postgres.highest(connected, "orders", "order_id")
    pace = _Pace(seconds, rate / 2, round(seconds * rate), progress)
    # The pools come before the threads: Faker is not made for several.
    pools, wares = people(seed), catalogue(seed)
    with ThreadPoolExecutor(2, "simulate") as threads:
        tasks = [
            threads.submit(_run_shop, postgres_at, pace, generator(seed, "shop"), pools),
            threads.submit(_run_warehouse, mysql_at, pace, generator(seed, "warehouse"), wares, last_order),
        ]
        try:
            _await(tasks)
        finally:
            pace.stop.set()
    for task in tasks:
        task.result()
    return by_table((*postgres.TABLES, *mysql.TABLES), pace.changes)


def _await(tasks: list[Future[None]]) -> None:
    """Until all are done or one has failed; in short steps, as a signal to another thread would not wake this one."""
    running = set(tasks)
    while running:
        done, running = wait(running, 0.2, FIRST_EXCEPTION)
        if any(task.exception() for task in done):
            return


def _run_shop(endpoint: Endpoint, pace: _Pace, rng: np.random.Generator, pools: People) -> None:
    with postgres.connect(endpoint) as connected:
        keys = Keys({table: postgres.keys(connected, table, key) for table, key in shop.KEY_COLUMNS.items()})
        connected.commit()
        kinds = shop.Shop(connected, rng, pools, keys).kinds()
        pace.run(Script.of(rng, kinds, pace.mean_rows), keys, partial(postgres.transact, connected))


def _run_warehouse(
    endpoint: Endpoint, pace: _Pace, rng: np.random.Generator, pools: Catalogue, last_order: int
) -> None:
    with mysql.connect(endpoint) as connected:
        keys = Keys({table: mysql.keys(connected, table, key) for table, key in warehouse.KEY_COLUMNS.items()})
        connected.commit()
        kinds = warehouse.Warehouse(connected, rng, pools, keys, last_order).kinds()
        pace.run(Script.of(rng, kinds, pace.mean_rows), keys, partial(mysql.transact, connected))


@dataclass(slots=True)
class _Pace:
    """What the threads share: how fast and how long, the count of what was done, the signal to stop."""

    seconds: float
    rate: float
    expected: int
    progress: Progress
    changes: Counter[tuple[str, Operation]] = field(default_factory=Counter)
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    @property
    def mean_rows(self) -> float:
        return self.rate / _TRANSACTIONS_PER_SECOND

    def run(self, script: Script, keys: Keys, transact: Callable[[Callable[[], Outcome]], Outcome]) -> None:
        """Transactions of the script, each when it is due, until time or work is over."""
        start = time.monotonic()
        done = 0
        while (passed := time.monotonic() - start) < self.seconds and (due := done / self.rate) < self.seconds:
            if self.stop.wait(max(0.0, due - passed)):
                return
            kind, rows = script.next()
            outcome = transact(partial(kind, rows))
            keys.follow(outcome)
            done += outcome.changes.total()
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        with self.lock:
            self.changes += outcome.changes
            self.progress("changes", self.changes.total(), self.expected)
        if not outcome.changes:
            # There was nothing to change: empty tables are no reason to hammer the server.
            self.stop.wait(0.02)
