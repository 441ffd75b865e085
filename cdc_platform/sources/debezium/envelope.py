"""Parsed envelopes to changes: operation, source position and both images, whole columns at a time. Pure.

What Debezium leaves out or makes up is put right here:

- An update in Postgres whose key stays has no `before` under the default replica identity: the key's columns are those
  of `after`, the rest is null, as the native reader has it.
- A delete has the key, and for NOT NULL columns zeros and defaults that are made up: only the key is kept, unless the
  table's replica identity is full (`Images.whole`).
- `__debezium_unavailable_value` in an update is an unchanged cell: a hole.

Layer: sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from cdc_platform.errors import ConfigError
from cdc_platform.model.change import OPERATION, TIMESTAMP_UTC
from cdc_platform.model.event import System
from cdc_platform.model.position import lsn_text
from cdc_platform.model.schema import TableSchema
from cdc_platform.sources.cells import BadCell, Ints, Mask
from cdc_platform.sources.debezium.columns import UNAVAILABLE, Reading
from cdc_platform.sources.debezium.messages import Poison

OPERATIONS: Final = {"c": "INSERT", "r": "INSERT", "u": "UPDATE", "d": "DELETE"}
TRUNCATE: Final = "t"
_PLACEHOLDERS: Final = (UNAVAILABLE, UNAVAILABLE.encode(), "{" + ",".join(str(b) for b in UNAVAILABLE.encode()) + "}",
                        "{" + UNAVAILABLE + "}")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rows:
    """Changes of one shape. `frame` has, one row a change, in the messages' order:

    `message` (its number), `operation`, `lsn`, `transaction_id`, `source_ts`, `before`, `after` as in a `ChangeBatch`;
    `snapshot` (whether the row was read, not changed) and `source`, the block as in json_form.SOURCE.
    """

    schema: TableSchema
    frame: pl.DataFrame
    holes: dict[str, pl.Series]

    def __len__(self) -> int:
        return self.frame.height

    def filter(self, kept: pl.Series) -> Rows:
        holes = {name: part for name, series in self.holes.items() if (part := series.filter(kept)).any()}
        return Rows(self.schema, self.frame.filter(kept), holes)

    def slice(self, start: int, count: int) -> Rows:
        holes = {name: part for name, series in self.holes.items() if (part := series.slice(start, count)).any()}
        return Rows(self.schema, self.frame.slice(start, count), holes)


def rows_of(
    table: pa.Table, numbers: Ints, readings: Sequence[Reading], schema: TableSchema, system: System, whole: bool
) -> tuple[Rows, list[Poison]]:
    """Messages with the operations c, r, u and d. `whole`: the old image is the whole row (replica identity full)."""
    poison: list[Poison] = []
    while True:
        try:
            return _rows(table, numbers, readings, schema, system, whole), poison
        except _BadRow as bad:
            poison.append(Poison(int(numbers[bad.row]), bad.reason))
            kept = np.arange(len(numbers)) != bad.row
            table, numbers = table.filter(pa.array(kept)), numbers[kept]


class _BadRow(Exception):
    def __init__(self, row: int, reason: str) -> None:
        super().__init__(row)
        self.row, self.reason = row, reason


def _rows(
    table: pa.Table, numbers: Ints, readings: Sequence[Reading], schema: TableSchema, system: System, whole: bool
) -> Rows:
    op = _series(table["op"])
    images = {name: _valid(table[name]) for name in ("before", "after")}
    _check_images(op, images["before"], images["after"], system)
    _check_required(table, readings, images["after"])
    after = _columns(table["after"], readings)
    update = (op == "u").to_numpy()
    holes = _holes(after, op, update) if system == "postgres" else {}
    after_image = _image("after", pl.DataFrame(after), images["after"])
    before_image = _before(table, readings, schema, op, images["before"], after, system, whole)
    source = _series(table["source"])
    block = source.struct
    micros = pl.select(
        pl.coalesce(block.field("ts_us"), block.field("ts_ms") * 1000).cast(TIMESTAMP_UTC).alias("source_ts")
    ).to_series()
    is_read = op == "r"
    frame = pl.DataFrame(
        [
            pl.Series("message", numbers),
            op.replace_strict(OPERATIONS, return_dtype=OPERATION).alias("operation"),
            _lsn(source, system),
            _transaction(source, system, is_read),
            micros,
            is_read.alias("snapshot"),
            before_image,
            after_image,
            source.alias("source"),
        ]
    )
    return Rows(schema, frame, holes)


def _check_images(op: pl.Series, before: Mask, after: Mask, system: System) -> None:
    gone = (op == "d").to_numpy()
    bad = np.where(gone, ~before, ~after)
    if system == "mysql":
        bad |= (op == "u").to_numpy() & ~before
    if bad.any():
        row = int(bad.argmax())
        side = "before" if gone[row] or after[row] else "after"
        raise _BadRow(row, f"its operation is '{op[row]}' and it has no '{side}'")


def _check_required(table: pa.Table, readings: Sequence[Reading], present: Mask) -> None:
    """A NOT NULL column without a value: the message is not of its schema."""
    image = _array(table["after"])
    for place, reading in enumerate(readings):
        cells = image.field(place)
        if not reading.field.optional and cells.null_count:
            lacking = present & cells.is_null().to_numpy(zero_copy_only=False)
            if lacking.any():
                raise _BadRow(int(lacking.argmax()), f"column '{reading.column.name}' is lacking, and may not be null")


def _columns(image: pa.ChunkedArray, readings: Sequence[Reading]) -> list[pl.Series]:
    struct = _array(image)
    made = []
    for place, reading in enumerate(readings):
        try:
            made.append(reading.read(_series(struct.field(place))).alias(reading.column.name))
        except BadCell as bad:
            raise _BadRow(bad.row, f"column '{reading.column.name}' {bad.reason}") from None
    return made


def _image(name: str, columns: pl.DataFrame, present: Mask) -> pl.Series:
    struct = columns.to_struct(name)
    if present.all():
        return struct
    return pl.select(pl.when(pl.Series(present)).then(struct).alias(name)).to_series()


def _before(
    table: pa.Table,
    readings: Sequence[Reading],
    schema: TableSchema,
    op: pl.Series,
    present: Mask,
    after: Sequence[pl.Series],
    system: System,
    whole: bool,
) -> pl.Series:
    wanted = op.is_in(["u", "d"]).to_numpy()
    if not wanted.any():
        return pl.repeat(None, len(op), dtype=pl.DataFrame(after).to_struct().dtype, eager=True).alias("before")
    given = _columns(table["before"], readings) if present.any() else None
    if system == "mysql" or whole:
        if (wanted & ~present).any():
            raise _BadRow(int((wanted & ~present).argmax()), "it has no 'before', though its replica identity is full")
        assert given is not None
        return _image("before", pl.DataFrame(given), wanted)
    if given is not None:
        _check_keys_only(op, present, given, schema)
    has = pl.Series(present)
    columns = []
    for place, new in enumerate(after):
        if new.name not in schema.primary_key:
            columns.append(pl.repeat(None, len(new), dtype=new.dtype, eager=True).alias(new.name))
        elif given is None:
            columns.append(new)
        else:
            columns.append(pl.select(pl.when(has).then(given[place]).otherwise(new).alias(new.name)).to_series())
    return _image("before", pl.DataFrame(columns), wanted)


def _check_keys_only(op: pl.Series, present: Mask, given: Sequence[pl.Series], schema: TableSchema) -> None:
    update = op == "u"
    if not update.any():
        return
    for series in given:
        if series.name not in schema.primary_key and (update & pl.Series(present) & series.is_not_null()).any():
            raise ConfigError(
                f"{schema.table}: updates come with the whole old row, so the table's replica identity is full; say "
                "so by replica_identity: full in the source's connection"
            )


def _holes(after: list[pl.Series], op: pl.Series, update: Mask) -> dict[str, pl.Series]:
    """Unchanged cells, which become null in `after`.

    A key that changed comes as a `d` and a `c`, and an unchanged cell in that `c` is one of a row that its own key has
    never had: nothing tells its value.
    """
    found: dict[str, pl.Series] = {}
    for place, series in enumerate(after):
        if series.dtype not in (pl.String, pl.Binary):
            continue
        lost = series.is_in([p for p in _PLACEHOLDERS if isinstance(p, bytes) == (series.dtype == pl.Binary)])
        lost = lost.fill_null(value=False)
        if (unknown := lost & (op != "u")).any():
            row = int(unknown.arg_max() or 0)
            why = f"column '{series.name}' is left out as unchanged where the key changed"
            raise _BadRow(row, f"{why}; give the table replica identity full, and take the row anew")
        lost &= pl.Series(update)
        if lost.any():
            found[series.name] = lost
            after[place] = pl.select(pl.when(~lost).then(series).alias(series.name)).to_series()
    return found


def _lsn(source: pl.Series, system: System) -> pl.Series:
    """The change's own position in the source's log, as the native readers write it."""
    block = source.struct
    if system == "postgres":
        return lsn_text(block.field("lsn").fill_null(0).to_numpy().astype(np.int64)).alias("lsn")
    return pl.select(pl.format("{}:{}", block.field("file"), block.field("pos")).alias("lsn")).to_series()


def _transaction(source: pl.Series, system: System, is_read: pl.Series) -> pl.Series:
    block = source.struct
    own = block.field("txId").cast(pl.String) if system == "postgres" else block.field("gtid")
    return pl.select(pl.when(~is_read).then(own).alias("transaction_id")).to_series()


def _array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def _valid(column: pa.ChunkedArray) -> Mask:
    valid: Mask = _array(column).is_valid().to_numpy(zero_copy_only=False)
    return valid


def _series(array: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series
