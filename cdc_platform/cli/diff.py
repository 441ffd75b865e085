"""`cdc diff`: what changed in a table between two moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.output import complain, err, print_json, print_table
from cdc_platform.cli.session import Session

if TYPE_CHECKING:
    from cdc_platform.engine.diff import Change, Difference

_MOMENT = "A source position, a time (2026-11-24T12:00:00Z, '10 minutes ago', now), version:N or snapshot:N."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(diff)


def diff(
    pipeline: Annotated[str, typer.Argument(help="A pipeline id.")],
    start: Annotated[str, typer.Argument(metavar="A", help=_MOMENT)],
    end: Annotated[str, typer.Argument(metavar="B", help="The same; later than A.")],
    limit: Annotated[int, typer.Option(min=0, help="Show at most so many changes, the first by key.")] = 100,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Which rows were inserted, updated and deleted between two moments, net, and how."""
    from datetime import UTC, datetime

    from cdc_platform.engine.at import reservations
    from cdc_platform.engine.diff import difference
    from cdc_platform.engine.feeds import open_flow
    from cdc_platform.engine.moment import begun, moment, parse_asked, source_ahead

    session = Session()
    everything, chosen = session.pipelines([pipeline])
    now = datetime.now(UTC)
    for one in chosen:
        flow = open_flow(session.settings, session.environment, one)
        ahead = source_ahead(session.settings, session.environment, everything, flow)
        first, last = (moment(flow, parse_asked(text, begun(flow).notation(), now), ahead) for text in (start, end))
        found = difference(flow.log, first, last, limit)
        notes = list(dict.fromkeys([*reservations(first), *reservations(last)]))
        if as_json:
            print_json(_document(one.id, found, notes))
        else:
            _show(one.id, found, notes)


def _document(pipeline: str, found: Difference, notes: list[str]) -> dict[str, object]:
    return {
        "pipeline": pipeline,
        "from": found.start.text,
        "to": found.end.text,
        "events": found.counts,
        "schema_changes": [
            {"version": shape.number, "position": shape.position, "changes": list(shape.changes)}
            for shape in found.shapes
        ],
        "notes": notes,
        "changes": [
            {"operation": c.operation, "key": c.key, "before": c.before, "after": c.after} for c in found.changes
        ],
    }


def _show(pipeline: str, found: Difference, notes: list[str]) -> None:
    counted = ", ".join(f"{count:,} {operation}" for operation, count in found.counts.items())
    err.print(f"{pipeline} from {found.start.text} to {found.end.text}: {counted}", markup=False)
    for shape in found.shapes:
        err.print(f"at {shape.position}: {'; '.join(shape.changes)}", markup=False)
    print_table(
        ("operation", "key", "change"),
        [(c.operation, ", ".join(f"{k}={v}" for k, v in c.key.items()), _words(c)) for c in found.changes],
    )
    for note in notes:
        complain(note)


def _words(change: Change) -> str:
    before, after = change.before, change.after
    if before is not None and after is not None:
        return "\n".join(f"{name}: {_cell(before[name])} -> {_cell(after[name])}" for name in after)
    row = {name: cell for name, cell in (after or before or {}).items() if name not in change.key}
    return ", ".join(f"{name}={_cell(cell)}" for name, cell in row.items())


def _cell(value: object) -> str:
    return "null" if value is None else str(value)
