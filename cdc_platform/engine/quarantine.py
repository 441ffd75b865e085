"""What is in quarantine: listed, known to the checks, and replayed once rules or configuration let it through.

    quarantine ──> ids of changes ──> the change log from there on ──> changes of the same keys, in order
                                                                   ──> looked at again (validity.py) ──> destination

A history takes each change that may pass now, at its own place in the order of positions. A current state takes the
last change of each key that may pass: where a later one has passed already, the earlier says nothing any more. The
change log is what is read, the quarantine only tells where to look.

Why a replay may die anywhere: it writes what the destination lacks, looks whether it is there, and only then takes it
out of quarantine; done again, it finds what is there already (a history) or writes the same row (a current state).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cdc_platform.change_log.slices import Slice
from cdc_platform.destinations.destination import Applied
from cdc_platform.engine.apply import apply
from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.shaping import opened, projection_of
from cdc_platform.engine.validity import COLUMNS, Gate, quarantine_of
from cdc_platform.errors import NeedsPerson, Unavailable
from cdc_platform.model.change import DELETE
from cdc_platform.model.collapse import history, last_changes
from cdc_platform.model.projection import Projection, cast, order_columns
from cdc_platform.model.target import TargetSchema

_NUMBER: Final = "\x1fnumber"
_EVENT_COLUMNS: Final = ("event_id", *COLUMNS)
_KEY_COLUMNS: Final = ("event_id", "operation", "before", "after")


@dataclass(frozen=True, slots=True)
class Held:
    """Changes of one row that are in quarantine for one reason; `position` is the last one's."""

    pipeline: str
    position: str
    key: dict[str, Any] | None
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did to the changes in quarantine: `replayed` went through, `superseded` are of no use any more (a
    later change of their row has gone through, or their change log is gone), `kept` may still not pass."""

    pipeline: str
    replayed: int
    superseded: int
    kept: int


def listed(flow: Flow) -> list[Held]:
    """What is in the pipeline's quarantine, in order of arrival."""
    rows = quarantine_of(flow).rows()
    groups = rows.group_by("key", "reason", maintain_order=True).agg(pl.col("position").last(), pl.len().alias("count"))
    return [
        Held(flow.pipeline.id, r["position"], json.loads(r["key"]) if r["key"] else None, r["reason"], r["count"])
        for r in groups.iter_rows(named=True)
    ]


@dataclass(frozen=True, slots=True)
class Outstanding:
    """How the destination differs from its log for what is in quarantine.

    `keys` (of the destination, in its types) are of rows whose last change is there: they are not compared. Without a
    key the source has `missing` rows more than the destination.
    """

    changes: int
    keys: pl.DataFrame
    missing: int = 0

    def at_source(self, rows: pl.DataFrame, plan: Projection) -> pl.DataFrame:
        """The source's rows (with their key's columns) without those that are not compared."""
        if not self.keys.width:
            return rows
        keys = rows.select(_key(plan, pl.col)).with_row_index(_NUMBER)
        left_out = keys.join(self.keys, on=self.keys.columns, how="semi", nulls_equal=True)[_NUMBER]
        return rows.filter(~keys[_NUMBER].is_in(left_out.implode()))

    def at_destination(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The destination's rows (with its key's columns) without those that are not compared."""
        return rows.join(self.keys, on=self.keys.columns, how="anti", nulls_equal=True) if self.keys.width else rows


def outstanding(flow: Flow) -> Outstanding | None:
    """What the quarantine holds of the log, as far as the destination is; None where that is nothing."""
    look = _look(flow)
    if look is None:
        return None
    if not look.target.key:
        counts = dict(look.held["operation"].value_counts().iter_rows())
        return Outstanding(look.held.height, pl.DataFrame(), counts.get("INSERT", 0) - counts.get("DELETE", 0))
    last = look.changes(look.rows_of(look.ids)).unique(subset=look.target.key, keep="last", maintain_order=True)
    return Outstanding(look.held.height, last.filter(_among(look.ids)).select(look.target.key))


def replay(flow: Flow) -> Replayed:
    """Apply what is in quarantine as far as it may pass now, and take that out; the rest stays."""
    with exclusive(flow.locks, flow.lock):
        if flow.log.position() is None:
            raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
        apply(flow)
        quarantine, log_id = quarantine_of(flow), flow.log.id()
        # Those of a log that was begun anew: its snapshot has what became of their rows.
        gone = quarantine.rows().filter(pl.col("log_id") != log_id)["event_id"].to_list()
        done = _Done([], [])
        if (look := _look(flow)) is not None:
            upsert = flow.pipeline.config.destination.write_mode == "upsert"
            done = (_into_state if upsert else _into_history)(look)
        quarantine.remove([*done.passed, *done.superseded, *gone])
        kept = quarantine.rows().height
        return Replayed(flow.pipeline.id, len(done.passed), len(done.superseded) + len(gone), kept)


@dataclass(frozen=True, slots=True)
class _Done:
    """Ids of changes that went through, and of those that are of no use any more."""

    passed: list[str]
    superseded: list[str]


@dataclass(frozen=True, slots=True)
class _Look:
    """`held` is what the quarantine has of the log; all of it is before what the destination has `applied`."""

    flow: Flow
    held: pl.DataFrame
    applied: Applied
    target: TargetSchema

    @property
    def ids(self) -> pl.Series:
        return self.held["event_id"]

    @property
    def marks(self) -> list[str]:
        """The columns that tell a change in the destination: its row's and its place, or without a key all."""
        if not self.target.key:
            return [field.name for field in self.target.fields]
        return [*self.target.key, *order_columns(self.flow.pipeline.config.order), "_cdc_operation"]

    def parts(self) -> Iterator[tuple[Slice, Projection]]:
        """The log from the first change in quarantine on, with the way from each shape to the destination."""
        for part in self.flow.log.read(after=int(self.held["log_after"].to_numpy().min())):
            if part.files and part.version <= self.applied.version:
                yield part, projection_of(self.flow, self.target, part.shape.schema)

    def rows_of(self, ids: pl.Series) -> pl.DataFrame:
        """The keys that these changes are of."""
        found = [
            _keyed(frame.filter(_among(ids)), plan)
            for part, plan in self.parts()
            for frame in part.frames(_KEY_COLUMNS)
        ]
        return pl.concat(found).select(self.target.key).unique()

    def changes(self, keys: pl.DataFrame) -> pl.DataFrame:
        """`event_id` and key of all changes of these rows, in order."""
        found = [
            _keyed(frame, plan).join(keys, on=self.target.key, how="semi", nulls_equal=True, maintain_order="left")
            for part, plan in self.parts()
            for frame in part.frames(_KEY_COLUMNS)
        ]
        return pl.concat(found).drop(_NUMBER)

    def admitted(self, wanted: pl.Series) -> Iterator[tuple[Projection, pl.DataFrame]]:
        """Those of the wanted changes that may pass now, in order, part by part."""
        shapes = [shape.schema for shape in self.flow.log.shapes()]
        for part, plan in self.parts():
            gate = Gate(self.flow, plan, shapes)
            found = [
                good
                for frame in part.frames(_EVENT_COLUMNS)
                if (good := gate.split(frame.filter(_among(wanted)))[0]).height
            ]
            if found:
                yield plan, pl.concat(found)


def _look(flow: Flow) -> _Look | None:
    """None where there is nothing in quarantine of what the destination has of the log."""
    rows = quarantine_of(flow).rows()
    if rows.is_empty() or not flow.log.exists():
        return None
    log_id = flow.log.id()
    applied = flow.destination.applied(log_id)
    if applied is None:
        return None
    held = rows.filter((pl.col("log_id") == log_id) & (pl.col("log_version") <= applied.version))
    return _Look(flow, held, applied, opened(flow, applied.version).target) if held.height else None


def _into_history(look: _Look) -> _Done:
    """Append what may pass now and is not there yet."""
    flow, marks = look.flow, look.marks
    found = [(plan.rows(history(good)), good["event_id"]) for plan, good in look.admitted(look.ids)]
    if not found:
        return _Done([], [])
    rows = pl.concat(rows for rows, _ in found)
    lacking = rows.join(_there(flow, rows, marks), on=marks, how="anti", nulls_equal=True)
    if lacking.height:
        flow.destination.append(iter([lacking]), look.applied)
        _require(flow, lacking, marks)
    return _Done(pl.concat(ids for _, ids in found).to_list(), [])


def _into_state(look: _Look) -> _Done:
    """Set the rows whose last change that may pass is another now."""
    key = look.target.key
    changes = look.changes(look.rows_of(look.ids))
    passing = [(plan, good) for plan, good in look.admitted(changes["event_id"].unique())]
    fit = pl.concat([good["event_id"] for _, good in passing]) if passing else look.ids.clear()
    ready = look.ids.filter(look.ids.is_in(fit.implode()))
    concerned = changes.filter(_among(ready)).select(key).unique()
    if concerned.height:
        rows = pl.concat(
            plan.rows(last_changes([good], [plan.source_of(name) for name in key])) for plan, good in passing
        )
        last = rows.unique(subset=key, keep="last", maintain_order=True).join(concerned, on=key, how="semi")
        look.flow.destination.upsert(last, look.applied)
        _require(look.flow, last.filter(pl.col("_cdc_operation") != DELETE), look.marks)
    return _Done(ready.to_list(), _superseded(look, changes, fit))


def _superseded(look: _Look, changes: pl.DataFrame, fit: pl.Series) -> list[str]:
    """Ids of what may still not pass, and whose rows have each had a later change that may."""
    key = look.target.key
    numbered = changes.with_row_index(_NUMBER)
    last_fit = numbered.filter(_among(fit)).group_by(key).agg(pl.col(_NUMBER).max().alias("last"))
    barred = numbered.filter(_among(look.ids) & ~_among(fit))
    joined = barred.join(last_fit, on=key, how="left", nulls_equal=True)
    late = (pl.col("last") > pl.col(_NUMBER)).fill_null(False)
    return joined.group_by("event_id").agg(late.all().alias("late")).filter("late")["event_id"].to_list()


def _among(ids: pl.Series) -> pl.Expr:
    return pl.col("event_id").is_in(ids.implode())


def _keyed(events: pl.DataFrame, plan: Projection) -> pl.DataFrame:
    """`event_id`, number in the frame and key at the destination of each change, in order; twice where the row's key
    was another before."""
    after_or_last = pl.when(pl.col("operation") == DELETE).then("before").otherwise("after")
    now, old = (
        events.with_row_index(_NUMBER).select(
            "event_id",
            _NUMBER,
            *_key(plan, image.struct.field),
        )
        for image in (after_or_last, pl.col("before"))
    )
    names = plan.target.key
    differs = [(old[name].ne_missing(now[name])) for name in names]
    moved = pl.select(pl.any_horizontal(differs)).to_series() & events["before"].is_not_null()
    return pl.concat([old.filter(moved), now]).sort(_NUMBER, maintain_order=True)


def _key(plan: Projection, cell: Callable[[str], pl.Expr]) -> list[pl.Expr]:
    """The key at the destination of a row whose cells `cell` gives by source column."""
    pairs = {field.name: (column, field) for column, field in plan.pairs}
    found = [pairs[name] for name in plan.target.key]
    return [cast(cell(c.name), c.type, f.type, strict=False).alias(f.name) for c, f in found]


def _there(flow: Flow, rows: pl.DataFrame, marks: list[str]) -> pl.DataFrame:
    """Which of the rows the destination has, by these columns."""
    wanted = rows.select(marks).unique()
    frames = flow.destination.scan(marks)
    held = [frame.select(marks).join(wanted, on=marks, how="semi", nulls_equal=True) for frame in frames]
    return pl.concat([wanted.clear(), *held]).unique()


def _require(flow: Flow, rows: pl.DataFrame, marks: list[str]) -> None:
    """A commit that collided with somebody else's may look made, since the version it carries is there already."""
    if rows.join(_there(flow, rows, marks), on=marks, how="anti", nulls_equal=True).height:
        raise Unavailable(f"{flow.pipeline.id}: somebody else wrote to the destination meanwhile; replay again")
