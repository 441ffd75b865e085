"""What the change log says a destination holds, in the destination's own columns: its events through the projection by
which they were applied, so that every cell is known, the `_cdc_*` ones too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.change_log.slices import read_file
from cdc_platform.engine.verification.marks import COUNT, Marking
from cdc_platform.engine.verification.spool import DELETED
from cdc_platform.model.change import DELETE, INSERT, UPDATE
from cdc_platform.model.collapse import history
from cdc_platform.model.conversion import Held, eased
from cdc_platform.model.projection import Projection, polars_type

EVENT_COLUMNS = ("operation", "timestamp", "metadata", "before", "after", "_at", "_ordinal", "_snapshot")
_WITH_ID = ("event_id", *EVENT_COLUMNS)


@dataclass(frozen=True, slots=True)
class LogFile:
    """One file of the log and the shape of its events."""

    path: Path
    shape: SchemaVersion


@dataclass(frozen=True, slots=True)
class Expected:
    """`plan` is the present projection; older events are brought into its target from their own shape.

    `held_back` are the rows of the pipeline's quarantine: their events never reached the destination. With `eases`, old
    images that do not fit are null there (see conversion.py): what a quarantine's pipeline cannot hold.
    """

    log: ChangeLog
    plan: Projection
    marking: Marking
    held_back: pl.DataFrame
    eases: Held | None = None

    @property
    def apart(self) -> bool:
        """Whether `changes` gives other rows than `rows`: a row that is no event of its own, or none that is one."""
        shape = self.plan.shape
        return {self.plan.source_of(name) for name in self.marking.key} != set(
            shape.primary_key
        ) or not self.marking.key

    def files(self) -> list[LogFile]:
        """All files of the log, in its order."""
        return [LogFile(path, part.shape) for part in self.log.slices() for path in part.files]

    def rows(self, file: LogFile) -> Iterator[pl.DataFrame]:
        """One row an event, a DELETE's too, in the destination's columns."""
        plan = self._plan(file)
        for frame in self._events(file):
            yield self._projected(plan, history(frame))

    def changes(self, file: LogFile) -> Iterator[pl.DataFrame]:
        """Marks of what each event makes of the state: with a key, and `DELETED`; without, `COUNT` of rows that came
        (1) and went (-1)."""
        plan = self._plan(file)
        for ordered in self._events(file):
            if not self.marking.key:
                yield self._counted(plan, ordered)
                continue
            rows = self._projected(plan, history(self._with_moves(ordered, file)))
            yield self.marking.both(rows).with_columns((rows["_cdc_operation"] == DELETE).alias(DELETED))

    def aside(self) -> pl.DataFrame:
        """The keys, in the source's present columns, of which an event is held back: what the destination has of them
        is not what the source has. Empty where there are none, or no key."""
        key = [self.plan.source_of(name) for name in self.marking.key]
        empty = pl.DataFrame(schema={name: polars_type(self.plan.shape.column(name).type) for name in key})
        if self.held_back.is_empty() or not key:
            return empty
        found = [empty]
        first, last = min(self.held_back["log_after"].to_list()), max(self.held_back["log_version"].to_list())
        ids = self.held_back["event_id"].implode()
        numbers = [self.plan.shape.column(name).source_id for name in key]
        for part in self.log.slices():
            if not (first < part.version <= last):
                continue
            then = {column.source_id: column.name for column in part.shape.schema.columns}
            for path in part.files if set(numbers) <= then.keys() else ():
                for frame in read_file(path, part.shape, columns=("event_id", "operation", "before", "after")):
                    held = frame.filter(pl.col("event_id").is_in(ids))
                    row = pl.when(pl.col("operation") == DELETE).then("before").otherwise("after")
                    cells = (row.struct.field(then[n]).alias(name) for n, name in zip(numbers, key, strict=True))
                    found.append(held.select(cells).cast(empty.schema))
        return pl.concat(found).unique()

    def _events(self, file: LogFile) -> Iterator[pl.DataFrame]:
        """The events that reached the destination, in the order in which they apply."""
        ids = self.held_back["event_id"].implode()
        for frame in read_file(file.path, file.shape, columns=_WITH_ID if self.held_back.height else EVENT_COLUMNS):
            admitted = frame.filter(~pl.col("event_id").is_in(ids)) if self.held_back.height else frame
            yield _ordered(eased(admitted, self._plan(file), self.eases) if self.eases else admitted)

    def _plan(self, file: LogFile) -> Projection:
        return Projection(self.plan.target, self.plan.order, file.shape.schema, self.plan.keeps_deletes)

    def _projected(self, plan: Projection, changes: pl.DataFrame) -> pl.DataFrame:
        return plan.rows(changes).cast(self.marking.types)

    def _with_moves(self, events: pl.DataFrame, file: LogFile) -> pl.DataFrame:
        """A key that the pipeline names may change in an UPDATE: the row then leaves its old key before it comes."""
        ids = {field.source_id for field in self.plan.target.fields if field.name in self.marking.key}
        key = [column.name for column in file.shape.schema.columns if column.source_id in ids]
        if not key or set(key) <= set(file.shape.schema.primary_key):
            return events
        moved = pl.any_horizontal(
            pl.col("before").struct.field(k).ne_missing(pl.col("after").struct.field(k)) for k in key
        )
        left = events.filter((pl.col("operation") == UPDATE) & pl.col("before").is_not_null() & moved)
        left = left.with_columns(pl.lit(DELETE).alias("operation"))
        return _ordered(pl.concat([left, events])) if left.height else events

    def _counted(self, plan: Projection, events: pl.DataFrame) -> pl.DataFrame:
        parts = []
        for operation, without, count in ((DELETE, INSERT, -1), (INSERT, DELETE, 1)):
            concerned = events.filter(pl.col("operation") != without).with_columns(pl.lit(operation).alias("operation"))
            rows = self._projected(plan, history(concerned))
            counts = pl.repeat(count, rows.height, dtype=pl.Int64, eager=True).alias(COUNT)
            parts.append(self.marking.values(rows).with_columns(counts))
        return pl.concat(parts)


def _ordered(events: pl.DataFrame) -> pl.DataFrame:
    """In the order in which they apply: at one place a key goes before it comes."""
    comes = (pl.col("operation") != DELETE).alias("\x1fcomes")
    return events.with_columns(comes).sort("_at", "_ordinal", "\x1fcomes", maintain_order=True).drop("\x1fcomes")
