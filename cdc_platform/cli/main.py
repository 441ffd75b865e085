"""The `cdc` command: arguments in, one call into the engine, tables or JSON out.

Exit codes are those of the error tree (errors.py), and 1 when a check failed.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli import at, diff, forget, replay, resync
from cdc_platform.cli.history import show_history
from cdc_platform.cli.output import complain, err, finish, print_json, print_table, progress_bars
from cdc_platform.cli.quarantine import quarantine
from cdc_platform.cli.session import Session
from cdc_platform.cli.verify import verify
from cdc_platform.errors import CdcError

if TYPE_CHECKING:
    from cdc_platform.engine.run import PipelineRun
    from cdc_platform.quality.checks import Checked

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Change data capture from Postgres and MySQL into Delta Lake and Iceberg.",
)

app.add_typer(quarantine, name="quarantine")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Pipelines = Annotated[list[str] | None, typer.Argument(metavar="[PIPELINE]...", help="Pipeline ids; all without any.")]


@app.command()
def up(as_json: AsJson = False) -> None:
    """Start the embedded Postgres and MariaDB (idempotent)."""
    from cdc_platform.servers.embedded import up as start

    session = Session()
    with err.status("starting servers") as status:
        states = start(session.settings, lambda text: status.update(text))
    if as_json:
        print_json({name: {"dsn": state.dsn()} for name, state in states.items()})
        return
    rows = [(name, state.host, str(state.port), state.database, state.user) for name, state in states.items()]
    print_table(("server", "host", "port", "database", "user"), rows)
    err.print(f"passwords are in {session.settings.server_file('postgres').parent}", markup=False)


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop the embedded servers; their data stays."""
    from cdc_platform.servers.embedded import down as stop

    stopped = stop(Session().settings)
    if as_json:
        print_json({"stopped": stopped})
    else:
        err.print("stopped: " + (", ".join(stopped) or "nothing was running"), markup=False)


@app.command()
def seed(
    customers: Annotated[int, typer.Option(min=0)] = 10_000,
    orders: Annotated[int, typer.Option(min=0)] = 20_000,
    products: Annotated[int, typer.Option(min=0)] = 5_000,
    inventory: Annotated[int, typer.Option(min=0)] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same data.")] = 42,
    as_json: AsJson = False,
) -> None:
    """Create the demo's source tables and fill them with mock data; tables that hold rows are left as they are."""
    from cdc_platform.mock_data.seed import Sizes
    from cdc_platform.mock_data.seed import seed as fill

    session = Session()
    with progress_bars() as progress:
        sizes = Sizes(customers=customers, orders=orders, products=products, inventory=inventory)
        rows = fill(session.endpoint("postgres"), session.endpoint("mysql"), sizes, seed, progress=progress)
    if as_json:
        print_json(rows)
    else:
        print_table(("table", "rows"), list(rows.items()))


@app.command()
def simulate(
    seconds: Annotated[float, typer.Option(min=0.1)] = 10.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Operations a second over both sources.")] = 100.0,
    seed: Annotated[int, typer.Option()] = 1,
    as_json: AsJson = False,
) -> None:
    """A mixed workload of inserts, updates, deletes and multi-table transactions on the sources."""
    from cdc_platform.mock_data.simulate import simulate as work

    session = Session()
    with progress_bars() as progress:
        done = work(session.endpoint("postgres"), session.endpoint("mysql"), seconds, rate, seed, progress=progress)
    if as_json:
        print_json(done)
    else:
        rows = [(table, *(ops.get(o, 0) for o in ("INSERT", "UPDATE", "DELETE"))) for table, ops in done.items()]
        print_table(("table", "inserts", "updates", "deletes"), rows)


@app.command()
def run(pipelines: Pipelines = None, as_json: AsJson = False) -> None:
    """Snapshot if there is none yet, then capture and apply up to where the source stands now."""
    from cdc_platform.engine.run import run as execute

    session = Session()
    everything, chosen = session.pipelines(pipelines)
    with progress_bars() as progress:
        results = execute(session.settings, session.environment, everything, chosen, progress, complain)
    if as_json:
        print_json([_run_document(r) for r in results])
    else:
        rows = [_run_row(r) for r in results]
        print_table(("pipeline", "snapshot rows", "inserts", "updates", "deletes", "position", "seconds"), rows)
    finish([(r.pipeline, r.error) for r in results])


@app.command()
def status(pipelines: Pipelines = None, as_json: AsJson = False) -> None:
    """Each pipeline's state, positions, lag and last error."""
    from cdc_platform.engine.status import status as look

    session = Session()
    everything, chosen = session.pipelines(pipelines)
    found = look(session.settings, session.environment, everything, chosen)
    if as_json:
        print_json([asdict(s) for s in found])
        return
    rows = [
        (s.pipeline, s.told, s.source_head, s.captured, s.applied, _seconds(s.lag_seconds), _kept(s.wal_kept_bytes))
        for s in found
    ]
    print_table(("pipeline", "state", "source head", "captured", "applied", "lag", "log kept"), rows)
    for s in found:
        if s.last_error:
            complain(f"{s.pipeline}: {s.last_error}")
    for warning in dict.fromkeys(w for s in found for w in s.warnings):
        complain(f"warning: {warning}")


@app.command()
def events(
    pipeline: Annotated[str, typer.Argument(help="A pipeline id.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="POSITION", help="From this position on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same: events are JSON, one a line.")] = False,
) -> None:
    """Change events in the standard shape, one JSON object a line, in log order."""
    from cdc_platform.engine.events import event_lines
    from cdc_platform.engine.feeds import open_part, parts_of
    from cdc_platform.engine.moment import begun

    session = Session()
    _, chosen = session.pipelines([pipeline])
    for one in parts_of(chosen):
        flow = open_part(session.settings, session.environment, one)
        position = begun(flow).notation().parse(start) if start else None
        try:
            for line in event_lines(flow, limit, position):
                sys.stdout.write(line + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever reads has seen enough (`| head`). Nothing is left for the interpreter to flush at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def check(
    pipelines: Pipelines = None,
    history: Annotated[bool, typer.Option("--history", help="Show kept results; check nothing.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --history: at most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Compare sources and destinations at one position and look at the rules; results are kept in a table."""
    from cdc_platform.engine.check import check as compare

    session = Session()
    everything, chosen = session.pipelines(pipelines)
    if history:
        show_history(session, [p.id for p in chosen], limit, as_json)
        return
    with progress_bars() as progress:
        results = compare(session.settings, session.environment, everything, chosen, progress)
    if as_json:
        print_json([document for c in results for document in _check_documents(c)])
    else:
        rows = [
            (c.pipeline, v.type, v.status, v.expected, v.actual, v.duration_ms) for c in results for v in c.verdicts
        ]
        print_table(("pipeline", "check", "status", "expected", "actual", "ms"), rows)
    finish([(c.pipeline, c.error) for c in results])
    if any(v.status == "FAIL" for c in results for v in c.verdicts):
        raise typer.Exit(1)


app.command()(verify)


@app.command()
def schema(
    pipeline: Annotated[str, typer.Argument(help="A pipeline id.")],
    as_json: AsJson = False,
) -> None:
    """The shapes that the source table has had, and what each change does to the destination."""
    from cdc_platform.engine.feeds import open_flow
    from cdc_platform.engine.history import history

    session = Session()
    _, chosen = session.pipelines([pipeline])
    documents = [
        {"pipeline": one.id, **asdict(version)}
        for one in chosen
        for version in history(open_flow(session.settings, session.environment, one))
    ]
    if as_json:
        print_json(documents)
        return
    rows = [
        (d["version"], d["position"], "\n".join(d["changes"]), "\n".join(d["destination"]), d["state"])
        for d in documents
    ]
    print_table(("version", "from", "source", "destination", "state"), rows)


at.register(app)
app.command()(resync.resync)
app.command()(forget.forget)
diff.register(app)
replay.register(app)


@app.command(hidden=True)
def demo(
    seconds: Annotated[float, typer.Option()] = 10.0,
    rate: Annotated[float, typer.Option()] = 200.0,
) -> None:
    """The whole demonstration (`make demo`)."""
    from cdc_platform.cli.demo import demo_summary

    if not demo_summary(Session(), seconds, rate):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; every failure is one line and an exit code."""
    try:
        app()
    except CdcError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted; nothing is lost, run again")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  the outermost edge: a traceback belongs in a file, not on the terminal
        complain(_unexpected(error))
        sys.exit(4)


def _unexpected(error: Exception) -> str:
    """Write the traceback to a log file; one line that says where."""
    line = f"unexpected {type(error).__name__}"
    try:
        log: Path = Session().settings.home / "logs" / "cdc.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return f"{line}: {error}"
    return f"{line}; this is a fault of cdc itself, the details are in {log}"


def _run_document(result: PipelineRun) -> dict[str, object]:
    a = result.application
    document: dict[str, object] = {
        "pipeline": result.pipeline,
        "events": a.events,
        "snapshot_rows": a.snapshot_rows,
        "from": a.start or None,
        "to": a.end or None,
        "seconds": round(result.seconds, 3),
        "evidence": a.proof,
    }
    document |= {"quarantined": a.quarantined} if a.quarantined else {}
    if (p := result.publication) is not None:
        document["published"] = {"topic": p.topic, "events": p.events, "to": p.position or None}
    return document | ({"error": str(result.error)} if result.error else {})


def _run_row(result: PipelineRun) -> tuple[object, ...]:
    a = result.application
    return (result.pipeline, a.snapshot_rows, *a.events.values(), a.end, f"{result.seconds:.1f}")


def _check_documents(checked: Checked) -> list[dict[str, object]]:
    return [
        {
            "pipeline": checked.pipeline,
            "type": v.type,
            "status": v.status,
            "expected": v.expected,
            "actual": v.actual,
            "details": dict(v.details),
            "duration_ms": v.duration_ms,
        }
        for v in checked.verdicts
    ]


def _kept(count: int | None) -> str | None:
    from cdc_platform.model.keeping import size

    return None if count is None else size(count)


def _seconds(lag: float | None) -> str | None:
    return None if lag is None else f"{lag:.1f} s"


if __name__ == "__main__":
    main()
