"""The rules that every change event keeps (data model, section 8.2), asked of each batch before it is logged. Pure.

What breaks one is a fault of the platform's own, not of the data: the table stops before anything of the batch is
logged, and the message says which rule and where. The source's clock is no reason: events() puts times in order.

Most of it is a look at null counts and a few comparisons of whole columns; what costs is to find the ids unique.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from cdc_platform.errors import BrokenEvent
from cdc_platform.model.change import DELETE, INSERT, UPDATE

_UUID_4: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


def kept(events: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """The events as they are. `key` are the primary key's columns. Raises BrokenEvent."""
    if events.is_empty():
        return events
    rules = list(_rules(events, key))
    if events.select(pl.all_horizontal(good.all(ignore_nulls=False).fill_null(False) for _, good in rules)).item():
        ids = events["event_id"]
        # Two ids of one hash are as good as never two different ones; if they are, the ids themselves decide.
        if ids.hash().n_unique() == events.height or ids.n_unique() == events.height:
            return events
        rules = [("event_id is unique", pl.col("event_id").is_unique())]
    for words, good in rules:
        bad = events.select(good.fill_null(False).not_()).to_series()
        if bad.any():
            first = events.row(int(bad.arg_max() or 0), named=True)
            source, metadata = first["source"], first["metadata"]
            raise BrokenEvent(
                f"{source['schema']}.{source['table']}: the event of the change at {metadata['lsn']} breaks the rule "
                f"'{words}' (and {int(bad.sum()) - 1:,} others do); nothing of it was logged; this is a fault of cdc "
                "itself, report it with this line"
            )
    raise AssertionError("a rule is broken in the whole and by no event")


def _rules(events: pl.DataFrame, key: Sequence[str]) -> Iterator[tuple[str, pl.Expr]]:
    """Each rule in words, and what is true of every event that keeps it."""
    operation, source, times = pl.col("operation"), pl.col("source").struct, pl.col("timestamp").struct
    before, after = pl.col("before"), pl.col("after")
    yield "event_id is a UUID of version 4", pl.col("event_id").str.contains(_UUID_4)
    for name in ("system", "table"):
        yield f"source.{name} is there", source.field(name).is_not_null() & (source.field(name) != "")
    yield "operation is INSERT, UPDATE or DELETE", operation.is_in([INSERT, UPDATE, DELETE])
    captured = times.field("capture_ts")
    yield "source_ts <= capture_ts", times.field("source_ts") <= captured
    yield "capture_ts <= process_ts", captured <= times.field("process_ts")
    yield "before is null exactly in an INSERT", before.is_null() == (operation == INSERT)
    yield "after is null exactly in a DELETE", after.is_null() == (operation == DELETE)
    held = {field.name for dtype in [events.schema["before"]] if isinstance(dtype, pl.Struct) for field in dtype.fields}
    for name in key:
        if name in held:
            same = before.struct.field(name).eq_missing(after.struct.field(name))
            yield f"key column '{name}' is the same before and after an UPDATE", (operation != UPDATE) | same
