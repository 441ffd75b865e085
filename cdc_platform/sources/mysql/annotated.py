"""The statements that MariaDB notes beside its row events: they tell an UPDATE of some columns from a REPLACE.

Both are logged as an update whose image lacks columns; in the one they stayed as they were, in the other they took
their defaults. The note before the rows says which it was, if it names their table and no other table was written
by the statement (a trigger of another one may do anything). Layer: sources; pure.
"""

from __future__ import annotations

import numpy as np

from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.mysql.binlog import ANNOTATE_ROWS, TABLE_MAP, Events
from cdc_platform.sources.mysql.statements import folded
from cdc_platform.sources.mysql.words import Words, tokens

_HEAD = 400  # characters of a statement in which the table's name is looked for


def plain_updates(events: Events, rows: Ints, owners: Ints, table: TableName, folds: bool) -> Mask:
    """Which of these row events of a table are surely of an UPDATE, or an INSERT ... ON DUPLICATE KEY UPDATE, of it.

    `owners` has the transaction's number of every event.
    """
    notes, maps = events.of(ANNOTATE_ROWS), events.of(TABLE_MAP)
    if not len(notes):
        return np.zeros(len(rows), np.bool_)
    which = np.searchsorted(notes, rows) - 1
    note = notes[np.maximum(which, 0)]
    alone = np.searchsorted(maps, rows) - np.searchsorted(maps, note) == 1
    plain: Mask = (which >= 0) & alone & (owners[note] == owners[rows])
    distinct, place = np.unique(note, return_inverse=True)
    plain &= np.array([_updates(events.body(int(one)), table, folds) for one in distinct])[place]
    return plain


def _updates(text: bytes, table: TableName, folds: bool) -> bool:
    words = Words(table.schema, tokens(text[:_HEAD].decode("utf-8", "replace")))
    if not (words.skip("UPDATE") or words.skip("INSERT")):
        return False
    while words.skip_any("LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE", "INTO"):
        pass
    name = words.name()
    return (folded(name) == folded(table)) if folds else name == table
