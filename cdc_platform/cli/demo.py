"""`make demo`: the main job from nothing to checked tables, told step by step."""

from __future__ import annotations

import time

from cdc_platform.cli.output import err, out, print_table, progress_bars
from cdc_platform.cli.session import Session
from cdc_platform.engine.check import check
from cdc_platform.engine.run import PipelineRun, run
from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.mock_data.simulate import simulate
from cdc_platform.quality.checks import Checked
from cdc_platform.servers.embedded import up

_NEXT = """
Next:
  make dev                                    the same in the Dagster UI, with sensors on
  .venv/bin/cdc simulate --seconds 5          more changes
  .venv/bin/cdc run                           bring them to the lake
  .venv/bin/cdc events postgres_orders_cdc --limit 3
  .venv/bin/cdc status
"""


def demo_summary(session: Session, seconds: float, rate: float) -> bool:
    """Servers, data, snapshot, workload, capture, apply, checks; True when all is green."""
    began = time.monotonic()

    def say(text: str) -> None:
        err.print(f"[{time.monotonic() - began:5.1f} s] {text}", markup=False)

    say("starting Postgres and MariaDB")
    up(session.settings, lambda text: say(f"  {text}"))
    with progress_bars() as progress:
        say("seeding the source tables")
        postgres, mysql = session.endpoint("postgres"), session.endpoint("mysql")
        seed(postgres, mysql, Sizes(), 42, progress=progress)
        everything, chosen = session.pipelines(None)
        say("first run: what is not in the lake yet")
        first = run(session.settings, session.environment, everything, chosen, progress)
        say(f"a mixed workload on both sources for {seconds:g} s")
        simulate(postgres, mysql, seconds, rate, int(time.time()), progress=progress)
        say("second run: capture and apply the changes")
        second = run(session.settings, session.environment, everything, chosen, progress)
        say("checking every destination against its source, at one log position")
        checked = check(session.settings, session.environment, everything, chosen, progress)
    out.print()
    print_table(("pipeline", "snapshot", "events", "lag", "checks"), _rows(first, second, checked))
    errors = [e for e in (*(r.error for r in (*first, *second)), *(c.error for c in checked)) if e is not None]
    for error in dict.fromkeys(str(e) for e in errors):
        err.print(f"cdc: {error}", markup=False, style="red")
    green = not errors and all(v.status == "PASS" for c in checked for v in c.verdicts)
    out.print(f"\n{'All checks are green' if green else 'Not all is well'} after {time.monotonic() - began:.0f} s.")
    if green:
        out.print(_NEXT, markup=False)
    return green


def _rows(first: list[PipelineRun], second: list[PipelineRun], checked: list[Checked]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for one, two, checks in zip(first, second, checked, strict=True):
        events = sum(one.application.events.values()) + sum(two.application.events.values())
        snapshot = one.application.snapshot_rows + two.application.snapshot_rows
        lag = two.application.lag_seconds
        passed = sum(v.status == "PASS" for v in checks.verdicts)
        verdict = f"{passed} of {len(checks.verdicts)} passed"
        rows.append((two.pipeline, snapshot, events, "-" if lag is None else f"{lag:.1f} s", verdict))
    return rows
