"""A Delta table as a destination.

    append   own Parquet files, one `add` each, one commit      memory bounded by arrange.py
    upsert   deltalake's merge: it writes the change data feed of updates and deletes as well
    applied  app transaction "cdc:<log id>" = version of the change log; survives checkpoints and log clean-up

One table, one folder of the local file system. The layout's partitions by day, month or year are generated
columns of type date (the unit's first day) at the end of the table; they are no columns of the target schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cdc_platform.destinations import delta_table
from cdc_platform.destinations.arrange import Arrangement, arranged, partition_value
from cdc_platform.destinations.commit import Conflict, once
from cdc_platform.destinations.data_files import DataFile, FilePlan, write_files
from cdc_platform.destinations.delta_files import add_action, indexed_columns
from cdc_platform.destinations.delta_table import DeltaColumn, quoted
from cdc_platform.destinations.destination import Applied, Written
from cdc_platform.destinations.rows import OPERATION, RowCheck
from cdc_platform.destinations.stale import older_in_sql, position_columns
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, SchemaConflict
from cdc_platform.model.change import DELETE
from cdc_platform.model.target import SortField, TableLayout, TargetField, TargetSchema

_SPOOL: Final = "_cdc_spool"
_DOUBTFUL: Final = (DeltaError, OSError)
_HISTORY: Final = 50


class DeltaDestination:
    """See destination.Destination. `path` is a folder; opening and reading fail with one line, see `_failure`."""

    def __init__(self, path: str, layout: TableLayout) -> None:
        if "://" in path and not path.startswith("file://"):
            raise ConfigError(
                f"destination.path: '{path}' is not in the local file system, which is all that is written"
            )
        self._path = Path(path.removeprefix("file://"))
        self._layout = layout
        self._name = f"Delta table {self._path}"
        self._schema: TargetSchema | None = None

    def ensure(self, schema: TargetSchema) -> None:
        expected = delta_table.expected_columns(schema, self._layout)
        table = self._open()
        if table is None:
            try:
                delta_table.create(self._path, expected, self._layout)
            except OSError as error:
                raise self._failure(error) from error
            table = self._existing()
        delta_table.check_writable(table, self._name)
        delta_table.check_same(table, expected, self._layout, self._name)
        self._schema = schema
        self._set_properties(table)

    def applied(self, log_id: str) -> Applied | None:
        table = self._open()
        if table is None:
            return None
        version = table.transaction_version(_app_id(log_id))
        if version is not None:
            return Applied(log_id, version, self._position(table, log_id, version))
        if table.file_uris():
            raise SchemaConflict(
                f"{self._name} holds rows that this change log did not write; "
                "move it away, or choose another path for the pipeline"
            )
        return None

    def append(self, rows: Iterator[pl.DataFrame], applied: Applied) -> Written:
        return self._add(rows, applied, Arrangement(self._layout.partitions, self._layout.sort))

    def upsert(self, rows: pl.DataFrame, applied: Applied) -> Written:
        schema = self._ensured()
        kept = rows.filter(pl.col(OPERATION) != DELETE)
        if not self._existing().file_uris():
            sort = self._layout.sort or tuple(SortField(name) for name in schema.key)
            return self._add(iter([kept]), applied, Arrangement(self._layout.partitions, sort))
        check = RowCheck(schema, self._name)
        # A deleted row may hold its key alone: what is required is required of rows that stay.
        deleted = rows.filter(pl.col(OPERATION) == DELETE).select(check.one(rows.clear()).columns)
        source = pl.concat([check.one(kept), deleted.cast(dict(check.one(rows.clear()).schema))])
        source = source.with_columns(
            partition_value(term).alias(term.name) for term in self._layout.partitions if term.transform != "identity"
        )

        def merge() -> Written:
            return self._merge(source, schema, applied)

        return once(merge, lambda: self._landed(applied, source.height), _DOUBTFUL, self._name)

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        table = self._open()
        if table is None:
            return
        names = [column.name for column in self._own_columns(table) if columns is None or column.name in columns]
        try:
            for batch in table.scan(columns=names):
                frame = pl.from_arrow(pa.record_batch(batch))
                assert isinstance(frame, pl.DataFrame)
                yield frame.select(names)
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def table_version(self) -> int | None:
        table = self._open()
        return None if table is None else table.version()

    def schema(self) -> Sequence[TargetField] | None:
        table = self._open()
        if table is None:
            return None
        return [
            TargetField(column.name, delta_table.arrow_type(column.word) or pa.null(), column.required)
            for column in self._own_columns(table)
        ]

    # Opening and failing

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(str(self._path))
        except TableNotFoundError:
            return None
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def _existing(self) -> DeltaTable:
        table = self._open()
        if table is None:
            raise NeedsPerson(f"{self._name} was there and is not any more; run again to make it anew")
        return table

    def _ensured(self) -> TargetSchema:
        if self._schema is None:
            raise AssertionError("ensure comes before a write")
        return self._schema

    def _failure(self, error: Exception) -> CdcError:
        text = " ".join(str(error).split())[:300]
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or "Permission denied" in text:
            return ConfigError(f"destination.path: {self._path} cannot be written or read: {text}")
        return NeedsPerson(f"{self._name} cannot be read or written: {text}")

    def _own_columns(self, table: DeltaTable) -> list[DeltaColumn]:
        """The table's columns without those that it generates for its partitions."""
        return [column for column in delta_table.actual_columns(table) if column.generated is None]

    # Writing

    def _add(self, rows: Iterator[pl.DataFrame], applied: Applied, arrangement: Arrangement) -> Written:
        table = self._existing()
        columns = delta_table.actual_columns(table)
        by_name = {column.name: column for column in columns}
        partitions = [by_name[term.name] for term in self._layout.partitions]
        stored = delta_table.stored_columns(columns, [column.name for column in partitions])
        plan = FilePlan(stored, arrangement, self._create)
        files: list[DataFile] = []
        try:
            checked = RowCheck(self._ensured(), self._name).all(rows)
            files.extend(write_files(arranged(checked, arrangement, self._path / _SPOOL), plan))
            indexed = indexed_columns(stored, table.metadata().configuration)
            actions = [add_action(file, partitions, indexed) for file in files]
        except BaseException:
            self._discard(files)
            raise
        written = sum(file.rows for file in files)

        def commit() -> Written:
            current = self._existing()
            if delta_table.actual_columns(current) != columns:
                self._discard(files)
                raise SchemaConflict(f"{self._name} changed its columns while it was written; run again")
            try:
                current.create_write_transaction(
                    actions,
                    mode="append",
                    schema=current.schema(),
                    partition_by=[column.name for column in partitions],
                    commit_properties=_properties(applied),
                )
            except CommitFailedError as error:
                raise Conflict from error
            current.update_incremental()
            return Written(current.version(), written)

        try:
            return once(commit, lambda: self._landed(applied, written), _DOUBTFUL, self._name)
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def _merge(self, source: pl.DataFrame, schema: TargetSchema, applied: Applied) -> Written:
        table = self._existing()
        on = " and ".join(f"{_of('t', name)} = {_of('s', name)}" for name in schema.key)
        positions = position_columns(source.columns)
        fresh = f"not {older_in_sql(positions, _of, 's', 't')}" if positions else "true"
        values = {quoted(name): _of("s", name) for name in source.columns}
        operation = _of("s", OPERATION)
        try:
            (
                table.merge(
                    source,
                    on,
                    source_alias="s",
                    target_alias="t",
                    streamed_exec=False,
                    writer_properties=WriterProperties(compression="ZSTD"),
                    commit_properties=_properties(applied),
                )
                .when_matched_delete(f"{operation} = '{DELETE}' and {fresh}")
                .when_matched_update(values, f"{operation} <> '{DELETE}' and {fresh}")
                .when_not_matched_insert(values, f"{operation} <> '{DELETE}'")
                .execute()
            )
        except CommitFailedError as error:
            raise Conflict from error
        return Written(table.version(), source.height)

    def _create(self, path: str) -> IO[bytes]:
        file = self._path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("xb")

    def _discard(self, files: list[DataFile]) -> None:
        """Files that no commit names would only wait for a vacuum."""
        for file in files:
            with suppress(OSError):
                (self._path / file.path).unlink()

    def _landed(self, applied: Applied, rows: int) -> Written | None:
        table = self._existing()
        version = table.transaction_version(_app_id(applied.log_id))
        return Written(table.version(), rows) if version is not None and version >= applied.version else None

    def _position(self, table: DeltaTable, log_id: str, version: int) -> str:
        """The position text of that version's commit: only for people, so "" once the log has been cleaned up."""
        for limit in (1, _HISTORY):
            for commit in table.history(limit):
                if commit.get("cdc.log_id") == log_id and commit.get("cdc.version") == str(version):
                    return str(commit.get("cdc.position", ""))
        return ""

    def _set_properties(self, table: DeltaTable) -> None:
        """Bring properties that were added to the pipeline, or changed in it, into an existing table."""
        have = table.metadata().configuration
        wanted = {key: value for key, value in self._layout.properties if have.get(key) != value}
        wanted.pop(delta_table.MAPPING, None)
        if wanted:
            try:
                table.alter.set_table_properties(wanted)
            except DeltaError as error:
                raise ConfigError(f"destination.properties: {' '.join(str(error).split())[:300]}") from error


def _app_id(log_id: str) -> str:
    return f"cdc:{log_id}"


def _of(alias: str, column: str) -> str:
    return f"{alias}.{quoted(column)}"


def _properties(applied: Applied) -> CommitProperties:
    return CommitProperties(
        custom_metadata={
            "cdc.log_id": applied.log_id,
            "cdc.version": str(applied.version),
            "cdc.position": applied.position,
        },
        app_transactions=[Transaction(_app_id(applied.log_id), applied.version)],
    )
