"""The destination's columns against those that the pipeline describes for what it has applied."""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.destinations.destination import Applied
from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.shaping import described_at
from cdc_platform.errors import SchemaConflict
from cdc_platform.model.target import TargetSchema


@dataclass(frozen=True, slots=True)
class ShapeDifference:
    """`columns` are those that are missing, too many, or of another type; none where all is well."""

    columns: tuple[str, ...] = ()
    target: TargetSchema | None = None
    applied: Applied | None = None


def shape_difference(flow: Flow) -> ShapeDifference:
    applied = flow.destination.applied(flow.log.id())
    fields = flow.destination.schema()
    if applied is None or fields is None:
        return ShapeDifference()
    target = described_at(flow, applied.version)
    wanted = {field.name: field.type for field in target.fields}
    held = {field.name: field.type for field in fields}
    names = [*wanted, *(name for name in held if name not in wanted)]
    return ShapeDifference(tuple(name for name in names if wanted.get(name) != held.get(name)), target, applied)


def mend_shape(flow: Flow, shape: ShapeDifference) -> None:
    """Give the destination its columns again; what they held is put back row by row after that."""
    assert shape.target is not None
    assert shape.applied is not None
    try:
        flow.destination.evolve(shape.target, shape.applied, drop_unknown=True)
    except SchemaConflict as error:
        raise SchemaConflict(
            f"the columns {', '.join(shape.columns)} of the destination were changed by somebody else, and cannot be "
            f"brought back in place ({error}); cdc replay builds the table anew from its change log"
        ) from error
