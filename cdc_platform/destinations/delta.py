"""A Delta table as a destination.

    append   own Parquet files, one `add` each, one commit      memory bounded by arrange.py
    upsert   copy-on-write of the files that hold a changed key, and their change data feed, one commit
    applied  app transaction "cdc:<log id>" = version of the change log; survives checkpoints and log clean-up

One table, one folder of the local file system. The layout's partitions by day, month or year are generated
columns of type date (the unit's first day) at the end of the table; they are no columns of the target schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.destinations import delta_files, delta_log, delta_table, delta_upsert
from cdc_platform.destinations.arrange import Arrangement, arranged
from cdc_platform.destinations.commit import once
from cdc_platform.destinations.copy_on_write import batches, plan, rewritten
from cdc_platform.destinations.data_files import FilePlan, StoredColumn, write_files
from cdc_platform.destinations.delta_files import add_action, cdc_action, indexed_columns
from cdc_platform.destinations.delta_table import DeltaColumn
from cdc_platform.destinations.delta_upsert import CHANGE_TYPE
from cdc_platform.destinations.destination import Applied, Written
from cdc_platform.destinations.places import blocked
from cdc_platform.destinations.rows import RowCheck
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, SchemaConflict, Unavailable
from cdc_platform.model.target import SortField, TableLayout, TargetField, TargetSchema

_SPOOL: Final = "_cdc_spool"
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
        try:
            delta_table.set_properties(self._path, table, expected, self._layout)
        except FileExistsError as error:
            raise Unavailable(f"{self._name} was written to by somebody else just now; try again") from error
        except OSError as error:
            raise self._failure(error) from error
        self._schema = schema

    def applied(self, log_id: str) -> Applied | None:
        table = self._open()
        if table is None:
            return None
        version = table.transaction_version(delta_log.app_id(log_id))
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
        changes = RowCheck(schema, self._name).changes(rows)
        files: list[str] = []

        def attempt() -> Written:
            self._discard(files)
            return self._upsert(changes, schema, applied, files)

        return self._once(attempt, applied, changes.height, files)

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        table = self._open()
        if table is None:
            return
        delta_table.check_readable(table, self._name)
        own = self._own_columns(table)
        names = [column.name for column in own if columns is None or column.name in columns]
        live = delta_upsert.live_files(table, self._path, own, ())
        try:
            for batch in batches(range(len(live.paths)), live.sizes):
                yield live.read(batch, names).select(names).collect()
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
        if (reason := blocked(self._path)) is not None:
            return ConfigError(f"destination.path: {reason}; {self._path} cannot be written")
        # The first line alone: deltalake shows rows below it.
        text = (str(error).splitlines() or [type(error).__name__])[0][:300]
        return NeedsPerson(f"{self._name} cannot be read or written: {text}")

    def _own_columns(self, table: DeltaTable) -> list[DeltaColumn]:
        """The table's columns without those that it generates for its partitions."""
        return [column for column in delta_table.actual_columns(table) if column.generated is None]

    # Writing

    def _add(self, rows: Iterator[pl.DataFrame], applied: Applied, arrangement: Arrangement) -> Written:
        shape = self._shape(self._existing())
        files: list[str] = []
        try:
            checked = RowCheck(self._ensured(), self._name).all(rows)
            written = self._write(checked, shape, arrangement, files)
        except BaseException as error:
            self._discard(files)
            if isinstance(error, _DOUBTFUL):
                raise self._failure(error) from error
            raise

        def commit() -> Written:
            table = self._existing()
            if self._shape(table) != shape:
                raise SchemaConflict(f"{self._name} changed its columns while it was written to; run again")
            delta_table.check_writable(table, self._name)
            actions = [{"add": action} for action, _ in written]
            delta_log.commit(table, self._path, "WRITE", actions, applied)
            return Written(table.version(), sum(count for _, count in written))

        return self._once(commit, applied, sum(count for _, count in written), files)

    def _upsert(self, changes: pl.DataFrame, schema: TargetSchema, applied: Applied, files: list[str]) -> Written:
        table = self._existing()
        shape = self._shape(table)
        names = [field.name for field in schema.fields]
        live = delta_upsert.live_files(table, self._path, shape.own, schema.key)
        made = plan(live, changes, schema.key)
        replaced: list[pl.DataFrame] = []
        sort = self._layout.sort or tuple(SortField(name) for name in schema.key)
        rows = rewritten(live, made, schema.key, names, replaced.append)
        written = self._write(rows, shape, Arrangement(self._layout.partitions, sort), files)
        actions: list[dict[str, Any]] = [
            {"remove": action} for action in delta_upsert.removals(live, table, made.touched, shape.partitions)
        ]
        actions += [{"add": action} for action, _ in written]
        if made.touched and shape.properties.get(delta_table.CHANGE_FEED) == "true":
            feed = delta_upsert.feed(made, replaced, schema.key, names)
            actions += [{"cdc": action} for action in self._write_feed(feed, shape, files)]
        delta_log.commit(table, self._path, "MERGE", actions, applied)
        return Written(table.version(), changes.height)

    def _shape(self, table: DeltaTable) -> _Shape:
        columns = delta_table.actual_columns(table)
        by_name = {column.name: column for column in columns}
        partitions = tuple(by_name[term.name] for term in self._layout.partitions)
        return _Shape(tuple(columns), partitions, table.metadata().configuration)

    def _write(
        self, rows: Iterable[pl.DataFrame], shape: _Shape, arrangement: Arrangement, files: list[str]
    ) -> list[tuple[dict[str, Any], int]]:
        """Write data files, noting each in `files` as it comes to be; their actions and row counts."""
        indexed = indexed_columns(shape.stored, shape.properties)
        packs = arranged(rows, arrangement, self._path / _SPOOL)
        return [
            (add_action(file, shape.partitions, indexed), file.rows)
            for file in write_files(
                packs, FilePlan(shape.stored, arrangement, delta_files.folder, partial(self._create, files))
            )
        ]

    def _write_feed(self, feed: Iterator[pl.DataFrame], shape: _Shape, files: list[str]) -> list[dict[str, Any]]:
        stored = (*shape.stored, StoredColumn(CHANGE_TYPE, CHANGE_TYPE, pa.string()))
        arrangement = Arrangement(self._layout.partitions, ())

        def create(path: str) -> IO[bytes]:
            return self._create(files, f"_change_data/{path}")

        packs = arranged(feed, arrangement, self._path / _SPOOL)
        return [
            cdc_action(file, shape.partitions)
            for file in write_files(packs, FilePlan(stored, arrangement, delta_files.folder, create))
        ]

    def _once(self, commit: Callable[[], Written], applied: Applied, rows: int, files: list[str]) -> Written:
        """`commit` made once; where it was surely not made, the files that it would have named are removed."""
        try:
            return once(
                commit, lambda: self._landed(applied, rows), lambda: self._discard(files), _DOUBTFUL, self._name
            )
        except _DOUBTFUL as error:
            raise self._failure(error) from error

    def _create(self, files: list[str], path: str) -> IO[bytes]:
        file = self._path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        files.append(path)
        return file.open("xb")

    def _discard(self, files: list[str]) -> None:
        """Files that no commit names would only wait for a vacuum."""
        while files:
            with suppress(OSError):
                (self._path / files.pop()).unlink()

    def _landed(self, applied: Applied, rows: int) -> Written | None:
        table = self._existing()
        version = table.transaction_version(delta_log.app_id(applied.log_id))
        return Written(table.version(), rows) if version is not None and version >= applied.version else None

    def _position(self, table: DeltaTable, log_id: str, version: int) -> str:
        """The position text of that version's commit: only for people, so "" once the log has been cleaned up."""
        for limit in (1, _HISTORY):
            for commit in table.history(limit):
                if commit.get(delta_log.LOG_ID) == log_id and commit.get(delta_log.VERSION) == str(version):
                    return str(commit.get(delta_log.POSITION, ""))
        return ""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a write needs to know of the table as it is."""

    columns: tuple[DeltaColumn, ...]
    partitions: tuple[DeltaColumn, ...]
    properties: Mapping[str, str]

    @property
    def own(self) -> tuple[DeltaColumn, ...]:
        """The columns without those that the table generates for its partitions."""
        return tuple(column for column in self.columns if column.generated is None)

    @property
    def stored(self) -> tuple[StoredColumn, ...]:
        return delta_table.stored_columns(self.columns, [column.name for column in self.partitions])
