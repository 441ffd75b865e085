"""Cells that a change left as they were and the source's log leaves out: put back before anything is logged.

Postgres leaves out unchanged TOAST values, MySQL's partial row images all that a statement did not touch. The value is
that of the row before: found in the batch where the row was written there, else in the change log, whose rows are
whole. Columns, not rows: one as-of join by key for each column that has holes.

    holes of a column ──> the row that last wrote it, by key, earlier in the batch ──> or the log's last row of the key
                           an UPDATE that changes the key reads under the old one and writes under the new
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import last_rows
from cdc_platform.errors import NotUnderstood
from cdc_platform.model.change import DELETE, ChangeBatch

_ORDER: Final = "\x1forder"
_FROM: Final = "\x1ffrom"


def filled(batch: ChangeBatch, log: ChangeLog) -> ChangeBatch:
    """The batch without holes. `log` holds everything before it, in the batch's shape."""
    if not batch.holes:
        return batch
    key = list(batch.schema.primary_key)
    if not key:
        raise NotUnderstood(
            f"{batch.table}: the change at {batch.frame['lsn'][0]} leaves unchanged values out, and without a key the "
            "row before it cannot be found; give the table a primary key, or log whole rows (Postgres: replica "
            "identity full; MySQL: binlog_row_image = FULL), and begin its pipeline anew"
        )
    sought = _sought(batch.frame, key)
    sources = {column: _sources(sought, holes, key) for column, holes in batch.holes.items()}
    missing = pl.concat(rows.filter(pl.col(_FROM).is_null()).select(key) for rows in sources.values()).unique()
    found = last_rows(log, missing, list(sources)) if missing.height else None
    after = batch.frame["after"].struct.unnest()
    cells = [_filled(after[column], rows, found, key, batch) for column, rows in sources.items()]
    whole = after.with_columns(cells).to_struct("after")
    present = pl.when(batch.frame["after"].is_not_null()).then(whole).alias("after")
    return ChangeBatch(batch.schema, batch.frame.with_columns(present))


def _sought(frame: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Each change's order, the key it reads under (that before it) as `key`, and the one it writes under as `new`."""
    before, after = pl.col("before").struct, pl.col("after").struct
    deleted = pl.col("operation") == DELETE
    return frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias(_ORDER),
        deleted.alias("deleted"),
        *(pl.coalesce(before.field(name), after.field(name)).alias(name) for name in key),
        *(pl.when(deleted).then(before.field(name)).otherwise(after.field(name)).alias(f"new:{name}") for name in key),
    )


def _sources(sought: pl.DataFrame, holes: pl.Series, key: Sequence[str]) -> pl.DataFrame:
    """For each hole: `_ORDER`, key, and in `_FROM` the change of the batch that holds its value; null: the log does.

    A hole whose row was given its key by a change with a hole of its own has that one's source: such chains are
    followed link by link, and there are as many rounds as one row changed its key in one batch.
    """
    new = {name: f"new:{name}" for name in key}
    moved = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"new:{name}")) for name in key)
    rows = sought.with_columns(holes.alias("hole"), moved.alias("moved"))
    # What writes the column: changes that have its value, and those that carry a value they have not to another key.
    writers = rows.filter(~pl.col("hole") | pl.col("moved")).select(
        pl.col(_ORDER),
        *(pl.col(column).alias(name) for name, column in new.items()),
        pl.col(_ORDER).alias(_FROM),
        pl.col("hole").alias("carried"),
    )
    left = rows.filter(pl.col("hole")).select(_ORDER, *key)
    # Both are in order as a whole, which Polars cannot see by group.
    links = left.join_asof(
        writers, on=_ORDER, by=list(key), strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    while links["carried"].fill_null(False).any():
        carriers = links.select(
            pl.col(_ORDER).alias(_FROM),
            *(pl.col(name).alias(f"by:{name}") for name in key),
            pl.col(_FROM).alias("next"),
            pl.col("carried").alias("further"),
        )
        links = links.join(carriers, on=_FROM, how="left").select(
            _ORDER,
            *(pl.when("carried").then(f"by:{k}").otherwise(k).alias(k) for k in key),
            pl.when("carried").then("next").otherwise(_FROM).alias(_FROM),
            pl.when("carried").then("further").otherwise("carried").alias("carried"),
        )
    return links.select(_ORDER, *key, _FROM)


def _filled(
    cells: pl.Series, rows: pl.DataFrame, found: pl.DataFrame | None, key: Sequence[str], batch: ChangeBatch
) -> pl.Series:
    """The column with its holes filled: each takes a cell of the column itself, or of those that were found."""
    places = np.arange(len(cells))
    inside = rows.filter(pl.col(_FROM).is_not_null())
    places[inside[_ORDER].to_numpy()] = inside[_FROM].to_numpy()
    outside = rows.filter(pl.col(_FROM).is_null())
    if found is None or outside.is_empty():
        return cells.gather(places)
    numbered = found.select(*key).with_row_index(_FROM)
    # Lazily: Polars 2.1 finds no NaN where it joins two frames of one row each at once.
    joined = outside.drop(_FROM).lazy().join(numbered.lazy(), on=list(key), how="left").collect()
    if joined[_FROM].has_nulls():
        lost = int(joined.filter(pl.col(_FROM).is_null())[_ORDER][0])
        raise NotUnderstood(
            f"{batch.table}: the change at {batch.frame['lsn'][lost]} leaves the value of column '{cells.name}' out, "
            "and the change log has no row that it could be taken from; begin its pipeline anew"
        )
    places[joined[_ORDER].to_numpy()] = len(cells) + joined[_FROM].to_numpy().astype(np.int64)
    return pl.concat([cells, found[cells.name]]).gather(places)
