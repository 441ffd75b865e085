"""Messages of one table in, changes out; whatever brought them. Pure. Layer: sources.

A `Decoder` keeps nothing of the messages but the shapes that it has seen, so that a shape is worked out once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Protocol

import numpy as np
import polars as pl
import pyarrow.compute as pc

from cdc_platform.errors import ConfigError
from cdc_platform.model.event import System
from cdc_platform.model.position import format_lsn
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.cells import Ints
from cdc_platform.sources.debezium.columns import Reading, reading
from cdc_platform.sources.debezium.connect import Field
from cdc_platform.sources.debezium.envelope import OPERATIONS, TRUNCATE, Rows, rows_of
from cdc_platform.sources.debezium.json_form import Parsed
from cdc_platform.sources.debezium.messages import Messages, Poison, Unreadable


class Form(Protocol):
    """JSON or Avro."""

    def parse(self, values: pl.Series, rows: Ints) -> tuple[list[Parsed], list[Poison]]: ...

    def key_names(self, key: bytes | None) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """All rows of the table went (TRUNCATE), said by the message number `message`; the rest as in `Rows.frame`."""

    message: int
    lsn: str
    transaction_id: str | None
    source_ts: datetime


@dataclass(frozen=True, slots=True)
class Decoded:
    """What messages say of a table, in their order: `pieces` of one shape each. `poison` cannot be taken."""

    pieces: tuple[Rows | Cut, ...]
    poison: tuple[Poison, ...]


@dataclass(slots=True)
class Decoder:
    """Of one table's topic. `whole_images`: a Postgres table whose replica identity is full."""

    table: TableName
    system: System
    form: Form
    whole_images: bool = False
    key: tuple[str, ...] | None = None
    _shapes: dict[Field, tuple[TableSchema, list[Reading]]] = field(default_factory=dict)

    def decode(self, messages: Messages) -> Decoded:
        """All messages but tombstones, which say nothing that a delete has not said."""
        present = messages.values.is_not_null()
        numbers = np.flatnonzero(present.to_numpy())
        if not len(numbers):
            return Decoded((), ())
        if self.key is None:
            self.key = self._key(messages)
        parsed, poison = self.form.parse(messages.values.filter(present), numbers)
        rows: list[Rows] = []
        cuts: list[Cut] = []
        for part in parsed:
            self._take(part, rows, cuts, poison)
        return Decoded(_in_order(rows, cuts), tuple(sorted(poison, key=lambda one: one.message)))

    def schema(self, messages: Messages) -> TableSchema:
        """The table's shape as the last of the messages has it; raises Unreadable where none has one."""
        self.key = self._key(messages)
        values = messages.values.filter(messages.values.is_not_null())
        for value in values.reverse():
            parsed, _ = self.form.parse(pl.Series([value], dtype=pl.Binary), np.zeros(1, np.int64))
            if parsed:
                return self._shape(parsed[0].schema)[0]
        raise Unreadable("no message holds a row")

    def _key(self, messages: Messages) -> tuple[str, ...]:
        keyed = messages.keys.filter(messages.keys.is_not_null())
        return self.form.key_names(keyed[-1]) if len(keyed) else ()

    def _shape(self, envelope: Field) -> tuple[TableSchema, list[Reading]]:
        if (known := self._shapes.get(envelope)) is not None:
            return known
        readings = [reading(one, self.system) for one in envelope.row.fields]
        key = self.key or ()
        if lacking := [name for name in key if name not in envelope.row.names]:
            raise ConfigError(
                f"{self.table}: its messages' key has '{lacking[0]}', which its rows have not; message.key.columns "
                "and transforms of keys are not understood"
            )
        schema = TableSchema(self.table, tuple(one.column for one in readings), key)
        self._shapes[envelope] = schema, readings
        return schema, readings

    def _take(self, part: Parsed, rows: list[Rows], cuts: list[Cut], poison: list[Poison]) -> None:
        op = pl.Series(part.table["op"].to_numpy(zero_copy_only=False), dtype=pl.String)
        changes = op.is_in(list(OPERATIONS)).fill_null(value=False)
        if not changes.all():
            table = part.table.filter(pc.fill_null(pc.equal(part.table["op"], TRUNCATE), fill_value=False))
            for number, block in zip(part.rows[(op == TRUNCATE).fill_null(value=False).to_numpy()],
                                     table["source"].to_pylist(), strict=True):  # fmt: skip
                cuts.append(_cut(int(number), block))
            known = changes | op.is_in([TRUNCATE, "m"]).fill_null(value=False)
            reason = "its operation is none of c, r, u, d, t, m"
            poison += [Poison(int(number), reason) for number in part.rows[~known.to_numpy()]]
            part = Parsed(part.schema, part.rows[changes.to_numpy()], part.table.filter(changes.to_arrow()))
        if not len(part.rows):
            return
        schema, readings = self._shape(part.schema)
        made, bad = rows_of(part.table, part.rows, readings, schema, self.system, self.whole_images)
        poison += bad
        if len(made):
            rows.append(made)


def _cut(number: int, block: dict[str, object]) -> Cut:
    micros = block["ts_us"] if block["ts_us"] is not None else int(str(block["ts_ms"])) * 1000
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(str(micros)))
    if block["file"] is not None:
        return Cut(number, f"{block['file']}:{block['pos']}", _text(block["gtid"]), moment)
    return Cut(number, format_lsn(int(str(block["lsn"] or 0))), _text(block["txId"]), moment)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _in_order(rows: list[Rows], cuts: list[Cut]) -> tuple[Rows | Cut, ...]:
    """Pieces cut where those of another shape, or a TRUNCATE, come between."""
    if len(rows) == 1 and not cuts:
        return tuple(rows)
    starts: list[tuple[int, Rows | Cut]] = [(cut.message, cut) for cut in cuts]
    places = [part.frame["message"].to_numpy() for part in rows]
    marks = np.sort(np.concatenate([*places, np.array([cut.message for cut in cuts], np.int64)]))
    for part, own in zip(rows, places, strict=True):
        rank = np.searchsorted(marks, own)
        breaks = np.flatnonzero(np.diff(rank) != 1) + 1
        edges = [0, *breaks.tolist(), len(own)]
        for start, end in pairwise(edges):
            starts.append((int(own[start]), part.slice(start, end - start)))
    return tuple(piece for _, piece in sorted(starts, key=lambda one: one[0]))
