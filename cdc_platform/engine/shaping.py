"""A flow's destination and its shape: made, checked, and changed as the source's is.

Which shape a destination has is a fact of its table: each column there knows the id of the source's column that fills
it. So a policy that was changed counts from then on, and nothing is worked out again from the past.
"""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.change_log.shapes import SchemaVersion
from cdc_platform.destinations.destination import Applied
from cdc_platform.engine.feeds import Flow
from cdc_platform.errors import ConfigError
from cdc_platform.failpoints import failpoint
from cdc_platform.model.evolution import carried
from cdc_platform.model.policy import Shaping, described, reshaped
from cdc_platform.model.projection import Projection, cdc_fields, first_target, rules_by_id
from cdc_platform.model.schema import TableSchema
from cdc_platform.model.target import TargetField, TargetSchema


def shaping_of(flow: Flow, shapes: Sequence[TableSchema]) -> Shaping:
    """How the flow's pipeline wants its destination; `shapes` are all that the source table has had."""
    config = flow.pipeline.config
    rules = {name: column.rule() for name, column in config.destination.columns.items()}
    return Shaping(
        rules_by_id(rules, shapes),
        config.destination.schema_changes.policies(config.destination.write_mode),
        config.destination.type,
        upsert=config.destination.write_mode == "upsert",
        own_key=config.table.primary_key is not None,
    )


def key_of(flow: Flow, shape: TableSchema, shapes: Sequence[TableSchema] = ()) -> tuple[str, ...]:
    """The source columns that tell the flow's rows apart: those that the pipeline names, or the table's own key.

    A name that is none of `shape` is that of a column which one of `shapes` calls so, the latest one first.
    """
    config = flow.pipeline.config
    key = tuple(column_named(name, shape, shapes) or name for name in config.table.primary_key or shape.primary_key)
    for name in key:
        if name not in shape.names:
            raise ConfigError(f"{flow.pipeline.where}: source.tables: {shape.table} has no column '{name}' for its key")
    if config.destination.write_mode == "upsert" and not key:
        raise ConfigError(
            f"{flow.pipeline.where}: {shape.table} has no primary key, so its rows cannot be told apart for an upsert; "
            "use write_mode: append, or name a unique key in source.tables.primary_key"
        )
    return key


def column_named(name: str, shape: TableSchema, shapes: Sequence[TableSchema]) -> str | None:
    """What `shape` calls the column that it, or else the latest of `shapes` that has one, calls `name`."""
    for known in (shape, *reversed(shapes)):
        if name in known.names:
            number = known.column(name).source_id
            return next((column.name for column in shape.columns if column.source_id == number), None)
    return None


def first_projection(flow: Flow, shape: TableSchema, later: Sequence[TableSchema] = ()) -> Projection:
    """How rows of `shape` become rows of a destination that is yet to be made.

    `later` are the shapes that the table has had since: the pipeline may speak of columns by their names there.
    """
    shape = carried(None, shape)
    key = key_of(flow, shape, later)
    shaping = shaping_of(flow, [shape, *later])
    config = flow.pipeline.config
    target = first_target(shape, shaping.rules, config.destination.type, config.order, key)
    return projection_of(flow, target, shape)


def present_projection(flow: Flow, shape: TableSchema) -> Projection:
    """How rows of `shape`, the source's present one, become rows of the destination as it is, or would be made."""
    fields = flow.destination.schema()
    if fields is None:
        return first_projection(flow, shape)
    return projection_of(flow, TargetSchema(tuple(fields), _target_key(key_of(flow, shape), shape, fields)), shape)


def opened(flow: Flow, version: int | None) -> Projection:
    """The projection by which the log's commits behind `version` go on (None: the destination holds none yet).

    Makes the destination where there is none; one that is not what the pipeline describes is a SchemaConflict.
    """
    shapes = flow.log.shapes()
    fields = flow.destination.schema()
    if version is None or fields is None:
        first, *later = (version.schema for version in shapes)
        plan = first_projection(flow, first, later)
        flow.destination.ensure(plan.target)
        return plan
    shape = flow.log.shape_at(version).schema
    target = _described(flow, fields, shape)
    flow.destination.ensure(target)
    return projection_of(flow, target, shape)


def described_target(flow: Flow) -> TargetSchema:
    """The destination's shape as the pipeline describes it for the log's present one."""
    fields = flow.destination.schema()
    shape = flow.log.schema()
    return first_projection(flow, shape).target if fields is None else _described(flow, fields, shape)


def described_at(flow: Flow, version: int) -> TargetSchema:
    """The shape of a destination that holds the log up to `version`, as the pipeline describes it."""
    return _described(flow, flow.destination.schema() or (), flow.log.shape_at(version).schema)


def _described(flow: Flow, fields: Sequence[TargetField], shape: TableSchema) -> TargetSchema:
    shapes = [version.schema for version in flow.log.shapes()]
    key = key_of(flow, shape, shapes)
    config = flow.pipeline.config
    own = cdc_fields(config.destination.type, config.order)
    whole = described(fields, shapes, shape, shaping_of(flow, shapes), key, own)
    return TargetSchema(whole, _target_key(key, shape, whole))


def evolved(flow: Flow, plan: Projection, to: SchemaVersion, log_id: str) -> Projection:
    """The projection once the log goes on in the shape `to`; the destination has been changed as the policies say.

    Raises SchemaConflict before anything is written.
    """
    shaping = shaping_of(flow, [version.schema for version in flow.log.shapes()])
    target = reshaped(plan.target, plan.shape, to.schema, shaping, to.position)
    if target != plan.target:
        flow.destination.evolve(target, Applied(log_id, to.commit, to.position))
        failpoint("apply.evolved")
        flow.destination.ensure(target)
    return projection_of(flow, target, to.schema)


def projection_of(flow: Flow, target: TargetSchema, shape: TableSchema) -> Projection:
    """How rows of `shape` become rows of `target`, whichever of the log's shapes it is."""
    config = flow.pipeline.config
    return Projection(target, config.order, shape, keeps_deletes=config.destination.write_mode == "append")


def _target_key(key: Sequence[str], shape: TableSchema, fields: Sequence[TargetField]) -> tuple[str, ...]:
    names = {field.source_id: field.name for field in fields}
    return tuple(names[number] for name in key if (number := shape.column(name).source_id) in names)
