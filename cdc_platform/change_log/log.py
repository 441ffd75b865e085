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
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import DeltaError, TableNotFoundError

from cdc_platform.change_log import standing
from cdc_platform.change_log.chunks import Chunk, chunk_of
from cdc_platform.change_log.commits import Commit
from cdc_platform.change_log.files import polars_schema, write_files
from cdc_platform.change_log.head import EVENTS, FINGERPRINT, NOTATION, ORDINAL, ORIGIN, RESUME, SHAPES, Head
from cdc_platform.change_log.shapes import (
    SchemaVersion,
    first_version,
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
from cdc_platform.model.lifecycle import OpenGap, State, Step, taken
from cdc_platform.model.position import LSN, Notation, Position
from cdc_platform.model.schema import Fingerprint, TableSchema

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
        self._head: Head | None = None
        self._folder: int | None = None

    # --- what is in it -------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the table is there at all (it may lack its snapshot still)."""
        return self._loaded() is not None

    def position(self) -> Position | None:
        """The bound up to which the log is complete; None until the snapshot is in, with all its chunks."""
        head = self._loaded()
        return None if head is None or self._unfinished(head) else head.reached

    def unfinished(self) -> Chunk | None:
        """How far the snapshot is, where some of its chunks are in and not all."""
        head = self._loaded()
        return self._unfinished(head) if head else None

    def reached(self) -> Position | None:
        """Where the log stands: `position`, and while the snapshot is unfinished the bound up to which the log is
        complete for the keys that are in. None before the snapshot's first commit."""
        head = self._loaded()
        return head.reached if head else None

    def version(self) -> int:
        """The number of the latest commit; -1 when there is no log."""
        head = self._loaded()
        return head.version if head else -1

    def id(self) -> str:
        """The table's own id, which a log that was deleted and made again does not share."""
        return self._required().id

    def origin(self) -> Origin:
        """Where the events come from, as recorded at creation."""
        return self._required().origin

    def shapes(self) -> tuple[SchemaVersion, ...]:
        """Every shape that the table has had, in order."""
        return self._required().shapes

    def schema(self) -> TableSchema:
        """The source table's shape at `position`."""
        return self.shapes()[-1].schema

    def unlogged(self) -> str | None:
        """Why rows may have changed at the source without events (in words), if they have not been compared since."""
        head = self._required()
        marked = head.said(standing.UNLOGGED)
        if marked is None or marked <= (head.said(standing.COMPARED) or 0):
            return None
        return str(self._actions(marked)["commitInfo"][0]["cdc.reason"])

    def state(self) -> State:
        """Where the table stands."""
        head = self._loaded()
        return head.state if head else State.NEW

    def gap(self) -> OpenGap | None:
        """The gap that is open, if one is."""
        head = self._required()
        if head.state not in (State.GAP, State.RESYNCING):
            return None
        marked = head.said(standing.GAP) or 0
        return standing.open_gap(self._actions(marked)["commitInfo"][0])

    def fingerprint(self) -> Fingerprint:
        """The source table's when its rows were last read whole."""
        return self._required().fingerprint

    def notation(self) -> Notation:
        """How its positions are written."""
        return self._required().notation

    def resume(self) -> str | None:
        """What the source left with the last commit that had such a word, to go on from (`Captured.resume`).

        None where a resync came after it: the log goes on from another place then.
        """
        head = self._loaded()
        said = head.said(RESUME) if head else None
        if head is None or said is None or said < (head.said(standing.RESYNCED) or 0):
            return None
        return str(self._actions(said)["commitInfo"][0]["cdc.resume"])

    def format(self, position: Position) -> str:
        """A position as text, in the source's own words."""
        return self.notation().format(position)

    # --- writing -------------------------------------------------------------------------------------------------

    def create(
        self, schema: TableSchema, origin: Origin, notation: Notation = LSN, fingerprint: Fingerprint = NO_FINGERPRINT
    ) -> None:
        """Make the empty log in place of one that a snapshot which died has left."""
        if (there := self._loaded()) is not None:
            if there.reached is not None:
                raise NeedsPerson(f"there is a change log at {self.path} already; move it away to begin anew")
            if (there.shapes[-1].schema, there.origin, there.fingerprint) == (schema, origin, fingerprint):
                return
            # A snapshot that died before its commit, of a table that has changed since.
            self.discard()
            failpoint("log.cleared")
        first = first_version(schema)
        configuration = {
            **_PROPERTIES,
            ORIGIN: json.dumps(asdict(origin)),
            SHAPES: to_json([first]),
            FINGERPRINT: json.dumps(asdict(fingerprint)),
            NOTATION: json.dumps(asdict(notation)),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
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
        self._head = None

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
        head = self._continued(after)
        step = standing.step_of(head.state, snapshot, compared is not None, chunk is not None)
        taken(head.state, step)
        shape, types = head.shapes[-1], head.types
        images = polars_schema(types)["after"]
        assert isinstance(images, pl.Struct)
        try:
            written = write_files(self.path, (laid_out(frame, shape, images) for frame in events), types)
        except OSError as error:
            raise self._unwritable(error) from error
        if written.actions:
            failpoint("log.files.written")
        version = head.version + 1
        actions = [*written.actions]
        if compared is not None:
            actions += [_transaction(standing.COMPARED, version)]
            actions += [_transaction(standing.RESYNCED, version)] if step == Step.RESYNCED else []
            if compared != head.fingerprint:
                actions += [head.metadata({FINGERPRINT: json.dumps(asdict(compared))})]
        if written.actions:
            actions += [_transaction(EVENTS, version)]
        noted = {"cdc.snapshot": str(snapshot).lower(), "cdc.memory": str(written.memory)}
        if chunk is not None:
            progress = chunk()
            taken(head.state, Step.SNAPSHOT if progress.last else Step.CHUNK)
            noted["cdc.chunk"] = progress.to_json()
            actions += [
                _transaction(name, version)
                for name in ((standing.CHUNK, standing.WHOLE) if progress.last else (standing.CHUNK,))
            ]
        if resume is not None:
            noted["cdc.resume"] = resume
            actions += [_transaction(RESUME, version)]
        return self._commit(head, "WRITE", actions, upto, noted)

    def advance(self, upto: Position, after: Position, resume: str | None = None) -> int:
        """Record that there was nothing for this table from `after` up to `upto`: a commit without files."""
        return self.append([], upto, after, resume=resume)

    def evolve(self, schema: TableSchema, changes: Sequence[str], upto: Position, after: Position) -> int:
        """Record that the table has this shape from `upto` on, and that nothing happened before since `after`."""
        head = self._continued(after)
        taken(head.state, standing.step_of(head.state, snapshot=False, compared=False))
        known, version = head.shapes, head.version + 1
        shapes = (*known, next_version(known, schema, version, head.notation.format(upto), changes))
        kind = log_schema(images_type(shapes))
        metadata = head.metadata({SHAPES: to_json(shapes)}, DeltaSchema.from_arrow(kind).to_json())
        actions = [metadata, _transaction(EVENTS, version)]
        if (protocol := head.protocol_for(kind)) is not None:
            actions.insert(0, protocol)
        failpoint("log.evolve.committing")
        return self._commit(head, "CHANGE SCHEMA", actions, upto, {})

    def mark_unlogged(self, reason: str, upto: Position, after: Position) -> int:
        """Record that rows may have changed without events before `upto`, and why."""
        head = self._continued(after)
        taken(head.state, Step.DOUBT)
        failpoint("log.mark.committing")
        return self._commit(
            head, "MARK", [_transaction(standing.UNLOGGED, head.version + 1)], upto, {"cdc.reason": reason}
        )

    def mark_gap(self, lost: Lost, reason: str, first_available: str, position: Position) -> int:
        """Record that changes from the log's position on are lost. Only a resync goes on from there."""
        head = self._continued(position)
        taken(head.state, Step.GAP_FOUND)
        noted = standing.noted(lost, reason, first_available)
        failpoint("log.gap.committing")
        return self._commit(head, "GAP", [_transaction(standing.GAP, head.version + 1)], position, noted)

    def begin_resync(self, identity: str, position: Position) -> int:
        """Record that the commits from here on bring the log and its source together, which is this server now.

        The one with `compared` is the last of them, and closes the gap.
        """
        head = self._continued(position)
        taken(head.state, Step.RESYNC_BEGUN)
        actions = [_transaction(standing.RESYNC, head.version + 1)]
        origin = head.origin
        if origin.identity != identity:
            actions += [head.metadata({ORIGIN: json.dumps(asdict(replace(origin, identity=identity)))})]
        failpoint("log.resync.committing")
        return self._commit(head, "RESYNC", actions, position, {})

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
        self._head = None
        return True

    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.stat().st_size for file in self.path.glob("*.parquet"))

    def _continued(self, after: Position | None) -> Head:
        head = self._required()
        if head.reached != after:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again")
        return head

    def _commit(
        self,
        head: Head,
        operation: str,
        actions: Sequence[Mapping[str, Any]],
        upto: Position,
        noted: Mapping[str, str],
    ) -> int:
        """Make the next version, or none where somebody else has made it."""
        version = head.version + 1
        places = [_transaction(standing.AT, upto.at), _transaction(ORDINAL, upto.ordinal)]
        info = commit_info(operation, **{"cdc.position": head.notation.format(upto), **noted})
        try:
            put(self.path, version, [info, *places, *actions])
            failpoint("log.commit.made")
            if version % _CHECKPOINT_COMMITS == 0:
                self._required().table.create_checkpoint()
                failpoint("log.checkpointed")
        except FileExistsError as error:
            raise Unavailable(f"{_MEANWHILE} {self.path}; run again") from error
        except (OSError, DeltaError) as error:
            raise self._unwritable(error) from error
        return version

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
        last = self._required().said(EVENTS) or 0
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
        versions = range(1, (self._required().said(EVENTS) or 0) + 1)
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
        return Position(known.get(standing.AT, 0), known.get(ORDINAL, 0))

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
                Position(known.get(standing.AT, 0), known.get(ORDINAL, 0)),
                info.get("cdc.snapshot") == "true",
                standing.doubt_of(version, known, info),
                compared,
                compared and _by_comparison(files or held),
            )
            held = files

    def compared(self) -> datetime:
        """When it was last known to hold what its source did: compared, or taken as a snapshot."""
        head = self._required()
        known = [head.said(name) for name in (standing.COMPARED, standing.WHOLE)]
        return self.committed(max(version or 1 for version in known))

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
        try:
            lines = self._file(version).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise NeedsPerson(
                f"commit {version} of the change log at {self.path} is gone; begin its pipeline anew"
            ) from error
        actions: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            for kind, action in json.loads(line).items():
                actions.setdefault(kind, []).append(action)
        return actions

    def _unfinished(self, head: Head) -> Chunk | None:
        if head.state != State.SNAPSHOTTING:
            return None
        return chunk_of(str(self._actions(head.said(standing.CHUNK) or 0)["commitInfo"][0]["cdc.chunk"]))

    def _required(self) -> Head:
        head = self._loaded()
        if head is None:
            raise NeedsPerson(f"there is no change log at {self.path}")
        return head

    def _loaded(self) -> Head | None:
        """The log as it is on disk now. The head in hand is that, unless another log was begun here, by another
        object or process, or there is a commit behind it: their numbers have no holes, and none is cleaned up."""
        try:
            folder = (self.path / LOG).stat().st_ino
            if self._head is None or folder != self._folder or self._file(self._head.version + 1).exists():
                self._head, self._folder = Head(DeltaTable(str(self.path))), folder
        except (FileNotFoundError, NotADirectoryError, TableNotFoundError):
            self._head = None
        except (OSError, DeltaError) as error:
            raise NeedsPerson(f"the change log at {self.path} cannot be read: {_reason(error)}") from error
        return self._head

    def _file(self, version: int) -> Path:
        return self.path / LOG / f"{version:020}.json"


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


def _reason(error: BaseException) -> str:
    """An error's first line: Delta's own messages may run over many."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
