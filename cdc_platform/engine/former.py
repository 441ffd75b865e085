"""The rows before UPDATEs, where the source's log does not say them: those that were logged last, by key.

    UPDATE of a key ──> the row that the batch had of it before ──> or the change log's last row of the key
                        none: the key alone, as in a comparison (reconcile.py)

Columns, not rows. Layer: engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.state import last_rows
from cdc_platform.model.change import UPDATE, ChangeBatch
from cdc_platform.model.projection import polars_type

_ORDER: Final = "\x1forder"
_FROM: Final = "\x1ffrom"


def with_former(batch: ChangeBatch, log: ChangeLog) -> ChangeBatch:
    """The batch with `before` in its UPDATEs. `log` holds everything before it, in the batch's shape."""
    key = list(batch.schema.primary_key)
    before, after = batch.frame["before"], batch.frame["after"]
    keys = batch.frame.select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias(_ORDER),
        (pl.col("operation") == UPDATE).alias("update"),
        *(pl.coalesce(pl.col("after").struct.field(n), pl.col("before").struct.field(n)).alias(n) for n in key),
    ).with_columns(pl.col(_ORDER).shift(1).over(key).alias(_FROM))
    sought = keys.filter(pl.col("update") & pl.col(_FROM).is_null())
    found = last_rows(log, sought.select(key), batch.schema.names) if sought.height else sought.select(key)
    numbered = found.select(*key, pl.int_range(len(after), len(after) + pl.len(), dtype=pl.Int64).alias("logged"))
    # Lazily: Polars 2.1 finds no NaN where it joins two frames of one row each at once.
    places = (
        keys.lazy()
        .join(numbered.lazy(), on=key, how="left", nulls_equal=True, maintain_order="left")
        .select(pl.when("update").then(pl.coalesce(_FROM, "logged")))
        .collect()
        .to_series()
    )
    image = pl.Struct({column.name: polars_type(column.type) for column in batch.schema.columns})
    held = [after.cast(image)]
    if found.height:
        held.append(found.select(batch.schema.names).to_struct("after").cast(image))
    former = pl.concat(held).gather(places)
    alone = keys.select(
        pl.struct(
            pl.col(c.name) if c.name in key else pl.lit(None, polars_type(c.type)).alias(c.name)
            for c in batch.schema.columns
        ).alias("key")
    )["key"]
    columns = pl.DataFrame([keys["update"], before, former.alias("former"), alone])
    whole = columns.select(
        pl.when("update").then(pl.coalesce("former", "key")).otherwise("before").alias("before")
    ).to_series()
    return replace(batch, frame=batch.frame.with_columns(whole), bare=False)
