"""`cdc forget`: what a source that was given up has left at its server."""

from __future__ import annotations

from typing import Annotated

import typer

from cdc_platform.cli.output import err, print_json
from cdc_platform.cli.session import Session


def forget(
    source: Annotated[str, typer.Argument(help="The name of a source that no pipeline has any more.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Drop the replication slot of a source whose pipelines were removed; change logs and destinations stay."""
    from cdc_platform.engine.orphans import forget as execute

    session = Session()
    everything, _ = session.pipelines(None)
    dropped = execute(session.settings, session.environment, everything, source)
    if as_json:
        print_json({"source": source, "dropped": dropped})
    else:
        err.print(f"dropped: {', '.join(dropped)}", markup=False)
