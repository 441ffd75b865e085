"""Named places at the boundaries of input and output, where a test lets a process die, stop or lose a reply.

    CDC_FAILPOINT=log.files.written             kill -9 of itself when it comes there
    CDC_FAILPOINT=log.commit.made:lost:3        at the third time: done, but the reply is lost (an error comes instead)
    CDC_FAILPOINT=delta.files.written:stop      the process stops (SIGSTOP) until somebody lets it go on
    CDC_FAILPOINT=*:trace:/tmp/places           nothing happens; each place that is reached is a line of the file

Without the variable a place costs one look at what is kept of it. Every place is in `FAILPOINTS`, and the crash tests
let processes die at each. Layer: only `errors` lies deeper.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Final

from cdc_platform.errors import ConfigError

VARIABLE: Final = "CDC_FAILPOINT"

FAILPOINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "postgres.published": "the publication has the tables, the slot is not looked at yet",
        "postgres.slot.made": "the slot is there, nothing was read from it",
        "postgres.slot.moving": "the server is about to be told what it may forget",
        "postgres.slot.moved": "the server has been told",
        "mysql.log.opened": "the server is ready to send its binlog, nothing was asked for",
        "capture.prepared": "a new table is prepared at the source",
        "capture.snapshot.begun": "a snapshot is open at the source, nothing was read",
        "capture.snapshot.read": "a batch of the snapshot was read, and is not written",
        "capture.fetched": "a stretch of the source's log was fetched, and is not written",
        "capture.recorded": "a stretch is in the logs of all its tables",
        "capture.acknowledging": "the logs were read back, the source knows nothing of it",
        "capture.acknowledged": "the source knows what is safe",
        "capture.shape.marked": "a table is marked as changed unlogged, its shape in the catalogue is not recorded",
        "record.truncated": "a part of the rows that a TRUNCATE took is logged as deleted",
        "reconcile.appended": "a part of what differs from the source is logged",
        "reconcile.comparing": "all that differs is logged, the mark that it was compared is not",
        "log.created": "an empty change log is there, without its snapshot",
        "log.discarded": "what a dead snapshot left has another name, and is about to be removed",
        "log.cleared": "what a dead snapshot left was removed",
        "log.files.written": "files of a change log are on disk, and no commit names them",
        "log.evolve.committing": "another shape is about to be recorded",
        "log.mark.committing": "a mark is about to be recorded",
        "log.gap.committing": "a gap is about to be recorded",
        "log.resync.committing": "the beginning of a resync is about to be recorded",
        "log.commit.made": "a commit of a change log is in its place",
        "log.checkpointed": "a checkpoint of a change log is written",
        "delta.staged": "a commit file lies beside its place",
        "delta.linked": "a commit file is in its place, its folder is not synced",
        "delta.created": "an empty Delta table is there",
        "delta.properties.set": "properties of a Delta table were changed",
        "delta.files.written": "files of a Delta table are on disk, and no commit names them",
        "delta.evolve.committing": "the new shape of a Delta table is about to be committed",
        "delta.commit.made": "a commit of a Delta table is in its place",
        "delta.checkpointed": "a checkpoint of a Delta table is written",
        "iceberg.created": "an empty Iceberg table is there",
        "iceberg.properties.set": "properties of an Iceberg table were changed",
        "iceberg.files.written": "files of an Iceberg table are on disk, and no snapshot names them",
        "iceberg.swapping": "manifests are on disk, the catalog still names the former metadata",
        "iceberg.commit.made": "the catalog names the new metadata",
        "apply.reading": "commits of a log are about to be read for a destination",
        "apply.evolved": "a destination has its new shape, and none of the rows that have it",
        "apply.committed": "rows are in their destination",
        "publish.topic.made": "a topic is there, nothing was published to it",
        "publish.topic.mended": "a topic has its settings again",
        "publish.sending": "a part of a batch of events is on its way to a topic",
        "publish.sent": "a batch of events is with the broker, and that it is nowhere said",
        "publish.placed": "events, and how far they go, are with the broker",
        "derive.reading": "commits of the inputs' logs are about to be read for a derived table",
        "derive.committed": "a derived table has its rows, its mirrors are those of before",
        "derive.keeping": "the list of a derived table's mirrors lies beside its place",
        "derive.kept": "the mirrors are those of the derived table, former files of theirs are still there",
        "run.captured": "the sources are captured, nothing is applied",
        "memory.written": "the outcome of a pipeline is kept for `cdc status`",
        "check.recording": "a comparison is done, its verdicts are not kept",
        "check.recorded": "verdicts are kept",
    }
)
"""Every place by name, and what has happened when a process comes there."""

REPLIES: Final = frozenset(
    "postgres.slot.moved log.commit.made delta.commit.made iceberg.commit.made check.recorded publish.placed".split()
)
"""Those where a reply can be lost: what was asked for is done, and an error comes instead of the answer."""

_ACTIONS: Final = ("kill", "stop", "lost")


@dataclass(slots=True)
class Plan:
    """What happens at the `hit`-th time that the place `name` is reached."""

    name: str
    action: str
    hit: int = 1
    trace: Path | None = None
    _reached: int = 0
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(cls, text: str) -> Plan:
        """From the variable's text; an unknown place or action is a ConfigError."""
        name, _, rest = text.partition(":")
        action, _, last = rest.partition(":")
        if (name, action) == ("*", "trace") and last:
            return cls(name, action, trace=Path(last))
        if name not in FAILPOINTS:
            raise ConfigError(f"{VARIABLE}: there is no place '{name}'; failpoints.py lists them")
        action = action or "kill"
        if action not in _ACTIONS or (action == "lost" and name not in REPLIES):
            raise ConfigError(f"{VARIABLE}: nothing like '{action}' happens at '{name}'")
        if last and not (last.isdigit() and int(last)):
            raise ConfigError(f"{VARIABLE}: '{last}' says no time at which something happens: 1 is the first")
        return cls(name, action, int(last or 1))

    def reached(self, name: str, lost: type[Exception]) -> None:
        if self.trace is not None:
            with self.trace.open("a") as file:
                file.write(f"{name}\n")
            return
        if name != self.name:
            return
        with self._lock:
            self._reached += 1
            if self._reached != self.hit:
                return
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case _:
                raise lost("the reply was lost")


@cache
def planned() -> Plan | None:
    """What the environment asks for, read once a process."""
    text = os.environ.get(VARIABLE)
    return Plan.of(text) if text else None


def failpoint(name: str, lost: type[Exception] = OSError) -> None:
    """The process comes to the place `name`; `lost` is what its caller gets where a reply is lost."""
    plan = planned()
    if plan is not None:
        plan.reached(name, lost)
