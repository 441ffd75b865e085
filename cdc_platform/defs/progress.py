"""Progress of long work as lines in a run's log."""

from __future__ import annotations

import time

from dagster import DagsterLogManager

from cdc_platform.engine.progress import Progress

EVERY_SECONDS = 5.0


def logged(log: DagsterLogManager, every: float = EVERY_SECONDS) -> Progress:
    """A progress that writes at most one line in `every` seconds; short work writes none."""
    last = time.monotonic()

    def progress(task: str, done: int, total: int | None = None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every:
            last = now
            log.info(f"{task}: {done:,} rows" + (f" of {total:,}" if total else ""))

    return progress
