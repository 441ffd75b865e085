"""A table compared with its source at one position, and what differs logged as changes.

Some statements change rows of which the source's log says nothing: a column added with a default, a column rewritten
by ALTER TYPE ... USING, a statement-based UPDATE, a partition attached. Then the log's rows and the source's are
brought together once:

    the log's last row of each key, at P ──> key, hashes ─┐ full join ──> INSERT, UPDATE, DELETE of what differs
    the source's rows, a snapshot at P  ──> key, hashes ─┘        commits at P, the last with the mark "compared"

The events are like any other's, so destinations follow by the usual way, and what is equal costs nothing there. An
UPDATE's `before` holds the key alone. Memory holds keys and hashes of both sides, and what is written goes by batches;
the source is read a second time where something differs.

Where such an event stands among the changes of its key: after the last one that is logged, and before the next. For
Postgres its `lsn` is that of the key's last change plus one (records begin at multiples of eight); for MySQL the
snapshot's own, which lies behind every change before it (one more for a row that comes). Layer: engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

import polars as pl

from cdc_platform.change_log.files import commits
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import COUNT, HASHES, LSN, PLACE, key_of, marked, marks, rows_at
from cdc_platform.engine.record import deletes, evolve
from cdc_platform.errors import NotUnderstood
from cdc_platform.failpoints import failpoint
from cdc_platform.model.change import DELETE, INSERT, OPERATION, UPDATE, ChangeBatch, Place
from cdc_platform.model.event import COMPARED, events
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.position import lsn_numbers, lsn_text
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.source import Snapshot

_MANY = "\x1fmany"


def reconcile(
    log: ChangeLog,
    table: TableName,
    snapshot: Snapshot,
    fingerprint: Fingerprint,
    text: str,
    by: str | None = None,
) -> int:
    """Make the log, which is complete up to the snapshot's position, equal to it; how many rows differed.

    `text` is that position in the words of an event's `lsn`. With `by`, only the key and this column are read and
    compared, of a table that has a key.
    """
    position = log.position()
    assert position is not None
    schema = carried(log.schema(), snapshot.schema(table))
    if differences(log.schema(), schema):
        evolve(log, schema, snapshot.position, position)
        position = snapshot.position
    comparison = _Comparison(log, log.schema(), table, snapshot, text, by)
    changed, gone = comparison.difference()
    # In commits of bounded size: cut short, the mark is still there, and the next comparison finds the rest.
    for frames in commits(comparison.events(changed, gone)) if changed.height or gone.height else ():
        log.append(frames, snapshot.position, position)
        position = snapshot.position
        failpoint("reconcile.appended")
    failpoint("reconcile.comparing")
    log.append([], snapshot.position, position, compared=fingerprint)
    return changed.height + gone.height


@dataclass(frozen=True, slots=True)
class _Comparison:
    log: ChangeLog
    schema: TableSchema
    table: TableName
    snapshot: Snapshot
    text: str
    by: str | None

    def difference(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """What the source has and the log has not (key, `operation`, last LSN), and what it has too many (places)."""
        key = key_of(self.schema)
        compared = self.schema if self.by is None else narrowed(self.schema, self.by)
        ours = marks(self.log, seen_as=compared)
        rows = [marked(frame, compared) for frame in self._rows(compared)]
        theirs = pl.concat(rows) if rows else ours.select(*self.schema.primary_key, *HASHES).clear()
        if not self.schema.primary_key:
            return _multiset_difference(theirs, ours)
        both = theirs.join(ours, on=key, how="full", suffix=":log", coalesce=True, nulls_equal=True)
        here = pl.col(HASHES[0]).is_not_null()
        there = pl.col(COUNT).fill_null(0) > 0
        equal = pl.all_horizontal(pl.col(name) == pl.col(f"{name}:log") for name in HASHES)
        changed = both.filter(here & (~there | ~equal)).select(
            *key,
            pl.when(pl.col(COUNT).fill_null(0) > 0).then(pl.lit(UPDATE)).otherwise(pl.lit(INSERT)).alias("operation"),
            LSN,
            pl.lit(1, pl.Int64).alias(_MANY),
        )
        return changed, both.filter(~here & there).select(PLACE)

    def events(self, changed: pl.DataFrame, gone: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The differences as events. Ordinals lie beyond every change's, and are others in each comparison."""
        origin, version = self.log.origin(), self.log.shapes()[-1].number
        first = (self.log.version() + 1) * COMPARED
        # A row may have another key now: what a pipeline knows by a key of its own goes before it comes.
        for frame in chain(self._gone(gone), self._changed(changed)):
            numbered = frame.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("ordinal"))
            first += frame.height
            yield events(ChangeBatch(self.schema, numbered), origin, version, datetime.now(UTC), snapshot=False)

    def _rows(self, compared: TableSchema) -> Iterator[pl.DataFrame]:
        for batch in self.snapshot.read(self.table, None if compared == self.schema else compared.names):
            yield batch.frame["after"].struct.unnest()

    def _changed(self, changed: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The source's rows that differ, as INSERTs and UPDATEs; of equal rows as many as are lacking."""
        key = key_of(self.schema)
        own_key = [
            pl.col("after").struct.field(column.name)
            if column.name in self.schema.primary_key
            else pl.lit(None, polars_type(column.type)).alias(column.name)
            for column in self.schema.columns
        ]
        lacking = int(changed[_MANY].sum())
        for batch in self.snapshot.read(self.table) if changed.height else ():
            rows = marked(batch.frame["after"].struct.unnest(), self.schema).with_row_index("row")
            # Lazily: Polars 2.1 finds no NaN where it joins two frames of one row each at once.
            with_marks = rows.lazy().join(changed.lazy(), on=key, how="inner", nulls_equal=True, maintain_order="left")
            found = with_marks.collect()
            if not self.schema.primary_key:
                found = found.filter(pl.int_range(pl.len()).over(key) < pl.col(_MANY))
                changed = _less(changed, found, key)
            lacking -= found.height
            lsn = found[LSN]
            after_last = lsn_text((lsn.fill_null(0) + 1).to_numpy())
            yield batch.frame[found["row"]].with_columns(
                found["operation"].cast(OPERATION),
                pl.when(lsn.is_not_null()).then(after_last).otherwise("lsn").alias("lsn"),
                pl.when(found["operation"] == UPDATE).then(pl.struct(own_key)).alias("before"),
            )
        if lacking:
            raise NotUnderstood(
                f"{self.table}: {lacking} rows that differ from the change log were not found when they were read "
                "again; run again, and begin its pipeline anew where that does not help"
            )

    def _gone(self, gone: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The log's rows that the source has not, as DELETEs; and INSERTs of those that went without having come."""
        place = Place(self.snapshot.position.at - 1, 0, self.text, None, datetime.now(UTC))
        for found in rows_at(self.log, gone):
            for count, operation in ((pl.col(COUNT), DELETE), (-pl.col(COUNT), INSERT)):
                rows = found.filter(count > 0).select(pl.col("row", LSN).repeat_by(count).explode())
                frame = deletes(rows["row"], place, self.schema)
                if operation == INSERT:
                    frame = frame.with_columns(
                        pl.lit(INSERT, OPERATION).alias("operation"),
                        pl.col("before").alias("after"),
                        pl.col("after").alias("before"),
                    )
                if self.log.notation().kind == "lsn":
                    frame = frame.with_columns(lsn_text((lsn_numbers(rows[LSN]) + 1).to_numpy()).alias("lsn"))
                if frame.height:
                    yield frame


def narrowed(schema: TableSchema, column: str) -> TableSchema:
    """The table's key and one column more."""
    return replace(schema, columns=tuple(c for c in schema.columns if c.name in (*schema.primary_key, column)))


def _less(changed: pl.DataFrame, found: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """`changed` without the equal rows that were found."""
    taken = found.group_by(key).len("taken")
    left = changed.join(taken, on=key, how="left", nulls_equal=True)
    return left.with_columns(pl.col(_MANY) - pl.col("taken").fill_null(0)).drop("taken").filter(pl.col(_MANY) > 0)


def _multiset_difference(theirs: pl.DataFrame, ours: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the source has more of, and places of those that the log has too many or less than none of."""
    counted = theirs.group_by(HASHES).len("here").join(ours, on=HASHES, how="full", coalesce=True)
    here, held = pl.col("here").fill_null(0).cast(pl.Int64), pl.col(COUNT).fill_null(0)
    more = here - held.clip(lower_bound=0)
    changed = counted.filter(more > 0).select(
        *HASHES, pl.lit(INSERT).alias("operation"), pl.lit(None, pl.Int64).alias(LSN), more.alias(_MANY)
    )
    wrong = counted.filter((held < 0) | (more < 0))
    return changed, wrong.with_columns(pl.when(held < 0).then(held).otherwise(-more).alias(COUNT)).select(PLACE)
