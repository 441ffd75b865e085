"""How long work tells how far it is. The terminal shows bars, Dagster logs lines, tests nothing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called every so often; `total` is None where it is not known."""

    def __call__(self, task: str, done: int, total: int | None = None) -> None: ...


def silent(task: str, done: int, total: int | None = None) -> None:
    """No progress shown."""
