"""An Iceberg table as a `LakeTable`: its snapshots by sequence number, and the files that each took and brought.

    metadata file ── the current snapshot's ancestors ── those that a commit ended with ── live files of two neighbours

A version is a snapshot with which a commit ended: one commit may make several (pyiceberg's overwrite deletes, then
appends), of which nobody ever saw the first ones. Which they are is told by the former metadata files; of what is too
old for these, each snapshot is a version. What a version took and brought is the difference of two sets of files, since
not every writer's manifests keep entries of what is gone. `replace` snapshots (compaction) change no row.

A column is known by its field id. Formats: https://iceberg.apache.org/spec. Layer: sources.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.errors import ConfigError, Gap, Lost, NeedsPerson, NotUnderstood, Unavailable
from cdc_platform.lake.iceberg_format import (
    CATALOG_FILE,
    CATALOG_NAME,
    arrow_type,
    local_path,
    locate,
    read_metadata,
)
from cdc_platform.lake.parquet_rows import Cell
from cdc_platform.model.keeping import Extent
from cdc_platform.model.position import Position
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import Column
from cdc_platform.sources.lake.table import CAME, GONE, LakeCommit, Part

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

_FORMAT: Final = 2
_MAPPING: Final = "schema.name-mapping.default"
Snapshot = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IcebergShape:
    """One of the schemas of an Iceberg table, as its metadata writes it. `names` tells the columns of files without
    field ids."""

    schema: Mapping[str, Any]
    table: str
    names: Mapping[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> Sequence[Column]:
        return [
            Column(f["name"], self._type(f), not f["required"], str(f["type"]), f["id"]) for f in self.schema["fields"]
        ]

    @property
    def generated(self) -> frozenset[str]:
        """Partitions by transforms are no columns."""
        return frozenset()

    @property
    def key(self) -> tuple[str, ...]:
        identifiers = self.schema.get("identifier-field-ids") or ()
        return tuple(f["name"] for f in self.schema["fields"] if f["id"] in identifiers)

    def cells(self, part: Part, names: Sequence[str]) -> list[Cell]:
        stored = _stored(part.path, self.names)
        by_name = {f["name"]: f for f in self.schema["fields"]}
        return [self._cell(by_name[name], stored, part.known) for name in names]

    def _cell(self, wanted: Mapping[str, Any], stored: Mapping[int, str], partition: Mapping[int, Any]) -> Cell:
        kind, number = polars_type(self._type(wanted)), wanted["id"]
        if number not in stored and number in partition:
            # Files that were taken over from a folder of another kind have partition values in its path alone.
            value = partition[number]
            plain = pl.Series([value], dtype=pl.Int32 if kind == pl.Date else pl.Int64) if kind.is_temporal() else None
            return Cell(wanted["name"], kind, constant=(pl.Series([value]) if plain is None else plain).cast(kind))
        return Cell(wanted["name"], kind, stored=stored.get(number))

    def _type(self, held: Mapping[str, Any]) -> pa.DataType:
        kind = arrow_type(held["type"])
        if kind is None:
            word = held["type"] if isinstance(held["type"], str) else held["type"].get("type", "nested")
            raise NotUnderstood(
                f"{self.table}: column '{held['name']}' is {word}, which this platform does not read; leave it out of "
                "the table that is followed"
            )
        return kind


def _stored(file: Path, names: Mapping[str, int]) -> dict[int, str]:
    """What a file calls its columns, by field id."""
    schema = pq.read_schema(file)
    ids = {f.name: (f.metadata or {}).get(b"PARQUET:field_id") for f in schema}
    if any(ids.values()):
        return {int(number): name for name, number in ids.items() if number is not None}
    if not names:
        raise NotUnderstood(
            f"the data file {file} has no field ids, and its table no {_MAPPING} to tell columns by name; rewrite the "
            "file, or set that property"
        )
    return {names[name]: name for name in ids if name in names}


@dataclass(frozen=True, slots=True)
class _Metadata:
    """A table's metadata as of one moment."""

    document: Mapping[str, Any]
    name: str

    @property
    def chain(self) -> list[Snapshot]:
        """The current snapshot and those that it came from, as far as they are not expired, the oldest first."""
        snapshots = {s["snapshot-id"]: s for s in self.document.get("snapshots") or ()}
        snapshot = snapshots.get(self.document.get("current-snapshot-id"))
        found = []
        while snapshot is not None:
            found.append(snapshot)
            snapshot = snapshots.get(snapshot.get("parent-snapshot-id"))
        return found[::-1]

    def versions(self) -> list[Snapshot]:
        """Those of the chain with which a commit ended."""
        chain = self.chain
        seen: set[int | None] = set()
        known_from = int(self.document["last-sequence-number"])
        for former in reversed(self.document.get("metadata-log") or ()):
            try:
                document = read_metadata(former["metadata-file"])
            except (OSError, ValueError):
                break
            seen.add(document.get("current-snapshot-id"))
            known_from = int(document["last-sequence-number"])
        return [
            s
            for place, s in enumerate(chain)
            if place == len(chain) - 1 or s["snapshot-id"] in seen or s["sequence-number"] <= known_from
        ]

    def whole(self, chain: Sequence[Snapshot]) -> bool:
        """Whether the chain begins with the table's first snapshot."""
        return not chain or chain[0]["sequence-number"] == 1

    def shape(self, number: int | None = None) -> IcebergShape:
        """A schema by its id, the current one without."""
        number = self.document["current-schema-id"] if number is None else number
        schema = next(s for s in self.document["schemas"] if s["schema-id"] == number)
        mapping = json.loads(self.document.get("properties", {}).get(_MAPPING, "[]"))
        names = {name: entry["field-id"] for entry in mapping for name in entry.get("names", ()) if "field-id" in entry}
        return IcebergShape(schema, self.name, names)


class IcebergLakeTable:
    """The table `identifier` of a warehouse; see `table.LakeTable`. `catalog` is a pyiceberg catalog configuration,
    None for the default one in the warehouse."""

    def __init__(self, warehouse: Path, identifier: str, catalog: Mapping[str, Any] | None) -> None:
        self._warehouse, self._identifier, self._catalog = warehouse, identifier, catalog
        self.name = f"Iceberg table {identifier}"

    def head(self) -> int | None:
        metadata = self._metadata()
        if metadata is None:
            return None
        chain = metadata.chain
        return int(chain[-1]["sequence-number"]) if chain else 0

    def identity(self) -> str:
        return str(self._required().document["table-uuid"])

    def shape(self) -> IcebergShape:
        return self._required().shape()

    def check_from(self, start: Position) -> None:
        metadata = self._required()
        chain = metadata.chain
        numbers = [s["sequence-number"] for s in chain]
        if start.ordinal and start.at in numbers:
            versions = [s["sequence-number"] for s in metadata.versions()]
            if start.at == versions[0] and not metadata.whole(chain):
                raise self._gap(metadata, start.at)
            return
        read = start.at - 1
        if read in numbers or (read <= 0 and metadata.whole(chain)):
            return
        raise self._gap(metadata, read)

    def _gap(self, metadata: _Metadata, read: int) -> Gap:
        there = {s["sequence-number"] for s in metadata.document.get("snapshots") or ()}
        if read in there:
            return Gap(
                f"{self.name} was set back: the snapshot of sequence number {read}, up to which it was read, is none "
                "of those that its current one came from; run: cdc resync",
                Lost.LOG_FOREIGN,
            )
        return Gap(
            f"{self.name}: the snapshot of sequence number {read}, up to which it was read, was expired before those "
            "behind it were read; run: cdc resync, and let the table keep its snapshots for longer",
            Lost.LOG_PURGED,
        )

    def mark(self, version: int) -> str | None:
        for snapshot in self._required().document.get("snapshots") or ():
            if snapshot["sequence-number"] == version:
                return str(snapshot["snapshot-id"])
        return None

    def available(self) -> int:
        metadata = self._required()
        chain = metadata.chain
        return 1 if metadata.whole(chain) else int(chain[0]["sequence-number"]) + 1

    def commits(self, start: int, end: int) -> Iterator[LakeCommit]:
        if start > end:
            return
        metadata = self._required()
        versions = metadata.versions()
        if not versions or versions[-1]["sequence-number"] < end:
            raise Unavailable(f"{self.name} was set back while it was read; run again")
        table = self._table(metadata)
        chain = metadata.chain
        held: dict[str, DataFile] | None = None
        for place, snapshot in enumerate(versions):
            number = snapshot["sequence-number"]
            if not start <= number <= end:
                continue
            if held is None:
                held = _live(table, versions[place - 1], self.name) if place else {}
            before = versions[place - 1]["sequence-number"] if place else -1
            steps = [s for s in chain if before < s["sequence-number"] <= number]
            if all(s.get("summary", {}).get("operation") == "replace" for s in steps):
                held = None
                continue
            live = _live(table, snapshot, self.name)
            parts = [_part(table, file, GONE) for path, file in sorted(held.items()) if path not in live]
            parts += [_part(table, file, CAME) for path, file in sorted(live.items()) if path not in held]
            self._check_there(parts, number)
            held = live
            time = datetime.fromtimestamp(snapshot["timestamp-ms"] / 1000, UTC)
            shape = metadata.shape(snapshot.get("schema-id"))
            former = metadata.shape(versions[place - 1].get("schema-id")) if place else shape
            yield LakeCommit(number, time, former, shape, tuple(parts))

    def snapshot(self, version: int) -> tuple[IcebergShape, list[Part]]:
        metadata = self._required()
        if version == 0:
            return metadata.shape(), []
        snapshot = next((s for s in metadata.chain if s["sequence-number"] == version), None)
        if snapshot is None:
            raise Unavailable(f"{self.name} was set back while it was read; run again")
        table = self._table(metadata)
        return metadata.shape(), [
            _part(table, file, CAME) for _, file in sorted(_live(table, snapshot, self.name).items())
        ]

    def extent(self) -> Extent:
        chain = self._required().chain
        summary = chain[-1].get("summary", {}) if chain else {}
        return Extent(int(summary.get("total-records", 0)), int(summary.get("total-files-size", 0)))

    def _check_there(self, parts: Sequence[Part], version: int) -> None:
        if not all(part.path.exists() for part in parts):
            raise Gap(
                f"{self.name}: the changes of sequence number {version} are gone, its files were removed before they "
                "were read; run: cdc resync, and let the table keep its snapshots for longer",
                Lost.LOG_PURGED,
            )

    def _required(self) -> _Metadata:
        metadata = self._metadata()
        if metadata is None:
            raise NeedsPerson(f"{self.name} is not there any more")
        return metadata

    def _metadata(self) -> _Metadata | None:
        try:
            location = self._location()
            document = None if location is None else read_metadata(location)
        except (sqlite3.Error, ValueError) as error:
            raise NeedsPerson(f"{self.name} cannot be read: {str(error).partition(chr(10))[0]}") from error
        if document is None:
            return None
        if document["format-version"] != _FORMAT:
            raise NotUnderstood(
                f"{self.name} has format version {document['format-version']}, and only version {_FORMAT} is read here"
            )
        return _Metadata({**document, "location-of-metadata": location}, self.name)

    def _location(self) -> str | None:
        namespace, _, table = self._identifier.rpartition(".")
        if self._catalog is None:
            return locate(self._warehouse / CATALOG_FILE, CATALOG_NAME, namespace, table)
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import (
            NoSuchNamespaceError,
            NoSuchPropertyException,
            NoSuchTableError,
            NotInstalledError,
        )

        config = {"warehouse": str(self._warehouse), **{key: str(value) for key, value in self._catalog.items()}}
        try:
            return str(
                load_catalog(config.pop("name", CATALOG_NAME), **config).load_table(self._identifier).metadata_location
            )
        except (NoSuchTableError, NoSuchNamespaceError):
            return None
        except (ValueError, NoSuchPropertyException, NotInstalledError) as error:
            raise ConfigError(f"source.connection.catalog: {str(error).partition(chr(10))[0]}") from error
        except OSError as error:
            raise Unavailable(f"{self.name}: its catalog does not answer; try again") from error

    def _table(self, metadata: _Metadata) -> Table:
        from pyiceberg.table import StaticTable

        return StaticTable.from_metadata(str(metadata.document["location-of-metadata"]))


def _live(table: Table, snapshot: Snapshot, name: str) -> dict[str, DataFile]:
    """The data files of a snapshot by their places."""
    from pyiceberg.manifest import FileFormat, ManifestContent

    found = table.snapshot_by_id(snapshot["snapshot-id"])
    files: dict[str, DataFile] = {}
    for manifest in found.manifests(table.io) if found else ():
        if manifest.content == ManifestContent.DELETES:
            if manifest.has_added_files() or manifest.has_existing_files():
                raise NotUnderstood(
                    f"{name} has delete files (merge-on-read), which this platform does not read; rewrite its data "
                    "files, and write it copy-on-write (write.delete.mode, write.update.mode, write.merge.mode)"
                )
            continue
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            if entry.data_file.file_format != FileFormat.PARQUET:
                raise NotUnderstood(f"{name} has {entry.data_file.file_format} files, and only Parquet is read here")
            files[entry.data_file.file_path] = entry.data_file
    return files


def _part(table: Table, file: DataFile, side: str) -> Part:
    spec = table.specs()[file.spec_id]
    known = {
        term.source_id: file.partition[place]
        for place, term in enumerate(spec.fields)
        if str(term.transform) == "identity"
    }
    return Part(local_path(file.file_path), side, known)
