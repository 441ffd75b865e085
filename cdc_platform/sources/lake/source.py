"""A table of a lake as a `Source`: snapshots are its versions, its log is the row of its commits.

    head ── the latest version        snapshot ── the live files of a version        changes ── commit by commit:

    files that came or went ──> one side alone ──────> INSERTs or DELETEs, streamed
                            ──> both ──> plan.py ────> INSERT, UPDATE, DELETE by key, rows fetched batch by batch
                            ──> a history ──> history.py ──> the changes that its rows tell of

Why nothing is lost or doubled: a commit's files never change, so (version, number of the row) orders all changes and is
the same at each reading; `changes` delivers exactly the versions in [start, until), and a position inside a version is
one of these numbers. The table keeps its history as long as it is told to (vacuum, expiry of snapshots), whoever reads
it: acknowledging does nothing, and a reader that comes too late meets a Gap.

Columns that begin with `_cdc_` are a destination's own and none of the source's. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import polars as pl

from cdc_platform.errors import ConfigError, Gap, Lost, NeedsPerson
from cdc_platform.model.change import DELETE, INSERT, Captured, ChangeBatch, Entry, Followed, Place, Reshaped, Unlogged
from cdc_platform.model.evolution import differences, widens
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.lake import history, plan
from cdc_platform.sources.lake.batches import BATCH_ROWS, NOTATION, indexed, of_one_kind, of_plan
from cdc_platform.sources.lake.reading import readable, still_there
from cdc_platform.sources.lake.rows import Rows
from cdc_platform.sources.lake.snapshot import LakeSnapshot
from cdc_platform.sources.lake.table import CAME, GONE, MIXED, LakeCommit, LakeTable, Shape

OWN: Final = "_cdc_"


@dataclass(slots=True)
class LakeSource:
    """One table. `key` are the columns that tell its rows apart, where the table itself does not say so; `near` names
    the tables that are there. With `is_history`, its rows are changes."""

    table: LakeTable
    place: str
    key: Sequence[str] | None
    is_history: bool
    near: Callable[[], Sequence[str]] = field(default=lambda: ())

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        with self._reading():
            self._there()
            return {table: self.schema_of(table, self.table.shape()) for table in tables}

    def schema_of(self, table: TableName, shape: Shape) -> TableSchema:
        """What events show of a shape."""
        hidden = shape.generated if self.is_history else frozenset()
        columns = tuple(c for c in shape.columns if not c.name.startswith(OWN) and c.name not in hidden)
        names = [column.name for column in columns]
        key = tuple(self.key or shape.key)
        for name in key:
            if name not in names:
                raise ConfigError(f"{self.table.name} has no column '{name}' for its primary_key")
        if self.is_history:
            self._own(shape)
        return TableSchema(table, columns, key)

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        with self._reading():
            if self.table.head() is None:
                return {}
            return dict.fromkeys(tables, Fingerprint(self.table.identity(), ""))

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        """None: what a commit does to rows is in its files."""
        return None

    def prepare(self, tables: Sequence[TableName]) -> None:
        """Look whether the table can be read here. Nothing is made."""
        self.schemas(tables)

    def check_resumable(self, start: Position) -> None:
        with self._reading():
            head = self.table.head()
            if head is None or head + 1 < start.at:
                found = "is not there any more" if head is None else f"ends at version {head}"
                raise Gap(
                    f"{self.table.name} {found}, and was read up to version {start.at - 1}: it was restored from a "
                    "copy, rolled back or made again; run: cdc resync",
                    Lost.LOG_ENDS_BEFORE,
                )
            self.table.check_from(start)

    def available(self) -> Position:
        with self._reading():
            return Position(self.table.available())

    def reopen(self, tables: Sequence[TableName]) -> None:
        self.prepare(tables)

    def keeping(self, position: Position) -> Keeping:
        """Nothing is kept for a reader."""
        return Keeping()

    def extent(self, table: TableName) -> Extent:
        with self._reading():
            self._there()
            return self.table.extent()

    def identity(self) -> str:
        """Where the table is. That it is the same one is told by its fingerprint."""
        return self.place

    def head(self) -> Position:
        with self._reading():
            return Position(self._there() + 1)

    @contextmanager
    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> Iterator[LakeSnapshot]:
        """The table's latest version. Its files stay as they are, so no one waits; there is one reader."""
        with still_there(self.table.name):
            version = self._there()
            shape, parts = self.table.snapshot(version)
            own = self._own(shape) if self.is_history else ()
            schemas = {table: self.schema_of(table, shape) for table in tables}
            rows = Rows(shape, parts)
        yield LakeSnapshot(self.table.name, Position(version + 1), schemas, rows, own, datetime.now(UTC))

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        ((table, one),) = followed.items()
        reading = _Reading(self, table, one.schema, max(start, one.position))
        entries: list[Entry] = []
        rows, reached = 0, reading.position
        try:
            with self._reading():
                self.check_resumable(reading.position)
                self._check_same(one.resume)
                end = until.at if until.ordinal else until.at - 1
                for commit in self.table.commits(reading.position.at, end):
                    for entry in reading.entries(commit):
                        entries.append(entry)
                        rows += len(entry) if isinstance(entry, ChangeBatch) else 0
                        if rows >= BATCH_ROWS and isinstance(entry, ChangeBatch):
                            reached = Position(commit.version, int(entry.frame["ordinal"][-1]) + 1)
                            yield Captured(tuple(entries), reached)
                            entries, rows = [], 0
                    reached = Position(commit.version + 1)
        except Gap:
            if entries:
                yield Captured(tuple(entries), reached)
            raise
        except NeedsPerson as error:
            yield Captured(tuple(entries), reached, {table: error})
            return
        yield Captured(tuple(entries), max(until, reached), resume=self._marked(table, reached))

    def _marked(self, table: TableName, reached: Position) -> dict[TableName, str]:
        """What tells the last version that was read from another one of its number."""
        with self._reading():
            version = reached.at - 1
            mark = self.table.mark(version)
        return {} if reached.ordinal or mark is None else {table: f"{version} {mark}"}

    def _check_same(self, known: str | None) -> None:
        version, _, mark = (known or "").partition(" ")
        if version and (now := self.table.mark(int(version))) is not None and now != mark:
            raise Gap(
                f"{self.table.name}: version {version} is another one than that which was read: the table was restored "
                "from a copy and went on from there; run: cdc resync",
                Lost.LOG_FOREIGN,
            )

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        return []

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        return {}

    def remove(self, name: str) -> None:
        """Nothing was made."""

    def acknowledge(self, position: Position) -> None:
        """Nothing: the table forgets by age, whoever reads it."""

    def notation(self) -> Notation:
        return NOTATION

    def format(self, position: Position) -> str:
        return NOTATION.format(position)

    def close(self) -> None: ...

    def _own(self, shape: Shape) -> tuple[str, ...]:
        names = [column.name for column in shape.columns]
        return history.columns_of(names, tuple(self.key or shape.key), self.table.name)

    def _there(self) -> int:
        """The latest version. A table that is missing is a matter of configuration."""
        version = self.table.head()
        if version is None:
            import difflib

            close = difflib.get_close_matches(self.table.name.rpartition(" ")[2], list(self.near()), 1, 0.5)
            hint = f"did you mean '{close[0]}'?" if close else "correct its name, or the connection"
            raise ConfigError(f"there is no {self.table.name} at {self.place}; {hint}")
        return version

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Errors of reading the table's history."""
        try:
            with readable(self.table.name):
                yield
        except FileNotFoundError as error:
            raise Gap(
                f"{self.table.name}: a file of its history is gone ({error.filename or 'vacuumed'}); run: cdc resync",
                Lost.LOG_PURGED,
            ) from error


@dataclass(slots=True)
class _Reading:
    """The commits of one table, one after another, from `position` on; `schema` is the shape before it."""

    source: LakeSource
    table: TableName
    schema: TableSchema
    position: Position

    def entries(self, commit: LakeCommit) -> Iterator[Entry]:
        """What a commit says, in the order of its ordinals; nothing before `position`."""
        known, now = self.schema, self.source.schema_of(self.table, commit.shape)
        self.schema = now
        if self._retyped(known, now) and any(part.side == GONE for part in commit.parts):
            yield from self._apart(commit, known, now)
            return
        if differences(known, now):
            yield Reshaped(now, self._place(commit, 0))
        for batch in self._batches(commit, now):
            if isinstance(batch, Unlogged):
                yield batch
            elif (kept := self._since(batch)) is not None:
                yield kept

    def _batches(self, commit: LakeCommit, schema: TableSchema) -> Iterator[ChangeBatch | Unlogged]:
        sides = {part.side for part in commit.parts}
        if not sides:
            return
        where = f"{self.source.table.name}, version {commit.version}"
        if self.source.is_history:
            if sides != {CAME}:
                reason = f"rows of the history were taken out or rewritten (version {commit.version})"
                yield Unlogged(self.table, self._place(commit, 0), reason)
                return
            own = history.columns_of([c.name for c in commit.shape.columns], schema.primary_key, where)
            rows = Rows(commit.shape, commit.parts)
            index = indexed(rows, schema.primary_key, (), own)
            planned = history.changes(index, schema.primary_key, own, where)
            left = self._left(planned, commit)
            for batch in of_plan(left, rows, schema, commit.version, commit.time):
                yield replace(batch, bare=True)
        elif len(sides) == 1 and MIXED not in sides:
            rows = Rows(commit.shape, commit.parts)
            operation = INSERT if sides == {CAME} else DELETE
            yield from of_one_kind(rows.frames(schema.names), operation, schema, commit.version, commit.time)
        else:
            rows, told = Rows(commit.shape, commit.parts), MIXED in sides
            hashed = () if told and schema.primary_key else schema.names
            planned = plan.changes(indexed(rows, schema.primary_key, hashed), schema.primary_key, told, where)
            yield from of_plan(self._left(planned, commit), rows, schema, commit.version, commit.time)

    def _apart(self, commit: LakeCommit, known: TableSchema, now: TableSchema) -> Iterator[Entry]:
        """A column got another type with its rows: those that are gone have the former one, so both go apart."""
        gone = Rows(commit.before, [part for part in commit.parts if part.side == GONE])
        came = Rows(commit.shape, [part for part in commit.parts if part.side == CAME], len(gone))
        for batch in of_one_kind(gone.frames(known.names), DELETE, known, commit.version, commit.time):
            if (kept := self._since(batch)) is not None:
                yield kept
        yield Reshaped(now, self._place(commit, len(gone)))
        for batch in of_one_kind(came.frames(now.names), INSERT, now, commit.version, commit.time):
            if (kept := self._since(batch)) is not None:
                yield kept

    def _retyped(self, known: TableSchema, now: TableSchema) -> bool:
        types = {column.source_id: column.type for column in known.columns}
        return any(
            (was := types.get(column.source_id, column.type)) != column.type and not widens(was, column.type)
            for column in now.columns
        )

    def _left(self, planned: pl.DataFrame, commit: LakeCommit) -> pl.DataFrame:
        """The plan from `position` on: rows before it are not fetched."""
        if commit.version != self.position.at:
            return planned
        return planned.filter(pl.col(plan.ORDINAL) >= self.position.ordinal)

    def _since(self, batch: ChangeBatch) -> ChangeBatch | None:
        if batch.frame.is_empty():
            return None
        if batch.start >= self.position:
            return batch
        frame = batch.frame.filter((pl.col("at") > self.position.at) | (pl.col("ordinal") >= self.position.ordinal))
        return replace(batch, frame=frame) if frame.height else None

    def _place(self, commit: LakeCommit, ordinal: int) -> Place:
        text = NOTATION.lsn(Position(commit.version, ordinal))
        return Place(commit.version, ordinal, text, str(commit.version), commit.time)
