"""A change log: the Delta table that keeps every event of one source table, in log order.

    capture ── append(events, upto) ──> one commit: Parquet files + app transactions {cdc.at, cdc.ordinal}
    capture <── position() ────────────────────────────────────────────┘   (read back, survives checkpoints)
    apply   <── read(after=version) ── the files of the commits behind that version

Why nothing is lost or doubled: the files and the position they reach become visible in one atomic commit. After a
crash, `position` says what is in; everything before it is dropped from what the source delivers again, and the
source is told to forget only what `position`, read anew, covers. A commit whose reply was lost is seen by the same
reading. Only one writer may append (the engine holds the source's lock); a commit by anybody else in between makes
ours fail instead of being rebased, because its events may be the same as ours.

A log without `position` holds nothing that counts: its snapshot was never committed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from cdc_platform.change_log.files import sync, write_files
from cdc_platform.errors import ConfigError, NeedsPerson, Unavailable
from cdc_platform.model.event import Origin, log_schema
from cdc_platform.model.position import Position, format_position
from cdc_platform.model.schema import Column, TableName, TableSchema

_AT, _ORDINAL, _EVENTS = "cdc.at", "cdc.ordinal", "cdc.events"
_ORIGIN, _TABLE = "cdc.origin", "cdc.table"
_BATCH_ROWS, _BATCH_BYTES = 131_072, 128 << 20
_MEANWHILE = "somebody else wrote meanwhile to the change log at"
_PROPERTIES = {
    "delta.appendOnly": "true",
    # Commits are read one by one, by destinations that may be far behind: none may be cleaned up.
    "delta.enableExpiredLogCleanup": "false",
    # Nobody searches a log by the cells of its rows; gathering their statistics costs more than writing them.
    "delta.dataSkippingStatsColumns": "_at",
}


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive commits of a log, to be applied as one: `version` is the last of them, `memory` what the events take
    in memory, in bytes."""

    version: int
    files: tuple[Path, ...]
    rows: int
    memory: int
    snapshot: bool

    def frames(self, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The events in batches of bounded memory; within a file in log order, files in commit order."""
        batch_rows = max(1, min(_BATCH_ROWS, self.rows * _BATCH_BYTES // max(1, self.memory)))
        for file in self.files:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(batch_size=batch_rows, columns=columns):
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)
                    yield frame

    def followed_by(self, later: Slice) -> Slice:
        """Both as one; a snapshot follows nothing."""
        return Slice(
            later.version,
            (*self.files, *later.files),
            self.rows + later.rows,
            self.memory + later.memory,
            later.snapshot,
        )


_EMPTY = Slice(-1, (), 0, 0, snapshot=False)


class ChangeLog:
    """One source table's log at `path`. Reads the table anew before it answers, so answers are facts on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table: DeltaTable | None = None

    # --- what is in it -------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the table is there at all (it may lack its snapshot still)."""
        return self._loaded() is not None

    def position(self) -> Position | None:
        """The bound up to which the log is complete; None until the snapshot is in."""
        table = self._loaded()
        at = table.transaction_version(_AT) if table else None
        if table is None or at is None:
            return None
        return Position(at, table.transaction_version(_ORDINAL) or 0)

    def version(self) -> int:
        """The number of the latest commit; -1 when there is no log."""
        table = self._loaded()
        return table.version() if table else -1

    def id(self) -> str:
        """The table's own id, which a log that was deleted and made again does not share."""
        return str(self._required().metadata().id)

    def origin(self) -> Origin:
        """Where the events come from, as recorded at creation."""
        stored = json.loads(self._required().metadata().configuration[_ORIGIN])
        return Origin(**{**stored, "table": TableName(**stored["table"])})

    def schema(self) -> TableSchema:
        """The source table's shape that the log's row images have."""
        table = self._required()
        stored = json.loads(table.metadata().configuration[_TABLE])
        images = pa.schema(table.schema().to_arrow()).field("after").type
        columns = tuple(
            Column(name, field.type, nullable, source_type, source_id)
            for field, (name, nullable, source_type, source_id) in zip(images, stored["columns"], strict=True)
        )
        return TableSchema(TableName(**stored["table"]), columns, tuple(stored["primary_key"]))

    def format(self, position: Position) -> str:
        """A position as text, in the source's own words."""
        return format_position(position, json.loads(self._required().metadata().configuration["cdc.binlog_base"]))

    # --- writing -------------------------------------------------------------------------------------------------

    def create(self, schema: TableSchema, origin: Origin, binlog_base: str | None) -> None:
        """Make the empty log in place of one that a snapshot which died has left."""
        if self.exists():
            if self.position() is not None:
                raise NeedsPerson(f"there is a change log at {self.path} already; move it away to begin anew")
            if self.schema() == schema and self.origin() == origin:
                return
            # A snapshot that died before its commit, of a table that has changed since.
            shutil.rmtree(self.path)
            self._table = None
        stored = {
            "table": asdict(schema.table),
            "primary_key": schema.primary_key,
            "columns": [(c.name, c.nullable, c.source_type, c.source_id) for c in schema.columns],
        }
        configuration = {
            **_PROPERTIES,
            _ORIGIN: json.dumps(asdict(origin)),
            _TABLE: json.dumps(stored),
            "cdc.binlog_base": json.dumps(binlog_base),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._table = DeltaTable.create(
                str(self.path),
                log_schema(schema),
                name=f"change_log_{origin.table.name}",
                configuration=configuration,
                raise_if_key_not_exists=False,
            )
        except (OSError, DeltaError) as error:
            raise ConfigError(f"cannot write the change log at {self.path}: {_reason(error)}") from error

    def append(
        self, events: Iterable[pl.DataFrame], upto: Position, after: Position | None, snapshot: bool = False
    ) -> int:
        """Add all events and the position they reach in one commit; returns its version.

        `after` is the log's position that the events continue from (None for its snapshot): a log that is elsewhere
        by now was written by somebody else. `events` may be endless for memory: files are written as they come,
        the commit is at the end. An error that `events` raises passes through, and nothing is committed.
        """
        table = self._required()
        if self.position() != after:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again")
        # From here on the table in hand stays as it is: a commit by somebody else must collide with ours.
        places = [Transaction(_AT, upto.at), Transaction(_ORDINAL, upto.ordinal)]
        metadata = {"cdc.position": self.format(upto), "cdc.snapshot": str(snapshot).lower()}
        schema = pa.schema(table.schema().to_arrow())
        try:
            written = write_files(self.path, events, schema)
            metadata["cdc.memory"] = str(written.memory)
            if written.actions:
                # Without retries, the commit is the next version or none.
                places.append(Transaction(_EVENTS, table.version() + 1))
            properties = CommitProperties(custom_metadata=metadata, app_transactions=places, max_commit_retries=0)
            table.create_write_transaction(written.actions, "append", schema, commit_properties=properties)
            version = self.version()
            # The source forgets what is acknowledged: it has to be on the disk itself by then.
            sync(self.path / "_delta_log" / f"{version:020}.json")
            sync(self.path / "_delta_log")
        except CommitFailedError as error:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again") from error
        except (OSError, DeltaError) as error:
            raise Unavailable(f"cannot write the change log at {self.path}: {_reason(error)}") from error
        finally:
            self._table = None
        return version

    def advance(self, upto: Position, after: Position) -> int:
        """Record that there was nothing for this table from `after` up to `upto`: a commit without files."""
        return self.append([], upto, after)

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, after: int, rows: int = 500_000, memory: int = 512 << 20) -> Iterator[Slice]:
        """The commits behind version `after`, gathered until they hold `rows` events or `memory` bytes or so.

        A snapshot stands alone. Commits without events are in no slice.
        """
        held = _EMPTY
        # An idle table's log grows by empty commits: nobody needs to look through them to find nothing.
        for version in range(after + 1, (self._required().transaction_version(_EVENTS) or 0) + 1):
            commit = self._commit(version)
            if not commit.files:
                continue
            if held.files and (commit.snapshot or held.rows + commit.rows > rows or held.memory > memory):
                yield held
                held = _EMPTY
            held = held.followed_by(commit)
            if commit.snapshot:
                yield held
                held = _EMPTY
        if held.files:
            yield held

    def position_of(self, version: int) -> str:
        """The source position that a version reaches, as text; empty for the creation."""
        return str(self._actions(version).get("commitInfo", [{}])[0].get("cdc.position", ""))

    def _commit(self, version: int) -> Slice:
        """One commit by itself."""
        actions = self._actions(version)
        adds = [add for add in actions.get("add", []) if add["dataChange"]]
        info = actions.get("commitInfo", [{}])[0]
        return Slice(
            version,
            tuple(self.path / unquote(add["path"]) for add in adds),
            sum(json.loads(add["stats"])["numRecords"] for add in adds),
            int(info.get("cdc.memory", 0)),
            info.get("cdc.snapshot") == "true",
        )

    def _actions(self, version: int) -> Mapping[str, list[dict[str, Any]]]:
        """The actions of one commit by kind (Delta transaction log protocol, "Actions")."""
        file = self.path / "_delta_log" / f"{version:020}.json"
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise NeedsPerson(
                f"commit {version} of the change log at {self.path} is gone; begin its pipeline anew"
            ) from error
        actions: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            for kind, action in json.loads(line).items():
                actions.setdefault(kind, []).append(action)
        return actions

    def _required(self) -> DeltaTable:
        table = self._loaded()
        if table is None:
            raise NeedsPerson(f"there is no change log at {self.path}")
        return table

    def _loaded(self) -> DeltaTable | None:
        try:
            if self._table is None:
                self._table = DeltaTable(str(self.path))
            else:
                self._table.update_incremental()
        except TableNotFoundError:
            self._table = None
        except (OSError, DeltaError) as error:
            raise NeedsPerson(f"the change log at {self.path} cannot be read: {_reason(error)}") from error
        return self._table


def _reason(error: BaseException) -> str:
    """An error's first line: Delta's own messages may run over many."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
