"""`cdc resync`: the way back from a gap."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.output import finish, print_json, print_table, progress_bars
from cdc_platform.cli.session import Session

if TYPE_CHECKING:
    from cdc_platform.engine.resync import Plan, Resynced


def resync(
    pipelines: Annotated[list[str], typer.Argument(metavar="PIPELINE...", help="Pipeline ids.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is uncertain and what it would cost; change nothing.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Set change log and destinations aside, and begin with a new snapshot.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Bring tables and their source together again after a gap or a stop; the others go on."""
    from cdc_platform.engine.resync import resync as execute

    session = Session()
    everything, chosen = session.pipelines(pipelines)
    with progress_bars() as progress:
        results = execute(
            session.settings,
            session.environment,
            everything,
            chosen,
            dry_run=dry_run,
            anew=anew,
            progress=progress,
        )
    if as_json:
        print_json([_document(r) for r in results])
    else:
        for result in results:
            if result.plan:
                print_table((result.pipeline, ""), _lines(result, result.plan))
    finish([(r.pipeline, r.error) for r in results])


def _lines(result: Resynced, plan: Plan) -> list[tuple[str, str]]:
    lines = [
        ("table", plan.table),
        ("state", plan.state.value + (f": {plan.lost}" if plan.lost else "")),
        ("uncertain from", plan.uncertain_from or "the beginning"),
        ("since", plan.since.isoformat(timespec="seconds") if plan.since else "-"),
        ("log available from", plan.available_from or "-"),
        ("way back", plan.way + (f": {plan.because}" if plan.because else "")),
        ("read at the source", f"about {plan.source_rows} rows, {plan.source_bytes} bytes"),
        ("read of the change log", f"{plan.log_bytes} bytes"),
        ("history", plan.history),
        ("pipelines on the log", ", ".join(plan.pipelines)),
        ("also in a gap", ", ".join(plan.also_in_gap) or "none"),
    ]
    if result.done:
        lines += [("rows that differed", str(result.differences)), ("resynced up to", str(result.position))]
        lines += [("set aside", place) for place in result.set_aside]
    return lines


def _document(result: Resynced) -> dict[str, object]:
    document: dict[str, object] = {
        "pipeline": result.pipeline,
        "done": result.done,
        "differences": result.differences,
        "set_aside": list(result.set_aside),
        "position": result.position,
        "plan": asdict(result.plan) if result.plan else None,
        "seconds": round(result.seconds, 3),
    }
    return document | ({"error": str(result.error)} if result.error else {})
