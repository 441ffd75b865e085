"""Rows that a source found, and what happened to them: told by what the change log knows of their keys.

    the log has the row as it is ──> nothing
    the log has another row      ──> UPDATE, `before` from the log
    the log has none             ──> INSERT

So what is read twice is logged once, whoever died in between. Columns, not rows. Layer: engine.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.lookup import KNOWN, known_rows
from cdc_platform.errors import NeedsPerson
from cdc_platform.model.change import OPERATION, UPDATE, ChangeBatch, Seen
from cdc_platform.model.digest import row_hashes

_ORDER = "\x1forder"


def changes_of(seen: Seen, log: ChangeLog) -> ChangeBatch:
    """The changes that make the log's rows the ones that were seen, in their order; may be none. The log has the same
    shape, and everything that was recorded before."""
    batch = seen.batch
    if not len(batch):
        return batch
    key = list(batch.schema.primary_key)
    rows = batch.frame["after"].struct.unnest()
    keys = rows.select(key)
    if keys.is_duplicated().any():
        raise NeedsPerson(
            f"{batch.table}: several rows have the same {', '.join(key)}, which are named as its key; name columns "
            "that tell all rows apart, and begin its pipeline anew"
        )
    known = known_rows(log, keys)
    numbered = known.select(*key, pl.int_range(pl.len(), dtype=pl.Int64).alias(_ORDER))
    # Lazily: Polars 2.1 finds no NaN where it joins two frames of one row each at once.
    joined = keys.lazy().join(numbered.lazy(), on=key, how="left", nulls_equal=True, maintain_order="left").collect()
    before = known[KNOWN].gather(joined[_ORDER]).alias("before")
    there = joined[_ORDER].is_not_null()
    changed = ~there | _differ(before.struct.unnest(), rows)
    operation = pl.when(there).then(pl.lit(UPDATE, OPERATION)).otherwise("operation").alias("operation")
    frame = batch.frame.with_columns(pl.when(there).then(before).alias("before"), operation).filter(changed)
    return replace(batch, frame=frame)


def _differ(before: pl.DataFrame, after: pl.DataFrame) -> pl.Series:
    """Which rows are not equal in every cell, floats by their bits."""
    pairs = zip(row_hashes(before), row_hashes(after), strict=True)
    first, second = (one != other for one, other in pairs)
    return first | second
