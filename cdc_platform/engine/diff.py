"""`cdc diff`: what changed in a table between two moments, net, from its change log.

    keys with an event in [A, B)  ──> their last event before B ─┐  both seen in the columns of B
                                      their last event before A ─┴──> INSERT, UPDATE, DELETE of what is not the same

A row that came and went in between, or changed and changed back, is no difference. Rows of a table without a key are
counted: those that there are more of came, those that there are fewer of went. Memory holds a key, two hashes and a
place for each key that was touched. Layer: engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.change_log.state import COUNT, HASHES, PLACE, key_of, marks, rows_at
from cdc_platform.change_log.window import Window
from cdc_platform.engine.moment import Moment
from cdc_platform.engine.readable import documents, line
from cdc_platform.errors import ConfigError
from cdc_platform.model.change import DELETE, INSERT, UPDATE
from cdc_platform.model.schema import TableSchema

_OLD: Final = ":old"
_NUMBER: Final = "\x1fnumber"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one key. Cells are as JSON has them: of an UPDATE those that differ, else all of the row."""

    operation: str
    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Difference:
    """`counts` are of all keys by operation, `changes` the first of them by key, `shapes` those that came meanwhile."""

    start: Moment
    end: Moment
    counts: dict[str, int]
    changes: tuple[Change, ...]
    shapes: tuple[SchemaVersion, ...]


def difference(log: ChangeLog, start: Moment, end: Moment, limit: int) -> Difference:
    """From one moment to a later one."""
    if end.position < start.position:
        raise ConfigError(f"{end.text} lies before {start.text}; name the earlier one first")
    schema = end.shape.schema
    window = Window(start.position, end.position)
    found = _keyed(log, window, schema) if schema.primary_key else _counted(log, window, schema)
    by_operation = dict(found.group_by("operation").agg(pl.col(COUNT).sum()).iter_rows())
    shapes = tuple(s for s in log.shapes() if start.shape.number < s.number <= end.shape.number)
    return Difference(
        start,
        end,
        {operation: int(by_operation.get(operation, 0)) for operation in (INSERT, UPDATE, DELETE)},
        _changes(log, found, schema, limit),
        shapes,
    )


def _keyed(log: ChangeLog, window: Window, schema: TableSchema) -> pl.DataFrame:
    """The keys that differ: `operation`, `COUNT` 1, the places of their new and of their old rows."""
    key = key_of(schema)
    now = marks(log, window, schema)
    then = marks(log, Window(until=window.since), schema, now.select(key))
    both = now.join(then, on=key, how="left", suffix=_OLD)
    here, there = pl.col(COUNT) > 0, pl.col(f"{COUNT}{_OLD}").fill_null(0) > 0
    same = pl.all_horizontal(pl.col(name) == pl.col(f"{name}{_OLD}") for name in HASHES)
    operation = pl.when(here & there & ~same).then(pl.lit(UPDATE)).when(here & ~there).then(pl.lit(INSERT))
    return (
        both.with_columns(operation.when(~here & there).then(pl.lit(DELETE)).alias("operation"))
        .filter(pl.col("operation").is_not_null())
        .with_columns(pl.lit(1, pl.Int64).alias(COUNT))
    )


def _counted(log: ChangeLog, window: Window, schema: TableSchema) -> pl.DataFrame:
    """The same for rows without a key: each as often as it came or went."""
    found = marks(log, window, schema).filter(pl.col(COUNT) != 0)
    operation = pl.when(pl.col(COUNT) > 0).then(pl.lit(INSERT)).otherwise(pl.lit(DELETE))
    places = (pl.col(name).alias(f"{name}{_OLD}") for name in PLACE)
    return found.with_columns(operation.alias("operation"), *places, pl.col(COUNT).abs())


def _changes(log: ChangeLog, found: pl.DataFrame, schema: TableSchema, limit: int) -> tuple[Change, ...]:
    order = list(schema.primary_key) or list(PLACE[:2])
    repeated = found.with_columns(pl.lit(1).repeat_by(pl.min_horizontal(COUNT, pl.lit(limit))).alias("times"))
    chosen = repeated.sort(order).head(limit).explode("times").head(limit).with_row_index(_NUMBER)
    new = _rows(log, chosen.filter(pl.col("operation") != DELETE).select(_NUMBER, *PLACE), schema)
    old_places = (pl.col(f"{name}{_OLD}").alias(name) for name in PLACE)
    old = _rows(log, chosen.filter(pl.col("operation") != INSERT).select(_NUMBER, *old_places), schema)
    changes = []
    for number, operation in chosen.select(_NUMBER, "operation").iter_rows():
        before, after = old.get(number), new.get(number)
        key = {name: (after or before or {})[name] for name in schema.primary_key}
        if before is not None and after is not None:
            differing = [name for name in after if line({"": before[name]}) != line({"": after[name]})]
            before, after = ({name: row[name] for name in differing} for row in (before, after))
        changes.append(Change(operation, key, before, after))
    return tuple(changes)


def _rows(log: ChangeLog, places: pl.DataFrame, schema: TableSchema) -> dict[int, dict[str, Any]]:
    """The rows at numbered places."""
    rows: dict[int, dict[str, Any]] = {}
    for found in rows_at(log, places, schema):
        rows |= dict(zip(found[_NUMBER].to_list(), documents(found["row"].struct.unnest()), strict=True))
    return rows
