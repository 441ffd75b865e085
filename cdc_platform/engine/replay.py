"""`cdc replay`: a destination built anew from its change log beside the present one, and the two compared.

    change log ──the same apply──> a new table, up to the version that the present one holds
    every row of both, all columns ──> hashes as multisets ──> keys of what is missing, unexpected, different

The new table is an ordinary destination: begun once, a replay goes on where it was interrupted, and it can take the
present one's place (docs/time-travel.md). Nothing is written to the present one, and no run applies to it meanwhile.
Memory holds two hashes of each row of both. Layer: engine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Destination
from cdc_platform.engine.apply import Application, apply
from cdc_platform.engine.feeds import Flow, open_flow
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress, silent
from cdc_platform.engine.readable import documents
from cdc_platform.engine.shaping import present_projection
from cdc_platform.errors import ConfigError, NeedsPerson, Unavailable
from cdc_platform.model.digest import row_hashes
from cdc_platform.model.projection import order_columns, polars_type

KEYS: Final = 20
_HASHES: Final = ("\x1fhash0", "\x1fhash1")
_MANY: Final = "\x1fmany"


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the present destination differs from the new one: rows that it lacks, rows that are too many, rows of one
    place with other cells, and what is wrong with its columns. `keys` are the first `KEYS` of those rows' keys."""

    rows: int
    missing: int
    unexpected: int
    different: int
    columns: tuple[str, ...]
    keys: tuple[dict[str, Any], ...]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.unexpected or self.different or self.columns)


@dataclass(frozen=True, slots=True)
class Replayed:
    """`table` is where the new table is, `position` what it holds."""

    table: str
    position: str
    application: Application
    comparison: Comparison | None


def replica_of(pipeline: Pipeline, everything: Sequence[Pipeline], into: str | None) -> Pipeline:
    """The same pipeline with another destination table: `into`, or the present one's name with `_replay`."""
    destination = pipeline.config.destination
    iceberg = destination.type == "iceberg"
    place = into or f"{(destination.table or '') if iceberg else destination.path.rstrip('/')}_replay"
    path, table = (destination.path, place) if iceberg else (place, destination.table)
    # What may not reach it goes to a quarantine of its own.
    other = dataclasses.replace(destination, path=path, table=table, quarantine=None)
    for one in everything:
        held = one.config.destination
        if (held.type, held.path.rstrip("/"), held.table) == (other.type, other.path.rstrip("/"), other.table):
            raise ConfigError(f"--into: {place} is the destination of '{one.id}'; name a table of its own")
    config = dataclasses.replace(pipeline.config, destination=other)
    return dataclasses.replace(pipeline, id=f"{pipeline.id}~replay", config=config)


def replay(
    settings: Settings,
    environment: Mapping[str, str],
    pipeline: Pipeline,
    replica: Pipeline,
    compare: bool = True,
    progress: Progress = silent,
) -> Replayed:
    """Build (or go on building) the replica's table, and compare the pipeline's with it."""
    flow, new = (open_flow(settings, environment, one) for one in (pipeline, replica))
    if not flow.log.exists() or flow.log.position() is None:
        raise NeedsPerson(f"{pipeline.id} has no change log yet; run: cdc run {pipeline.id}")
    log_id = flow.log.id()
    with exclusive(flow.locks, flow.lock):
        present = flow.destination.applied(log_id) if compare else None
        application = apply(new, progress, upto=present.version if present else None)
        held = new.destination.applied(log_id)
        if present and held and held.version != present.version and _moved(flow, held.version, present.version):
            raise Unavailable(
                f"{_place(replica)} holds {held.position} already, and the present table {present.position}: run "
                f"cdc run {pipeline.id}, then replay again; or move the new table away"
            )
        comparison = compared(flow, new.destination, progress) if compare else None
    return Replayed(_place(replica), application.end, application, comparison)


def _moved(flow: Flow, one: int, other: int) -> bool:
    """Whether the log has events between two of its versions."""
    least, most = sorted((one, other))
    return any(part.files for part in flow.log.read(least, upto=most))


def _place(pipeline: Pipeline) -> str:
    destination = pipeline.config.destination
    return destination.table or "" if destination.type == "iceberg" else destination.path


def compared(flow: Flow, new: Destination, progress: Progress = silent) -> Comparison:
    """The flow's destination held against a new one that has applied the same."""
    present = flow.destination
    fields = {field.name: field.type for field in new.schema() or ()}
    held = {field.name: field.type for field in present.schema() or ()}
    columns = [f"it lacks column '{name}'" for name in fields if name not in held]
    columns += [f"it has a column '{name}' more" for name in held if name not in fields]
    common = [name for name, kind in fields.items() if held.get(name) == kind]
    columns += [
        f"column '{name}' is {held[name]} and should be {kind}"
        for name, kind in fields.items()
        if name in held and held[name] != kind
    ]
    progress(f"compare {flow.pipeline.id}", 0)
    expected, found = _hashes(new.scan(common), common), _hashes(present.scan(common), common)
    both = expected.join(found, on=_HASHES, how="full", coalesce=True, suffix=":found")
    less = (pl.col(_MANY).fill_null(0) - pl.col(f"{_MANY}:found").fill_null(0)).alias(_MANY)
    net = both.select(*_HASHES, less).filter(pl.col(_MANY) != 0)
    lacking = net.filter(pl.col(_MANY) > 0)
    surplus = net.filter(pl.col(_MANY) < 0).with_columns(-pl.col(_MANY))
    rows = int(found[_MANY].sum())
    key = [name for name in _identity(flow) if name in common]
    if not key:
        return Comparison(rows, int(lacking[_MANY].sum()), int(surplus[_MANY].sum()), 0, tuple(columns), ())
    types = {name: polars_type(fields[name]) for name in key}
    missing = _rows(new.scan(common), lacking, common, types)
    unexpected = _rows(present.scan(common), surplus, common, types)
    # A row of one place that is not the same on both sides is one difference, not two.
    different = missing.join(unexpected, on=key, how="inner", nulls_equal=True, maintain_order="left").unique(key)
    alone = missing.join(different, on=key, how="anti", nulls_equal=True)
    extra = unexpected.join(different, on=key, how="anti", nulls_equal=True)
    own = [name for name in key if not name.startswith("_cdc_")]
    keys = pl.concat([alone, extra, different]).select(own).unique(maintain_order=True)
    return Comparison(
        rows,
        alone.height,
        extra.height + _doubles(unexpected, different, key),
        different.height,
        tuple(columns),
        tuple(documents(keys.head(KEYS))),
    )


def _identity(flow: Flow) -> list[str]:
    """The destination columns that tell its rows apart; none where there is no key."""
    plan = present_projection(flow, flow.log.schema())
    if flow.pipeline.config.destination.write_mode == "upsert" or not plan.target.key:
        return list(plan.target.key)
    return [*plan.target.key, *order_columns(plan.order), "_cdc_operation"]


def _doubles(unexpected: pl.DataFrame, different: pl.DataFrame, key: Sequence[str]) -> int:
    """Surplus rows beyond the one that stands for a difference."""
    there = unexpected.join(different, on=list(key), how="semi", nulls_equal=True)
    return there.height - different.height


def _hashes(frames: Iterator[pl.DataFrame], names: Sequence[str]) -> pl.DataFrame:
    """How often each row is there, by two hashes of all its cells."""
    empty = pl.DataFrame(schema=dict.fromkeys(_HASHES, pl.UInt64))
    hashed = pl.concat([empty, *(_hashed(frame, names).select(_HASHES) for frame in frames)])
    return hashed.group_by(_HASHES).agg(pl.len().cast(pl.Int64).alias(_MANY))


def _hashed(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    series = row_hashes(frame.select(names))
    return frame.with_columns(one.alias(name) for one, name in zip(series, _HASHES, strict=True))


def _rows(
    frames: Iterator[pl.DataFrame], wanted: pl.DataFrame, names: Sequence[str], key: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """The keys (columns and their types) of as many rows of each hash as `wanted` says."""
    kept = [pl.DataFrame(schema={**wanted.schema, **key})]
    for frame in frames if wanted.height else ():
        found = _hashed(frame, names).lazy().join(wanted.lazy(), on=_HASHES, how="inner").collect()
        kept.append(found.select(kept[0].columns))
    return pl.concat(kept).filter(pl.int_range(pl.len()).over(_HASHES) < pl.col(_MANY)).select(*key)
