"""Source, log and destination of one flow compared: digests of parts first, then the rows of the parts that differ.

    touched   the parts that have events which are not kept as seen, and those that nothing is kept of
    state     latest state by the log (of touched parts) against the source's rows there
    lake      digests of all files of the destination, by part, against: history  digests of all files of the log
                                                                         upsert   the latest state by the log

Digests of rows add up, so those of a file are worked out once. That the destination holds, row by row and cell by cell,
what the log says, and the log's latest state is the source's, is the equality of destination and source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from cdc_platform.destinations.copy_on_write import FILE
from cdc_platform.engine.progress import Progress
from cdc_platform.engine.verification.differences import (
    KeyDifferences,
    Surplus,
    row_differences,
    state_differences,
    surplus,
    taken,
)
from cdc_platform.engine.verification.expected import Expected, LogFile
from cdc_platform.engine.verification.files import Identity, identity
from cdc_platform.engine.verification.kept import FILES, STATE, Kept, nothing
from cdc_platform.engine.verification.lake import PLACE, Lake
from cdc_platform.engine.verification.marks import ALL, COUNT, HELD, ROWS, VALUES, added, differing, sums
from cdc_platform.engine.verification.origin import Origin
from cdc_platform.engine.verification.parts import PART
from cdc_platform.engine.verification.spool import Spool
from cdc_platform.errors import NeedsPerson, NotUnderstood

_GROUP_ROWS = 1_000_000


@dataclass(slots=True)
class Work:
    """What was read, of how much: the measure of whether a verification costs in proportion to what changed."""

    parts: int = 0
    parts_compared: int = 0
    source_rows_read: int = 0
    source_rows_digested: int = 0
    log_files: int = 0
    log_files_read: int = 0
    lake_files: int = 0
    lake_files_read: int = 0
    quarantined_keys: int = 0

    @property
    def source_rows(self) -> int:
        return self.source_rows_read + self.source_rows_digested


@dataclass(slots=True)
class Compared:
    """`state` says that source and log differ, `surplus` what makes the destination what the log says, `lost` which of
    its files cannot be read, `misfits` which are not of the size that the table's metadata say (some readers fail on
    them, whatever their rows are). `kept` is for the next comparison."""

    rows: int
    keys: KeyDifferences
    kept: Kept
    work: Work
    state: bool = False
    surplus: list[Surplus] = field(default_factory=list)
    lost: set[Path] = field(default_factory=set)
    misfits: set[Path] = field(default_factory=set)

    @property
    def equal(self) -> bool:
        return not (self.state or self.surplus or self.lost or self.misfits)

    def gone(self) -> dict[Path, pl.Series | None]:
        """What has to go of the destination, by file: the numbers of rows, or all of it."""
        found: dict[Path, list[pl.Series]] = {}
        for group in self.surplus:
            for path, numbers in group.extra.items():
                found.setdefault(path, []).append(numbers)
        rows: dict[Path, pl.Series | None] = {path: pl.concat(numbers) for path, numbers in found.items()}
        nothing = {path: pl.Series(dtype=pl.Int64) for path in self.misfits if path not in rows}
        return {**rows, **nothing, **dict.fromkeys(self.lost)}


class Comparison:
    """One flow's. `history` says that the destination keeps every change; `folder` is for what does not fit memory."""

    def __init__(self, expected: Expected, origin: Origin, lake: Lake, history: bool, folder: Path) -> None:
        self._expected, self._origin, self._lake = expected, origin, lake
        self._marking, self._history, self._folder = expected.marking, history, folder
        self._files = expected.files()
        self._identities = [_of_log(file) for file in self._files]
        self._misfits: set[Path] = set()
        self.work = Work(parts=expected.marking.parts.count, log_files=len(self._files))

    def compared(self, kept: Kept, progress: Progress) -> Compared:
        """`kept` is what was found equal before, of the same marking."""
        live = set(self._identities)
        if not kept.log.keys() <= live:
            # Files of a log never go: this one was tampered with, and nothing that was made of it is known.
            kept = nothing(kept.parts)
        log = {of: frame for of, frame in kept.log.items() if of in live}
        touched = self._touched(kept)
        latest = self._latest(touched, log, progress)
        source = self._origin.digests(touched)
        state = pl.concat(
            [kept.state.filter(~pl.col(PART).is_in(pl.Series(touched, dtype=pl.UInt32).implode())), latest]
        )
        done = Compared(0, KeyDifferences(self._marking.key), kept, self.work)
        done.rows = int(source[ROWS].sum()) + int(state.filter(~pl.col(PART).is_in(latest[PART].implode()))[ROWS].sum())
        unequal = differing(source, latest, VALUES)
        done.state = bool(unequal)
        self._compare_rows(unequal, {int(p): int(n) for p, n in latest.select(PART, ROWS).iter_rows()}, log, done.keys)
        if unequal and not done.keys.any:
            raise NotUnderstood(
                f"{self._origin.table}: the database digests rows otherwise than they were read, though none differs; "
                "verify without --in-database, and report the column types"
            )

        lake = self._digests(kept, progress)
        held = added(pl.concat([pl.DataFrame(schema=FILES), *lake.values()]), ALL)
        wanted = (
            added(pl.concat([pl.DataFrame(schema=FILES), *log.values()]), ALL) if self._history else _as_held(state)
        )
        wrong = differing(wanted, held, ALL)
        # A file that is gone has no rows, and if it had none before, it still has to go.
        done.lost = set(self._lake.lost)
        done.misfits = self._misfits - done.lost
        counts = {int(p): int(n) for p, n in wanted.select(PART, ROWS).iter_rows()}
        for group in _groups(wrong, counts):
            self._compare_lake(group, log, lake, done)
        equal = state.filter(~pl.col(PART).is_in(pl.Series(unequal, dtype=pl.UInt32).implode()))
        done.kept = Kept(kept.parts, kept.whole, equal, log, {of: f for of, f in lake.items() if of is not None})
        self.work.source_rows_read = self._origin.rows_read
        self.work.source_rows_digested = self._origin.rows_digested
        self.work.parts_compared = len(set(touched) | set(wrong))
        return done

    # The log's side

    def _touched(self, kept: Kept) -> list[int]:
        """Parts with events in files that are not kept, and parts of which no state is."""
        known = set(kept.state[PART].to_list())
        touched = set(range(kept.parts.count)) - known
        if known:
            for file, of in zip(self._files, self._identities, strict=True):
                if of not in kept.log:
                    for marks in self._expected.changes(file):
                        touched |= set(marks[PART].unique().to_list())
        return sorted(touched)

    def _latest(self, touched: Sequence[int], log: dict[Identity, pl.DataFrame], progress: Progress) -> pl.DataFrame:
        """Digests (`STATE`) of the touched parts' latest state by the log; fills `log` with its files' digests."""
        rows: list[pl.DataFrame] = []
        wanted = pl.Series(touched, dtype=pl.UInt32).implode()
        with Spool(self._folder, self._marking) as spool:
            read = 0
            for file, of in zip(self._files, self._identities, strict=True):
                fresh = of not in log
                if not fresh and log[of].filter(pl.col(PART).is_in(wanted)).is_empty():
                    continue
                self.work.log_files_read += 1
                parts: list[pl.DataFrame] = [pl.DataFrame(schema=FILES)]
                for marks in self._expected.changes(file):
                    read += marks.height
                    progress(f"verify {self._origin.table.name}: log", read)
                    spool.add(marks.filter(pl.col(PART).is_in(wanted)))
                    if fresh and not self._expected.apart:
                        parts.append(sums(marks, ALL))
                if fresh and self._expected.apart:
                    # What the events make of the state is not what stands in a history: read for that, too.
                    parts += [sums(self._marking.whole(frame), ALL) for frame in self._expected.rows(file)]
                if fresh:
                    log[of] = added(pl.concat(parts), ALL)
            for part, marks in spool.parts():
                rows.append(self._state_of(part, marks))
        found = pl.concat([pl.DataFrame(schema=STATE), *rows])
        empty = pl.DataFrame({PART: pl.Series(sorted(set(touched) - set(found[PART].to_list())), dtype=pl.UInt32)})
        return pl.concat(
            [found, empty.select(pl.col(n) if n == PART else pl.lit(0, t).alias(n) for n, t in STATE.items())]
        )

    def _state_of(self, part: int, marks: pl.DataFrame) -> pl.DataFrame:
        compared = self._origin.without_aside(marks)
        state = {PART: part, ROWS: compared.height, HELD: marks.height}
        if self._marking.key:
            words = {name: _sum(compared[name]) for name in VALUES} | {name: _sum(marks[name]) for name in ALL}
        else:
            state[ROWS] = state[HELD] = int(marks[COUNT].sum())
            words = {name: _sum(marks[name], marks[COUNT]) for name in VALUES} | dict.fromkeys(ALL, 0)
        return pl.DataFrame({**state, **words}, schema=STATE)

    def lacking(self, compared: Compared) -> Iterator[pl.DataFrame]:
        """The rows that the destination lacks, as the log has them."""
        for group in compared.surplus:
            lacking = group.lacking
            for file in self._holding(group.parts, compared.kept.log):
                for rows in self._expected.rows(file) if lacking.height else ():
                    found, lacking = taken(rows, self._marking.whole(rows), lacking)
                    if found.height:
                        yield found
            if lacking.height:
                raise NotUnderstood(f"{self._origin.table}: rows of the change log were not found when read again")

    def _holding(self, parts: Sequence[int], log: dict[Identity, pl.DataFrame]) -> Iterator[LogFile]:
        wanted = pl.Series(parts, dtype=pl.UInt32).implode()
        for file, of in zip(self._files, self._identities, strict=True):
            if log[of].filter(pl.col(PART).is_in(wanted)).height:
                yield file

    def _state_marks(self, parts: Sequence[int], log: dict[Identity, pl.DataFrame]) -> pl.DataFrame:
        """Marks of the latest state in some parts."""
        wanted = pl.Series(parts, dtype=pl.UInt32).implode()
        with Spool(self._folder, self._marking) as spool:
            kind: pl.DataFrame | None = None
            for file in self._holding(parts, log):
                for marks in self._expected.changes(file):
                    kind = marks.clear() if kind is None else kind
                    spool.add(marks.filter(pl.col(PART).is_in(wanted)))
            frames = [marks for _, marks in spool.parts()]
        empty = self._empty() if kind is None else kind
        return pl.concat([empty, *frames], how="diagonal_relaxed")

    def _history_marks(self, parts: Sequence[int], log: dict[Identity, pl.DataFrame]) -> pl.DataFrame:
        wanted = pl.Series(parts, dtype=pl.UInt32).implode()
        frames = [
            self._marking.whole(rows).filter(pl.col(PART).is_in(wanted))
            for file in self._holding(parts, log)
            for rows in self._expected.rows(file)
        ]
        return pl.concat([self._empty().drop(VALUES), *frames])

    def _empty(self) -> pl.DataFrame:
        return self._marking.both(pl.DataFrame(schema=self._marking.types))

    # Rows of parts that differ

    def _compare_rows(
        self, parts: Sequence[int], counts: dict[int, int], log: dict[Identity, pl.DataFrame], keys: KeyDifferences
    ) -> None:
        for group in _groups(parts, counts):
            ours = self._state_marks(group, log)
            theirs = pl.concat([self._empty().select(*self._marking.key, PART, *VALUES), *self._origin.marks(group)])
            if self._marking.key:
                ours = self._origin.without_aside(ours)
                keys.add(state_differences(theirs, ours, self._marking.key))
            else:
                if COUNT not in ours.columns:
                    ours = ours.with_columns(pl.lit(0, pl.Int64).alias(COUNT))
                missing, unexpected = row_differences(theirs, ours)
                keys.count("missing", missing)
                keys.count("unexpected", unexpected)

    def _compare_lake(
        self,
        group: Sequence[int],
        log: dict[Identity, pl.DataFrame],
        lake: dict[Identity | None, pl.DataFrame],
        done: Compared,
    ) -> None:
        expected = self._history_marks(group, log) if self._history else self._state_marks(group, log)
        found, keys, (lacking, extra) = surplus(group, expected, self._lake_marks(group, lake), self._marking.key)
        done.surplus.append(found)
        done.lost = set(self._lake.lost)
        if self._marking.key:
            done.keys.add(keys)
        else:
            done.keys.count("missing", lacking)
            done.keys.count("unexpected", extra)

    # The destination's side

    def _digests(self, kept: Kept, progress: Progress) -> dict[Identity | None, pl.DataFrame]:
        """The digests of all files that are there, those kept as they were; nobody reads what is known."""
        contents = self._lake.contents
        self.work.lake_files = len(contents.files)
        identities = [identity(path) for path in contents.files]
        self._misfits = {
            path
            for path, of, size in zip(contents.files, identities, contents.sizes, strict=True)
            if of is not None and of.size != size
        }
        self._lake.lost |= {path for path, of in zip(contents.files, identities, strict=True) if of is None}
        found: dict[Identity | None, pl.DataFrame] = {of: kept.lake[of] for of in identities if of in kept.lake}
        fresh = [place for place, of in enumerate(identities) if of is not None and of not in found]
        self.work.lake_files_read = len(fresh)
        parts: list[pl.DataFrame] = []
        read = 0
        for frame in self._lake.frames(fresh):
            read += frame.height
            progress(f"verify {self._origin.table.name}: destination", read)
            marks = self._marking.whole(frame.drop(FILE)).with_columns(frame[FILE])
            parts.append(sums(marks, ALL, (FILE, PART)))
        if parts:
            for (place,), rows in added(pl.concat(parts), ALL, (FILE, PART)).group_by(FILE):
                assert isinstance(place, int)
                if contents.files[place] not in self._lake.lost:
                    found[identities[place]] = rows.select(list(FILES))
        return found

    def _lake_marks(
        self, parts: Sequence[int], lake: dict[Identity | None, pl.DataFrame]
    ) -> Iterator[tuple[Path, pl.DataFrame]]:
        wanted = pl.Series(parts, dtype=pl.UInt32).implode()
        paths = {of.path for of, frame in lake.items() if of and frame.filter(pl.col(PART).is_in(wanted)).height}
        for place in self._lake.places(paths):
            for rows in self._lake.numbered(place):
                marks = self._marking.whole(rows).with_columns(rows[PLACE])
                yield self._lake.contents.files[place], marks.filter(pl.col(PART).is_in(wanted))


def _as_held(state: pl.DataFrame) -> pl.DataFrame:
    """What a destination of the current state holds by part."""
    return state.select(PART, pl.col(HELD).alias(ROWS), *ALL)


def _sum(words: pl.Series, counts: pl.Series | None = None) -> int:
    """The sum modulo 2**64, each word as often as `counts` says (less than none, too)."""
    numbers = words.to_numpy()
    if counts is not None:
        numbers = numbers * counts.to_numpy().astype(np.uint64)
    return int(np.sum(numbers, dtype=np.uint64))


def _of_log(file: LogFile) -> Identity:
    found = identity(file.path)
    if found is None:
        raise NeedsPerson(f"the file {file.path} of the change log is gone; begin its pipeline anew")
    return found


def _groups(parts: Sequence[int], counts: dict[int, int]) -> Iterator[list[int]]:
    """Parts that are compared row by row at once: about `_GROUP_ROWS` rows."""
    group: list[int] = []
    rows = 0
    for part in parts:
        if group and rows + counts.get(part, 0) > _GROUP_ROWS:
            yield group
            group, rows = [], 0
        group.append(part)
        rows += counts.get(part, 0)
    if group:
        yield group
