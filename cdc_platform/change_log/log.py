"""A change log: the Delta table that keeps every event of one source table, in log order.

    capture ── append(events, upto) ──> one commit: Parquet files + app transactions {cdc.at, cdc.ordinal}
            ── evolve(schema, upto) ──> one commit: the shape that holds from there on
    capture <── position() ────────────────────────────────────────────┘   (read back, survives checkpoints)
    apply   <── read(after=version) ── the files of the commits behind that version

Why nothing is lost or doubled: the files and the position they reach become visible in one atomic commit. After a
crash, `position` says what is in; everything before it is dropped from what the source delivers again, and the
source is told to forget only what `position`, read anew, covers. A commit whose reply was lost is seen by the same
reading. Only one writer may append (the engine holds the source's lock); a commit by anybody else in between makes
ours fail instead of being rebased, because its events may be the same as ours.

Each commit's events have one shape (shapes.py), the log's own at that commit: so the shape, too, is that of `position`.
A log without `position` holds nothing that counts: its snapshot was never committed, or not all of its chunks were. In
the latter case it has `reached` a place with some of the table's keys (chunks.py), for its writer alone.

What a commit may say depends on where the table stands (model/lifecycle.py): behind an open gap, which is a commit
too, nothing is logged but a resync.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.change_log import standing
from cdc_platform.change_log.chunks import Chunk, chunk_of
from cdc_platform.change_log.commits import Commit
from cdc_platform.change_log.files import polars_schema, write_files
from cdc_platform.change_log.shapes import (
    SchemaVersion,
    first_version,
    from_json,
    images_type,
    laid_out,
    next_version,
    to_json,
)
from cdc_platform.change_log.slices import Slice
from cdc_platform.delta_commit import LOG, commit_info, now, put, sync
from cdc_platform.errors import ConfigError, Lost, NeedsPerson, Unavailable, no_space
from cdc_platform.failpoints import failpoint
from cdc_platform.model.event import COMPARED, Origin, log_schema
from cdc_platform.model.lifecycle import OpenGap, State, Step
from cdc_platform.model.position import LSN, Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema

# App transactions: the position, and the last commit that a reader has to look at. More are in standing.py.
_ORDINAL, _EVENTS, _RESUME = "cdc.ordinal", "cdc.events", "cdc.resume"
_ORIGIN, _SHAPES, _NOTATION = "cdc.origin", "cdc.schemas", "cdc.notation"
_FINGERPRINT = "cdc.fingerprint"
NO_FINGERPRINT = Fingerprint()
_CHECKPOINT_COMMITS = 100
_MEANWHILE = "somebody else wrote meanwhile to the change log at"
_PROPERTIES = {
    "delta.appendOnly": "true",
    # Commits are read one by one, by destinations that may be far behind: none may be cleaned up.
    "delta.enableExpiredLogCleanup": "false",
    # Nobody searches a log by the cells of its rows; gathering their statistics costs more than writing them.
    "delta.dataSkippingStatsColumns": "_at",
}


class ChangeLog:
    """One source table's log at `path`. Reads the table anew before it answers, so answers are facts on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._table: DeltaTable | None = None
        self._folder: int | None = None

    # --- what is in it -------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the table is there at all (it may lack its snapshot still)."""
        return self._loaded() is not None

    def position(self) -> Position | None:
        """The bound up to which the log is complete; None until the snapshot is in, with all its chunks."""
        reached = self.reached()
        return None if reached is None or self.unfinished() else reached

    def unfinished(self) -> Chunk | None:
        """How far the snapshot is, where some of its chunks are in and not all."""
        table = self._loaded()
        last = table.transaction_version(standing.CHUNK) if table else None
        if table is None or last is None or table.transaction_version(standing.WHOLE) is not None:
            return None
        return chunk_of(str(self._actions(last)["commitInfo"][0]["cdc.chunk"]))

    def reached(self) -> Position | None:
        """Where the log stands: `position`, and while the snapshot is unfinished the bound up to which the log is
        complete for the keys that are in. None before the snapshot's first commit."""
        table = self._loaded()
        at = table.transaction_version(standing.AT) if table else None
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
        stored = json.loads(self._configuration()[_ORIGIN])
        return Origin(**{**stored, "table": TableName(**stored["table"])})

    def shapes(self) -> tuple[SchemaVersion, ...]:
        """Every shape that the table has had, in order."""
        table = self._required()
        return _shapes(table.metadata().configuration[_SHAPES], table.schema().to_json())

    def schema(self) -> TableSchema:
        """The source table's shape at `position`."""
        return self.shapes()[-1].schema

    def unlogged(self) -> str | None:
        """Why rows may have changed at the source without events (in words), if they have not been compared since."""
        table = self._required()
        marked = table.transaction_version(standing.UNLOGGED)
        if marked is None or marked <= (table.transaction_version(standing.COMPARED) or 0):
            return None
        return str(self._actions(marked)["commitInfo"][0]["cdc.reason"])

    def state(self) -> State:
        """Where the table stands."""
        table = self._loaded()
        return standing.state_of(table) if table else State.NEW

    def gap(self) -> OpenGap | None:
        """The gap that is open, if one is."""
        table = self._required()
        if standing.state_of(table) not in (State.GAP, State.RESYNCING):
            return None
        marked = table.transaction_version(standing.GAP) or 0
        return standing.open_gap(self._actions(marked)["commitInfo"][0])

    def fingerprint(self) -> Fingerprint:
        """The source table's when its rows were last read whole."""
        return Fingerprint(**json.loads(self._configuration()[_FINGERPRINT]))

    def notation(self) -> Notation:
        """How its positions are written."""
        return Notation(**json.loads(self._configuration()[_NOTATION]))

    def resume(self) -> str | None:
        """What the source left with the last commit that had such a word, to go on from (`Captured.resume`)."""
        table = self._loaded()
        said = table.transaction_version(_RESUME) if table else None
        return None if said is None else str(self._actions(said)["commitInfo"][0]["cdc.resume"])

    def format(self, position: Position) -> str:
        """A position as text, in the source's own words."""
        return self.notation().format(position)

    # --- writing -------------------------------------------------------------------------------------------------

    def create(
        self, schema: TableSchema, origin: Origin, notation: Notation = LSN, fingerprint: Fingerprint = NO_FINGERPRINT
    ) -> None:
        """Make the empty log in place of one that a snapshot which died has left."""
        if self.exists():
            if self.reached() is not None:
                raise NeedsPerson(f"there is a change log at {self.path} already; move it away to begin anew")
            if (self.schema(), self.origin(), self.fingerprint()) == (schema, origin, fingerprint):
                return
            # A snapshot that died before its commit, of a table that has changed since.
            self.discard()
            failpoint("log.cleared")
        first = first_version(schema)
        configuration = {
            **_PROPERTIES,
            _ORIGIN: json.dumps(asdict(origin)),
            _SHAPES: to_json([first]),
            _FINGERPRINT: json.dumps(asdict(fingerprint)),
            _NOTATION: json.dumps(asdict(notation)),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._table = DeltaTable.create(
                str(self.path),
                log_schema(images_type([first])),
                name=f"change_log_{origin.table.name}",
                configuration=configuration,
                raise_if_key_not_exists=False,
            )
        except (OSError, DeltaError) as error:
            if no_space(error):
                raise self._unwritable(error) from error
            raise ConfigError(f"cannot write the change log at {self.path}: {_reason(error)}") from error
        failpoint("log.created")

    def discard(self) -> None:
        """Remove a log whose snapshot is unfinished: nobody has read it. It is gone at once, or still there."""
        if self.position() is not None:
            raise NeedsPerson(f"the change log at {self.path} holds a whole snapshot; it is not removed")
        aside = self.path.with_name(f"{self.path.name}~discarded")  # the name of no table's log
        try:
            shutil.rmtree(aside, ignore_errors=True)
            self.path.rename(aside)
            failpoint("log.discarded")
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise self._unwritable(error) from error
        self._table = None

    def append(
        self,
        events: Iterable[pl.DataFrame],
        upto: Position,
        after: Position | None,
        snapshot: bool = False,
        compared: Fingerprint | None = None,
        chunk: Callable[[], Chunk] | None = None,
        resume: str | None = None,
    ) -> int:
        """Add all events and the position they reach in one commit; returns its version.

        `after` is the log's position that the events continue from (None for its snapshot): a log that is elsewhere
        by now was written by somebody else. `events` may be endless for memory: files are written as they come,
        the commit is at the end. An error that `events` raises passes through, and nothing is committed.
        `compared` says that these events make the log equal to its source, which had this fingerprint. `chunk` tells,
        once all events were taken, how far a snapshot is that comes in several commits. `resume` is the source's own
        word for where it goes on.
        """
        table = self._continued(after)
        step = standing.step_of(table, snapshot, compared is not None, chunk is not None)
        standing.check(table, step)
        shape, types = self.shapes()[-1], pa.schema(table.schema().to_arrow())
        images = polars_schema(types)["after"]
        assert isinstance(images, pl.Struct)
        try:
            written = write_files(self.path, (laid_out(frame, shape, images) for frame in events), types)
        except OSError as error:
            raise self._unwritable(error) from error
        if written.actions:
            failpoint("log.files.written")
        version = table.version() + 1
        actions = [*written.actions]
        if compared is not None:
            actions += [_transaction(standing.COMPARED, version)]
            actions += [_transaction(standing.RESYNCED, version)] if step == Step.RESYNCED else []
            if compared != self.fingerprint():
                actions += [self._metadata(table, {_FINGERPRINT: json.dumps(asdict(compared))})]
        if written.actions:
            actions += [_transaction(_EVENTS, version)]
        noted = {"cdc.snapshot": str(snapshot).lower(), "cdc.memory": str(written.memory)}
        if chunk is not None:
            progress = chunk()
            standing.check(table, Step.SNAPSHOT if progress.last else Step.CHUNK)
            noted["cdc.chunk"] = progress.to_json()
            actions += [
                _transaction(name, version)
                for name in ((standing.CHUNK, standing.WHOLE) if progress.last else (standing.CHUNK,))
            ]
        if resume is not None:
            noted["cdc.resume"] = resume
            actions += [_transaction(_RESUME, version)]
        return self._commit(table, "WRITE", actions, upto, noted)

    def advance(self, upto: Position, after: Position, resume: str | None = None) -> int:
        """Record that there was nothing for this table from `after` up to `upto`: a commit without files."""
        return self.append([], upto, after, resume=resume)

    def evolve(self, schema: TableSchema, changes: Sequence[str], upto: Position, after: Position) -> int:
        """Record that the table has this shape from `upto` on, and that nothing happened before since `after`."""
        table = self._continued(after)
        standing.check(table, standing.step_of(table, snapshot=False, compared=False))
        known, version = self.shapes(), table.version() + 1
        shapes = (*known, next_version(known, schema, version, self.format(upto), changes))
        kind = log_schema(images_type(shapes))
        metadata = self._metadata(table, {_SHAPES: to_json(shapes)}, DeltaSchema.from_arrow(kind).to_json())
        actions = [metadata, _transaction(_EVENTS, version)]
        if (protocol := _protocol_for(table, kind)) is not None:
            actions.insert(0, protocol)
        failpoint("log.evolve.committing")
        return self._commit(table, "CHANGE SCHEMA", actions, upto, {})

    def mark_unlogged(self, reason: str, upto: Position, after: Position) -> int:
        """Record that rows may have changed without events before `upto`, and why."""
        table = self._continued(after)
        standing.check(table, Step.DOUBT)
        failpoint("log.mark.committing")
        return self._commit(
            table, "MARK", [_transaction(standing.UNLOGGED, table.version() + 1)], upto, {"cdc.reason": reason}
        )

    def mark_gap(self, lost: Lost, reason: str, first_available: str, position: Position) -> int:
        """Record that changes from the log's position on are lost. Only a resync goes on from there."""
        table = self._continued(position)
        standing.check(table, Step.GAP_FOUND)
        noted = standing.noted(lost, reason, first_available)
        failpoint("log.gap.committing")
        return self._commit(table, "GAP", [_transaction(standing.GAP, table.version() + 1)], position, noted)

    def begin_resync(self, identity: str, position: Position) -> int:
        """Record that the commits from here on bring the log and its source together, which is this server now.

        The one with `compared` is the last of them, and closes the gap.
        """
        table = self._continued(position)
        standing.check(table, Step.RESYNC_BEGUN)
        actions = [_transaction(standing.RESYNC, table.version() + 1)]
        origin = self.origin()
        if origin.identity != identity:
            actions += [self._metadata(table, {_ORIGIN: json.dumps(asdict(replace(origin, identity=identity)))})]
        failpoint("log.resync.committing")
        return self._commit(table, "RESYNC", actions, position, {})

    def set_aside(self, place: Path) -> bool:
        """Move the log to `place`, in one step, so that another one can be begun; whether there was one."""
        if not self.path.exists():
            return False
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self.path.rename(place)
            sync(self.path.parent)
        except OSError as error:
            raise ConfigError(f"cannot move {self.path} to {place}: {error.strerror}") from error
        self._table = None
        return True

    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.stat().st_size for file in self.path.glob("*.parquet"))

    def _continued(self, after: Position | None) -> DeltaTable:
        table = self._required()
        if self.reached() != after:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again")
        # From here on the table in hand stays as it is: a commit by somebody else must collide with ours.
        return table

    def _commit(
        self,
        table: DeltaTable,
        operation: str,
        actions: Sequence[Mapping[str, Any]],
        upto: Position,
        noted: Mapping[str, str],
    ) -> int:
        """Make the next version, or none where somebody else has made it."""
        version = table.version() + 1
        places = [_transaction(standing.AT, upto.at), _transaction(_ORDINAL, upto.ordinal)]
        info = commit_info(operation, **{"cdc.position": self.format(upto), **noted})
        try:
            put(self.path, version, [info, *places, *actions])
            failpoint("log.commit.made")
            if version % _CHECKPOINT_COMMITS == 0:
                self._required().create_checkpoint()
                failpoint("log.checkpointed")
        except FileExistsError as error:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again") from error
        except (OSError, DeltaError) as error:
            raise self._unwritable(error) from error
        finally:
            self._table = None
        return version

    def _metadata(
        self, table: DeltaTable, changed: Mapping[str, str], schema: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """The table's metadata with other properties, and perhaps another schema."""
        held = table.metadata()
        return {
            "metaData": {
                "id": str(held.id),
                "name": held.name,
                "description": held.description,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema or table.schema().to_json(),
                "partitionColumns": [],
                "createdTime": held.created_time,
                "configuration": {**held.configuration, **changed},
            }
        }

    def _unwritable(self, error: Exception) -> Unavailable:
        reason = "no space is left; make room, and run again" if no_space(error) else _reason(error)
        return Unavailable(f"cannot write the change log at {self.path}: {reason}")

    # --- reading -------------------------------------------------------------------------------------------------

    def read(
        self, after: int, rows: int = 500_000, memory: int = 512 << 20, upto: int | None = None
    ) -> Iterator[Slice]:
        """The commits behind version `after`, gathered until they hold `rows` events or `memory` bytes or so, and none
        behind version `upto`.

        A snapshot stands alone, and a slice has one shape. Commits that say nothing to a reader are in no slice.
        """
        held: Slice | None = None
        shapes = self.shapes()
        # An idle table's log grows by empty commits: nobody needs to look through them to find nothing.
        last = self._required().transaction_version(_EVENTS) or 0
        for version in range(after + 1, min(last, last if upto is None else upto) + 1):
            commit = self._slice(version, shapes)
            if not commit.files and commit.version != commit.shape.commit:
                continue
            if held and (
                commit.snapshot
                or commit.shape != held.shape
                or held.rows + commit.rows > max(rows, 1)
                or held.memory > memory
            ):
                yield held
                held = None
            held = held.followed_by(commit) if held else commit
            if commit.snapshot:
                yield held
                held = None
        if held:
            yield held

    def slices(self, newest_first: bool = False) -> Iterator[Slice]:
        """Every commit with events, each by itself."""
        shapes = self.shapes()
        versions = range(1, (self._required().transaction_version(_EVENTS) or 0) + 1)
        for version in reversed(versions) if newest_first else versions:
            commit = self._slice(version, shapes)
            if commit.files:
                yield commit

    def position_of(self, version: int) -> str:
        """The source position that a version reaches, as text; empty for the creation."""
        return str(self._actions(version).get("commitInfo", [{}])[0].get("cdc.position", ""))

    def reached_by(self, version: int) -> Position:
        """The same as a number."""
        known = {txn["appId"]: int(txn["version"]) for txn in self._actions(version).get("txn", [])}
        return Position(known.get(standing.AT, 0), known.get(_ORDINAL, 0))

    def commits(self) -> Iterator[Commit]:
        """What every commit says besides its events, the first one first."""
        held: list[Path] = []
        for version in range(1, self.version() + 1):
            actions = self._actions(version)
            info = actions.get("commitInfo", [{}])[0]
            known = {txn["appId"]: int(txn["version"]) for txn in actions.get("txn", [])}
            files = [self.path / unquote(add["path"]) for add in actions.get("add", []) if add["dataChange"]]
            compared = known.get(standing.COMPARED) == version
            yield Commit(
                version,
                Position(known.get(standing.AT, 0), known.get(_ORDINAL, 0)),
                info.get("cdc.snapshot") == "true",
                standing.doubt_of(version, known, info),
                compared,
                compared and _by_comparison(files or held),
            )
            held = files

    def committed(self, version: int) -> datetime:
        """When a version was committed, by this machine's clock."""
        return datetime.fromtimestamp(self._actions(version)["commitInfo"][0]["timestamp"] / 1000, UTC)

    def shape_at(self, version: int) -> SchemaVersion:
        """The shape that holds after this commit."""
        return next(shape for shape in reversed(self.shapes()) if shape.commit <= version)

    def _slice(self, version: int, shapes: Sequence[SchemaVersion]) -> Slice:
        """One commit by itself."""
        actions = self._actions(version)
        adds = [add for add in actions.get("add", []) if add["dataChange"]]
        info = actions.get("commitInfo", [{}])[0]
        stats = [json.loads(add["stats"]) for add in adds]
        lowest = min((one["minValues"]["_at"] for one in stats), default=0)
        return Slice(
            version,
            tuple(self.path / unquote(add["path"]) for add in adds),
            sum(one["numRecords"] for one in stats),
            int(info.get("cdc.memory", 0)),
            info.get("cdc.snapshot") == "true",
            next(shape for shape in reversed(shapes) if shape.commit <= version),
            (lowest, max((one["maxValues"]["_at"] for one in stats), default=lowest)),
        )

    def _actions(self, version: int) -> Mapping[str, list[dict[str, Any]]]:
        """The actions of one commit by kind (Delta transaction log protocol, "Actions")."""
        file = self.path / LOG / f"{version:020}.json"
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

    def _configuration(self) -> Mapping[str, str]:
        return self._required().metadata().configuration

    def _required(self) -> DeltaTable:
        table = self._loaded()
        if table is None:
            raise NeedsPerson(f"there is no change log at {self.path}")
        return table

    def _loaded(self) -> DeltaTable | None:
        try:
            # Another log may have been begun here, by another object or process.
            folder = (self.path / LOG).stat().st_ino
            if self._table is None or folder != self._folder:
                self._table, self._folder = DeltaTable(str(self.path)), folder
            else:
                self._table.update_incremental()
        except (FileNotFoundError, NotADirectoryError, TableNotFoundError):
            self._table = None
        except (OSError, DeltaError) as error:
            raise NeedsPerson(f"the change log at {self.path} cannot be read: {_reason(error)}") from error
        return self._table


def _by_comparison(files: Sequence[Path]) -> bool:
    """Whether the last event of these files was made by a comparison."""
    for file in files[-1:]:
        with pq.ParquetFile(file) as parquet:
            group = parquet.metadata.num_row_groups - 1
            ordinals = parquet.read_row_group(group, columns=["_ordinal"]).column(0)
        return bool(ordinals[-1].as_py() >= COMPARED)
    return False


def _transaction(name: str, version: int) -> dict[str, dict[str, Any]]:
    return {"txn": {"appId": name, "version": version, "lastUpdated": now()}}


@lru_cache(maxsize=64)
def _shapes(stored: str, schema: str) -> tuple[SchemaVersion, ...]:
    images = pa.schema(DeltaSchema.from_json(schema).to_arrow()).field("after").type
    return from_json(stored, images)


def _protocol_for(table: DeltaTable, schema: pa.Schema) -> dict[str, dict[str, Any]] | None:
    """The protocol that a shape with times without zone needs, where the table has not got it yet."""
    naive = any(pa.types.is_timestamp(f.type) and f.type.tz is None for f in schema.field("after").type)
    have = table.protocol()
    if not naive or "timestampNtz" in (have.writer_features or ()):
        return None
    # A legacy protocol (reader 1, writer 2) stands for these two; with features they are named.
    writer = set(have.writer_features or ("appendOnly", "invariants")) | {"timestampNtz"}
    reader = set(have.reader_features or ()) | {"timestampNtz"}
    return {
        "protocol": {
            "minReaderVersion": 3,
            "minWriterVersion": 7,
            "readerFeatures": sorted(reader),
            "writerFeatures": sorted(writer),
        }
    }


def _reason(error: BaseException) -> str:
    """An error's first line: Delta's own messages may run over many."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
