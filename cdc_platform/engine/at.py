"""`cdc at`: which version of the destination holds the source exactly as of a moment, and the rows as they were then.

    the log's commits      1   2   3 | 4   5          the moment lies between two commits' events
    applied by version         7      ┊   8           version 7 holds 2, version 8 holds 5

A version holds the moment exactly if the log's commit that it has applied is at or behind the last one with an event
before the moment, and before the first one with an event behind it. Here none does: 3 is not in 7, and 4 is in 8.
Then, and where a version's files are gone, the rows come from the change log, which has them at every position: the
last row of each key before it. Layer: engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import COUNT, FILE, PLACE, ROW, marks, rows_at
from cdc_platform.destinations.destination import TableVersion
from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.moment import Moment
from cdc_platform.engine.shaping import present_projection
from cdc_platform.engine.validity import quarantine_of
from cdc_platform.errors import CdcError, NeedsPerson
from cdc_platform.model.change import DELETE
from cdc_platform.model.projection import order_columns, polars_type

_OPERATION: Final = "_cdc_operation"
_COLLAPSE_ROWS: Final = 500_000


@dataclass(frozen=True, slots=True)
class Named:
    """A version of the destination: its number (Delta) or snapshot id (Iceberg), and the position that it holds, which
    is that of the log's version `applied`."""

    number: int
    applied: int
    position: str
    committed: datetime


@dataclass(frozen=True, slots=True)
class AsOf:
    """What the destination and the change log have of a moment.

    `version` holds it (None: no version does), `before` and `after` are the nearest that hold something earlier and
    later. `exact` is whether the rows are what the source was then; `notes` say in words why not, or why no version
    is named. `rows` of the source's table; `shown` are the first of them, from the table or from the change log.
    """

    position: str
    schema_version: int
    exact: bool
    version: Named | None
    before: Named | None
    after: Named | None
    notes: tuple[str, ...]
    rows: int
    shown: pl.DataFrame
    origin: Literal["table", "change log"]


def as_of(flow: Flow, moment: Moment, limit: int) -> AsOf:
    """The version that holds the moment, and the first `limit` rows by key."""
    version, before, after = _versions(flow, moment)
    notes = reservations(moment)
    if flow.log.notation().kind == "time":
        notes += ("changes are told by a column of times: a row is as it was when it was last looked at",)
    exact = not notes
    if version is not None and (held_back := _held_back(flow, version)):
        notes += (f"{held_back} changes up to version {version.number} went to the quarantine, not into the table",)
        version, before = None, version
    elif version is None:
        notes += (_why_none(before, after),)
    origin: Literal["table", "change log"] = "table"
    found: tuple[int, pl.DataFrame] | None = None
    if version is not None:
        try:
            found = _rows_of_table(flow, version, limit)
        except NeedsPerson as error:
            notes += (str(error),)
    if found is None:
        origin, found = "change log", rows_of_log(flow.log, moment, limit)
    return AsOf(moment.text, moment.shape.number, exact, version, before, after, notes, *found, origin)


def rows_of_log(log: ChangeLog, moment: Moment, limit: int) -> tuple[int, pl.DataFrame]:
    """How many rows the source's table had, and the first `limit` of them by key, in the columns that it had then."""
    schema = moment.shape.schema
    there = marks(log, moment.window, schema).filter(pl.col(COUNT) > 0)
    order = list(schema.primary_key) or [FILE, ROW]
    chosen = there.sort(order).head(limit)
    rows = pl.concat(
        [
            pl.DataFrame(schema={"row": polars_type(schema.row_type)}),
            *(
                found.select(pl.col("row").repeat_by(COUNT).explode())
                for found in rows_at(log, chosen.select(PLACE), schema)
            ),
        ]
    )
    frame = rows["row"].struct.unnest()
    return int(there[COUNT].sum()), frame.sort(schema.primary_key or frame.columns[:1]).head(limit)


def _versions(flow: Flow, moment: Moment) -> tuple[Named | None, Named | None, Named | None]:
    """The version that holds the moment, the nearest before it, and the nearest after it."""
    log, after = flow.log, None
    # A table that has another shape already holds something later, too.
    shapes = [shape.commit for shape in log.shapes() if shape.number > moment.shape.number]
    following = min([moment.following, *shapes])
    exact: Named | None = None
    for version in flow.destination.versions(log.id()):
        named = _named(version)
        if version.applied.version >= following:
            after = named
        elif exact is None and version.applied.version >= moment.last:
            exact = named
        elif exact is None or version.applied.version < moment.last:
            return exact, named, after
    return exact, None, after


def _held_back(flow: Flow, version: Named) -> int:
    """How many changes a version lacks, or lacked until they were replayed from the quarantine."""
    quarantine, log_id = quarantine_of(flow), flow.log.id()
    if not quarantine.exists():
        return 0
    older = [one for one in flow.destination.versions(log_id) if one.applied.version <= version.applied]
    waiting = quarantine.rows().filter((pl.col("log_id") == log_id) & (pl.col("log_version") <= version.applied))
    return max(waiting.height, sum(one.evidence.quarantined for one in older if one.evidence))


def _named(version: TableVersion) -> Named:
    return Named(version.number, version.applied.version, version.applied.position, version.committed)


def reservations(moment: Moment) -> tuple[str, ...]:
    """Why the log's state is not what the source was, in words."""
    found: list[str] = []
    if moment.inside is not None:
        found.append(
            f"{moment.text} lies inside transaction {moment.inside}: its changes before that are in, the others are not"
        )
    if moment.doubt is not None:
        found.append(
            f"rows may have changed around this position without an event in the change log ({moment.doubt.reason})"
        )
    return tuple(found)


def _why_none(before: Named | None, after: Named | None) -> str:
    if before is not None and after is not None:
        return "no version holds exactly this: changes on both sides of it came with one commit"
    if after is not None:
        return "no version that is still known holds this: its metadata was expired or cleaned up"
    if before is not None:
        return "the destination is not there yet: it lacks changes that the change log has"
    return "the destination has no version of this change log"


def _rows_of_table(flow: Flow, version: Named, limit: int) -> tuple[int, pl.DataFrame] | None:
    """The same as `rows_of_log`, read from the table, without the `_cdc_*` columns. None where the table cannot say: it
    has no key, or another name for it than now."""
    try:
        plan = present_projection(flow, flow.log.schema())
    except CdcError:
        return None
    key, order = list(plan.target.key), list(order_columns(plan.order))
    history = flow.pipeline.config.destination.write_mode == "append"
    if not key:
        return None
    wanted = [*key, *order, _OPERATION] if history else key
    places = _places(flow.destination.scan(wanted, version.number), key, order if history else ())
    if places is None or not set(wanted) <= set(places.columns):
        return (0, pl.DataFrame()) if places is None else None
    chosen = places.sort(key).head(limit)
    rows = [
        frame.join(chosen, on=chosen.columns, how="semi", nulls_equal=True)
        for frame in flow.destination.scan(None, version.number)
    ]
    shown = pl.concat(rows).sort(key).head(limit)
    own = [name for name in shown.columns if not name.startswith("_cdc_")]
    return places.height, shown.select(own)


def _places(frames: Iterator[pl.DataFrame], key: Sequence[str], order: Sequence[str]) -> pl.DataFrame | None:
    """The key of each row; with `order`, of a history, key, place and operation of each key's last row where that is no
    DELETE. None where there is no frame. One that lacks a column is given back as it is."""
    kept: list[pl.DataFrame] = []
    held, collapsed = 0, 0
    for frame in frames:
        if not {*key, *order} <= set(frame.columns):
            return frame
        kept.append(frame)
        held += frame.height
        if order and held > 2 * max(collapsed, _COLLAPSE_ROWS):
            kept = [_last(pl.concat(kept), key, order)]
            held = collapsed = kept[0].height
    if not kept:
        return None
    return _last(pl.concat(kept), key, order).filter(pl.col(_OPERATION) != DELETE) if order else pl.concat(kept)


def _last(places: pl.DataFrame, key: Sequence[str], order: Sequence[str]) -> pl.DataFrame:
    """The last row of each key; at one place a key goes before it comes."""
    gone = pl.col(_OPERATION) == DELETE
    ordered = places.sort([*order, gone], descending=[*(False for _ in order), True])
    return ordered.unique(subset=list(key), keep="last", maintain_order=False)
