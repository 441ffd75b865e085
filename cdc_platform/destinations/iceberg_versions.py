"""Earlier snapshots of an Iceberg table: which commit of the change log each holds, and whether it can still be read.

From the metadata file alone. A snapshot is known until it is expired; its files go with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cdc_platform.destinations import iceberg_metadata
from cdc_platform.destinations.destination import TableVersion
from cdc_platform.destinations.iceberg_metadata import Metadata
from cdc_platform.errors import NeedsPerson
from cdc_platform.lake.iceberg_format import local_path
from cdc_platform.model.evidence import Evidence


def versions(metadata: Metadata, log_id: str) -> Iterator[TableVersion]:
    """The snapshots that hold a version of this change log, the newest first."""
    for snapshot in metadata.ancestors():
        summary = snapshot.get("summary", {})
        if summary.get(iceberg_metadata.LOG_ID) != log_id:
            continue
        evidence = summary.get(iceberg_metadata.EVIDENCE)
        yield TableVersion(
            int(snapshot["snapshot-id"]),
            iceberg_metadata.applied_in(summary),
            datetime.fromtimestamp(snapshot["timestamp-ms"] / 1000, UTC),
            Evidence.parse(evidence) if evidence else None,
            int(summary.get("added-data-files", 0)),
            int(summary.get("deleted-data-files", 0)),
        )


def columns_of(metadata: Metadata, version: int | None, name: str) -> list[str]:
    """The columns of a snapshot (the table's present ones without a number). Raises NeedsPerson for an expired one."""
    if version is None:
        return [str(field["name"]) for field in metadata.fields]
    found = next((s for s in metadata.document.get("snapshots", ()) if s["snapshot-id"] == version), None)
    if found is None:
        raise NeedsPerson(
            f"{name} has no snapshot {version}: it was expired, or is another table's; the change log has the rows of "
            "every position"
        )
    number = found.get("schema-id", metadata.document["current-schema-id"])
    schema = next(s for s in metadata.document["schemas"] if s["schema-id"] == number)
    return [str(field["name"]) for field in schema["fields"]]


def opening(metadata: Metadata, identifier: str, version: int) -> dict[str, str]:
    """How other tools open a snapshot. `catalog` is the catalog that the table is in, see docs/reading.md."""
    location = "'" + str(local_path(metadata.location)).replace("'", "''") + "'"
    return {
        "duckdb": f"from iceberg_scan({location}, snapshot_from_id => {version})",
        "pyiceberg": f"catalog.load_table({identifier!r}).scan(snapshot_id={version})",
        "spark": f'spark.read.option("snapshot-id", {version}).table({f"default.{identifier}"!r})',
    }


def check_there(paths: Sequence[str], version: int | None, name: str) -> None:
    """Raise NeedsPerson where a file of the snapshot is gone."""
    if not all(local_path(path).exists() for path in paths):
        raise NeedsPerson(
            f"{name}: files of snapshot {version} are gone; the change log has the rows of every position"
        )
