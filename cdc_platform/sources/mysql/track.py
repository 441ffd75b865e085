"""One followed table: from its row events and marks to entries, in log order.

    rows  rows        rows  rows          runs of row events of one shape
            ▲ truncated      ▲ altered    marks: what statements did to the table
      ──> ChangeBatch, Truncated, ChangeBatch, Reshaped, ChangeBatch

The known shape goes along: columns keep their ids by name, and by the renames of the marks, so the shape of the next
table map is always told by change of the one before. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cdc_platform.errors import Gap, Lost
from cdc_platform.model.change import ChangeBatch, Entry, Place, Reshaped, Truncated, Unlogged
from cdc_platform.model.evolution import carried
from cdc_platform.model.position import Position, format_binlog
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.cells import Ints
from cdc_platform.sources.mysql.alter import Alteration, applied
from cdc_platform.sources.mysql.batches import Bounds, TableRows, batch_of
from cdc_platform.sources.mysql.log import Stretch
from cdc_platform.sources.mysql.partial import Known
from cdc_platform.sources.mysql.shapes import Shape
from cdc_platform.sources.mysql.statements import Kind
from cdc_platform.sources.mysql.transactions import Transactions

Run = tuple[Ints, Shape]
"""Indices of row events of one table, next to each other among that table's, and their shape."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a statement, the event number `index`, did to one table."""

    index: int
    kind: Kind
    what: str
    alteration: Alteration | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A stretch being read: what `Track` needs of it to place things and decode rows."""

    stretch: Stretch
    transactions: Transactions
    rows: Callable[[Ints], TableRows]
    known: Callable[[Ints], Known]
    partial: bool

    def place(self, index: int, base: str) -> Place:
        at = int(self.stretch.at[index])
        number = int(self.transactions.of(np.array([index]))[0])
        name, time = self.transactions.name(number), self.transactions.time(number)
        return Place(at, 0, format_binlog(base, at), name, time)


@dataclass(slots=True)
class Track:
    """A table within its own bounds, which has the shape `schema` where reading stands."""

    schema: TableSchema
    bounds: Bounds
    defaulted: bool = False  # whether rows were filled in with defaults

    @property
    def table(self) -> TableName:
        return self.schema.table

    def entries(self, reading: Reading, runs: Sequence[Run], marks: Sequence[Mark]) -> list[Entry]:
        """What the stretch holds of the table; raises from the tree in `errors` where it cannot be followed."""
        pieces: list[tuple[int, Run | Mark]] = [(mark.index, mark) for mark in marks if self._counts(reading, mark)]
        cuts = np.array([mark.index for mark in marks], np.int64)
        for indices, shape in runs:
            parts = np.split(indices, np.searchsorted(indices, cuts))
            pieces += [(int(part[0]), (part, shape)) for part in parts if len(part)]
        found: list[Entry] = []
        for _, piece in sorted(pieces, key=lambda numbered: numbered[0]):
            found += self._marked(reading, piece) if isinstance(piece, Mark) else self._changes(reading, *piece)
        return _without_repeats(found)

    def _counts(self, reading: Reading, mark: Mark) -> bool:
        position = Position(int(reading.stretch.at[mark.index]))
        if mark.kind == "unlogged" and position.at == self.bounds.start.at:
            position = max(position, self.bounds.start)  # rows of the event may be behind the bound
        return self.bounds.holds(position)

    def _changes(self, reading: Reading, indices: Ints, shape: Shape) -> list[Entry]:
        schema = carried(self.schema, shape.schema)
        decoded = batch_of(
            reading.rows(indices), shape, schema, reading.transactions, self.bounds, lambda: reading.known(indices)
        )
        batch = decoded.batch
        self.defaulted = self.defaulted or decoded.lacking
        if len(batch):
            self.schema = schema
        found: list[Entry] = []
        done = 0
        for what, event in sorted(decoded.doubts.items(), key=lambda said: said[1]):
            # Said where the last such event begins: what is compared later has all of them.
            place = self._begin(reading.place(int(indices[event]), self.bounds.base))
            first = int(batch.frame["at"].search_sorted(place.at, side="left"))
            found += _part(batch, done, first)
            found.append(Unlogged(self.table, place, what))
            done = max(done, first)
        return found + _part(batch, done, len(batch))

    def _begin(self, place: Place) -> Place:
        """An event's place, or where in it the table's own bounds begin."""
        start = self.bounds.start
        return replace(place, ordinal=start.ordinal) if place.at == start.at else place

    def _marked(self, reading: Reading, mark: Mark) -> list[Entry]:
        place = reading.place(mark.index, self.bounds.base)
        if mark.kind == "gone":
            raise Gap(
                f"{self.table}: {mark.what} at {place.lsn} takes the table away, or puts another in its place;"
                " run: cdc resync",
                Lost.TABLE_REPLACED,
            )
        if mark.kind == "truncated":
            return [Truncated(self.table, place)]
        if mark.alteration is None:
            return [Unlogged(self.table, self._begin(place), mark.what)]
        schema, doubts = applied(mark.alteration, self.schema)
        if mark.alteration.defaults and (reading.partial or self.defaulted) and not doubts:
            doubts = ("another default of a column that row images may lack",)
        found: list[Entry] = [Unlogged(self.table, place, what) for what in doubts]
        if schema == self.schema:
            return found
        self.schema = schema
        return [Reshaped(schema, place), *found]


def _part(batch: ChangeBatch, first: int, last: int) -> list[Entry]:
    """Rows first..last, if there are any."""
    if first >= last:
        return []
    if first == 0 and last == len(batch):
        return [batch]
    holes = {name: hole[first:last] for name, hole in batch.holes.items()}
    kept = {name: hole for name, hole in holes.items() if hole.any()}
    return [ChangeBatch(batch.schema, batch.frame[first:last], kept)]


def _without_repeats(found: list[Entry]) -> list[Entry]:
    """Of statements that say the same one after the other, the last: a later comparison covers the earlier ones."""
    kept: list[Entry] = []
    for entry in found:
        last = kept[-1] if kept else None
        if isinstance(entry, Unlogged) and isinstance(last, Unlogged) and entry.reason == last.reason:
            kept.pop()
        kept.append(entry)
    return kept
