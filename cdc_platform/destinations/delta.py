"""A Delta table as a destination.

    append   own Parquet files, one `add` each, one commit      memory bounded by arrange.py
    upsert   copy-on-write of the files that hold a changed key, and their change data feed, one commit
    evolve   the metadata of the new shape, and the files of widened columns, one commit (delta_evolve.py)
    compact  small files gathered into bigger ones, no row changed, one commit (delta_compact.py)
    applied  app transaction "cdc:<log id>" = version of the change log; survives checkpoints and log clean-up

One table, one folder of the local file system. The layout's partitions by day, month or year are generated
columns of type date (the unit's first day) at the end of the table; they are no columns of the target schema.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.delta_commit import LOG, sync
from cdc_platform.destinations import (
    arrange,
    delta_compact,
    delta_create,
    delta_evolve,
    delta_log,
    delta_mend,
    delta_table,
    delta_upsert,
    delta_versions,
)
from cdc_platform.destinations.arrange import Arrangement
from cdc_platform.destinations.commit import once
from cdc_platform.destinations.copy_on_write import batches, plan, rewritten
from cdc_platform.destinations.delta_compact import Compaction
from cdc_platform.destinations.delta_layout import Shape, partition_names, present
from cdc_platform.destinations.delta_write import DataWriter, live_files, removal
from cdc_platform.destinations.destination import Applied, Contents, TableVersion, Written, nothing
from cdc_platform.destinations.places import blocked
from cdc_platform.destinations.rows import RowCheck
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, SchemaConflict, Unavailable, no_space
from cdc_platform.failpoints import failpoint
from cdc_platform.lake import delta_columns
from cdc_platform.lake.delta_columns import DeltaColumn
from cdc_platform.lake.delta_rows import file_types
from cdc_platform.model.evidence import Evidence
from cdc_platform.model.target import SortField, TableLayout, TargetField, TargetSchema

_DOUBTFUL: Final = (DeltaError, OSError, pa.ArrowException, pl.exceptions.PolarsError)
_HISTORY: Final = 50


class DeltaDestination:
    """See destination.Destination. `path` is a folder; opening and reading fail with one line, see `_failure`."""

    def __init__(self, path: str, layout: TableLayout) -> None:
        if "://" in path and not path.startswith("file://"):
            raise ConfigError(
                f"destination.path: '{path}' is not in the local file system, which is all that is written"
            )
        self._path = Path(path.removeprefix("file://")).absolute()
        self._layout = layout
        self._name = f"Delta table {self._path}"
        self._schema: TargetSchema | None = None

    def ensure(self, schema: TargetSchema) -> None:
        table = self._open()
        if table is None:
            self._create(schema)
            table = self._existing()
        delta_table.check_writable(table, self._name)
        columns, metadata = delta_columns.actual_columns(table), table.metadata()
        layout = present(self._layout, metadata.configuration, [column.name for column in columns])
        names = partition_names(layout, columns, metadata.partition_columns)
        mapped = metadata.configuration.get(delta_columns.MAPPING) == "name"
        expected = delta_table.expected_columns(schema, layout, names, mapped)
        delta_table.check_same(table, expected, layout, names, self._name)
        try:
            delta_create.set_properties(self._path, table, expected, dict(layout.properties))
        except FileExistsError as error:
            raise Unavailable(f"{self._name} was written to by somebody else just now; try again") from error
        except OSError as error:
            raise self._failure(error) from error
        self._schema = schema

    def evolve(self, schema: TargetSchema, applied: Applied, drop_unknown: bool = False) -> None:
        writer = DataWriter(self._path)
        before = self._existing().transaction_version(delta_log.app_id(applied.log_id))
        if before is None or before < applied.version or self._evolution(self._existing(), schema) is not None:
            self._once(lambda: self._evolve(schema, applied, writer), applied, 0, writer)
        table = self._existing()
        if (now := table.transaction_version(delta_log.app_id(applied.log_id))) != applied.version or (
            self._evolution(table, schema) is not None
        ):
            raise Unavailable(
                f"{self._name} is at version {now} of its change log in another shape than version {applied.version} "
                "gives it: another run writes to it; let that one end, and run again"
            )
        self._schema = schema

    def applied(self, log_id: str) -> Applied | None:
        table = self._open()
        if table is None:
            return None
        version = table.transaction_version(delta_log.app_id(log_id))
        if version is not None:
            return Applied(log_id, version, *self._position(table, log_id, version))
        if table.file_uris():
            raise SchemaConflict(
                f"{self._name} holds rows that this change log did not write; "
                "move it away, or choose another path for the pipeline"
            )
        return None

    def append(
        self, rows: Iterator[pl.DataFrame], applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        writer = DataWriter(self._path)
        shape = self._shape(self._existing())
        with self._failing(writer):
            checked = RowCheck(self._ensured(), self._name).all(rows)
            written = writer.added(checked, shape, Arrangement(shape.terms, shape.sort))
        failpoint("delta.files.written")
        count = sum(rows for _, rows in written)

        def commit() -> Written:
            table = self._existing()
            if self._shape(table) != shape:
                raise SchemaConflict(f"{self._name} changed its columns while it was written to; run again")
            delta_table.check_writable(table, self._name)
            actions = [action for action, _ in written]
            delta_log.commit(table, self._path, "WRITE", actions, applied, evidence())
            return Written(table.version(), count, _added(actions))

        return self._once(commit, applied, count, writer)

    def upsert(
        self, rows: pl.DataFrame, applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        schema = self._ensured()
        changes = RowCheck(schema, self._name).changes(rows)
        writer = DataWriter(self._path)
        return self._once(
            lambda: self._upsert(changes, schema, applied, evidence(), writer), applied, changes.height, writer
        )

    def compact(self, target_bytes: int) -> Compaction:
        """Gather small files of a partition into files of up to `target_bytes`, in one commit that changes no row.

        Rows keep the layout's order inside a file, or without one the order in which their files were made.
        Raises Unavailable, and leaves the table alone, where somebody else rewrote one of its files meanwhile.
        """
        table = self._existing()
        delta_table.check_writable(table, self._name)
        delta_columns.check_readable(table, self._name)
        shape = self._shape(table)
        files = live_files(table, shape.partitions)
        writer = DataWriter(self._path)
        with self._failing(writer):
            memory_bytes, memory_of = arrange.CHUNK_BYTES, delta_compact.memory_of
            chosen = delta_compact.groups(
                files, target_bytes, memory_bytes, lambda file: memory_of(self._path / unquote(file.path))
            )
            actions = [a for group in chosen for a in writer.replaced(group, shape, shape.sort, sys.maxsize)]
        if actions:
            self._replace(actions, shape, writer)
        table = self._existing()
        after = live_files(table, ())
        return Compaction(
            len(files), len(after), sum(f.size for f in files), sum(f.size for f in after), table.version()
        )

    def scan(self, columns: Sequence[str] | None = None, version: int | None = None) -> Iterator[pl.DataFrame]:
        table = self._open()
        if table is None:
            return
        if version is not None:
            delta_versions.load(table, self._path, version, self._name)
        delta_columns.check_readable(table, self._name)
        own = self._own_columns(table)
        names = [column.name for column in own if columns is None or column.name in columns]
        live = delta_upsert.live_files(table, self._path, own, ())
        try:
            for batch in batches(range(len(live.paths)), live.sizes):
                yield live.read(batch, names).select(names).collect()
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def contents(self) -> Contents | None:
        table = self._open()
        if table is None:
            return None
        delta_columns.check_readable(table, self._name)
        live = delta_upsert.live_files(table, self._path, self._own_columns(table), ())
        return Contents([self._path / unquote(path) for path in live.paths], live.sizes, live.read)

    def mend(self, gone: Mapping[Path, pl.Series | None], rows: Iterator[pl.DataFrame], applied: Applied) -> Written:
        schema, writer = self._ensured(), DataWriter(self._path)
        table = self._existing()
        delta_table.check_writable(table, self._name)
        shape = self._shape(table)
        with self._failing(writer):
            checked = RowCheck(schema, self._name).all(rows)
            made = delta_mend.actions(table, self._path, shape, schema, gone, checked, writer, self._name)
        return self._replace(made.actions, shape, writer, "MERGE", applied, made.rows)

    def versions(self, log_id: str) -> Iterator[TableVersion]:
        try:
            yield from delta_versions.versions(self._path, log_id)
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def opening(self, version: int) -> Mapping[str, str]:
        return delta_versions.opening(self._path, version)

    def set_aside(self, suffix: str) -> str | None:
        if not (self._path / LOG).exists():
            return None
        place = self._path.with_name(f"{self._path.name}.{suffix}")
        try:
            self._path.rename(place)
            sync(place.parent)
        except OSError as error:
            raise self._failure(error) from error
        self._schema = None
        return str(place)

    def table_version(self) -> int | None:
        table = self._open()
        return None if table is None else table.version()

    def schema(self) -> Sequence[TargetField] | None:
        table = self._open()
        if table is None:
            return None
        return [
            TargetField(
                column.name, delta_columns.arrow_type(column.word) or pa.null(), column.required, column.source_id
            )
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
        if (reason := blocked(self._path)) is not None:
            return ConfigError(f"destination.path: {reason}; {self._path} cannot be written")
        if no_space(error):
            return Unavailable(f"{self._name} cannot be written: no space is left; make room, and run again")
        # The first line alone: deltalake shows rows below it.
        text = (str(error).splitlines() or [type(error).__name__])[0][:300]
        return NeedsPerson(f"{self._name} cannot be read or written: {text}")

    @contextmanager
    def _failing(self, writer: DataWriter) -> Iterator[None]:
        """Writing before a commit: what fails leaves no file."""
        try:
            yield
        except BaseException as error:
            writer.discard()
            if isinstance(error, _DOUBTFUL):
                raise self._failure(error) from error
            raise

    def _own_columns(self, table: DeltaTable) -> list[DeltaColumn]:
        """The table's columns without those that it generates for its partitions."""
        return [column for column in delta_columns.actual_columns(table) if column.generated is None]

    # Writing

    def _create(self, schema: TargetSchema) -> None:
        names = [term.name for term in self._layout.partitions]
        properties = dict(self._layout.properties)
        mapped = properties.get(delta_columns.MAPPING) == "name"
        expected = delta_table.expected_columns(schema, self._layout, names, mapped)
        try:
            delta_create.create(self._path, expected, names, properties)
        except OSError as error:
            raise self._failure(error) from error

    def _upsert(
        self,
        changes: pl.DataFrame,
        schema: TargetSchema,
        applied: Applied,
        evidence: Evidence | None,
        writer: DataWriter,
    ) -> Written:
        writer.discard()
        table = self._existing()
        shape = self._shape(table)
        names = [field.name for field in schema.fields]
        live = delta_upsert.live_files(table, self._path, shape.own, schema.key)
        made = plan(live, changes, schema.key)
        replaced: list[pl.DataFrame] = []
        sort = shape.sort or tuple(SortField(name) for name in schema.key)
        rows = rewritten(live, made, schema.key, names, replaced.append)
        written = writer.added(rows, shape, Arrangement(shape.terms, sort))
        files = live_files(table, shape.partitions)
        actions = [removal(files[i], data_change=True) for i in made.touched]
        actions += [action for action, _ in written]
        if made.touched and shape.properties.get(delta_columns.CHANGE_FEED) == "true":
            actions += writer.feed(delta_upsert.feed(made, replaced, schema.key, names), shape)
        failpoint("delta.files.written")
        delta_log.commit(table, self._path, "MERGE", actions, applied, evidence)
        return Written(table.version(), changes.height, _added(actions))

    def _evolve(self, schema: TargetSchema, applied: Applied, writer: DataWriter) -> Written:
        writer.discard()
        table = self._existing()
        delta_table.check_writable(table, self._name)
        delta_columns.check_readable(table, self._name)
        actions: list[dict[str, Any]] = []
        if (found := self._evolution(table, schema)) is not None:
            protocol = delta_create.widened_protocol(
                self._path, table, found.columns, found.partition_columns, found.configuration
            )
            actions += [{"protocol": protocol}] if protocol is not None else []
            metadata = delta_create.metadata_action(table, found.configuration, found.fields, found.partition_columns)
            actions += [{"metaData": metadata}]
            actions += self._recast(table, found, writer)
        failpoint("delta.evolve.committing")
        delta_log.commit(table, self._path, "ALTER TABLE", actions, applied)
        return Written(table.version(), 0)

    def _recast(self, table: DeltaTable, found: delta_evolve.Evolution, writer: DataWriter) -> Iterator[dict[str, Any]]:
        """The files that hold a widened column, replaced one by one."""
        shape = found.shape(self._layout, self._name)
        for file in live_files(table, self._shape(table).partitions) if found.retyped else ():
            if found.concerns(file_types(self._path / unquote(file.path))):
                yield from writer.replaced([file], shape, (), arrange.CHUNK_BYTES)

    def _evolution(self, table: DeltaTable, schema: TargetSchema) -> delta_evolve.Evolution | None:
        @cache
        def held() -> set[str]:
            files = live_files(table, ())
            return {name for file in files for name in file_types(self._path / unquote(file.path))}

        return delta_evolve.plan(table, schema, self._layout, lambda name: name in held(), self._name)

    def _replace(
        self,
        actions: Sequence[dict[str, Any]],
        shape: Shape,
        writer: DataWriter,
        operation: str = "OPTIMIZE",
        applied: Applied | None = None,
        rows: int = 0,
    ) -> Written:
        """Commit files for files, also after others' appends, which concern none of them."""
        gone = {action["remove"]["path"] for action in actions if "remove" in action}
        come = {action["add"]["path"] for action in actions if "add" in action}

        def commit() -> Written:
            table = self._existing()
            live = {file.path for file in live_files(table, ())}
            if not gone <= live or self._shape(table) != shape:
                raise Unavailable(f"{self._name} was changed while it was rewritten, and was left as it is; try again")
            delta_log.commit(table, self._path, operation, actions, applied)
            return Written(table.version(), rows)

        def landed() -> Written | None:
            table = self._existing()
            live = {file.path for file in live_files(table, ())}
            # Any of ours: the commit was made, whatever became of the others since.
            made = bool(come & live) if come else not gone & live
            return Written(table.version(), rows) if made else None

        try:
            return once(commit, landed, writer.discard, _DOUBTFUL, self._name)
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def _shape(self, table: DeltaTable) -> Shape:
        held = table.metadata()
        columns = delta_columns.actual_columns(table)
        return Shape.of(columns, held.partition_columns, held.configuration, self._layout, self._name)

    def _once(self, commit: Callable[[], Written], applied: Applied, rows: int, writer: DataWriter) -> Written:
        """`commit` made once; where it was surely not made, the files that it would have named are removed."""
        try:
            return once(commit, lambda: self._landed(applied, rows), writer.discard, _DOUBTFUL, self._name)
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def _landed(self, applied: Applied, rows: int) -> Written | None:
        table = self._existing()
        version = table.transaction_version(delta_log.app_id(applied.log_id))
        return Written(table.version(), rows) if version is not None and version >= applied.version else None

    def _position(self, table: DeltaTable, log_id: str, version: int) -> tuple[str, str]:
        """Position text and basis of that version's commit: "" once the log has been cleaned up."""
        for limit in (1, _HISTORY):
            for commit in table.history(limit):
                if commit.get(delta_log.LOG_ID) == log_id and commit.get(delta_log.VERSION) == str(version):
                    return str(commit.get(delta_log.POSITION, "")), str(commit.get(delta_log.BASIS, ""))
        return "", ""


def _added(actions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The data files that a commit of these actions adds."""
    return tuple(action["add"]["path"] for action in actions if "add" in action)
