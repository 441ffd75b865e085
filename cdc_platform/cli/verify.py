"""`cdc verify`: arguments in, one call into the engine, a table or JSON out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.output import finish, print_json, print_table, progress_bars
from cdc_platform.cli.session import Session

if TYPE_CHECKING:
    from cdc_platform.engine.verification.verify import Verified
    from cdc_platform.errors import CdcError


def verify(
    pipelines: Annotated[
        list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Pipeline ids; all without any.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what differs, and compare again.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Read everything, whatever was verified before.")] = False,
    in_database: Annotated[
        bool,
        typer.Option("--in-database", help="Let the database digest its rows where it can, instead of reading them."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Compare sources and destinations row by row at one position; --repair mends what differs."""
    from cdc_platform.engine.verification.verify import Options
    from cdc_platform.engine.verification.verify import verify as compare

    session = Session()
    everything, chosen = session.pipelines(pipelines)
    with progress_bars() as progress:
        options = Options(repair=repair, full=full, in_database=in_database)
        results = compare(session.settings, session.environment, everything, chosen, options, progress)
    if as_json:
        print_json([_document(v) for v in results])
    else:
        rows = [(v.pipeline, v.position, v.rows, v.missing, v.unexpected, v.different, _outcome(v)) for v in results]
        print_table(("pipeline", "position", "rows", "missing", "unexpected", "different", "outcome"), rows)
    outcomes: list[tuple[str, CdcError | None]] = [(v.pipeline, v.error) for v in results]
    finish(outcomes)
    if any(not (v.equal or v.repaired) for v in results):
        raise typer.Exit(1)


def _document(found: Verified) -> dict[str, Any]:
    from dataclasses import asdict

    document: dict[str, Any] = {
        "pipeline": found.pipeline,
        "position": found.position or None,
        "rows": found.rows,
        "missing": found.missing,
        "unexpected": found.unexpected,
        "different": found.different,
        "keys": found.keys,
        "repaired": found.repaired,
        "columns": found.columns,
        "read": asdict(found.work),
        "seconds": round(found.seconds, 3),
    }
    return document | ({"error": str(found.error)} if found.error else {})


def _outcome(found: Verified) -> str:
    if found.error:
        return "not verified"
    return "equal" if found.equal else "repaired" if found.repaired else "differs"
