"""An Iceberg table's metadata file, read without pyiceberg.

What a run with nothing to do asks (which version of the change log is in, is the shape the same) is in one JSON
file, whose place is one row of the catalog. Importing pyiceberg takes longer (1.5 s) than all of that; so it is
imported for writing, and for catalogs other than the default one only.
Formats: https://iceberg.apache.org/spec/#table-metadata-fields; the catalog's table is that of Iceberg's JDBC catalog.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from cdc_platform.destinations.destination import Applied
from cdc_platform.errors import NeedsPerson
from cdc_platform.lake.iceberg_format import arrow_type, read_metadata
from cdc_platform.model.evidence import Evidence
from cdc_platform.model.target import SOURCE_IDS, TargetField

LOG_ID: Final = "cdc.log_id"
VERSION: Final = "cdc.version"
POSITION: Final = "cdc.position"
BASIS: Final = "cdc.basis"
EVIDENCE: Final = "cdc.evidence"
_PROPERTY: Final = "cdc.applied."
FORMER_NAMES: Final = "cdc.columns.former"
"""The table property that keeps what renamed columns were called: JSON, column name to its former names."""


def read(location: str) -> Metadata:
    """The metadata file at a local location. Raises OSError, ValueError."""
    return Metadata(read_metadata(location), location)


@dataclass(frozen=True, slots=True)
class Metadata:
    """One version of a table: its metadata as the specification writes it, and the file's own place."""

    document: Mapping[str, Any]
    location: str = ""

    @property
    def fields(self) -> Sequence[Mapping[str, Any]]:
        current = self.document["current-schema-id"]
        schema = next(s for s in self.document["schemas"] if s["schema-id"] == current)
        fields: Sequence[Mapping[str, Any]] = schema["fields"]
        return fields

    @property
    def columns(self) -> list[TargetField]:
        ids = self.source_ids
        return [
            TargetField(
                field["name"], arrow_type(field["type"]) or pa.null(), field["required"], ids.get(field["name"])
            )
            for field in self.fields
        ]

    @property
    def key(self) -> set[str]:
        ids = self.identifiers
        return {field["name"] for field in self.fields if field["id"] in ids}

    @property
    def identifiers(self) -> set[int]:
        """Field ids of the key."""
        current = self.document["current-schema-id"]
        schema = next(s for s in self.document["schemas"] if s["schema-id"] == current)
        return set(schema.get("identifier-field-ids", ()))

    @property
    def source_ids(self) -> dict[str, int]:
        """Which source column fills each column; those that are not said, or not there any more, are missing."""
        return self._by_column(SOURCE_IDS)

    @property
    def former_names(self) -> dict[str, list[str]]:
        """What the columns that were renamed were called before."""
        return self._by_column(FORMER_NAMES)

    def _by_column(self, key: str) -> dict[str, Any]:
        """What a property says of the columns that are there."""
        try:
            held = dict(json.loads(self.properties.get(key, "{}")))
        except (ValueError, TypeError) as error:
            raise NeedsPerson(f"the Iceberg table property {key} is not as it was written; restore it") from error
        return {field["name"]: held[field["name"]] for field in self.fields if field["name"] in held}

    @property
    def partitions(self) -> list[tuple[str, str]]:
        """(column, transform) of each partition field of the current spec."""
        current = self.document["default-spec-id"]
        spec = next(s for s in self.document["partition-specs"] if s["spec-id"] == current)
        names = {field["id"]: field["name"] for field in self.fields}
        return [(names.get(f["source-id"], "?"), f["transform"]) for f in spec["fields"] if f["transform"] != "void"]

    @property
    def partition_terms(self) -> list[Mapping[str, Any]]:
        """The partition fields of all specs, as the metadata writes them: files of former ones may be live."""
        return [term for spec in self.document["partition-specs"] for term in spec["fields"]]

    @property
    def sort_terms(self) -> Sequence[Mapping[str, Any]]:
        """The terms of the current sort order, as the metadata writes them."""
        current = self.document["default-sort-order-id"]
        order = next(o for o in self.document["sort-orders"] if o["order-id"] == current)
        terms: Sequence[Mapping[str, Any]] = order["fields"]
        return terms

    @property
    def sort(self) -> list[tuple[str, bool]]:
        """(column, descending) of each term of the current sort order; a transformed term shows its transform."""
        names = {field["id"]: field["name"] for field in self.fields}
        terms = []
        for term in self.sort_terms:
            name = names.get(term["source-id"], "?")
            shown = name if term["transform"] == "identity" else f"{term['transform']}({name})"
            terms.append((shown, term["direction"] == "desc"))
        return terms

    @property
    def properties(self) -> Mapping[str, str]:
        properties: Mapping[str, str] = self.document.get("properties", {})
        return properties

    @property
    def snapshot_id(self) -> int | None:
        current = self.document.get("current-snapshot-id")
        return None if current in (None, -1) else int(current)

    def holds_rows(self) -> bool:
        snapshot = next(self.ancestors(), None)
        return snapshot is not None and snapshot.get("summary", {}).get("total-records") != "0"

    def applied(self, log_id: str) -> Applied | None:
        """What the newest ancestor of the current snapshot says of this log.

        Snapshots may be expired away; where the ancestry ends in one that is gone, the table's property tells.
        """
        last: Mapping[str, Any] | None = None
        for last in self.ancestors():
            summary = last.get("summary", {})
            if summary.get(LOG_ID) == log_id:
                return applied_in(summary)
        # A snapshot's parent is forgotten with it by some writers; sequence numbers begin at 1 and stay.
        if last is None or (last.get("parent-snapshot-id") is None and last.get("sequence-number", 0) <= 1):
            return None
        noted = self.properties.get(_PROPERTY + log_id)
        if noted is None:
            return None
        version, _, position = noted.partition(" ")
        return Applied(log_id, int(version), position)

    def ancestors(self) -> Iterator[Mapping[str, Any]]:
        """The current snapshot and those that it came from, as far as they are not expired."""
        snapshots = {snapshot["snapshot-id"]: snapshot for snapshot in self.document.get("snapshots", ())}
        snapshot = snapshots.get(self.snapshot_id)
        while snapshot is not None:
            yield snapshot
            snapshot = snapshots.get(snapshot.get("parent-snapshot-id"))


def snapshot_properties(applied: Applied, evidence: Evidence | None = None) -> dict[str, str]:
    """What travels in a snapshot's summary."""
    noted = {LOG_ID: applied.log_id, VERSION: str(applied.version), POSITION: applied.position}
    noted |= {BASIS: applied.basis} if applied.basis else {}
    return noted if evidence is None else {**noted, EVIDENCE: evidence.text()}


def applied_in(summary: Mapping[str, str]) -> Applied:
    """The inverse of `snapshot_properties`."""
    return Applied(summary[LOG_ID], int(summary[VERSION]), summary.get(POSITION, ""), summary.get(BASIS, ""))


def table_properties(applied: Applied) -> dict[str, str]:
    """The same as a table property, which outlives expired snapshots."""
    return {_PROPERTY + applied.log_id: f"{applied.version} {applied.position}"}
