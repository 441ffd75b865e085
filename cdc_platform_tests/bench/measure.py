"""Timing of steps, each in a process of its own so that its peak memory is its own."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the table: `rows` handled in `seconds`; CPU seconds and peak memory of the client process.

    `limit` names the step that this one is compared with.
    """

    name: str
    rows: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    limit: str | None = None

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    def mean(self, other: Step) -> Step:
        """This step measured twice."""
        return replace(
            self,
            seconds=(self.seconds + other.seconds) / 2,
            cpu_seconds=(self.cpu_seconds + other.cpu_seconds) / 2,
            peak_mb=max(self.peak_mb, other.peak_mb),
        )


def measure(name: str, work: Callable[..., int], *arguments: Any, limit: str | None = None) -> Step:
    """Run `work(*arguments)`, which returns the rows it handled, in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        rows, seconds, cpu, peak = pool.apply(_timed, (work, arguments))
    return Step(name, rows, seconds, cpu, peak, limit)


def _timed(work: Callable[..., int], arguments: tuple[Any, ...]) -> tuple[int, float, float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    rows = work(*arguments)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return rows, seconds, used, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
