"""Any sequence of changes of shape, appends and upserts leaves what a plain model would hold, as others read it.

The model knows a cell by its row and by its column's source id, never by a name. Names come from a small pool, so that
they are used again, and again by other columns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import IcebergLake, layout
from cdc_platform_tests.destinations.iceberg_shapes import CDC
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.readers import duckdb_iceberg

POOL: Final = ("a", "b", "c", "d", "ü x", "E/f")
WIDER: Final = {
    pa.int32(): pa.int64(),
    pa.float32(): pa.float64(),
    pa.decimal128(6, 2): pa.decimal128(14, 2),
    pa.decimal128(14, 2): pa.decimal128(38, 2),
}
KINDS: Final = (pa.int32(), pa.float32(), pa.decimal128(6, 2), pa.string(), pa.timestamp("us"), pa.bool_(), pa.binary())
LAYOUTS: Final = {
    "plain": layout(),
    "sorted": layout(sort=["a desc", "id"]),
    "partitioned": layout(["region", "month(seen)"], ["a"]),
    "by key": layout(["id"]),
}
NEEDED: Final = {"plain": {1}, "sorted": {1, 4}, "partitioned": {1, 2, 3, 4}, "by key": {1}}
"""Source ids that cannot be dropped from each of them."""
PARTITION_FIELDS: Final = {"partitioned": {"region"}, "by key": {"id"}}
"""Names that no other column can take."""


def value(draw: random.Random, kind: pa.DataType) -> Any:
    if draw.random() < 0.15:
        return None
    number = draw.randrange(-5, 100)
    big = draw.random() < 0.3
    makers: Mapping[pa.DataType, Callable[[], Any]] = {
        pa.int32(): lambda: number,
        pa.int64(): lambda: number << 32 if big else number,
        pa.float32(): lambda: number / 4,
        pa.float64(): lambda: number * 1e200 if big else number / 4,
        pa.decimal128(6, 2): lambda: Decimal(number) / 4,
        pa.decimal128(14, 2): lambda: Decimal(number * 10**9 if big else number) / 4,
        pa.decimal128(38, 2): lambda: Decimal(number * 10**30 if big else number),
        pa.string(): lambda: f"ö{number}",
        pa.timestamp("us"): lambda: datetime(2025, 1, 1) + timedelta(hours=number * 20, microseconds=1),
        pa.bool_(): lambda: number % 2 == 0,
        pa.binary(): lambda: bytes([number % 7, 255]),
    }
    return makers[kind]()


@dataclass
class Model:
    draw: random.Random
    needed: set[int]
    fixed: set[str]
    fields: list[TargetField] = field(
        default_factory=lambda: [
            TargetField("id", pa.int32(), True, 1),
            TargetField("region", pa.string(), False, 2),
            TargetField("seen", pa.timestamp("us"), False, 3),
            TargetField("a", pa.string(), False, 4),
            TargetField("b", pa.int32(), True, 5),
        ]
    )
    rows: dict[int, dict[int, Any]] = field(default_factory=dict)
    last_id: int = 5
    last_key: int = 0

    @property
    def schema(self) -> TargetSchema:
        return TargetSchema((*self.fields, *CDC), tuple(f.name for f in self.fields if f.source_id == 1))

    def reshape(self) -> None:
        for _ in range(self.draw.randrange(1, 4)):
            self.draw.choice([self._add, self._drop, self._rename, self._swap, self._widen, self._relax, self._shift])()

    def _free(self) -> list[str]:
        return [name for name in POOL if name not in {f.name for f in self.fields}]

    def _add(self) -> None:
        if free := self._free():
            self.last_id += 1
            new = TargetField(self.draw.choice(free), self.draw.choice(KINDS), False, self.last_id)
            self.fields.insert(self.draw.randrange(len(self.fields) + 1), new)

    def _drop(self) -> None:
        if droppable := [f for f in self.fields if f.source_id not in self.needed]:
            self.fields.remove(self.draw.choice(droppable))

    def _rename(self) -> None:
        if free := self._free():
            i = self.draw.randrange(len(self.fields))
            self.fields[i] = replace(self.fields[i], name=self.draw.choice(free))

    def _swap(self) -> None:
        movable = [i for i, f in enumerate(self.fields) if f.name not in self.fixed]
        if len(movable) > 1:
            i, j = self.draw.sample(movable, 2)
            one, other = self.fields[i], self.fields[j]
            self.fields[i], self.fields[j] = replace(one, name=other.name), replace(other, name=one.name)

    def _widen(self) -> None:
        i = self.draw.randrange(len(self.fields))
        self.fields[i] = replace(self.fields[i], type=WIDER.get(self.fields[i].type, self.fields[i].type))

    def _relax(self) -> None:
        i = self.draw.randrange(len(self.fields))
        self.fields[i] = replace(self.fields[i], required=self.fields[i].source_id == 1)

    def _shift(self) -> None:
        self.draw.shuffle(self.fields)

    def new(self, key: int) -> dict[int, Any]:
        cells = {f.source_id or 0: value(self.draw, f.type) for f in self.fields}
        for f in self.fields:
            while f.required and cells[f.source_id or 0] is None:
                cells[f.source_id or 0] = value(self.draw, f.type)
        return {**cells, 1: key}

    def added(self) -> dict[int, dict[int, Any]]:
        step = 1 << 33 if self.draw.random() < 0.2 and self.fields_of(1).type == pa.int64() else 1
        found = {}
        for _ in range(self.draw.randrange(1, 5)):
            self.last_key += step
            found[self.last_key] = self.new(self.last_key)
        return found

    def fields_of(self, source_id: int) -> TargetField:
        return next(f for f in self.fields if f.source_id == source_id)

    def frame(self, rows: Mapping[int, dict[int, Any]], operation: str = "INSERT") -> pl.DataFrame:
        types = pl.Schema({f.name: polars_type(f.type) for f in self.schema.fields})
        cdc = {"_cdc_operation": operation, "_cdc_source_lsn": None}
        shown = [{**{f.name: row.get(f.source_id or 0) for f in self.fields}, **cdc} for row in rows.values()]
        return pl.DataFrame(shown, schema=types)

    def content(self) -> list[tuple[Any, ...]]:
        return [tuple(row.get(f.source_id or 0) for f in self.fields) for _, row in sorted(self.rows.items())]


@pytest.mark.parametrize("arranged", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_any_sequence(tmp_path: Path, arranged: str, seed: int) -> None:
    lake, draw = IcebergLake(tmp_path), random.Random(f"{arranged} {seed}")
    model = Model(draw, NEEDED[arranged], PARTITION_FIELDS.get(arranged, set()))
    destination = lake.open(LAYOUTS[arranged])
    destination.ensure(model.schema)
    history: dict[int, tuple[list[str], list[tuple[Any, ...]]]] = {}
    for version in range(1, 15):
        if draw.random() < 0.5:
            destination = lake.open(LAYOUTS[arranged])
            destination.ensure(model.schema)
        step = draw.choice(["evolve", "evolve", "append", "upsert"])
        if step == "evolve":
            model.reshape()
            destination.evolve(model.schema, at(version))
        elif step == "append":
            given = model.added()
            model.rows |= given
            destination.append(iter([model.frame(given)]), at(version))
        else:
            _upsert(model, draw, destination, version)
        assert destination.applied("log") == at(version)
        assert list(destination.schema() or ()) == list(model.schema.fields)
        assert_agree(lake, model, draw)
        history[destination.table_version() or 0] = [f.name for f in model.fields], model.content()
    for snapshot, (names, content) in history.items():
        past = pl.DataFrame(lake.table().scan(snapshot_id=snapshot).to_arrow())
        assert past.columns[: len(names)] == names
        assert sorted(past.select(names).rows(), key=str) == sorted(content, key=str)


def _upsert(model: Model, draw: random.Random, destination: Any, version: int) -> None:
    there = sorted(model.rows)
    chosen = draw.sample(there, min(len(there), 3))
    gone, changed = chosen[:1], {key: model.new(key) for key in chosen[1:]}
    given = model.added() | changed
    deletes = model.frame({key: {1: key} for key in gone}, "DELETE")
    destination.upsert(pl.concat([model.frame(given, "UPDATE"), deletes]), at(version))
    model.rows |= given
    for key in gone:
        del model.rows[key]


def assert_agree(lake: IcebergLake, model: Model, draw: random.Random) -> None:
    """All readers see the model's rows, all of them and those with keys above some bound."""
    names = [f.name for f in model.fields]
    types = pl.Schema({f.name: polars_type(f.type) for f in model.schema.fields})
    key = model.fields_of(1).name
    found = {reader: frame.cast(types) for reader, frame in lake.readers(list(types)).items()}
    found["scan"] = pl.concat([types.to_frame(), *(part.select(list(types)) for part in lake.open().scan())])
    for reader, frame in found.items():
        assert frame.select(names).sort(key).rows() == model.content(), reader
    bound = draw.randrange(model.last_key + 1)
    wanted = [number for number in sorted(model.rows) if number > bound]
    table = lake.table()
    query = f'select "{key}" from it where "{key}" > {bound} order by 1'
    assert duckdb_iceberg(table.metadata_location, query).to_series().to_list() == wanted, "duckdb, filtered"
    filtered = table.scan(row_filter=f'"{key}" > {bound}').to_arrow()[key].to_pylist()
    assert sorted(filtered) == wanted, "pyiceberg, filtered"
