"""A derived table held against its inputs' change logs, at the very versions that its commit names; and mended.

capture the inputs, derive ──> the table names versions ──> all its rows from the logs alone ──> differences
mending: the columns, if they are others; the mirrors dropped, which may be why; the rows that differ, in one commit
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cdc_platform.config.load import Pipeline
from cdc_platform.config.settings import Settings
from cdc_platform.destinations.destination import Applied
from cdc_platform.engine.capture import capture
from cdc_platform.engine.derivation.anew import anew
from cdc_platform.engine.derivation.basis import basis_of
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.derivation.differences import Differences, differences
from cdc_platform.engine.derivation.kept import tidy
from cdc_platform.engine.derivation.opened import Derivation
from cdc_platform.engine.feeds import feed_of, open_feed
from cdc_platform.engine.locks import exclusive
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError, NeedsPerson, SchemaConflict, Unavailable
from cdc_platform.model.target import TargetField


@dataclass(slots=True)
class Compared:
    """`position` is where the inputs were; `after` what still differed when it was mended, None where nothing was;
    `columns` say in words which the table had otherwise than its definition (its rows were not compared then)."""

    position: str = ""
    found: Differences | None = None
    after: Differences | None = None
    columns: list[str] = field(default_factory=list)


def up_to_date(
    settings: Settings,
    environment: Mapping[str, str],
    everything: Sequence[Pipeline],
    flow: Derivation,
    progress: Progress,
) -> None:
    """Capture the inputs. Raises what stands in the way of one of them."""
    for one in flow.inputs.values():
        if one.log.position() is None:
            raise Unavailable(f"nothing is captured of {one.table} yet; run: cdc run {flow.pipeline.id}")
        with open_feed(settings, environment, everything, feed_of(one.pipeline)) as feed:
            followed = feed.only([table for table, log in feed.logs.items() if log.position() is not None])
            failure: CdcError | None = capture(followed, progress=progress).failures.get(one.table)
        if (gap := flow.gap()) is not None:
            raise gap.error()
        if failure is not None:
            raise failure
        if reason := one.log.unlogged():
            raise Unavailable(f"{one.table}: {reason} came in between; try again")


def verified(
    flow: Derivation, progress: Progress, repair: bool = False, hashed: Sequence[str] | None = None
) -> Compared:
    """Derive, and compare the table with its inputs' logs; `hashed` are the columns of the digests (all without)."""
    with exclusive(flow.locks, flow.lock):
        if flow.destination.schema() is None:
            raise Unavailable(f"there is no destination table to verify yet; run: cdc run {flow.pipeline.id}")
        compared = Compared()
        try:
            derive(flow, progress)
        except SchemaConflict:
            compared.columns = shape_difference(flow)
            if not compared.columns or not repair:
                if compared.columns:
                    return compared
                raise
            _mend_shape(flow)
            derive(flow, progress)
        applied = flow.destination.applied(flow.log_id)
        basis = basis_of(applied)
        if applied is None or basis is None:
            raise NeedsPerson(f"{flow.pipeline.id}: its table was changed by somebody else meanwhile; try again")
        compared.position = applied.position
        with anew(flow, {name: part.version for name, part in basis.inputs.items()}) as rows:
            compared.found = differences(flow, rows.rows, rows.buckets, hashed)
            if repair and not compared.found.equal:
                tidy(flow.folder, None, spare=rows.folder)
                next_one = Applied(flow.log_id, applied.version + 1, applied.position, applied.basis)
                flow.destination.upsert(compared.found.rows, next_one)
                compared.after = differences(flow, rows.rows, rows.buckets, hashed)
    return compared


def shape_difference(flow: Derivation) -> list[str]:
    """How the table's columns differ from its definition's, in words."""
    there = {one.name: one for one in flow.destination.schema() or ()}
    wanted = {one.name: one for one in flow.target.fields}
    found = [f"column '{name}' is missing" for name in wanted if name not in there]
    found += [f"column '{name}' is not of the definition" for name in there if name not in wanted]
    for name, one in wanted.items():
        if name in there and (there[name].type, there[name].required) != (one.type, one.required):
            found.append(f"column '{name}' is {_kind(there[name])} and should be {_kind(one)}")
    return found


def _kind(one: TargetField) -> str:
    return f"{one.type}{' required' if one.required else ''}"


def _mend_shape(flow: Derivation) -> None:
    applied = flow.destination.applied(flow.log_id)
    number = applied.version + 1 if applied is not None else 1
    position = applied.position if applied is not None else ""
    # Without a basis: all rows are computed again.
    flow.destination.evolve(flow.target, Applied(flow.log_id, number, position), drop_unknown=True)
