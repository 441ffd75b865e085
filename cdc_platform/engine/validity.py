"""Which changes reach a destination: those that keep the pipeline's enforced rules, and that the table can hold.

    events of the log ──> rules, what the table holds ──> good ones go on
                                                      ──> on_invalid: stop        InvalidRow, before anything is written
                                                      ──> on_invalid: quarantine  kept there, with reason and position

Each event is looked at by itself, before events are collapsed by key: so what goes on does not depend on how many
commits of the log are applied at once. A DELETE breaks no rule, and goes on whatever its row held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.images import as_json
from cdc_platform.engine.places import inside, quarantine_folder
from cdc_platform.engine.shaping import column_named
from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform.model.change import DELETE, TIMESTAMP_UTC
from cdc_platform.model.collapse import history
from cdc_platform.model.conversion import Held, eased, misfits
from cdc_platform.model.projection import Projection
from cdc_platform.model.rules import NOW, Rule, broken
from cdc_platform.model.schema import TableSchema
from cdc_platform.quality.quarantine import Quarantine

COLUMNS = ("event_id", "operation", "timestamp", "metadata", "before", "after", "_at", "_ordinal", "_snapshot")
_KEPT_ROWS = 100_000
_RULE, _COLUMN, _REASON = "rule", "column", "reason"


def quarantine_of(flow: Flow) -> Quarantine:
    """The pipeline's quarantine, whether there is anything in it or not."""
    written = flow.pipeline.config.destination.quarantine
    if written:
        return Quarantine(Path(written))
    root = flow.locks.parent / "lake" / "quarantine"
    return Quarantine(inside(root, root / quarantine_folder(flow.pipeline.id)))


def held_by(flow: Flow) -> Held:
    """What bounds the values of the flow's destination."""
    destination = flow.pipeline.config.destination
    return Held(destination.type, destination.layout().partitions)


@dataclass(slots=True)
class Gate:
    """What changes of one shape have to be. `plan` is their way to the destination, `shapes` all that the log has."""

    flow: Flow
    plan: Projection
    shapes: Sequence[TableSchema]
    rejected: int = 0
    _rules: list[tuple[Rule, dict[str, str]]] = field(init=False)
    _pending: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rules = list(self._applicable())

    @property
    def keeps(self) -> bool:
        """Whether what may not pass is put aside, rather than stopping the pipeline."""
        return self.flow.pipeline.config.destination.on_invalid == "quarantine"

    def admitted(self, frames: Iterator[pl.DataFrame], log_id: str, after: int, version: int) -> Iterator[pl.DataFrame]:
        """The frames with the changes that may pass. What may not is in quarantine when they have come to their end.

        They are changes behind version `after` of the log, up to `version`. Raises InvalidRow.
        """
        quarantine = quarantine_of(self.flow)
        for frame in frames:
            good, held_back = self.split(frame)
            if held_back.height:
                self.rejected += held_back.height
                self._pending.append(self._rows(held_back, log_id, after, version))
                if sum(rows.height for rows in self._pending) >= _KEPT_ROWS:
                    self._flush(quarantine)
            yield good
        self._flush(quarantine)

    def split(self, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The events that may pass; and the others with `rule`, `column`, `reason`. Without `keeps`: InvalidRow."""
        faults = list(self._broken_rules(events))
        if self.keeps:
            held = held_by(self.flow)
            events = eased(events, self.plan, held)
            found = misfits(history(events), self.plan, held)
            faults += [(one.rows, None, one.column, f"column '{one.column}' {one.reason}") for one in found]
        if not faults:
            return events, events.clear().with_columns(
                pl.lit(None, pl.String).alias(name) for name in (_RULE, _COLUMN, _REASON)
            )
        if not self.keeps:
            rows, _, _, reason = faults[0]
            raise self._stop(events, rows, reason)
        bad = pl.select(pl.any_horizontal(rows for rows, *_ in faults)).to_series()
        # The first fault of each: rules as they are stated, then what the table cannot hold.
        named = [
            pl.coalesce(pl.when(rows).then(pl.lit(fault[place], pl.String)) for rows, *fault in faults).alias(name)
            if any(fault[place] is not None for _, *fault in faults)
            else pl.lit(None, pl.String).alias(name)
            for place, name in enumerate((_RULE, _COLUMN, _REASON))
        ]
        return events.filter(~bad), events.with_columns(named).filter(bad)

    def _broken_rules(self, events: pl.DataFrame) -> Iterator[tuple[pl.Series, str | None, str | None, str]]:
        """(which events, rule, column, reason) of each rule that is broken."""
        if not self._rules or events.is_empty():
            return
        images = (
            events["after"]
            .struct.unnest()
            .with_columns(events["timestamp"].struct.field("capture_ts").cast(TIMESTAMP_UTC).alias(NOW))
        )
        stays = events["operation"] != DELETE
        for rule, names in self._rules:
            rows = images.select(NOW, *(pl.col(now).alias(name) for name, now in names.items()))
            fails = broken([rule], rows, _renamed(self.plan.shape, names))[rule.name] & stays
            if fails.any():
                yield fails, rule.name, rule.column, f"breaks the rule '{rule.name}': {rule.words}"

    def _stop(self, events: pl.DataFrame, rows: pl.Series, reason: str) -> InvalidRow:
        lsn = events["metadata"].struct.field("lsn")[int(rows.arg_max() or 0)]
        return InvalidRow(
            f"{self.flow.table}: the change at {lsn} {reason}; change the rule, say 'on_event: check' in it to have it "
            "looked at in the source only, or 'on_invalid: quarantine' in the destination to put such changes aside"
        )

    def _applicable(self) -> Iterator[tuple[Rule, dict[str, str]]]:
        """The enforced rules with what the shape calls their columns; without those on columns that it has not."""
        for config in self.flow.pipeline.config.table.rules:
            rule = config.rule()
            if not rule.enforced:
                continue
            known = {name for shape in (*self.shapes, self.plan.shape) for name in shape.names}
            if unknown := [name for name in rule.columns if name not in known]:
                raise ConfigError(
                    f"{self.flow.pipeline.where}: rules.{rule.name}: {self.flow.table} has no column '{unknown[0]}'"
                )
            names = {name: column_named(name, self.plan.shape, self.shapes) for name in rule.columns}
            present = {name: now for name, now in names.items() if now is not None}
            if len(present) == len(names):
                yield rule, present

    def _rows(self, events: pl.DataFrame, log_id: str, after: int, version: int) -> pl.DataFrame:
        """Rows for the quarantine."""
        key = [self.plan.source_of(name) for name in self.plan.target.key]
        image = pl.when(pl.col("operation") == DELETE).then("before").otherwise("after")
        keys = events.select(image.alias("key"))["key"].struct.unnest()
        keyed = as_json(keys.select(key).to_struct("key")) if key else pl.repeat(None, events.height, eager=True)
        times, metadata = pl.col("timestamp").struct, pl.col("metadata").struct
        return events.select(
            pl.lit(self.flow.pipeline.id).alias("pipeline_id"),
            pl.lit(log_id).alias("log_id"),
            pl.lit(after, pl.Int64).alias("log_after"),
            pl.lit(version, pl.Int64).alias("log_version"),
            "event_id",
            "operation",
            metadata.field("lsn").alias("position"),
            keyed.alias("key"),
            *(_RULE, _COLUMN, _REASON),
            as_json(events["before"]),
            as_json(events["after"]),
            times.field("source_ts").cast(TIMESTAMP_UTC),
            times.field("capture_ts").cast(TIMESTAMP_UTC),
            pl.lit(datetime.now(UTC), TIMESTAMP_UTC).alias("quarantined_ts"),
        )

    def _flush(self, quarantine: Quarantine) -> None:
        if self._pending:
            quarantine.add(pl.concat(self._pending))
            self._pending.clear()


def _renamed(shape: TableSchema, names: dict[str, str]) -> TableSchema:
    """The shape with columns called as the rules call them."""
    return replace(shape, columns=tuple(replace(shape.column(now), name=name) for name, now in names.items()))
