"""What a change log says the source table holds at the log's position: the last row of each key.

Used where a change names rows without their cells: unchanged values that a log left out (`last_rows`), a TRUNCATE
(`live_rows`), a comparison of the whole table with its source (`marks`, `rows_at`). Rows come in the log's present
shape: a column is found again by its id in older shapes, null where it was not there yet. A table without a key is a
multiset: rows that are equal in every cell are counted.

Memory holds a key, two hashes and a place for each row of the table, never the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.shapes import SchemaVersion, first_version
from cdc_platform.change_log.slices import Slice, read_file
from cdc_platform.change_log.window import EVERYTHING, PLACES, Window
from cdc_platform.model.change import DELETE, INSERT
from cdc_platform.model.digest import row_hashes
from cdc_platform.model.position import Position, lsn_numbers
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import Column, TableSchema

HASHES: Final = ("\x1fhash0", "\x1fhash1")
FILE, ROW, LSN, COUNT, BEFORE = "\x1ffile", "\x1frow", "lsn", "\x1fcount", "\x1fbefore"
PLACE: Final = (FILE, ROW, BEFORE, COUNT)
_COLLAPSE_ROWS: Final = 500_000
_COLUMNS: Final = ("operation", "before", "after")
_WITH_LSN: Final = (*_COLUMNS, "metadata")
_MARKED: Final = (*_WITH_LSN, *PLACES)


def key_of(schema: TableSchema) -> list[str]:
    """The columns that tell rows apart in `marks`: the key's, or the hashes of the whole row where there is no key."""
    return list(schema.primary_key) or list(HASHES)


def marked(rows: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """Rows with the columns of `schema` as `key_of` and `HASHES`: what is compared of a row."""
    hashes = (series.alias(name) for series, name in zip(row_hashes(rows.select(schema.names)), HASHES, strict=True))
    return pl.DataFrame([*(rows[name] for name in schema.primary_key), *hashes])


def marks(
    log: ChangeLog, window: Window = EVERYTHING, seen_as: TableSchema | None = None, keys: pl.DataFrame | None = None
) -> pl.DataFrame:
    """One row for each key that was ever there: `key_of`, `HASHES`, where its last event is (`FILE` in
    order of the log, `ROW`) and whether its row is the one `BEFORE` the change, its `LSN` as a number (Postgres; else
    null), and `COUNT`: how many such rows there are now. That is 0 after a DELETE; without a key it may be more than 1,
    or less than 0 for rows that went in a form that they had taken on without a word in the log.

    Of the events in `window`, and of the `keys` (distinct) where they are given. Rows have the columns of `seen_as`,
    which is the log's present shape unless it is given.
    """
    schema, postgres = seen_as or log.schema(), log.notation().kind == "lsn"
    kept: list[pl.DataFrame] = []
    held, collapsed = 0, 0
    number = 0
    for part in log.slices():
        if window.is_over(part):
            break
        for file in part.files:
            first = 0
            for frame in read_file(file, part.shape, columns=_MARKED) if not window.is_behind(part) else ():
                outside, inside = window.of(frame)
                found = _marks(inside, part.shape, schema, _Place(number, first + outside, postgres))
                kept.append(found if keys is None else found.join(keys, on=key_of(schema), how="semi"))
                first += frame.height
                held += kept[-1].height
                if held > 2 * max(collapsed, _COLLAPSE_ROWS):
                    kept = [_collapsed(pl.concat(kept), schema)]
                    held = collapsed = kept[0].height
            number += 1
    if not kept:
        # In a shape of its own columns: there is no event that would have to be seen in others.
        return _marks(_no_events(schema), first_version(schema), schema, _Place(0, 0, postgres))
    return _collapsed(pl.concat(kept), schema)


def rows_at(log: ChangeLog, places: pl.DataFrame, seen_as: TableSchema | None = None) -> Iterator[pl.DataFrame]:
    """The rows at these places (`PLACE` as in `marks`): the columns of `places`, `LSN`, and `row` (struct)."""
    schema = seen_as or log.schema()
    wanted = {int(number): part for (number,), part in places.group_by(FILE)}
    for number, (file, shape) in enumerate(_files(log.slices())):
        if number not in wanted:
            continue
        first = 0
        for frame in read_file(file, shape, columns=_WITH_LSN):
            numbered = frame.select(
                pl.int_range(first, first + frame.height, dtype=pl.Int64, eager=True).alias(ROW),
                pl.col("metadata").struct.field("lsn").alias(LSN),
                "before",
                "after",
            )
            first += frame.height
            found = wanted[number].join(numbered, on=ROW, how="inner", maintain_order="left")
            if found.height:
                image = pl.when(BEFORE).then("before").otherwise("after")
                yield found.with_columns(as_now(image, shape, schema).alias("row")).drop("before", "after")


def live_rows(log: ChangeLog) -> Iterator[pl.DataFrame]:
    """Every row that is there now as `row` (struct), as often as it is there."""
    there = marks(log).filter(pl.col(COUNT) > 0)
    for found in rows_at(log, there.select(PLACE)):
        yield found.select(pl.col("row").repeat_by(COUNT).explode())


def last_rows(log: ChangeLog, keys: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The key columns and `columns` of the last row of each of these keys, as far as they are found.

    Looks through the log from its end, so that what was touched lately is found soon.
    """
    schema = log.schema()
    names = list(schema.primary_key)
    wanted = [schema.column(name) for name in dict.fromkeys([*names, *columns])]
    found: list[pl.DataFrame] = []
    missing = keys.select(names).unique()
    for part in log.slices(newest_first=True):
        if missing.is_empty():
            break
        for file in reversed(part.files):
            if missing.is_empty():
                break
            frames = [_narrow(f, part.shape, wanted) for f in read_file(file, part.shape, columns=_COLUMNS)]
            here = pl.concat(f.join(missing, on=names, how="semi") for f in frames)
            last = here.unique(subset=names, keep="last", maintain_order=True)
            found.append(last.filter(~pl.col("deleted")).drop("deleted"))
            missing = missing.join(last, on=names, how="anti")
    empty = pl.DataFrame(schema={name: keys.schema[name] for name in names})
    return pl.concat(found) if found else empty


def events_at(log: ChangeLog, place: Position) -> int:
    """How many events stand at this place, which is that of the log's last ones if any."""
    count = 0
    for part in log.slices(newest_first=True):
        for frame in part.frames(["_at", "_ordinal"]):
            count += frame.filter((pl.col("_at") == place.at) & (pl.col("_ordinal") == place.ordinal)).height
            if frame.height and frame["_at"][0] < place.at:
                return count
    return count


def departures(log: ChangeLog, keys: pl.DataFrame, since: int) -> pl.DataFrame:
    """DELETEs of these keys (distinct) in transactions that committed at the LSN `since` or later: key, `LSN` (number).

    For Postgres, whose `_at` is the commit's LSN. Looks through the log from its end, no further back than that.
    """
    schema = log.schema()
    wanted = [schema.column(name) for name in schema.primary_key]
    names = list(schema.primary_key)
    found = [keys.clear().with_columns(pl.lit(None, pl.Int64).alias(LSN))]
    for part in log.slices(newest_first=True):
        if part.snapshot:
            continue  # a chunk of it, with changes before
        for file in reversed(part.files):
            newest = 0
            for frame in read_file(file, part.shape, columns=(*_WITH_LSN, "_at")):
                newest = int(frame["_at"][-1])
                gone = frame.filter((pl.col("operation") == DELETE) & (pl.col("_at") >= since))
                lsn = lsn_numbers(gone["metadata"].struct.field("lsn")).alias(LSN)
                those = gone.select(cells(pl.col("before"), part.shape, wanted)).with_columns(lsn)
                found.append(those.join(keys, on=names, how="semi"))
            if newest < since:
                return pl.concat(found)
    return pl.concat(found)


def _no_events(schema: TableSchema) -> pl.DataFrame:
    images = polars_type(schema.row_type)
    metadata = pl.Struct({"lsn": pl.String})
    return pl.DataFrame(schema={"operation": pl.String, "before": images, "after": images, "metadata": metadata})


def _files(slices: Iterator[Slice]) -> Iterator[tuple[Path, SchemaVersion]]:
    for part in slices:
        for file in part.files:
            yield file, part.shape


def _row() -> pl.Expr:
    return pl.when(pl.col("operation") == DELETE).then("before").otherwise("after")


def as_now(row: pl.Expr, shape: SchemaVersion, schema: TableSchema) -> pl.Expr:
    """A row image of an older shape in the columns of the present one."""
    return row if shape.schema == schema else pl.struct(cells(row, shape, schema.columns))


def cells(row: pl.Expr, shape: SchemaVersion, columns: Sequence[Column]) -> list[pl.Expr]:
    """The cells of these columns, which are known by their ids, in a row image of `shape`; null where it has none."""
    then = {column.source_id: column for column in shape.schema.columns}
    found = []
    for column in columns:
        kind = polars_type(column.type)
        old = then.get(column.source_id)
        if old is None:
            found.append(pl.lit(None, kind).alias(column.name))
        elif old.type == column.type:
            found.append(row.struct.field(old.name).alias(column.name))
        else:
            # What does not fit the new type was changed by the same statement, and is compared after it.
            found.append(row.struct.field(old.name).cast(kind, strict=False).alias(column.name))
    return found


def _narrow(frame: pl.DataFrame, shape: SchemaVersion, columns: Sequence[Column]) -> pl.DataFrame:
    return frame.select((pl.col("operation") == DELETE).alias("deleted"), *cells(_row(), shape, columns))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a frame of events stands: the file's number, the number of its first event there; and whose log it is."""

    file: int
    first: int
    postgres: bool

    def of(self, frame: pl.DataFrame) -> pl.DataFrame:
        lsn = frame["metadata"].struct.field("lsn")
        return pl.DataFrame(
            {
                FILE: pl.repeat(self.file, frame.height, dtype=pl.Int32, eager=True),
                ROW: pl.int_range(self.first, self.first + frame.height, dtype=pl.Int64, eager=True),
                LSN: lsn_numbers(lsn) if self.postgres else pl.repeat(None, frame.height, dtype=pl.Int64, eager=True),
            }
        )


def _marks(frame: pl.DataFrame, shape: SchemaVersion, schema: TableSchema, where: _Place) -> pl.DataFrame:
    """One mark an event, or without a key one for each row that came or went."""
    place = where.of(frame)
    if schema.primary_key:
        rows = frame.select(as_now(_row(), shape, schema).alias("row"))["row"].struct.unnest()
        gone = pl.col("operation") == DELETE
        counts = frame.select(pl.when(gone).then(0).otherwise(1).cast(pl.Int64).alias(COUNT), gone.alias(BEFORE))
        return pl.concat([marked(rows, schema), place, counts], how="horizontal")
    parts = []
    for image, without, count in (("before", INSERT, -1), ("after", DELETE, 1)):
        concerned = frame["operation"] != without
        images = frame.filter(concerned).select(as_now(pl.col(image), shape, schema).alias("row"))
        marks_of = marked(images["row"].struct.unnest(), schema)
        counts = marks_of.select(
            pl.repeat(count, pl.len(), dtype=pl.Int64).alias(COUNT), pl.repeat(count < 0, pl.len()).alias(BEFORE)
        )
        parts.append(pl.concat([marks_of, place.filter(concerned), counts], how="horizontal"))
    return pl.concat(parts)


def _collapsed(found: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    key = key_of(schema)
    if schema.primary_key:
        return found.unique(subset=key, keep="last", maintain_order=True)
    # Any place will do where equal rows stand; one where the row came is as good as the last.
    last = pl.struct(FILE, ROW, BEFORE, LSN).sort_by(~pl.col(BEFORE), FILE, ROW).last()
    return (
        found.group_by(key, maintain_order=True)
        .agg(last.alias("place"), pl.col(COUNT).sum())
        .unnest("place")
        .select(*key, FILE, ROW, LSN, COUNT, BEFORE)
    )
