"""How a Delta table takes another shape: what of its metadata changes, and which columns' files have to be cast.

Pure planning on the table's metadata; delta.py makes the one commit. What becomes of each kind of change:

    rename, drop   metadata alone, through column mapping by name, which the first of them switches on: the columns'
                   present names become their physical names, so the files that are there are right as they are
    add            metadata alone; under mapping with a physical name that no file can hold
    relax          metadata alone
    widen          the files that hold the column are rewritten (deltalake 1.6 has no type widening)

Why a column that comes back under an old name shows no old values: its physical name is new. Without mapping it has
its own name, and only where no live file holds a column of that name (nothing of ours is dropped without mapping).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from cdc_platform.destinations import delta_table
from cdc_platform.destinations.delta_layout import (
    FORMER_NAMES,
    Shape,
    check_partitions,
    former_names,
    partition_names,
    present,
    stats_columns,
    stats_text,
    used_names,
)
from cdc_platform.destinations.delta_table import STATS_COLUMNS, delta_word, generation
from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict
from cdc_platform.lake import delta_columns
from cdc_platform.lake.delta_columns import FIELD_ID, GENERATION, MAPPING, MAX_ID, PHYSICAL, DeltaColumn, arrow_type
from cdc_platform.model.target import SOURCE_IDS, PartitionField, TableLayout, TargetField, TargetSchema

_INVARIANTS = "delta.invariants"
_WHOLE = ("byte", "short", "integer", "long")
_FLOATING = ("float", "double")


@dataclass(frozen=True, slots=True)
class Evolution:
    """The metadata of the new shape. `retyped` are the columns, as they will be, whose files have to be cast."""

    fields: tuple[Mapping[str, Any], ...]
    configuration: Mapping[str, str]
    partition_columns: tuple[str, ...]
    columns: tuple[DeltaColumn, ...]
    retyped: tuple[DeltaColumn, ...]

    def shape(self, layout: TableLayout, name: str) -> Shape:
        """What a write into the new shape needs to know."""
        return Shape.of(self.columns, self.partition_columns, self.configuration, layout, name)

    def concerns(self, types: Mapping[str, object]) -> bool:
        """Whether a data file of these columns and types holds one that has to be cast."""
        return any(c.physical in types and types[c.physical] != arrow_type(c.word) for c in self.retyped)


def plan(
    table: DeltaTable, schema: TargetSchema, layout: TableLayout, holds: Callable[[str], bool], name: str
) -> Evolution | None:
    """The way from the table as it is to `schema`; None where it has that shape.

    `layout` is the pipeline's, in the names that it uses. `holds` says whether a live data file has a column of this
    stored name. Raises SchemaConflict, NotUnderstood, ConfigError.
    """
    state = _State.of(table, layout, name)
    pairs = _matched(state, schema)
    _check(state, pairs)
    new = state.renamed(pairs)
    mapped = state.mapped or _asks_for_mapping(state, pairs, holds)
    _check_names(state, schema, mapped)
    if mapped and not state.mapped and dict(layout.properties).get(MAPPING) == "none":
        raise SchemaConflict(
            f"{name} needs {MAPPING}: name to rename or drop a column; take {MAPPING}: none off destination.properties"
        )
    numbers = _Numbers(state, mapped)
    fields = [_field(numbers, state, there, field) for field, there in pairs]
    fields += [
        numbers.mapped({**state.fields[column], "metadata": {**state.fields[column]["metadata"], GENERATION: words}})
        for column, words in _expressions(state, new).items()
    ]
    configuration = numbers.configuration(_configuration(state, layout, new, pairs))
    partitions = tuple(new.get(column, column) for column in state.partition_columns)
    fields = _ordered(fields, partitions)
    if fields == list(state.fields.values()) and configuration == state.configuration:
        return None
    columns = delta_columns.columns_of(fields, json.loads(configuration.get(SOURCE_IDS, "{}")), mapped)
    wider = {field.name for field, there in pairs if there is not None and there.word != delta_word(field)}
    retyped = tuple(column for column in columns if column.name in wider)
    return Evolution(tuple(fields), configuration, partitions, tuple(columns), retyped)


@dataclass(frozen=True, slots=True)
class _State:
    """The table as it is. `terms` and `sorted_by` are the layout's in present names."""

    name: str
    fields: Mapping[str, Mapping[str, Any]]
    columns: tuple[DeltaColumn, ...]
    configuration: Mapping[str, str]
    partition_columns: tuple[str, ...]
    terms: tuple[PartitionField, ...]
    sorted_by: frozenset[str]

    @classmethod
    def of(cls, table: DeltaTable, layout: TableLayout, name: str) -> _State:
        metadata = table.metadata()
        fields = {field["name"]: field for field in delta_columns.json_fields(table)}
        if held := [column for column, field in fields.items() if _INVARIANTS in field["metadata"]]:
            raise NotUnderstood(f"{name} has invariants on {', '.join(held)}, which this platform does not change")
        columns = delta_columns.actual_columns(table)
        now = present(layout, metadata.configuration, fields)
        names = partition_names(now, columns, metadata.partition_columns)
        generated = {column.name for column in columns if column.generated is not None}
        check_partitions(metadata.partition_columns, names, name)
        if others := sorted(generated - set(names)):
            raise NotUnderstood(f"{name} generates {', '.join(others)} itself, which this platform does not change")
        sorted_by = frozenset(term.column for term in now.sort)
        configuration = dict(metadata.configuration)
        return cls(name, fields, tuple(columns), configuration, tuple(names), now.partitions, sorted_by)

    @property
    def mapped(self) -> bool:
        return self.configuration.get(MAPPING, "none") != "none"

    @property
    def own(self) -> tuple[DeltaColumn, ...]:
        return tuple(column for column in self.columns if column.generated is None)

    def use(self, column: str) -> str | None:
        """What of the pipeline's layout goes by this column."""
        if any(term.column == column for term in self.terms):
            return "partition_by"
        return "sort_by" if column in self.sorted_by else None

    def renamed(self, pairs: _Pairs) -> dict[str, str]:
        """Present names of the columns that stay, and their new ones."""
        return {there.name: field.name for field, there in pairs if there is not None}


_Pairs = Sequence[tuple[TargetField, DeltaColumn | None]]


def _matched(state: _State, schema: TargetSchema) -> _Pairs:
    """Each field of the schema with the table's column that it is; None where it is new. Raises SchemaConflict."""
    by_id = {column.source_id: column for column in state.own if column.source_id is not None}
    by_name = {column.name: column for column in state.own if column.source_id is None}
    pairs: list[tuple[TargetField, DeltaColumn | None]] = []
    for field in schema.fields:
        there = by_name.get(field.name) if field.source_id is None else by_id.get(field.source_id)
        if there is None and field.source_id is not None and field.name in by_name:
            raise SchemaConflict(
                f"{state.name} does not say which column of the source fills its column '{field.name}', so its new "
                "shape would be a guess; move it away, or choose another path for the pipeline"
            )
        if field.source_id is None and there is None and any(column.name == field.name for column in state.own):
            raise SchemaConflict(f"{state.name} knows its column '{field.name}' by an id, and the new shape has none")
        pairs.append((field, there))
    return pairs


def _check(state: _State, pairs: _Pairs) -> None:
    """Raise SchemaConflict for what a table cannot become without a guess or a changed value."""
    wrong: list[str] = []
    for field, there in pairs:
        word = delta_word(field)
        if there is None:
            if field.required:
                wrong.append(f"column '{field.name}' is new and required, and the rows that are there have no value")
            continue
        if there.word != word and not _widens(there.word, word):
            wrong.append(f"column '{field.name}' is {there.word}, and not every value of it is one of {word}")
        elif there.word != word and state.use(there.name) == "partition_by":
            wrong.append(f"column '{field.name}' becomes {word}, and partition_by goes by it")
        if field.required and not there.required:
            wrong.append(f"column '{field.name}' may hold nulls and cannot become required")
    kept = state.renamed(pairs)
    wrong += [
        f"column '{column.name}' goes, and {use} goes by it"
        for column in state.own
        if column.name not in kept and (use := state.use(column.name))
    ]
    if wrong:
        more = f" and {len(wrong) - 5} reasons more" if len(wrong) > 5 else ""
        raise SchemaConflict(
            f"{state.name} cannot take its new shape: {'; '.join(wrong[:5])}{more}; "
            "move it away or choose another path to have it made anew, or change the pipeline"
        )


def _check_names(state: _State, schema: TargetSchema, mapped: bool) -> None:
    names = [field.name for field in schema.fields]
    names += [column.name for column in state.columns if column.generated is not None]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SchemaConflict(
            f"{state.name} would have two columns '{twice[0]}'; rename one in destination.columns.{twice[0]}"
        )
    try:
        delta_table.check_names(set(names), mapped)
    except ConfigError as error:
        raise SchemaConflict(f"{state.name} cannot take its new shape: {error}") from error


def _widens(have: str, want: str) -> bool:
    """Whether every value of the one type is the same value in the other."""
    for order in (_WHOLE, _FLOATING):
        if have in order and want in order:
            return order.index(have) <= order.index(want)
    old, new = arrow_type(have), arrow_type(want)
    if old is None or new is None or not (pa.types.is_decimal128(old) and pa.types.is_decimal128(new)):
        return False
    return bool(new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale)


def _asks_for_mapping(state: _State, pairs: _Pairs, holds: Callable[[str], bool]) -> bool:
    new = [field.name for field, there in pairs if there is None]
    dropped = len(state.own) > len(pairs) - len(new)
    renamed = any(there is not None and there.name != field.name for field, there in pairs)
    return dropped or renamed or any(delta_table.needs_mapping(name) or holds(name) for name in new)


class _Numbers:
    """Ids and physical names of a table that is mapped; of one that is not, nothing."""

    def __init__(self, state: _State, mapped: bool) -> None:
        self._on = mapped
        self._first: dict[str, int] = {}
        if mapped and not state.mapped:
            self._first = {name: i for i, name in enumerate(state.fields, 1)}
        held = [field["metadata"].get(FIELD_ID, 0) for field in state.fields.values()] if state.mapped else []
        self._last = max([int(state.configuration.get(MAX_ID, 0)), *held, len(self._first)])

    def mapped(self, field: Mapping[str, Any]) -> dict[str, Any]:
        """A field that is there already."""
        name = field["name"]
        if name not in self._first:
            return dict(field)
        return {**field, "metadata": {**field["metadata"], FIELD_ID: self._first[name], PHYSICAL: name}}

    def fresh(self, name: str) -> dict[str, Any]:
        """The metadata of a new column."""
        if not self._on:
            return {}
        self._last += 1
        return {FIELD_ID: self._last, PHYSICAL: f"{name}-{uuid.uuid4().hex}"}

    def configuration(self, properties: Mapping[str, str]) -> dict[str, str]:
        if not self._on:
            return dict(properties)
        return {**properties, MAPPING: properties.get(MAPPING, "name"), MAX_ID: str(self._last)}


def _field(numbers: _Numbers, state: _State, there: DeltaColumn | None, field: TargetField) -> dict[str, Any]:
    word = delta_word(field)
    if there is None:
        return {"name": field.name, "type": word, "nullable": True, "metadata": numbers.fresh(field.name)}
    held = numbers.mapped(state.fields[there.name])
    kind = held["type"] if there.word == word else word
    return {**held, "name": field.name, "type": kind, "nullable": held["nullable"] or not field.required}


def _ordered(fields: list[dict[str, Any]], partitions: Sequence[str]) -> list[dict[str, Any]]:
    """The fields in an order in which DuckDB 1.5 reads partition columns right.

    It shows null in a partition column that comes right after a column whose name is not its physical one. Such a
    partition column goes behind another column, the last one that will do.
    """

    def plain(field: Mapping[str, Any]) -> bool:
        return bool(field["metadata"].get(PHYSICAL, field["name"]) == field["name"])

    lost = [f for before, f in pairwise(fields) if f["name"] in partitions and not plain(before)]
    rest = [field for field in fields if field not in lost]
    for field in lost:
        spots = [
            i
            for i, before in enumerate(rest, 1)
            if plain(before) and (i == len(rest) or rest[i]["name"] not in partitions)
        ]
        if not spots:
            return fields
        rest.insert(spots[-1], field)
    return rest


def _expressions(state: _State, new: Mapping[str, str]) -> dict[str, str]:
    """The generated partition columns and their expressions in the columns' new names."""
    return {
        column: generation(replace(term, column=new[term.column]))
        for column, term in zip(state.partition_columns, state.terms, strict=True)
        if term.transform != "identity"
    }


def _configuration(state: _State, layout: TableLayout, new: Mapping[str, str], pairs: _Pairs) -> dict[str, str]:
    """The table's properties in the columns' new names."""
    properties = dict(state.configuration)
    if STATS_COLUMNS in properties:
        kept = [new[name] for name in stats_columns(properties.pop(STATS_COLUMNS)) if name in new]
        if kept:
            properties[STATS_COLUMNS] = stats_text(kept)
    before = former_names(properties)
    now = {name: before.get(name, name) for name in {*before, *used_names(layout)}}
    former = {name: new[column] for name, column in now.items() if column in new and new[column] != name}
    if former:
        properties[FORMER_NAMES] = json.dumps(former, ensure_ascii=False, sort_keys=True)
    else:
        properties.pop(FORMER_NAMES, None)
    known = {field.name: field.source_id for field, _ in pairs if field.source_id is not None}
    if known:
        properties[SOURCE_IDS] = json.dumps(known, ensure_ascii=False)
    return properties
