"""One new snapshot of an Iceberg table: files out, files in, the position, in one commit.

The one place that reaches into pyiceberg's snapshot producers (0.11.1, pinned): its overwrite keeps every
manifest for ever, also those without a live file, and never merges any, so that each commit would make the next
one slower. Here dead manifests go and small ones are merged, as Iceberg's own writers do by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    SetCurrentSchemaUpdate,
    TableUpdate,
)
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles
from pyiceberg.types import DoubleType, FloatType, IcebergType, IntegerType, LongType, PrimitiveType
from pyiceberg.utils.properties import property_as_int

from cdc_platform.destinations.iceberg_evolution import Evolution
from cdc_platform.failpoints import failpoint

_MERGE_AT: Final = 100
_LOWER: Final = 10
_UPPER: Final = 11
"""Places of the bounds in a `DataFile`, which is a record."""


def commit(
    table: Table,
    removed: Sequence[DataFile],
    added: Sequence[DataFile],
    summary: Mapping[str, str],
    properties: Mapping[str, str],
    change: Evolution | None = None,
) -> None:
    """Commit on the table's version as loaded. Raises what the catalog raises, CommitFailedException on a conflict.

    A change of shape comes with a snapshot as well, which carries the position and parts the table's history: before
    it readers see the former columns, from it on the new ones.
    """
    with Staged(table) as transaction:
        if change is None:
            transaction._apply((), (_same_schema(table.metadata),))
        else:
            _set_schema(transaction, change)
        snapshot = _Replace(
            operation=Operation.OVERWRITE if removed else Operation.APPEND,
            transaction=transaction,
            io=table.io,
            snapshot_properties=dict(summary),
        )
        snapshot.widened = change.widened if change else frozenset()
        with snapshot:
            for file in removed:
                snapshot.delete_data_file(file)
            for file in added:
                snapshot.append_data_file(file)
        transaction.set_properties({**properties, **(change.properties if change else {})})
        if change is not None and change.obsolete:
            transaction.remove_properties(*change.obsolete)
        failpoint("iceberg.swapping")
    failpoint("iceberg.commit.made")


def _set_schema(transaction: Transaction, change: Evolution) -> None:
    """Stage the new schema. pyiceberg's own `update_schema` goes by name and gets swapped names and the name of a
    column that is just being renamed wrong, so the schema comes whole, with field ids.
    """
    metadata = transaction.table_metadata
    number = 1 + max(schema.schema_id for schema in metadata.schemas)
    new = Schema.model_validate({**change.schema, "schema-id": number})
    requirements = (
        _same_schema(metadata),
        AssertLastAssignedFieldId.model_validate({"last-assigned-field-id": metadata.last_column_id}),
        AssertDefaultSpecId.model_validate({"default-spec-id": metadata.default_spec_id}),
        AssertDefaultSortOrderId.model_validate({"default-sort-order-id": metadata.default_sort_order_id}),
    )
    held = next((schema.schema_id for schema in metadata.schemas if schema == new), None)
    current = SetCurrentSchemaUpdate.model_validate({"schema-id": -1 if held is None else held})
    transaction._apply((AddSchemaUpdate(schema=new), current) if held is None else (current,), requirements)


def _same_schema(metadata: TableMetadata) -> AssertCurrentSchemaId:
    return AssertCurrentSchemaId.model_validate({"current-schema-id": metadata.current_schema_id})


class Staged(Transaction):
    """A transaction that works out once what its table will be with what is staged. pyiceberg does at each look, and
    copies the whole metadata for it, which was most of what a small commit cost."""

    _outlook: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, staged = self._table.metadata, self._updates
        if self._outlook is None or self._outlook[0] is not base or self._outlook[1] is not staged:
            self._outlook = base, staged, super().table_metadata
        return self._outlook[2]


class _Replace(_OverwriteFiles):
    """`widened` are the fields whose bounds are brought to their new types: the specification lets them stand as they
    are, but pyiceberg's scans with a filter fail on them. Manifests alone are written for that, no data file.
    """

    widened: frozenset[int] = frozenset()

    def _existing_manifests(self) -> list[ManifestFile]:
        kept = self._live_manifests()
        return [self._wide(manifest) for manifest in kept] if self.widened else kept

    def _live_manifests(self) -> list[ManifestFile]:
        previous = self._transaction.table_metadata.snapshot_by_name(name=self._target_branch)
        kept: list[ManifestFile] = []
        for manifest in previous.manifests(io=self._io) if previous else ():
            if not (manifest.has_added_files() or manifest.has_existing_files()):
                continue
            if not self._deleted_data_files or manifest.content != ManifestContent.DATA:
                kept.append(manifest)
                continue
            entries = manifest.fetch_manifest_entry(io=self._io, discard_deleted=True)
            staying = [entry for entry in entries if entry.data_file not in self._deleted_data_files]
            if len(staying) == len(entries):
                kept.append(manifest)
            elif staying:
                kept.append(self._rewritten(manifest, staying))
        return kept

    def _wide(self, manifest: ManifestFile) -> ManifestFile:
        if manifest.content != ManifestContent.DATA:
            return manifest
        schema = self._transaction.table_metadata.schema()
        kinds = {number: schema.find_field(number).field_type for number in self.widened}
        entries = manifest.fetch_manifest_entry(io=self._io, discard_deleted=True)
        changed = [_widen_bounds(entry.data_file, kinds) for entry in entries]
        summed_up = any(term.source_id in self.widened for term in self.spec(manifest.partition_spec_id).fields)
        return self._rewritten(manifest, entries) if summed_up or any(changed) else manifest

    def _rewritten(self, manifest: ManifestFile, entries: Sequence[ManifestEntry]) -> ManifestFile:
        with self.new_manifest_writer(self.spec(manifest.partition_spec_id)) as writer:
            for entry in entries:
                writer.add_entry(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.EXISTING,
                        snapshot_id=entry.snapshot_id,
                        sequence_number=entry.sequence_number,
                        file_sequence_number=entry.file_sequence_number,
                        data_file=entry.data_file,
                    )
                )
        return writer.to_manifest_file()

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        properties = self._transaction.table_metadata.properties
        target = property_as_int(
            properties, TableProperties.MANIFEST_TARGET_SIZE_BYTES, TableProperties.MANIFEST_TARGET_SIZE_BYTES_DEFAULT
        )
        merger = _ManifestMergeManager(
            target_size_bytes=target or TableProperties.MANIFEST_TARGET_SIZE_BYTES_DEFAULT,
            min_count_to_merge=_MERGE_AT,
            merge_enabled=properties.get("commit.manifest-merge.enabled", "true") == "true",
            snapshot_producer=self,
        )
        data = [manifest for manifest in manifests if manifest.content == ManifestContent.DATA]
        return [*merger.merge_manifests(data), *(m for m in manifests if m.content != ManifestContent.DATA)]


def _widen_bounds(file: DataFile, kinds: Mapping[int, IcebergType]) -> bool:
    """Bring the bounds of these fields to their types; whether any was of another."""
    changed = False
    for place, bounds in ((_LOWER, file.lower_bounds), (_UPPER, file.upper_bounds)):
        wide = {number: _wide_bound(kinds[number], held) for number, held in (bounds or {}).items() if number in kinds}
        if any(bounds[number] != held for number, held in wide.items()):
            file[place] = {**bounds, **wide}
            changed = True
    return changed


def _wide_bound(kind: IcebergType, held: bytes) -> bytes:
    return to_bytes(kind, bound(kind, held)) if isinstance(kind, PrimitiveType) else held


def bound(kind: PrimitiveType, held: bytes) -> Any:
    """A bound's value. Files of before the column was widened may have bounds of the narrower type."""
    narrow = {LongType: IntegerType, DoubleType: FloatType}.get(type(kind))
    return from_bytes(narrow() if narrow is not None and len(held) == 4 else kind, held)
