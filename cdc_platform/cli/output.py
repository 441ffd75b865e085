"""How the command speaks: JSON or tables on stdout; progress, errors and hints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cdc_platform.engine.progress import Progress as Reporter
from cdc_platform.errors import CdcError

err = Console(stderr=True, highlight=False, soft_wrap=True)
# A pipe has no width: lines are as long as they are, for grep and for logs.
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=None, default=str, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A table on stdout; numbers to the right."""
    table = Table(*headers, title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(table.columns):
        if rows and all(isinstance(row[index], (int, float)) for row in rows):
            column.justify = "right"
    for row in rows:
        table.add_row(*(f"{c:,}" if isinstance(c, int) else "" if c is None else escape(str(c)) for c in row))
    out.print(table)


def complain(message: str) -> None:
    """One line on stderr, as it is (no markup)."""
    err.print(f"cdc: {message}", markup=False, style="red")


@contextmanager
def progress_bars() -> Iterator[Reporter]:
    """A reporter that shows one bar a task on a terminal, and nothing when stderr is a file or pipe."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int | None = None) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done, total=total)

        yield report


def finish(outcomes: list[tuple[str, CdcError | None]]) -> None:
    """Name each failure once; the exit code is the gravest."""
    errors = {str(e): e for _, e in outcomes if e is not None}
    for message, error in errors.items():
        ids = [pipeline for pipeline, e in outcomes if e is not None and str(e) == message]
        complain(f"{', '.join(ids)}: {message}" if len(ids) < len(outcomes) or len(ids) == 1 else message)
        del error
    if errors:
        raise typer.Exit(max(error.exit_code for error in errors.values()))
