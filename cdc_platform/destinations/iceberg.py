"""An Iceberg table as a destination.

    append   own Parquet files in the table's sort order, one snapshot          memory bounded by arrange.py
    upsert   copy-on-write of the files that hold a changed key, one snapshot
    evolve   a new schema over the same files, and one snapshot of no new file     iceberg_evolution.py
    applied  summary of the newest ancestor snapshot of this log; a table property where snapshots are expired

The default catalog is SQLite, `catalog.db` in the warehouse, its name `default`. Questions to it are answered
from the metadata file (iceberg_metadata.py); pyiceberg is imported by the first write.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cdc_platform.destinations import iceberg_metadata, iceberg_names, iceberg_table, iceberg_versions
from cdc_platform.destinations.arrange import Arrangement
from cdc_platform.destinations.commit import Conflict, once
from cdc_platform.destinations.copy_on_write import FILE, batches, plan, rewritten
from cdc_platform.destinations.destination import Applied, Contents, TableVersion, Written, nothing
from cdc_platform.destinations.iceberg_evolution import Evolution, evolution
from cdc_platform.destinations.iceberg_metadata import Metadata
from cdc_platform.destinations.places import blocked
from cdc_platform.destinations.rows import RowCheck
from cdc_platform.errors import CdcError, ConfigError, NeedsPerson, SchemaConflict, Unavailable, no_space
from cdc_platform.failpoints import failpoint
from cdc_platform.lake.iceberg_format import CATALOG_FILE, CATALOG_NAME, local_path, locate
from cdc_platform.model.evidence import Evidence
from cdc_platform.model.target import SOURCE_IDS, SortField, TableLayout, TargetField, TargetSchema

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile as IcebergFile
    from pyiceberg.table import Table

    from cdc_platform.destinations.iceberg_files import IcebergWriting

_CREATE_ATTEMPTS: Final = 5


class IcebergDestination:
    """See destination.Destination. `catalog` is a pyiceberg catalog configuration (its `name` is taken out of it)."""

    def __init__(self, warehouse: str, identifier: str, catalog: Mapping[str, Any] | None, layout: TableLayout) -> None:
        self._namespace, _, self._table = identifier.rpartition(".")
        if not self._namespace or not self._table:
            raise ConfigError(f"destination.table: '{identifier}' is not of the form namespace.name")
        if "://" in warehouse and not warehouse.startswith("file://"):
            raise ConfigError(
                f"destination.path: '{warehouse}' is not in the local file system, which is all that is written"
            )
        self._warehouse = Path(warehouse.removeprefix("file://")).absolute()
        self._identifier = identifier
        self._config = dict(catalog) if catalog is not None else None
        self._written_layout = layout
        self._layout = layout
        self._name = f"Iceberg table {identifier} in {self._warehouse}"
        self._schema: TargetSchema | None = None
        self._opened: Catalog | None = None

    def ensure(self, schema: TargetSchema) -> None:
        schema = iceberg_table.required_schema(schema)
        metadata = self._metadata()
        if metadata is None:
            iceberg_table.check_layout(schema, self._written_layout)
            with self._guard():
                self._create(schema)
            metadata = self._existing_metadata()
        self._take(metadata, schema)
        wanted = {key: value for key, value in self._layout.properties if metadata.properties.get(key) != value}
        wanted.pop(iceberg_table.FORMAT_VERSION, None)
        # A table of an earlier release does not say which source column fills which of its own. All names and types
        # agree, so they are known by name.
        known = metadata.source_ids | iceberg_table.ids_of(schema)
        if known != metadata.source_ids:
            wanted[SOURCE_IDS] = iceberg_table.text_of(known)
        if wanted:
            with self._guard(), self._load().transaction() as transaction:
                transaction.set_properties(wanted)
            failpoint("iceberg.properties.set")

    def _take(self, metadata: Metadata, schema: TargetSchema) -> None:
        """Take this schema for the table's, whose metadata this is. Raises SchemaConflict where it is not."""
        layout = iceberg_names.current_layout(metadata, self._written_layout)
        iceberg_table.check_layout(schema, layout)
        iceberg_table.check_same(metadata, schema, layout, self._name)
        self._schema, self._layout = schema, layout

    def evolve(self, schema: TargetSchema, applied: Applied, drop_unknown: bool = False) -> None:
        schema = iceberg_table.required_schema(schema)
        if self._schema is None:
            metadata = self._existing_metadata()
            self._take(metadata, TargetSchema(tuple(metadata.columns), tuple(sorted(metadata.key))))

        def attempt() -> Written:
            table = self._load()
            metadata = iceberg_metadata.read(table.metadata_location)
            change = evolution(metadata, schema, self._name, drop_unknown)
            there = metadata.applied(applied.log_id)
            newest = applied if there is None or there.version < applied.version else there
            if change is None and newest == there:
                return Written(metadata.snapshot_id or -1, 0)
            return self._commit(table, [], [], newest, 0, change)

        def landed() -> Written | None:
            metadata = self._existing_metadata()
            there = metadata.applied(applied.log_id)
            if there is None or there.version < applied.version:
                return None
            change = evolution(metadata, schema, self._name, drop_unknown)
            return Written(metadata.snapshot_id or -1, 0) if change is None else None

        with self._guard():
            once(attempt, landed, lambda: None, _doubtful(), self._name)
        self._take(self._existing_metadata(), schema)

    def applied(self, log_id: str) -> Applied | None:
        metadata = self._metadata()
        if metadata is None:
            return None
        applied = metadata.applied(log_id)
        if applied is None and metadata.holds_rows():
            raise SchemaConflict(
                f"{self._name} holds rows that this change log did not write; "
                "move it away, or choose another table for the pipeline"
            )
        return applied

    def append(
        self, rows: Iterator[pl.DataFrame], applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        with self._guard():
            table = self._load()
            written = self._writing(table)
            try:
                checked = RowCheck(self._ensured(), self._name).all(rows)
                added, count = written.write(checked, Arrangement(self._layout.partitions, self._layout.sort))
            except BaseException:
                written.discard()
                raise
        failpoint("iceberg.files.written")
        shape = table.metadata.current_schema_id, table.metadata.default_spec_id

        def commit() -> Written:
            current = self._load()
            if (current.metadata.current_schema_id, current.metadata.default_spec_id) != shape:
                raise SchemaConflict(f"{self._name} changed its columns while it was written to; run again")
            return self._commit(current, [], added, applied, count, evidence=evidence())

        return self._once(commit, applied, count, written.discard)

    def upsert(
        self, rows: pl.DataFrame, applied: Applied, evidence: Callable[[], Evidence | None] = nothing
    ) -> Written:
        schema = self._ensured()
        changes = RowCheck(schema, self._name).changes(rows)
        names = [field.name for field in schema.fields]
        sort = self._layout.sort or tuple(SortField(name) for name in schema.key)
        attempts: list[IcebergWriting] = []

        def attempt() -> Written:
            from cdc_platform.destinations.iceberg_live import entries, live_files

            discard()
            table = self._load()
            live = live_files(table, schema.key)
            made = plan(live, changes, schema.key)
            attempts.append(self._writing(table))
            new = rewritten(live, made, schema.key, names, lambda replaced: None)
            added, _ = attempts[-1].write(new, Arrangement(self._layout.partitions, sort))
            failpoint("iceberg.files.written")
            removed = entries(table, {live.paths[i] for i in made.touched})
            return self._commit(table, removed, added, applied, changes.height, evidence=evidence())

        def discard() -> None:
            while attempts:
                attempts.pop().discard()

        return self._once(attempt, applied, changes.height, discard)

    def scan(self, columns: Sequence[str] | None = None, version: int | None = None) -> Iterator[pl.DataFrame]:
        metadata = self._metadata()
        if metadata is None:
            return
        from cdc_platform.destinations.iceberg_live import live_files

        held = iceberg_versions.columns_of(metadata, version, self._name)
        names = [name for name in held if columns is None or name in columns]
        with self._guard():
            live = live_files(self._load(), (), version)
            iceberg_versions.check_there(live.paths if version is not None else (), version, self._name)
            for batch in batches(range(len(live.paths)), live.sizes):
                yield live.read(batch, names).collect().drop(FILE)

    def contents(self) -> Contents | None:
        if self._metadata() is None:
            return None
        from cdc_platform.destinations.iceberg_live import live_files

        with self._guard():
            live = live_files(self._load(), ())
        return Contents([local_path(path) for path in live.paths], live.sizes, live.read)

    def mend(self, gone: Mapping[Path, pl.Series | None], rows: Iterator[pl.DataFrame], applied: Applied) -> Written:
        from cdc_platform.destinations import iceberg_mend

        schema = self._ensured()
        names = [field.name for field in schema.fields]
        sort = self._layout.sort or tuple(SortField(name) for name in schema.key)
        with self._guard():
            table = self._load()
            written = self._writing(table)
            try:
                stay = iceberg_mend.staying(table, gone, names, self._name)
                checked = RowCheck(schema, self._name).all(rows)
                added, count = written.write(chain(stay, checked), Arrangement(self._layout.partitions, sort))
            except BaseException:
                written.discard()
                raise
            shape = table.metadata.current_schema_id, table.metadata.default_spec_id

            def commit() -> Written:
                current = self._load()
                if (current.metadata.current_schema_id, current.metadata.default_spec_id) != shape:
                    raise SchemaConflict(f"{self._name} changed its columns while it was written to; run again")
                removed = iceberg_mend.removed(current, gone, self._name)
                return self._commit(current, removed, added, applied, count)

            def landed() -> Written | None:
                snapshot = iceberg_mend.made(self._load(), gone, added)
                return None if snapshot is None else Written(snapshot, count)

            return once(commit, landed, written.discard, _doubtful(), self._name)

    def versions(self, log_id: str) -> Iterator[TableVersion]:
        metadata = self._metadata()
        if metadata is not None:
            yield from iceberg_versions.versions(metadata, log_id)

    def opening(self, version: int) -> Mapping[str, str]:
        metadata = self._metadata()
        return {} if metadata is None else iceberg_versions.opening(metadata, self._identifier, version)

    def set_aside(self, suffix: str) -> str | None:
        if self._metadata() is None:
            return None
        name = f"{self._table}_{suffix}"
        with self._guard():
            try:
                self._catalog().rename_table(self._identifier, f"{self._namespace}.{name}")
            except NotImplementedError as error:
                raise NeedsPerson(f"{self._name}: its catalog cannot rename it; move it away there") from error
        self._schema, self._layout = None, self._written_layout
        return f"{self._namespace}.{name}"

    def table_version(self) -> int | None:
        metadata = self._metadata()
        return None if metadata is None else metadata.snapshot_id

    def schema(self) -> Sequence[TargetField] | None:
        metadata = self._metadata()
        return None if metadata is None else metadata.columns

    def _create(self, schema: TargetSchema) -> None:
        """Make catalog, namespace and table; where several processes do that at once, one of them wins each."""
        from sqlalchemy.exc import DBAPIError

        racing = retry_if_exception_type(DBAPIError)
        wait = wait_random_exponential(multiplier=0.02, max=0.5)
        for attempt in Retrying(stop=stop_after_attempt(_CREATE_ATTEMPTS), wait=wait, retry=racing, reraise=True):
            with attempt:
                catalog, location = self._catalog(), self._free_location()
                iceberg_table.create(catalog, self._identifier, schema, self._written_layout, location)
        failpoint("iceberg.created")

    def _free_location(self) -> str | None:
        """Where the new table goes if not to its usual folder: that is taken by one that was set aside."""
        usual = self._warehouse / self._namespace / self._table
        if self._config is not None or not usual.exists():
            return None
        return f"{usual}-{uuid.uuid4().hex[:8]}"

    # Opening and failing

    def _metadata(self) -> Metadata | None:
        """The table's metadata as it is now; None where there is no table."""
        try:
            if self._config is None:
                catalog = self._warehouse / CATALOG_FILE
                location = locate(catalog, CATALOG_NAME, self._namespace, self._table)
            else:
                location = self._location()
            if location is None:
                return None
            metadata = iceberg_metadata.read(location)
        except (OSError, ValueError, KeyError, sqlite3.Error) as error:
            raise self._failure(error) from error
        self._check_local(metadata.document["location"])
        return metadata

    def _check_local(self, location: str) -> None:
        scheme = location.partition(":")[0] if "://" in location else "file"
        if scheme != "file":
            raise ConfigError(
                f"{self._name} lies at {scheme}://, not in the local file system, which is all that is written"
            )

    def _location(self) -> str | None:
        from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

        with self._guard():
            try:
                location = str(self._catalog().load_table(self._identifier).metadata_location)
            except (NoSuchTableError, NoSuchNamespaceError):
                return None
        self._check_local(location)
        return location

    def _existing_metadata(self) -> Metadata:
        metadata = self._metadata()
        if metadata is None:
            raise self._gone()
        return metadata

    def _gone(self) -> CdcError:
        return NeedsPerson(f"{self._name} was there and is not any more; run again to make it anew")

    def _ensured(self) -> TargetSchema:
        if self._schema is None:
            raise AssertionError("ensure comes before a write")
        return self._schema

    def _catalog(self) -> Catalog:
        if self._opened is None:
            from pyiceberg.catalog import load_catalog
            from pyiceberg.exceptions import NoSuchPropertyException, NotInstalledError

            config = {"warehouse": str(self._warehouse)}
            if self._config is None:
                self._warehouse.mkdir(parents=True, exist_ok=True)
                config |= {"type": "sql", "uri": f"sqlite:///{self._warehouse / CATALOG_FILE}"}
            else:
                config |= {key: str(value) for key, value in self._config.items()}
            try:
                self._opened = load_catalog(config.pop("name", CATALOG_NAME), **config)
            except (ValueError, NoSuchPropertyException, NotInstalledError) as error:
                raise ConfigError(f"destination.catalog: {_first_line(error)}") from error
        return self._opened

    def _load(self) -> Table:
        from pyiceberg.exceptions import NoSuchTableError

        try:
            return self._catalog().load_table(self._identifier)
        except NoSuchTableError as error:
            raise self._gone() from error

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except _doubtful() as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CdcError:
        if (reason := blocked(self._warehouse)) is not None:
            return ConfigError(f"destination.path: {reason}; the warehouse {self._warehouse} cannot be written")
        if no_space(error):
            return Unavailable(f"{self._name} cannot be written: no space is left; make room, and run again")
        if _is_passing(error):
            return Unavailable(f"{self._name}: its catalog does not answer; try again ({_first_line(error)})")
        return NeedsPerson(f"{self._name} cannot be read or written: {_first_line(error)}")

    # Committing

    def _writing(self, table: Table) -> IcebergWriting:
        from cdc_platform.destinations.iceberg_files import IcebergWriting

        return IcebergWriting(table, self._layout.partitions)

    def _commit(
        self,
        table: Table,
        removed: Sequence[IcebergFile],
        added: Sequence[IcebergFile],
        applied: Applied,
        rows: int,
        change: Evolution | None = None,
        evidence: Evidence | None = None,
    ) -> Written:
        from pyiceberg.exceptions import CommitFailedException

        from cdc_platform.destinations import iceberg_snapshot

        summary = iceberg_metadata.snapshot_properties(applied, evidence)
        noted = iceberg_metadata.table_properties(applied)
        try:
            iceberg_snapshot.commit(table, removed, added, summary, noted, change)
        except CommitFailedException as error:
            raise Conflict from error
        snapshot = table.current_snapshot()
        return Written(snapshot.snapshot_id if snapshot else -1, rows, [file.file_path for file in added])

    def _once(self, commit: Callable[[], Written], applied: Applied, rows: int, undo: Callable[[], None]) -> Written:
        def landed() -> Written | None:
            metadata = self._existing_metadata()
            there = metadata.applied(applied.log_id)
            if there is None or there.version < applied.version:
                return None
            return Written(metadata.snapshot_id or -1, rows)

        with self._guard():
            return once(commit, landed, undo, _doubtful(), self._name)


def _is_passing(error: Exception) -> bool:
    """A catalog that is down or busy, as its drivers say it."""
    from pyiceberg.exceptions import ServerError, ServiceUnavailableError
    from requests import ConnectionError, Timeout
    from sqlalchemy.exc import OperationalError

    passing = (
        OperationalError,
        sqlite3.OperationalError,
        ConnectionError,
        Timeout,
        ServerError,
        ServiceUnavailableError,
    )
    return isinstance(error, passing) and "readonly" not in str(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _doubtful() -> tuple[type[Exception], ...]:
    """What a catalog and its store raise where the fate of a commit is unknown."""
    from pyiceberg.exceptions import RESTError
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError, OSError, RESTError, pa.ArrowException, pl.exceptions.PolarsError)
