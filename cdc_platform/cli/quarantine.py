"""`cdc quarantine`: what pipelines have put aside, and applying it once it may pass."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cdc_platform.cli.output import print_json, print_table
from cdc_platform.cli.session import Session

quarantine = typer.Typer(no_args_is_help=True, help="Changes that broke a rule or did not fit, and were put aside.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


@quarantine.command("list")
def list_(
    pipelines: Annotated[
        list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Pipeline ids; all without any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What is in quarantine: row, reason, how many changes, position of the last."""
    from cdc_platform.engine.feeds import open_flow
    from cdc_platform.engine.quarantine import listed

    session = Session()
    _, chosen = session.pipelines(pipelines)
    held = [
        one
        for p in chosen
        if pipelines or not p.derived  # which have no quarantine, and say so where they are asked
        for one in listed(open_flow(session.settings, session.environment, p))
    ]
    if as_json:
        print_json([asdict(one) for one in held])
        return
    rows = [(h.pipeline, h.position, _words(h.key), h.reason, h.count) for h in held]
    print_table(("pipeline", "position", "key", "reason", "changes"), rows)


@quarantine.command()
def replay(pipeline: Annotated[str, typer.Argument(help="A pipeline id.")], as_json: AsJson = False) -> None:
    """Apply what may pass now, after rules or configuration were mended; the rest stays."""
    from cdc_platform.engine.feeds import open_flow
    from cdc_platform.engine.quarantine import replay as apply_again

    session = Session()
    _, chosen = session.pipelines([pipeline])
    done = [apply_again(open_flow(session.settings, session.environment, p)) for p in chosen]
    if as_json:
        print_json([asdict(one) for one in done])
        return
    print_table(
        ("pipeline", "replayed", "superseded", "kept"), [(d.pipeline, d.replayed, d.superseded, d.kept) for d in done]
    )


def _words(key: dict[str, object] | None) -> str:
    return ", ".join(f"{name}={value}" for name, value in (key or {}).items())
