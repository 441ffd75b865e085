"""From a change log into a destination.

    log.read(after=applied) ──> history | last change of each key ──> projection ──> one commit with the version
                            ──> another shape ──> destination.evolve ──> one commit with the version (shaping.py)

What may not reach the destination is held back first (validity.py).

Why each change is applied once: the commit that holds the rows holds the log's version too, and a version that is
in is never read again. A process that dies before the commit leaves nothing, after it leaves everything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from cdc_platform.change_log.slices import Slice
from cdc_platform.destinations.destination import Applied
from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.shaping import evolved, opened
from cdc_platform.engine.validity import COLUMNS, Gate, quarantine_of
from cdc_platform.errors import ConfigError
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import DELETE, INSERT, UPDATE
from cdc_platform.model.collapse import history, last_changes
from cdc_platform.model.evidence import Evidence, Tally
from cdc_platform.model.projection import Projection

FILES = 100


@dataclass(slots=True)
class Application:
    """What one apply did. `events` counts changes by operation without the snapshot's rows; lag is of the newest
    change: from its commit at the source to now, in seconds (None when there was none). `quarantined` of them went to
    the quarantine instead of the destination. `evidence` is that of all its commits together (None when there was
    none), `files` the first `FILES` of the `file_count` files that they added."""

    events: dict[str, int] = field(default_factory=lambda: dict.fromkeys((INSERT, UPDATE, DELETE), 0))
    snapshot_rows: int = 0
    start: str = ""
    end: str = ""
    version: int | None = None
    log_version: int = -1
    rows_written: int = 0
    quarantined: int = 0
    evidence: Evidence | None = None
    file_count: int = 0
    files: list[str] = field(default_factory=list)
    lag_seconds: float | None = None
    seconds: float = 0.0

    @property
    def proof(self) -> dict[str, object] | None:
        """The evidence as a document; None when nothing was committed."""
        if self.evidence is None:
            return None
        e = self.evidence
        return {
            "from": e.start or None,
            "to": e.end,
            "schema_version": e.schema_version,
            "digest": e.digest,
            "events": dict(e.events),
            "snapshot_rows": e.snapshot_rows,
            "transactions": e.transactions,
            "first_transaction": e.first_transaction,
            "last_transaction": e.last_transaction,
            "file_count": self.file_count,
            "files": self.files,
        }


def apply(flow: Flow, progress: Progress = silent, upto: int | None = None) -> Application:
    """Bring the destination to the end of its change log, or to one of its versions."""
    began = time.monotonic()
    done = Application()
    with exclusive(flow.locks, flow.lock):
        position = flow.log.position()
        if position is None:
            return done
        log_id = flow.log.id()
        applied = flow.destination.applied(log_id)
        plan = opened(flow, applied.version if applied else None)
        shape = flow.log.shape_at(applied.version if applied else 0)
        done.start = done.end = applied.position if applied else ""
        done.log_version = applied.version if applied else 0
        failpoint("apply.reading")
        quarantine_of(flow).settle(log_id, done.log_version)
        for part in flow.log.read(after=done.log_version, upto=upto):
            if part.shape != shape:
                plan, shape = evolved(flow, plan, part.shape, log_id), part.shape
            if part.files:
                _apply_slice(flow, plan, part, log_id, done)
                progress(f"apply {flow.pipeline.id}", sum(done.events.values()) + done.snapshot_rows)
        done.end = done.end or flow.log.format(position)
        done.version = done.version if done.version is not None else flow.destination.table_version()
    done.seconds = time.monotonic() - began
    return done


def _apply_slice(flow: Flow, plan: Projection, part: Slice, log_id: str, done: Application) -> None:
    position = flow.log.position_of(part.version)
    applied = Applied(log_id, part.version, position)
    newest: list[datetime] = []
    tally = Tally(done.end, position, part.shape.number)
    upsert = flow.pipeline.config.destination.write_mode == "upsert"
    source_key = [plan.source_of(name) for name in plan.target.key]
    own_key = set(source_key) == set(plan.shape.primary_key)
    gate = Gate(flow, plan, [shape.schema for shape in flow.log.shapes()])
    told = look(part.frames(COLUMNS), tally, newest)
    frames = gate.admitted(told, log_id, done.log_version, part.version)

    def evidence() -> Evidence:
        return tally.evidence(gate.rejected)

    if upsert and not (part.snapshot and own_key):
        changes = last_changes(frames, source_key)
        if part.snapshot and (shared := part.rows - gate.rejected - changes.height):
            raise ConfigError(
                f"{flow.pipeline.where}: source.tables.primary_key: {shared} rows share the key "
                f"({', '.join(source_key)}) with another; name columns that tell rows apart"
            )
        written = flow.destination.upsert(plan.rows(changes), applied, evidence)
    else:
        # A snapshot's primary keys are unique, and its chunks begin the histories of theirs: rows of which the table
        # has none yet, which it takes as they come, in bounded memory.
        written = flow.destination.append((plan.rows(history(f)) for f in frames), applied, evidence)
    failpoint("apply.committed")
    seen = evidence()
    for operation, count in seen.events.items():
        done.events[operation] += count
    done.snapshot_rows += seen.snapshot_rows
    if newest:
        done.lag_seconds = max(0.0, time.time() - max(newest).timestamp())
    done.version, done.log_version, done.end = written.table_version, part.version, position
    done.rows_written += written.rows
    done.quarantined += gate.rejected
    done.evidence = done.evidence.followed_by(seen) if done.evidence else seen
    done.file_count += len(written.files)
    done.files += written.files[: FILES - len(done.files)]


def look(frames: Iterator[pl.DataFrame], tally: Tally, newest: list[datetime]) -> Iterator[pl.DataFrame]:
    """The same frames; what they hold is tallied, and `newest` gets the latest commit time of each."""
    for frame in frames:
        tally.take(frame)
        latest = frame["timestamp"].struct.field("source_ts").max()
        if isinstance(latest, datetime):
            newest.append(latest)
        yield frame
