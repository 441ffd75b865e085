"""What a change log says of itself as of one commit: read once, and the same for as long as it is held.

A writer decides by one head, and its commit is the one behind it: what somebody else commits meanwhile collides with
ours instead of moving it. Whether there is a later commit is the log's own question (log.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema

from cdc_platform.change_log import standing
from cdc_platform.change_log.shapes import SchemaVersion, from_json
from cdc_platform.model.event import Origin
from cdc_platform.model.lifecycle import State
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName

# Properties of the table.
ORIGIN, SHAPES, NOTATION, FINGERPRINT = "cdc.origin", "cdc.schemas", "cdc.notation", "cdc.fingerprint"
# App transactions: the position, and the last commit that a reader has to look at. More are in standing.py.
ORDINAL, EVENTS, RESUME = "cdc.ordinal", "cdc.events", "cdc.resume"


class Head:
    """The log's latest commit when `table` was opened. Nothing here reads the table's folder again."""

    def __init__(self, table: DeltaTable) -> None:
        self.table = table
        self.version: int = table.version()
        self._transactions: dict[str, int | None] = {}

    def said(self, name: str) -> int | None:
        """The app transaction of this name; each is looked up once."""
        if name not in self._transactions:
            self._transactions[name] = self.table.transaction_version(name)
        return self._transactions[name]

    @cached_property
    def reached(self) -> Position | None:
        """Where the log stands; None before the snapshot's first commit."""
        at = self.said(standing.AT)
        return None if at is None else Position(at, self.said(ORDINAL) or 0)

    @cached_property
    def state(self) -> State:
        return standing.state_of(self.said)

    @cached_property
    def id(self) -> str:
        return str(self.table.metadata().id)

    @cached_property
    def configuration(self) -> Mapping[str, str]:
        return self.table.metadata().configuration

    @cached_property
    def schema_json(self) -> str:
        """The schema as Delta writes it down."""
        return self.table.schema().to_json()

    @cached_property
    def types(self) -> pa.Schema:
        """The events' types."""
        return pa.schema(self.table.schema().to_arrow())

    @property
    def origin(self) -> Origin:
        stored = json.loads(self.configuration[ORIGIN])
        return Origin(**{**stored, "table": TableName(**stored["table"])})

    @property
    def shapes(self) -> tuple[SchemaVersion, ...]:
        """Every shape that the table has had, in order."""
        return _shapes(self.configuration[SHAPES], self.schema_json)

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(**json.loads(self.configuration[FINGERPRINT]))

    @cached_property
    def notation(self) -> Notation:
        return Notation(**json.loads(self.configuration[NOTATION]))

    def metadata(self, changed: Mapping[str, str], schema: str | None = None) -> dict[str, dict[str, Any]]:
        """The action that gives the table other properties, and perhaps another schema."""
        held = self.table.metadata()
        return {
            "metaData": {
                "id": str(held.id),
                "name": held.name,
                "description": held.description,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema or self.schema_json,
                "partitionColumns": [],
                "createdTime": held.created_time,
                "configuration": {**held.configuration, **changed},
            }
        }

    def protocol_for(self, schema: pa.Schema) -> dict[str, dict[str, Any]] | None:
        """The action with the protocol that a shape with times without zone needs, where the table has not got it."""
        naive = any(pa.types.is_timestamp(f.type) and f.type.tz is None for f in schema.field("after").type)
        have = self.table.protocol()
        if not naive or "timestampNtz" in (have.writer_features or ()):
            return None
        # A legacy protocol (reader 1, writer 2) stands for these two; with features they are named.
        writer = set(have.writer_features or ("appendOnly", "invariants")) | {"timestampNtz"}
        reader = set(have.reader_features or ()) | {"timestampNtz"}
        return {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": sorted(reader),
                "writerFeatures": sorted(writer),
            }
        }


@lru_cache(maxsize=64)
def _shapes(stored: str, schema: str) -> tuple[SchemaVersion, ...]:
    images = pa.schema(DeltaSchema.from_json(schema).to_arrow()).field("after").type
    return from_json(stored, images)
