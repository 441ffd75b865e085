"""What a new shape makes of an Iceberg table: the new schema and properties, or why it cannot have that shape. Pure.

    column of the source   known again by          becomes
    same id                cdc.columns             itself: renamed, widened, relaxed; its field id stays
    no id (`_cdc_*`)       name                    itself
    id that is not there   -                       a new field, under a field id that was never used
    gone                   -                       no field; its cells stay in the files, which no reader looks for

Nothing of this rewrites a row: files are read by field id. What the format cannot say, or would say by guessing, is a
SchemaConflict. Committing is iceberg_snapshot.py's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from cdc_platform.destinations.iceberg_metadata import FORMER_NAMES, Metadata
from cdc_platform.destinations.iceberg_names import (
    NAME_MAPPING,
    mapping_after,
    properties_after,
    properties_of_columns,
)
from cdc_platform.destinations.iceberg_table import ids_of, text_of
from cdc_platform.errors import SchemaConflict
from cdc_platform.lake.iceberg_format import arrow_type, iceberg_word
from cdc_platform.model.target import SOURCE_IDS, TargetField, TargetSchema

_CDC: Final = "_cdc_"


@dataclass(frozen=True, slots=True)
class Evolution:
    """A change of shape. `schema` is as the table's metadata writes it, without an id.

    `widened` holds the field ids whose values are wider from now on than in the files that are there.
    """

    schema: Mapping[str, Any]
    properties: Mapping[str, str]
    obsolete: tuple[str, ...]
    widened: frozenset[int]


def evolution(metadata: Metadata, schema: TargetSchema, name: str, drop_unknown: bool = False) -> Evolution | None:
    """The change that gives the table this shape; None where it has it. Raises SchemaConflict."""
    ids = metadata.source_ids
    found = _Matched(metadata, schema, ids)
    # Where the table says it of no column at all, an earlier release made it.
    unknown = [] if drop_unknown and ids else found.unknown(ids)
    if problems := [*unknown, *found.named_twice(), *found.dropping(), *found.adding(), *found.changing()]:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise SchemaConflict(
            f"{name} cannot follow its source: {'; '.join(problems[:5])}{more}; "
            "move it away or choose another table and load it anew, or undo the change at the source"
        )
    document = found.document()
    properties = found.properties()
    had = {key: value for key, value in metadata.properties.items() if key in properties or found.owns(key)}
    same = document["fields"] == metadata.fields and set(document["identifier-field-ids"]) == metadata.identifiers
    if same and properties == had:
        return None
    return Evolution(document, properties, tuple(sorted(had.keys() - properties.keys())), found.widened())


class _Matched:
    """The table's fields beside those of the new shape: `pairs` in the new order, `gone` those without one."""

    def __init__(self, metadata: Metadata, schema: TargetSchema, ids: Mapping[str, int]) -> None:
        self._metadata = metadata
        self._schema = schema
        names = {field["name"]: field for field in metadata.fields}
        numbers = {ids[name]: field for name, field in names.items() if name in ids}
        wanted = {field.source_id for field in schema.fields}
        free = {name: field for name, field in names.items() if name not in ids or ids[name] not in wanted}
        self.pairs: list[tuple[TargetField, Mapping[str, Any] | None]] = [
            (field, free.get(field.name) if field.source_id is None else numbers.get(field.source_id))
            for field in schema.fields
        ]
        kept = {there["id"] for _, there in self.pairs if there is not None}
        self.gone = [field for field in metadata.fields if field["id"] not in kept]

    # Why not

    def unknown(self, ids: Mapping[str, int]) -> list[str]:
        return [
            f"nothing says which column of the source fills its column '{field['name']}'"
            for field in self.gone
            if field["name"] not in ids and not field["name"].startswith(_CDC)
        ]

    def named_twice(self) -> list[str]:
        names = [field.name for field in self._schema.fields]
        return [f"two columns would be called '{name}'" for name in dict.fromkeys(names) if names.count(name) > 1]

    def dropping(self) -> list[str]:
        problems = []
        for field in self.gone:
            for role, numbers in self._roles():
                if field["id"] in numbers:
                    problems.append(f"column '{field['name']}', which is dropped, is {role}")
                    break
        return problems

    def _roles(self) -> Sequence[tuple[str, set[int]]]:
        """What a field can be needed for, and the fields that are."""
        return (
            ("of its key", self._metadata.identifiers),
            ("in its partition_by", {term["source-id"] for term in self._metadata.partition_terms}),
            ("in its sort_by", {term["source-id"] for term in self._metadata.sort_terms}),
        )

    def adding(self) -> list[str]:
        new = [field for field, there in self.pairs if there is None]
        return [
            f"column '{field.name}' comes as required, and the rows that are there have no value in it"
            for field in new
            if field.required
        ] + [
            f"nothing says which column of the source fills the new column '{field.name}'"
            for field in new
            if field.source_id is None and not field.name.startswith(_CDC)
        ]

    def changing(self) -> list[str]:
        problems = []
        for field, there in self.pairs:
            if there is not None and not _widens(arrow_type(there["type"]), field.type):
                problems.append(
                    f"column '{there['name']}' is {iceberg_word(arrow_type(there['type']) or pa.null()) or 'nested'} "
                    f"and becomes {iceberg_word(field.type)}, which does not hold the same values"
                )
            if there is not None and field.required and not there["required"]:
                problems.append(f"column '{there['name']}' becomes required, and rows that are there may lack it")
            problems += [
                f"column '{field.name}' would be hidden by the partition field of that name"
                for term in self._metadata.partition_terms
                if term["name"] == field.name
                and (term["transform"] not in ("identity", "void") or there is None or term["source-id"] != there["id"])
            ]
        return problems

    # What becomes of it

    def document(self) -> dict[str, Any]:
        last = self._metadata.document["last-column-id"]
        fields = []
        for field, there in self.pairs:
            if there is None:
                last += 1
            changed = {"name": field.name, "type": iceberg_word(field.type), "required": field.required}
            fields.append({**(there or {"id": last}), **changed})
        key = sorted(field["id"] for field in fields if field["name"] in self._schema.key)
        return {"type": "struct", "fields": fields, "identifier-field-ids": key}

    def widened(self) -> frozenset[int]:
        return frozenset(
            there["id"] for field, there in self.pairs if there is not None and arrow_type(there["type"]) != field.type
        )

    def owns(self, key: str) -> bool:
        """Whether `properties` decides over this property, also where it has none of it."""
        return key == FORMER_NAMES or key in properties_of_columns(self._metadata.properties)

    def properties(self) -> dict[str, str]:
        have = self._metadata.properties
        renamed = {there["name"]: field.name for field, there in self.pairs if there is not None}
        gone = {field["name"]: None for field in self.gone}
        held = self._metadata.source_ids
        kept = {f.name: held[there["name"]] for f, there in self.pairs if there is not None and there["name"] in held}
        found = {SOURCE_IDS: text_of(kept | ids_of(self._schema)), **properties_after(have, {**renamed, **gone})}
        if former := self._former_names():
            found[FORMER_NAMES] = json.dumps(former, ensure_ascii=False)
        if NAME_MAPPING in have:
            names = {field["id"]: field["name"] for field in self.document()["fields"]}
            found[NAME_MAPPING] = mapping_after(have[NAME_MAPPING], names)
        return found

    def _former_names(self) -> dict[str, list[str]]:
        held = self._metadata.former_names
        former = {}
        for field, there in self.pairs:
            if there is None:
                continue
            names = [*held.get(there["name"], ()), there["name"]]
            if names := [name for name in dict.fromkeys(names) if name != field.name]:
                former[field.name] = names
        return former


def _widens(old: pa.DataType | None, new: pa.DataType) -> bool:
    """Whether every value of `old` is the same value of `new`, in files that hold `old`: what Iceberg v2 promises."""
    if old is None:
        return False
    if pa.types.is_decimal(old) and pa.types.is_decimal(new):
        return bool(old.scale == new.scale and old.precision <= new.precision)
    wider = {(pa.int32(), pa.int64()), (pa.float32(), pa.float64())}
    return old == new or (old, new) in wider
