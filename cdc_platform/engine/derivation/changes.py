"""Computed rows as what an upsert takes. Pure but for the clock."""

from __future__ import annotations

from typing import Final

import polars as pl

from cdc_platform.engine.derivation.compute import stamped
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.model.change import DELETE, UPDATE
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetSchema

_OPERATION: Final = "_cdc_operation"


def nothing(target: TargetSchema) -> pl.DataFrame:
    """No rows of a table."""
    return pl.DataFrame(schema={field.name: polars_type(field.type) for field in target.fields})


def changed_rows(flow: Derivation, stay: pl.DataFrame, go: pl.DataFrame | None = None) -> pl.DataFrame:
    """Rows of an upsert: those that `stay`, written now, and a DELETE of each of the keys that `go`."""
    kinds = nothing(flow.target).schema
    rows = stamped(stay, flow.definition.table.written_at, flow.target) if stay.height else nothing(flow.target)
    upsert = rows.select(list(kinds)).with_columns(pl.lit(UPDATE, pl.String).alias(_OPERATION))
    if go is None or go.is_empty():
        return upsert
    lacking = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in go.columns]
    deleted = go.with_columns(lacking).select(list(kinds))
    return pl.concat([upsert, deleted.with_columns(pl.lit(DELETE, pl.String).alias(_OPERATION))])
