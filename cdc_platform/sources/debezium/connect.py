"""Kafka Connect's schemas: what a message's fields are, as its JSON (or the registry's Avro) tells it. Pure.

Form: https://github.com/apache/kafka/blob/trunk/connect/json/src/main/java/org/apache/kafka/connect/json/JsonSchema.java
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cdc_platform.sources.debezium.messages import Unreadable

SIMPLE = ("int8", "int16", "int32", "int64", "float", "double", "boolean", "string", "bytes")


@dataclass(frozen=True, slots=True)
class Field:
    """A field, or a whole schema (then without a name). `type` is one of SIMPLE, struct, array or map.

    `logical` is the schema's name: what the plain type stands for (`io.debezium.time.MicroTimestamp`).
    """

    name: str
    type: str
    optional: bool
    logical: str = ""
    parameters: tuple[tuple[str, str], ...] = ()
    fields: tuple[Field, ...] = ()
    items: Field | None = None

    def parameter(self, name: str) -> str | None:
        return dict(self.parameters).get(name)

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def is_envelope(self) -> bool:
        """Whether this is the form of Debezium's change events."""
        return {"before", "after", "source", "op"} <= set(self.names)

    @property
    def row(self) -> Field:
        """Of an envelope: the row's own fields."""
        row = self.field("after")
        if row is None or row.type != "struct":
            raise Unreadable("its schema has no struct 'after'")
        return row


def from_json(document: Any) -> Field:
    """A schema as the JSON converter writes it."""
    if not isinstance(document, Mapping) or not isinstance(document.get("type"), str):
        raise Unreadable("its schema is none of Kafka Connect")
    kind = document["type"]
    if kind not in (*SIMPLE, "struct", "array", "map"):
        raise Unreadable(f"its schema has a field of the unknown type {kind}")
    parameters = document.get("parameters") or {}
    return Field(
        str(document.get("field", "")),
        kind,
        bool(document.get("optional", False)),
        str(document.get("name") or ""),
        tuple((str(name), str(value)) for name, value in parameters.items()),
        tuple(from_json(field) for field in document.get("fields") or ()),
        from_json(document["items"]) if kind == "array" else None,
    )
