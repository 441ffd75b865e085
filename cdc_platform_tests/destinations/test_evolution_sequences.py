"""Any sequence of shapes, writes and compactions of a Delta table leaves what a list of dicts would hold.

The model keeps each row as values by column id. Every reader must agree after every step, and the feed of all
versions must add up to the rows that are there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.lake.delta_feed import read_feed
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import MAPPED, DeltaLake, layout
from cdc_platform_tests.destinations.rows import PROCESSED, at
from cdc_platform_tests.destinations.shapes import CDC, FIRST, types

NAMES = ("a", "b", "c", "name", "small", "updated", "ratio", "x y")
KINDS = (pa.int32(), pa.float32(), pa.decimal128(6, 2), pa.string(), pa.int8(), pa.timestamp("us", "UTC"), pa.date32())
WIDER = {
    pa.int8(): pa.int16(), pa.int16(): pa.int32(), pa.int32(): pa.int64(), pa.float32(): pa.float64(),
    pa.decimal128(6, 2): pa.decimal128(9, 3), pa.decimal128(10, 2): pa.decimal128(30, 2),
}  # fmt: skip
LAYOUTS = ((), ("day(updated)",), ("year(updated)", "must"))


@dataclass
class Model:
    """The table as it should be: rows by column id, `"lsn"` and `"op"` for the `_cdc_*` columns."""

    random: random.Random
    kept: frozenset[int]
    shape: TargetSchema = FIRST
    rows: list[dict[Any, Any]] = field(default_factory=list)
    last_id: int = 7
    lsn: int = 0

    def row(self, number: int, operation: str) -> dict[Any, Any]:
        self.lsn += 1
        values = {f.source_id: self._value(f, number) for f in self.shape.fields if f.source_id is not None}
        return {**values, 1: number, "lsn": f"00000000/{self.lsn:08X}", "op": operation}

    def _value(self, column: TargetField, number: int) -> Any:
        kind, pick = column.type, self.random
        if not column.required and pick.random() < 0.2:
            return None
        if pa.types.is_integer(kind):
            return pick.randint(-128, 127)
        if pa.types.is_decimal(kind):
            return Decimal(pick.randint(-99999, 99999)).scaleb(-kind.scale)
        if pa.types.is_floating(kind):
            return pick.randint(-100, 100) / 8
        if pa.types.is_timestamp(kind):
            return PROCESSED.replace(month=pick.randint(1, 12), year=pick.choice((1969, 2024, 2025)))
        if pa.types.is_date(kind):
            return PROCESSED.date().replace(day=pick.randint(1, 28))
        return pick.choice(("", "ü", "x" * 40, str(number))) if column.source_id != 7 else pick.choice("pq")

    def frame(self, rows: list[dict[Any, Any]]) -> pl.DataFrame:
        cdc = {"_cdc_operation": "op", "_cdc_source_lsn": "lsn"}
        shown = [
            {f.name: row.get(f.source_id) if f.source_id else row.get(cdc.get(f.name), PROCESSED)
             for f in self.shape.fields}
            for row in rows
        ]  # fmt: skip
        return pl.DataFrame(shown, schema=types(self.shape), orient="row")

    def reshaped(self) -> TargetSchema:
        """Another shape, one to three changes away."""
        fields = [f for f in self.shape.fields if f not in CDC]
        for _ in range(self.random.randint(1, 3)):
            fields = self._changed(fields)
        key = next(f.name for f in fields if f.source_id == 1)
        return TargetSchema((*fields, *CDC), (key,))

    def _changed(self, fields: list[TargetField]) -> list[TargetField]:
        free = [name for name in NAMES if name not in {f.name for f in fields}]
        spot = self.random.randrange(len(fields))
        column, now = fields[spot], fields[:]
        match self.random.choice(("rename", "drop", "add", "relax", "widen", "swap")):
            case "rename" if free:
                now[spot] = replace(column, name=self.random.choice(free))
            case "swap":
                other = self.random.randrange(len(fields))
                now[spot], now[other] = replace(column, name=fields[other].name), fields[other]
                if other != spot:
                    now[other] = replace(fields[other], name=column.name)
            case "drop" if column.source_id not in self.kept:
                del now[spot]
            case "add" if free:
                self.last_id += 1
                kind = self.random.choice(KINDS)
                now.insert(spot, TargetField(self.random.choice(free), kind, source_id=self.last_id))
            case "relax" if column.source_id != 1:
                now[spot] = replace(column, required=False)
            case "widen" if column.type in WIDER:
                now[spot] = replace(column, type=WIDER[column.type])
        return now


def steps(model: Model, destination: DeltaDestination) -> Iterator[str]:
    """Random steps, made in the table and the model alike."""
    version = 0
    while True:
        version += 1
        step = model.random.choice(("evolve", "evolve", "append", "upsert", "upsert", "compact"))
        if step == "evolve":
            shape = model.reshaped()
            destination.evolve(shape, at(version))
            present = {f.source_id for f in shape.fields} | {"lsn", "op"}
            model.rows = [{k: v for k, v in row.items() if k in present} for row in model.rows]
            model.shape = shape
        elif step == "append":
            top = max((row[1] for row in model.rows), default=0)
            new = [model.row(top + 1 + i, "INSERT") for i in range(model.random.randint(1, 4))]
            destination.append(iter([model.frame(new)]), at(version))
            model.rows += new
        elif step == "upsert":
            keys = model.random.sample(range(1, 12), model.random.randint(1, 4))
            new = [model.row(key, model.random.choice(("UPDATE", "UPDATE", "DELETE"))) for key in keys]
            destination.upsert(model.frame(new), at(version))
            model.rows = [row for row in model.rows if row[1] not in keys]
            model.rows += [row for row in new if row["op"] != "DELETE"]
        else:
            destination.compact(model.random.choice((1, 10_000, 1 << 20)))
        yield step


def assert_feed_adds_up(path: Path, destination: DeltaDestination, wanted: pl.DataFrame) -> None:
    """Inserts less deletes of all versions are the rows that are there (a widened decimal is equal to what it was)."""
    version = destination.table_version()
    assert version is not None
    counted: dict[tuple[Any, ...], int] = {}
    for part in read_feed(path, 0, version):
        came = pl.col("_change_type").is_in(["insert", "update_postimage"])
        signed = part.select(*wanted.columns, came.cast(pl.Int8) * 2 - 1)
        for *row, sign in signed.rows():
            counted[tuple(row)] = counted.get(tuple(row), 0) + sign
    assert {row: n for row, n in counted.items() if n} == dict.fromkeys(wanted.rows(), 1)


@pytest.mark.parametrize(
    "properties", [{}, {"delta.enableChangeDataFeed": "true"}, MAPPED], ids=["plain", "feed", "mapped"]
)
@pytest.mark.parametrize("partitions", LAYOUTS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_all_readers_agree_after_every_step(
    tmp_path: Path, properties: dict[str, str], partitions: tuple[str, ...], seed: int
) -> None:
    kept = frozenset({1, 6, 7} if len(partitions) > 1 else {1, 6} if partitions else {1})
    shape = layout(partitions)
    lake = DeltaLake(tmp_path, {**properties, "delta.checkpointInterval": "5"})
    destination = lake.open(shape)
    assert isinstance(destination, DeltaDestination)
    destination.ensure(FIRST)
    model, done = Model(random.Random(f"{seed} {partitions} {properties}"), kept), list[str]()
    for _, step in zip(range(14), steps(model, destination), strict=False):
        done.append(step)
        fresh = lake.open(shape)
        fresh.ensure(model.shape)
        wanted = model.frame(model.rows).sort("_cdc_source_lsn")
        seen = lake.readers(wanted.columns) | {
            "scan": pl.concat([wanted.clear(), *(part.select(wanted.columns) for part in fresh.scan())])
        }
        for reader, found in seen.items():
            shown = found if reader == "scan" else found.cast(wanted.schema)
            assert shown.sort("_cdc_source_lsn").equals(wanted), (reader, done)
    assert_feed_adds_up(lake.path, destination, model.frame(model.rows))
