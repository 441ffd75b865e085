"""What a change of the source table's shape does to a destination: the policies of a pipeline, applied. Pure.

| kind            | apply                                | ignore                                              |
|-----------------|--------------------------------------|-----------------------------------------------------|
| `add_column`    | the column comes, null in old rows   | it does not come                                    |
| `drop_column`   | the column goes                      | it stays, null in new rows                          |
| `rename_column` | the column is renamed                | it keeps its name                                   |
| `change_type`   | the column is widened                | it keeps its type, which must hold the new values   |

`stop` ends the pipeline before anything is written, until a person decides. So does a change of type that does not
widen, a name that is taken, and another primary key where rows are found by it. A dropped column that stayed makes
room for a new one of its name: it is called `<name>__dropped` then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from cdc_platform.errors import ConfigError, SchemaConflict
from cdc_platform.model.evolution import Difference, Kind, Policy, differences, widens
from cdc_platform.model.projection import ColumnRule, Format, check_names, rule_of, target_type
from cdc_platform.model.schema import Column, TableSchema
from cdc_platform.model.target import TargetField, TargetSchema


@dataclass(frozen=True, slots=True)
class Shaping:
    """How a pipeline wants its destination: rules by column id, policies, and the columns of its own key, if any."""

    rules: Mapping[int, ColumnRule]
    policies: Mapping[Kind, Policy]
    destination: Format
    upsert: bool
    own_key: bool = False

    def policy(self, kind: Kind) -> Policy:
        return self.policies.get(kind, "apply")


def described(
    fields: Sequence[TargetField],
    shapes: Sequence[TableSchema],
    now: TableSchema,
    shaping: Shaping,
    key: Sequence[str],
    own: Sequence[TargetField],
) -> tuple[TargetField, ...]:
    """The columns that a destination with these `fields` should have by the pipeline's rules and policies.

    `shapes` are the source's, the first one that it was made with; it has reached `now`, in which `key` holds names.
    `own` are the columns that are not the source's.
    Where the pipeline was edited they differ from `fields`; what a policy once let be different has to be said by a
    rule when the policy does not say it any more.
    """
    columns = {column.source_id: column for column in now.columns}
    original = {column.source_id for column in shapes[0].columns}
    ever = {column.source_id for shape in shapes for column in shape.columns}
    whole: list[TargetField] = []
    for field in fields:
        column = columns.get(field.source_id) if field.source_id is not None else None
        if column is None:
            whole += [field] if field.source_id in ever else []
            continue
        rule = rule_of(column, shaping.rules)
        if rule.drop:
            continue
        follows = shaping.policy("rename_column") == "apply"
        required = rule.required or (shaping.destination == "iceberg" and column.name in key)
        whole.append(
            TargetField(
                rule.rename or (column.name if follows else field.name),
                field.type
                if shaping.policy("change_type") == "ignore"
                else target_type(column, rule, shaping.destination),
                required if column.source_id in original else field.required,
                column.source_id,
            )
        )
    if shaping.policy("add_column") != "ignore":
        here = {field.source_id for field in fields}
        whole += _new_fields([c for c in now.columns if c.source_id not in here], shaping)
    return (*whole, *own)


def reshaped(
    target: TargetSchema, before: TableSchema, after: TableSchema, shaping: Shaping, position: str
) -> TargetSchema:
    """The destination's shape once the source's went from `before` to `after` at `position`. Raises SchemaConflict."""
    found = differences(before, after)
    for difference in found:
        if shaping.policy(difference.kind) == "stop":
            raise _stop(after, difference, position, f"the pipeline's schema_changes.{difference.kind} is 'stop'")
    _check_key(target, before, after, found, shaping, position)
    columns = {column.source_id: column for column in after.columns}
    changed = {d.name: d for d in found if d.kind == "change_type"}
    renamed = {d.name for d in found if d.kind == "rename_column"}
    dropped = {before.column(d.name).source_id for d in found if d.kind == "drop_column"}
    fields: list[TargetField] = []
    for field in target.fields:
        column = columns.get(field.source_id) if field.source_id is not None else None
        if field.source_id in dropped:
            if shaping.policy("drop_column") == "ignore":
                fields.append(replace(field, required=False))
            continue
        if column is None:  # one of `_cdc_*`, or dropped before
            fields.append(field)
            continue
        if column.name in renamed and not rule_of(column, shaping.rules).rename:
            field = replace(field, name=column.name if shaping.policy("rename_column") == "apply" else field.name)
        if column.name in changed:
            field = replace(field, type=_type(field, column, changed[column.name], after, shaping, position))
        fields.append(field)
    added = [after.column(d.name) for d in found if d.kind == "add_column"]
    return _joined(target, fields, added, after, shaping, position)


def effects(
    before: TargetSchema, after: TargetSchema, source_before: TableSchema, source_after: TableSchema
) -> tuple[str, ...]:
    """In words, what `reshaped` did to a destination, and what it left as it was although the source changed."""
    old: dict[int | None, TargetField] = {f.source_id: f for f in before.fields if f.source_id is not None}
    new: dict[int | None, TargetField] = {f.source_id: f for f in after.fields if f.source_id is not None}
    said = [f"column '{field.name}' dropped" for number, field in old.items() if number not in new]
    for number, field in new.items():
        was = old.get(number)
        if was is None:
            said.append(f"column '{field.name}' added ({field.type})")
            continue
        if was.name != field.name:
            said.append(f"column '{was.name}' renamed to '{field.name}'")
        if was.type != field.type:
            said.append(f"column '{field.name}' widened from {was.type} to {field.type}")
    for difference in differences(source_before, source_after):
        said += _unmoved(difference, old, new, source_before, source_after)
    return tuple(said)


def _unmoved(
    difference: Difference,
    old: Mapping[int | None, TargetField],
    new: Mapping[int | None, TargetField],
    source_before: TableSchema,
    source_after: TableSchema,
) -> list[str]:
    """What is worth saying of a difference that changed nothing."""
    if difference.kind == "change_key":
        return []
    shape = source_before if difference.kind == "drop_column" else source_after
    number = shape.column(difference.name).source_id
    field = new.get(number)
    if field is None or number not in old:
        return [f"column '{difference.name}' left out"] if difference.kind == "add_column" and field is None else []
    if difference.kind == "drop_column":
        return [f"column '{field.name}' kept, null from here on"]
    if difference.kind == "rename_column" and old[number].name == field.name:
        return [f"column '{field.name}' keeps its name"]
    if difference.kind == "change_type" and old[number].type == field.type:
        return [f"column '{field.name}' stays {field.type}"]
    return []


def _joined(
    target: TargetSchema,
    fields: list[TargetField],
    added: list[Column],
    after: TableSchema,
    shaping: Shaping,
    position: str,
) -> TargetSchema:
    """Those fields and the columns that come, before the `_cdc_*` ones; the key under its names now."""
    new = _new_fields(added, shaping) if shaping.policy("add_column") == "apply" else []
    here = [field for field in fields if field.source_id is not None]
    ours = [field for field in fields if field.source_id is None]
    live = {column.source_id for column in after.columns}
    names = {field.name for field in (*here, *new) if field.source_id in live} | {field.name for field in ours}
    kept = [_out_of_the_way(field, names) if field.source_id not in live else field for field in here]
    whole = (*kept, *new, *ours)
    try:
        check_names(whole)
    except ConfigError as error:
        raise SchemaConflict(
            f"{after.table} changed its columns at {position}, and {error}; give one of them another name in "
            "destination.columns.<column>.rename, and run again"
        ) from error
    by_name = {field.name: field.source_id for field in target.fields}
    by_id = {field.source_id: field.name for field in whole}
    return TargetSchema(whole, tuple(by_id[by_name[name]] for name in target.key if by_name[name] in by_id))


def _new_fields(columns: Sequence[Column], shaping: Shaping) -> list[TargetField]:
    ruled = [(column, rule_of(column, shaping.rules)) for column in columns]
    return [
        TargetField(rule.rename or column.name, target_type(column, rule, shaping.destination), False, column.source_id)
        for column, rule in ruled
        if not rule.drop
    ]


def _out_of_the_way(field: TargetField, names: set[str]) -> TargetField:
    """A column that the source has not any more does not keep a new one from its name."""
    name, number = field.name, 1
    while name in names:
        name = f"{field.name}__dropped{number if number > 1 else ''}"
        number += 1
    names.add(name)
    return replace(field, name=name)


def _type(
    field: TargetField, column: Column, difference: Difference, after: TableSchema, shaping: Shaping, position: str
) -> pa.DataType:
    wanted = target_type(column, rule_of(column, shaping.rules), shaping.destination)
    if wanted == field.type or shaping.policy("change_type") == "ignore":
        return field.type
    if widens(field.type, wanted):
        return wanted
    what = "that narrows it" if widens(wanted, field.type) else f"a column of {field.type} cannot become {wanted}"
    way = (
        f"to keep {field.type} at the destination, where it holds the values, set destination.schema_changes: "
        "{change_type: ignore}; else begin the pipeline anew with another destination"
    )
    raise _stop(after, difference, position, f"{what}; {way}")


def _check_key(
    target: TargetSchema,
    before: TableSchema,
    after: TableSchema,
    found: tuple[Difference, ...],
    shaping: Shaping,
    position: str,
) -> None:
    """Rows of a current state are found by their key: it stays what it is."""
    if not shaping.upsert:
        return
    ids = {field.name: field.source_id for field in target.fields}
    key = {ids[name] for name in target.key}
    for difference in found:
        gone = difference.kind == "drop_column" and before.column(difference.name).source_id in key
        other = difference.kind == "change_key" and not shaping.own_key
        if gone or other:
            raise _stop(after, difference, position, "rows are found by their key; begin the pipeline anew")


def _stop(table: TableSchema, difference: Difference, position: str, why: str) -> SchemaConflict:
    return SchemaConflict(f"{table.table}: {difference} at {position}: {why}")
