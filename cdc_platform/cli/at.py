"""`cdc at`: the table as of a position or a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.output import complain, err, out, print_json, print_table
from cdc_platform.cli.session import Session
from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from cdc_platform.engine.at import AsOf, Named


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(at)


def at(
    pipeline: Annotated[str, typer.Argument(help="A pipeline id.")],
    position: Annotated[
        str | None, typer.Option(help="A source position, as cdc status and cdc events show it.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="2026-11-24T12:00:00Z, '10 minutes ago' or now.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many rows, the first by key.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Which version of the destination holds the source exactly as of then, and the rows as they were."""
    from datetime import UTC, datetime

    from cdc_platform.engine.at import as_of
    from cdc_platform.engine.feeds import open_flow
    from cdc_platform.engine.moment import begun, moment, parse_asked, source_ahead

    if (position is None) == (time is None):
        raise ConfigError("say either --position or --time")
    session = Session()
    everything, chosen = session.pipelines([pipeline])
    for one in chosen:
        flow = open_flow(session.settings, session.environment, one)
        asked = parse_asked(position or time or "", begun(flow).notation(), datetime.now(UTC), place=bool(position))
        then = moment(flow, asked, source_ahead(session.settings, session.environment, everything, flow))
        found = as_of(flow, then, limit)
        opening = flow.destination.opening(found.version.number) if found.version else {}
        if as_json:
            print_json(_document(one.id, found, opening))
        else:
            _show(one.id, found, opening)


def _document(pipeline: str, found: AsOf, opening: Any) -> dict[str, object]:
    from cdc_platform.engine.readable import documents

    return {
        "pipeline": pipeline,
        "position": found.position,
        "schema_version": found.schema_version,
        "exact": found.exact,
        "version": found.version.number if found.version else None,
        "committed": found.version.committed.isoformat() if found.version else None,
        "before": _named(found.before),
        "after": _named(found.after),
        "notes": list(found.notes),
        "open": dict(opening),
        "rows": found.rows,
        "rows_from": found.origin,
        "data": documents(found.shown),
    }


def _named(version: Named | None) -> dict[str, object] | None:
    return None if version is None else {"version": version.number, "position": version.position}


def _show(pipeline: str, found: AsOf, opening: Any) -> None:
    err.print(f"{pipeline} as of {found.position}: {found.rows:,} rows, read from the {found.origin}", markup=False)
    print_table(tuple(found.shown.columns), cells(found.shown))
    if found.version:
        out.print(f"version {found.version.number}, committed {found.version.committed:%Y-%m-%d %H:%M:%S} UTC")
        for tool, words in opening.items():
            out.print(f"  {tool:10} {words}", markup=False, soft_wrap=True)
    for what, near in (("before", found.before), ("after", found.after)):
        if near is not None and found.version is None:
            out.print(f"nearest {what}: version {near.number} holds {near.position}", markup=False)
    for note in found.notes:
        complain(note)


def cells(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    """Rows for a table on the terminal."""
    from cdc_platform.engine.readable import documents

    return [tuple(row.values()) for row in documents(frame)]
