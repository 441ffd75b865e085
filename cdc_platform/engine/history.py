"""`cdc schema`: the shapes that a pipeline's source table has had, and what each change does to the destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cdc_platform.engine.feeds import Flow
from cdc_platform.engine.shaping import first_projection, shaping_of
from cdc_platform.errors import NeedsPerson, SchemaConflict
from cdc_platform.model.policy import effects, reshaped

State = Literal["applied", "pending", "stopped"]


@dataclass(frozen=True, slots=True)
class ShapeVersion:
    """One shape: the source position from which it holds (empty for the first), columns as the server declares them,
    what changed, and what follows for the destination by the pipeline's policies. `stopped` is a change that the
    destination cannot follow; it and all behind it wait for a person.
    """

    version: int
    position: str
    columns: dict[str, str]
    changes: tuple[str, ...]
    destination: tuple[str, ...]
    state: State


def history(flow: Flow) -> list[ShapeVersion]:
    """Every version, the first one first."""
    if not flow.log.exists() or flow.log.position() is None:
        raise NeedsPerson(f"{flow.pipeline.id} has no change log yet; run: cdc run {flow.pipeline.id}")
    shapes = flow.log.shapes()
    shaping = shaping_of(flow, [shape.schema for shape in shapes])
    applied = flow.destination.applied(flow.log.id())
    reached = applied.version if applied else 0
    first, *later = (shape.schema for shape in shapes)
    target = first_projection(flow, first, later).target
    versions: list[ShapeVersion] = []
    blocked = False
    for before, shape in zip((None, *shapes), shapes, strict=False):
        what: tuple[str, ...] = ()
        if before is not None and not blocked:
            try:
                new = reshaped(target, before.schema, shape.schema, shaping, shape.position)
                what, target = effects(target, new, before.schema, shape.schema), new
            except SchemaConflict as error:
                what, blocked = (str(error),), True
        state: State = "stopped" if blocked else "applied" if shape.commit <= reached else "pending"
        columns = {column.name: column.source_type for column in shape.schema.columns}
        versions.append(ShapeVersion(shape.number, shape.position, columns, shape.changes, what, state))
    return versions
