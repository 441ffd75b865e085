"""Row events of one table that change rows of others, because foreign keys pass them on without a trace in the log.

    DELETE from parents                  ──> Unlogged for each table that deletes reach (see `foreign_keys.py`)
    UPDATE of parents: id before ≠ after ──> Unlogged for each table that an update of `id` reaches

An UPDATE counts only if it changes a referenced column: those cells are compared as bytes, as InnoDB does, before and
after, column by column for all rows at once, and nothing of them is decoded. An after image that lacks a column did not
change it. What cannot be compared is taken for a change. An event says of itself when nothing was passed on: the
session had foreign_key_checks off, or the server logged what its keys did (MySQL from 9.6 on).

Only the last event of a stretch is told for each table, because a comparison after it covers those before.
Layer: sources; no I/O but the question for keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cdc_platform.errors import CdcError, NotUnderstood
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Bytes, Cells, Ints, Mask
from cdc_platform.sources.mysql import binlog
from cdc_platform.sources.mysql.batches import TableRows, images_begin
from cdc_platform.sources.mysql.binlog import HEADER, Events, little, records
from cdc_platform.sources.mysql.foreign_keys import ForeignKeys, Reach, reaches
from cdc_platform.sources.mysql.layout import flat
from cdc_platform.sources.mysql.partial import kept_groups
from cdc_platform.sources.mysql.rows import RowEvents, find_images, walk_columns
from cdc_platform.sources.mysql.statements import Effect, defines, folded
from cdc_platform.sources.mysql.tablemap import TableMap, read_table_map

_UNCHECKED, _LOGGED = 0x02, 0x10  # flags of row events: foreign_key_checks=0; the server does what foreign keys say
_DELETES = (binlog.DELETE_V1, binlog.DELETE_V2, *binlog.DELETES_COMPRESSED)
_UPDATES = (binlog.UPDATE_V1, binlog.UPDATE_V2)
_UPDATES_IN_PARTS = (*binlog.UPDATES_COMPRESSED, binlog.PARTIAL_UPDATE)

Rows = Callable[[Ints], TableRows]


@dataclass(frozen=True, slots=True)
class PassedOn:
    """Event number `index` of `parent`, which did `what`, changed rows of other tables too."""

    index: int
    what: str


@dataclass(slots=True)
class Watch:
    """The tables whose row events and statements are looked at for the sake of followed ones.

    `folds`: names of tables are the same in upper and lower case.
    """

    keys: ForeignKeys
    folds: bool
    mariadb: bool
    _reach: dict[TableName, Reach] | None = None

    @property
    def any(self) -> bool:
        """Whether there are such tables."""
        return bool(self._reach)

    def read(self, events: Events, tables: Iterable[TableName]) -> dict[TableName, CdcError]:
        """Learn what changes rows of these tables; again only where these events may change that. -> those of which
        it cannot be known."""
        if defines(events):
            self.keys.forget()
        elif self._reach is not None:
            return {}
        origins, failures = {}, {}
        for table in tables:
            try:
                origins[table] = self.keys.origins(table)
            except CdcError as error:
                failures[table] = error
        self._reach = {self._name(parent): reach for parent, reach in reaches(origins).items()}
        return failures

    def of(self, table: TableName) -> Reach | None:
        """What row events of this table reach, if anything."""
        return self._reach.get(self._name(table)) if self._reach else None

    def _name(self, table: TableName) -> TableName:
        return folded(table) if self.folds else table

    def passed_on(
        self, events: Events, mapped: Iterable[tuple[TableName, bytes, int, Ints]], rows: Rows
    ) -> dict[TableName, PassedOn]:
        """For each table that row events reach, the last one that does. Row events come with their table, its table
        map's body, and that one's offset."""
        found: dict[TableName, PassedOn] = {}
        for parent, body, offset, which in mapped:
            reach = self.of(parent)
            passed = self._reached(events, which, reach, parent, body, offset, rows) if reach else {}
            for table, one in passed.items():
                if table not in found or one.index > found[table].index:
                    found[table] = one
        return found

    def _reached(
        self, events: Events, which: Ints, reach: Reach, parent: TableName, body: bytes, offset: int, rows: Rows
    ) -> dict[TableName, PassedOn]:
        flags = little(events.buffer, "<u2", HEADER + 6)[events.starts[which]]
        which = which[flags & (_UNCHECKED if self.mariadb else _UNCHECKED | _LOGGED) == 0]
        deletes = which[np.isin(events.kinds[which], _DELETES)]
        found: dict[TableName, PassedOn] = {}
        if len(deletes):
            what = f"a DELETE from {parent} that its foreign key passes on"
            found = {table: PassedOn(int(deletes[-1]), what) for table in reach.by_delete}
        each = {*reach.by_update.values()}
        last = {columns: last_change(events, which, body, offset, columns, rows) for columns in each}
        for table, columns in reach.by_update.items():
            index = last[columns]
            if index is not None and (table not in found or index > found[table].index):
                found[table] = PassedOn(index, f"an UPDATE of {parent} that its foreign key passes on")
        return found

    def unsure(self, effect: Effect, tables: Collection[TableName]) -> dict[TableName, str]:
        """Those of these tables whose rows a statement may have changed through foreign keys, or others before it
        through keys that it took away, and why."""
        if effect.kind != "unlogged" and (effect.kind not in _KEYS_OF or self.keys.logged):
            return {}
        found: dict[TableName, str] = {}
        reasons: dict[str, str] = _KEYS_OF | {"unlogged": effect.what}
        for parent, reach in (self._reach or {}).items():
            for table in reach.tables if effect.touches(parent) else ():
                if _concerns(effect, reach.by_update.get(table, frozenset())):
                    found[table] = reasons[effect.kind]
        if effect.alteration is not None and effect.alteration.unbinds:
            found |= {table: _KEYS_OF["altered"] for table in tables if effect.touches(self._name(table))}
        return {table: what for table, what in found.items() if table in tables}


_KEYS_OF = {"altered": "an ALTER TABLE that changes foreign keys", "gone": "a foreign key's other table that goes"}


def _concerns(effect: Effect, columns: frozenset[str]) -> bool:
    """Whether a statement on a table wrote rows that its keys pass on, or took away a key or one of the names of now,
    by which that would be known."""
    if effect.alteration is None:
        return True
    renamed = {new.lower() for new in effect.alteration.renamed.values()}
    return effect.alteration.unbinds or bool(renamed & columns)


def last_change(
    events: Events, which: Ints, body: bytes, offset: int, columns: frozenset[str], rows: Rows
) -> int | None:
    """The last of these row events that changes one of these columns (in lower case), or may; None if none does."""
    kinds = events.kinds[which]
    unclear = which[np.isin(kinds, _UPDATES_IN_PARTS)]
    last = int(unclear[-1]) if len(unclear) else -1
    updates = which[np.isin(kinds, _UPDATES)]
    if len(updates) and updates[-1] > last:
        try:
            last = max(last, _last_update(updates, read_table_map(body, offset), columns, rows))
        except NotUnderstood:
            last = int(updates[-1])
    return last if last >= 0 else None


def _last_update(updates: Ints, table_map: TableMap, columns: frozenset[str], rows: Rows) -> int:
    """The last one, -1 for none."""
    names = [name.lower() for name in table_map.names or ()]
    physical = table_map.physical
    if not columns <= set(names) or not all(column.understood for column in physical):
        return int(updates[-1])
    wanted = [names.index(column) for column in columns]
    taken = rows(updates)
    firsts, first, second = images_begin(taken, len(physical), table_map.table)
    everything = np.ones(len(physical), np.bool_)
    groups = [(np.arange(len(updates)), everything, everything)]
    if first is not None and second is not None:
        plain = np.zeros(len(updates), np.bool_)
        kept = kept_groups(taken.operations, first, second, plain, len(physical))
        groups = [(group.events, group.before, group.after) for group in kept]
    last = -1
    for members, before, after in groups:
        touched = [place for place in wanted if after[place]]
        if not touched or updates[members[-1]] <= last:
            continue
        if not all(before[place] for place in touched):
            last = int(updates[members[-1]])
            continue
        sides = [np.flatnonzero(side).tolist() for side in (before, after)]
        layouts = [[physical[place] for place in side] for side in sides]
        part = RowEvents(taken.buffer, firsts[members], taken.stops[members], taken.offsets[members])
        images = find_images(part, layouts[0], layouts[1])
        old = _picked(walk_columns(taken.buffer, images.starts[0::2], layouts[0]), sides[0], touched)
        new = _picked(walk_columns(taken.buffer, images.starts[1::2], layouts[1]), sides[1], touched)
        changed = np.flatnonzero(np.any([_differ(*pair) for pair in zip(old, new, strict=True)], axis=0))
        if len(changed):
            owners = np.repeat(members, images.counts // 2)
            last = max(last, int(updates[owners[changed[-1]]]))
    return last


def _picked(cells_by_column: Iterable[Cells], side: Sequence[int], touched: Sequence[int]) -> list[Cells]:
    """The cells of the columns `touched`, of an image that holds the columns `side`."""
    remaining = set(touched)
    found: dict[int, Cells] = {}
    for place, cells in zip(side, cells_by_column, strict=False):
        if place in remaining:
            found[place] = cells
            remaining.discard(place)
        if not remaining:
            break
    return [found[place] for place in touched]


def _differ(old: Cells, new: Cells) -> Mask:
    """Which cells are not the same bytes."""
    different: Mask = (old.valid != new.valid) | (old.lengths != new.lengths)
    rows = np.flatnonzero(~different & (old.lengths > 0))
    if not len(rows):
        return different
    lengths = old.lengths[rows]
    if lengths.min() == lengths.max():
        width = int(lengths[0])
        unequal = (_bytes(old, rows, width) != _bytes(new, rows, width)).any(axis=1)
        different[rows[unequal]] = True
    else:
        unequal = flat(old.take(rows)) != flat(new.take(rows))
        different[np.repeat(rows, lengths)[unequal]] = True
    return different


def _bytes(cells: Cells, rows: Ints, width: int) -> Bytes:
    return records(cells.buffer, cells.starts[rows], width)
