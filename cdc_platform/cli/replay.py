"""`cdc replay`: a destination built anew from its change log, and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.output import complain, err, print_json, print_table, progress_bars
from cdc_platform.cli.session import Session
from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.engine.replay import Replayed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    pipeline: Annotated[str, typer.Argument(help="A pipeline id.")],
    into: Annotated[
        str | None,
        typer.Option(metavar="PATH|TABLE", help="The new table: a path (Delta), a namespace.name (Iceberg)."),
    ] = None,
    compare: Annotated[
        bool, typer.Option(help="Compare the present destination with the new table, row by row.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Build the destination anew from its change log, beside the present one, and compare the two."""
    from cdc_platform.engine.replay import replay as execute
    from cdc_platform.engine.replay import replica_of

    session = Session()
    everything, (one, *others) = session.pipelines([pipeline])
    if others:
        names = ", ".join(other.id for other in (one, *others))
        raise ConfigError(f"'{pipeline}' is several pipelines; name one of {names}")
    with progress_bars() as progress:
        replica = replica_of(one, everything, into)
        done = execute(session.settings, session.environment, one, replica, compare, progress)
    if as_json:
        print_json(_document(one.id, done))
    else:
        _show(one.id, done)
    if done.comparison is not None and not done.comparison.equal:
        raise typer.Exit(1)


def _document(pipeline: str, done: Replayed) -> dict[str, object]:
    document: dict[str, object] = {
        "pipeline": pipeline,
        "into": done.table,
        "position": done.position,
        "events": done.application.events,
        "snapshot_rows": done.application.snapshot_rows,
        "seconds": round(done.application.seconds, 3),
    }
    if (c := done.comparison) is not None:
        document |= {
            "equal": c.equal,
            "rows": c.rows,
            "missing": c.missing,
            "unexpected": c.unexpected,
            "different": c.different,
            "columns": list(c.columns),
            "keys": list(c.keys),
        }
    return document


def _show(pipeline: str, done: Replayed) -> None:
    err.print(f"{pipeline}: its change log up to {done.position} is in {done.table}", markup=False)
    if (c := done.comparison) is None:
        return
    print_table(
        ("pipeline", "rows", "missing", "unexpected", "different"),
        [(pipeline, c.rows, c.missing, c.unexpected, c.different)],
    )
    for key in c.keys:
        err.print("  " + ", ".join(f"{name}={value}" for name, value in key.items()), markup=False)
    for what in c.columns:
        complain(f"the present table is of another shape: {what}")
