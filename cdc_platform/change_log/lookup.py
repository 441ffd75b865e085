"""The last row of some keys, found without reading the log: for sources that tell rows and not what happened to them.

    newest commit first, and in it the last row group first
      the group's least and greatest key, from the file's footer ──> none of the keys can be in it: passed over
      operation and key columns alone                            ──> which keys are here, at which row
      whole rows, of the groups where some are

What was touched lately is found in the newest files; a key that was never there costs the key columns of those groups
whose range holds it: none, where keys grow. Memory holds one row group's keys and the rows that are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.change_log.shapes import SchemaVersion, picked_up
from cdc_platform.change_log.state import as_now
from cdc_platform.model.change import DELETE
from cdc_platform.model.projection import polars_type
from cdc_platform.model.schema import TableSchema

KNOWN: Final = "\x1frow"
_PLACE: Final = "\x1fplace"
_DELETED: Final = "\x1fdeleted"


@dataclass(slots=True)
class Reading:
    """What a look-up took: row groups of which the keys were read."""

    groups: int = 0


def known_rows(log: ChangeLog, keys: pl.DataFrame, reading: Reading | None = None) -> pl.DataFrame:
    """Of these keys (distinct), those whose row is there now: the key's columns, and `KNOWN`, a struct of the log's
    present shape. `reading` counts."""
    reading = reading or Reading()
    schema = log.schema()
    names = list(schema.primary_key)
    kinds = {name: polars_type(schema.column(name).type) for name in names}
    found = [pl.DataFrame(schema={**kinds, KNOWN: polars_type(schema.row_type)})]
    missing = keys.select(pl.col(name).cast(kind) for name, kind in kinds.items())
    for part in log.slices(newest_first=True):
        for path in reversed(part.files):
            if missing.is_empty():
                return pl.concat(found)
            with pq.ParquetFile(path) as parquet:
                group = _Groups(parquet, part.shape, schema)
                for number in reversed(range(parquet.num_row_groups)):
                    if not group.may_hold(number, missing[names[0]]):
                        continue
                    here = group.last(number, missing)
                    reading.groups += 1
                    if here.is_empty():
                        continue
                    missing = missing.join(here, on=names, how="anti", nulls_equal=True)
                    there = here.filter(~pl.col(_DELETED))
                    if there.height:
                        found.append(group.rows(number, there))
    return pl.concat(found)


@dataclass(frozen=True, slots=True)
class _Groups:
    """The row groups of one file, whose events have the shape `shape`, seen as rows of `schema`."""

    parquet: pq.ParquetFile
    shape: SchemaVersion
    schema: TableSchema

    def may_hold(self, group: int, leading: pl.Series) -> bool:
        """Whether one of these values of the key's first column may be in it; by the footer's statistics."""
        field = self._fields().get(self.schema.primary_key[0])
        if field is None or not leading.dtype.is_integer():
            return True
        metadata = self.parquet.metadata.row_group(group)
        bounds = []
        for number in range(metadata.num_columns):
            column = metadata.column(number)
            if column.path_in_schema in (f"after.{field}", f"before.{field}"):
                told = column.statistics
                if told is None or (not told.has_min_max and told.null_count != metadata.num_rows):
                    return True
                bounds += [told.min, told.max] if told.has_min_max else []
        if not bounds:
            return False
        if not all(isinstance(bound, int) for bound in bounds):
            return True  # it was of another type
        return bool(leading.is_between(min(bounds), max(bounds)).any())

    def last(self, group: int, keys: pl.DataFrame) -> pl.DataFrame:
        """Which of the keys have an event here: the key's columns, the last event's place, whether it is a DELETE."""
        names = list(self.schema.primary_key)
        fields = self._fields()
        leaves = [f"{image}.{field}" for field in fields.values() for image in ("before", "after")]
        deleted = pl.col("operation") == DELETE
        found = self._read(group, ["operation", *leaves]).select(
            *(self._cell(name, fields, deleted) for name in names),
            pl.int_range(pl.len(), dtype=pl.Int64).alias(_PLACE),
            deleted.alias(_DELETED),
        )
        held = found.join(keys, on=names, how="semi", nulls_equal=True)
        return held.unique(subset=names, keep="last", maintain_order=True)

    def rows(self, group: int, places: pl.DataFrame) -> pl.DataFrame:
        """The whole rows at these places, none of which is a DELETE's."""
        whole = picked_up(self._read(group, ["after"]), self.shape)["after"].gather(places[_PLACE])
        row = whole.to_frame("after").select(as_now(pl.col("after"), self.shape, self.schema).alias(KNOWN))
        return places.select(self.schema.primary_key).with_columns(row[KNOWN])

    def _read(self, group: int, columns: list[str]) -> pl.DataFrame:
        frame = pl.from_arrow(self.parquet.read_row_group(group, columns=columns))
        assert isinstance(frame, pl.DataFrame)
        return frame

    def _fields(self) -> dict[str, str]:
        """Where the key's columns of the present shape stand in the images of this one, as far as they do."""
        held = {c.source_id: f for c, f in zip(self.shape.schema.columns, self.shape.fields, strict=True)}
        ids = {name: self.schema.column(name).source_id for name in self.schema.primary_key}
        return {name: held[number] for name, number in ids.items() if number in held}

    def _cell(self, name: str, fields: dict[str, str], deleted: pl.Expr) -> pl.Expr:
        kind = polars_type(self.schema.column(name).type)
        if name not in fields:
            return pl.lit(None, kind).alias(name)
        before, after = (pl.col(image).struct.field(fields[name]) for image in ("before", "after"))
        return pl.when(deleted).then(before).otherwise(after).cast(kind, strict=False).alias(name)
