"""One new snapshot of an Iceberg table: files out, files in, the position, in one commit.

The one place that reaches into pyiceberg's snapshot producers (0.11.1, pinned): its overwrite keeps every
manifest for ever, also those without a live file, and never merges any, so that each commit would make the next
one slower. Here dead manifests go and small ones are merged, as Iceberg's own writers do by default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AssertCurrentSchemaId,
    AssertDefaultSortOrderId,
    AssertDefaultSpecId,
    AssertLastAssignedFieldId,
    SetCurrentSchemaUpdate,
)
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles
from pyiceberg.utils.properties import property_as_int

from cdc_platform.destinations.iceberg_evolution import Evolution

_MERGE_AT: Final = 100


def commit(
    table: Table,
    removed: Sequence[DataFile],
    added: Sequence[DataFile],
    summary: Mapping[str, str],
    properties: Mapping[str, str],
) -> None:
    """Commit on the table's version as loaded. Raises what the catalog raises, CommitFailedException on a conflict."""
    with table.transaction() as transaction:
        transaction._apply((), (AssertCurrentSchemaId(current_schema_id=table.metadata.current_schema_id),))
        snapshot = _Replace(
            operation=Operation.OVERWRITE if removed else Operation.APPEND,
            transaction=transaction,
            io=table.io,
            snapshot_properties=dict(summary),
        )
        with snapshot:
            for file in removed:
                snapshot.delete_data_file(file)
            for file in added:
                snapshot.append_data_file(file)
        transaction.set_properties(dict(properties))


def reshape(
    table: Table, evolution: Evolution | None, summary: Mapping[str, str], properties: Mapping[str, str]
) -> None:
    """Commit a change of shape with a snapshot of no new files, which carries the position. Raises as `commit`.

    The snapshot also parts the table's history: before it readers see the former columns, from it on the new ones.
    """
    with table.transaction() as transaction:
        if evolution is not None:
            _set_schema(transaction, evolution)
        producer = _Replace(
            operation=Operation.APPEND, transaction=transaction, io=table.io, snapshot_properties=dict(summary)
        )
        with producer:
            pass
        transaction.set_properties({**(evolution.properties if evolution else {}), **properties})
        if evolution is not None and evolution.obsolete:
            transaction.remove_properties(*evolution.obsolete)


def _set_schema(transaction: Transaction, evolution: Evolution) -> None:
    """Stage the new schema. pyiceberg's own `update_schema` goes by name and gets swapped names and the name of a
    column that is just being renamed wrong, so the schema comes whole, with field ids.
    """
    metadata = transaction.table_metadata
    number = 1 + max(schema.schema_id for schema in metadata.schemas)
    new = Schema.model_validate({**evolution.schema, "schema-id": number})
    requirements = (
        AssertCurrentSchemaId(current_schema_id=metadata.current_schema_id),
        AssertLastAssignedFieldId(last_assigned_field_id=metadata.last_column_id),
        AssertDefaultSpecId(default_spec_id=metadata.default_spec_id),
        AssertDefaultSortOrderId(default_sort_order_id=metadata.default_sort_order_id),
    )
    held = next((schema.schema_id for schema in metadata.schemas if schema == new), None)
    if held is None:
        transaction._apply((AddSchemaUpdate(schema=new), SetCurrentSchemaUpdate(schema_id=-1)), requirements)
    else:
        transaction._apply((SetCurrentSchemaUpdate(schema_id=held),), requirements)


class _Replace(_OverwriteFiles):
    def _existing_manifests(self) -> list[ManifestFile]:
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
