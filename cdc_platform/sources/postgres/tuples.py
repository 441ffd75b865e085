"""The tuples of row messages, column by column: places of cells before and after each change. Pure. Layer: sources.

    tuple   n 2, n x ('n' null | 'u' unchanged TOAST | 't' length 4, text)

An array holds one cursor a message; at each column the kind and the length of every message's cell are read at once
and all cursors move on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import MARGIN, Bytes, Cells, Ints, Mask
from cdc_platform.sources.postgres.messages import Messages, long_enough

INSERT, UPDATE, DELETE = ord("I"), ord("U"), ord("D")
_OLD_KEY, _OLD_ROW, _NEW_ROW = ord("K"), ord("O"), ord("N")
_NULL, _UNCHANGED, _TEXT = ord("n"), ord("u"), ord("t")


@dataclass(frozen=True, slots=True)
class RelationColumn:
    name: str
    type_oid: int
    typmod: int
    key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table's shape as the log has it from some message on."""

    oid: int
    table: TableName
    identity: str
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """Rows before or after their change: `cells` has one element a column, each as long as `rows`.

    `rows` are the places, rising, among the changes of those that have this image.
    """

    rows: Ints
    cells: tuple[Cells, ...]

    def head(self, changes: int) -> Image:
        count = int(np.searchsorted(self.rows, changes))
        taken = slice(0, count)
        cells = (Cells(c.buffer, c.starts[taken], c.lengths[taken], c.valid[taken]) for c in self.cells)
        return Image(self.rows[taken], tuple(cells))


@dataclass(frozen=True, slots=True)
class Images:
    """Both images of some changes. `holes` has, by column, the changes whose new cell is in neither row.

    `foreign` is the first change that is not logged by the relation's replica identity: a partition has another one.
    """

    before: Image
    after: Image
    holes: Mapping[int, Mask]
    foreign: int | None


def images(messages: Messages, kinds: Bytes, places: Ints, relation: Relation) -> Images:
    """The images of all changes at the messages `places`."""
    kind = kinds[places]
    cursors = messages.starts[places] + 5
    long_enough(messages, places, cursors + 1)
    marker = messages.buffer[cursors]
    has_old = (marker == _OLD_ROW) | (marker == _OLD_KEY)
    is_new = marker == _NEW_ROW
    wrong = ~np.where(kind == INSERT, is_new, np.where(kind == DELETE, has_old, has_old | is_new))
    if wrong.any():
        row = int(wrong.argmax())
        messages.malformed(int(places[row]), int(cursors[row]), f"no tuple of kind {int(marker[row])} belongs here")
    old_rows, new_rows = np.flatnonzero(has_old), np.flatnonzero(kind != DELETE)
    old, cursors[old_rows] = _walk(messages, places[old_rows], cursors[old_rows] + 1, relation)
    both = np.flatnonzero(has_old & (kind == UPDATE))
    long_enough(messages, places[both], cursors[both] + 1)
    if (messages.buffer[cursors[both]] != _NEW_ROW).any():
        row = int(both[(messages.buffer[cursors[both]] != _NEW_ROW).argmax()])
        messages.malformed(int(places[row]), int(cursors[row]), "the new row is missing")
    new, cursors[new_rows] = _walk(messages, places[new_rows], cursors[new_rows] + 1, relation)
    if (cursors != messages.ends[places]).any():
        row = int((cursors != messages.ends[places]).argmax())
        messages.malformed(int(places[row]), int(cursors[row]), "it is too long")
    old_place = np.full(len(places), -1, np.int64)
    old_place[old_rows] = np.arange(len(old_rows))
    whole_old = np.where(marker == _OLD_ROW, old_place, -1)
    holes = _fill_unchanged(new, old, new_rows, old_place, whole_old, relation)
    before = _before(messages, old, old_rows, new, kind, old_place, relation)
    after = Image(new_rows, tuple(column.cells(messages.buffer) for column in new))
    return Images(before, after, holes, _first_foreign(kind, marker, old, old_rows, relation))


@dataclass(slots=True)
class _Column:
    """One column of many tuples; `unchanged` is None where there is no such cell."""

    starts: Ints
    lengths: Ints
    valid: Mask
    unchanged: Mask | None

    def cells(self, buffer: Bytes) -> Cells:
        return Cells(buffer, self.starts, self.lengths, self.valid)


def _walk(messages: Messages, places: Ints, cursors: Ints, relation: Relation) -> tuple[list[_Column], Ints]:
    """The cells of one tuple a message, which begins at its cursor; and the cursors after it."""
    count = len(relation.columns)
    columns: list[_Column] = []
    if not len(places):
        empty = np.zeros(0, np.int64)
        return [_Column(empty, empty, np.zeros(0, np.bool_), None) for _ in range(count)], cursors
    buffer, ends = messages.buffer, messages.ends[places]
    words = np.ndarray((len(buffer) - 7,), ">u8", buffer, 0, (1,))
    long_enough(messages, places, cursors + 2)
    widths = buffer[cursors].astype(np.int64) << 8 | buffer[cursors + 1]
    if (widths != count).any():
        row = int((widths != count).argmax())
        reason = f"{int(widths[row])} columns, where the relation has {count}"
        messages.malformed(int(places[row]), int(cursors[row]), reason)
    cursors = cursors + 2
    for _ in range(count):
        word = words[cursors].astype(np.uint64)
        kind = (word >> np.uint64(56)).astype(np.uint8)
        valid = kind == _TEXT
        lengths = (word >> np.uint64(24) & np.uint64(0xFFFFFFFF)).view(np.int64)
        unchanged = None
        if valid.all():
            starts = cursors + 5
            after = starts + lengths
        else:
            if not (valid | (kind == _NULL)).all():
                unchanged = kind == _UNCHANGED
                _known_cells(messages, places, cursors, kind, valid | (kind == _NULL) | unchanged)
            lengths *= valid
            starts = cursors + 1 + 4 * valid
            after = starts + lengths
        if (after > ends).any():
            row = int((after > ends).argmax())
            messages.malformed(int(places[row]), int(cursors[row]), "a cell goes on after the message's end")
        columns.append(_Column(starts, lengths, valid, unchanged))
        cursors = after
    return columns, cursors


def _known_cells(messages: Messages, places: Ints, cursors: Ints, kind: Bytes, known: Mask) -> None:
    if not known.all():
        row = int((~known).argmax())
        messages.malformed(int(places[row]), int(cursors[row]), f"unknown cell kind {int(kind[row])}")


def _first_foreign(kind: Bytes, marker: Bytes, old: list[_Column], old_rows: Ints, relation: Relation) -> int | None:
    """The first change without the whole old row that `full` logs, or whose old key lacks one of the key's cells."""
    if relation.identity == "f":
        foreign = (kind != INSERT) & (marker != _OLD_ROW)
    else:
        foreign = np.zeros(len(kind), np.bool_)
        for column, shape in zip(old, relation.columns, strict=True):
            if shape.key and not column.valid.all():
                foreign[old_rows[~column.valid]] = True
        foreign &= marker == _OLD_KEY
    return int(foreign.argmax()) if foreign.any() else None


def _fill_unchanged(
    new: list[_Column], old: list[_Column], new_rows: Ints, old_place: Ints, whole_old: Ints, relation: Relation
) -> dict[int, Mask]:
    """Put the old row's cells where the new row leaves them out. Returns by column the changes that have neither.

    An old key holds the cells of the key's columns alone.
    """
    holes: dict[int, Mask] = {}
    for place, column in enumerate(new):
        if column.unchanged is None:
            continue
        rows = np.flatnonzero(column.unchanged)
        source = (old_place if relation.columns[place].key else whole_old)[new_rows[rows]]
        old_unchanged = old[place].unchanged
        lost = source < 0
        if old_unchanged is not None:
            lost |= old_unchanged[np.maximum(source, 0)]
        found, source = rows[~lost], source[~lost]
        column.starts[found] = old[place].starts[source]
        column.lengths[found] = old[place].lengths[source]
        column.valid[found] = old[place].valid[source]
        if lost.any():
            holes[place] = np.zeros(len(old_place), np.bool_)
            holes[place][new_rows[rows[lost]]] = True
    return holes


def _before(
    messages: Messages,
    old: list[_Column],
    old_rows: Ints,
    new: list[_Column],
    kind: Bytes,
    old_place: Ints,
    relation: Relation,
) -> Image:
    """Images before updates and deletes.

    With replica identity full they are whole. Else an update that keeps its key logs no old row: the key columns are
    those of the new row, the others are null, as they are in the old keys that deletes and key changes log.
    """
    rows = np.flatnonzero(kind != INSERT)
    if len(rows) == len(old_rows):
        return Image(rows, tuple(column.cells(messages.buffer) for column in old))
    from_old, from_new = np.flatnonzero(old_place[rows] >= 0), np.flatnonzero(old_place[rows] < 0)
    new_place = np.cumsum(kind != DELETE) - 1
    cells = []
    for place, shape in enumerate(relation.columns):
        starts, lengths = np.full(len(rows), MARGIN, np.int64), np.zeros(len(rows), np.int64)
        valid = np.zeros(len(rows), np.bool_)
        sources = [(from_old, old[place], old_place[rows[from_old]])]
        if shape.key:
            sources.append((from_new, new[place], new_place[rows[from_new]]))
        for into, column, source in sources:
            starts[into], lengths[into] = column.starts[source], column.lengths[source]
            valid[into] = column.valid[source]
        cells.append(Cells(messages.buffer, starts, lengths, valid))
    return Image(rows, tuple(cells))
