"""Random commits to lake tables, by deltalake and by pyiceberg: nothing of ours writes or reads here."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.schema import Field, PrimitiveType
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType

KEYS = 40


class Writer(Protocol):
    """A table and what may be done to it; `states` has its rows (id to row) by version, read by its own library."""

    states: dict[int, dict[int, dict[str, Any]]]

    def step(self, chance: random.Random) -> str: ...


def _rows(chance: random.Random, ids: Sequence[int], extra: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": chance.choice(["a", "b", "", None, "ü"]),
            "qty": chance.choice([None, 0, -1, 7, 2**31 - 1]),
            "region": chance.choice(["north", "south", None]),
            **{name: chance.choice([None, "x"]) for name in extra},
        }
        for number in ids
    ]


def _among(ids: Sequence[int]) -> str:
    return f"id in ({', '.join(map(str, ids))})"


def _by_key(table: pa.Table) -> dict[int, dict[str, Any]]:
    return {row["id"]: row for row in table.to_pylist()}


@dataclass
class DeltaWriter:
    """A Delta table at `path`; with `feed`, it has a change data feed."""

    path: Path
    feed: bool
    partitioned: bool
    states: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_deltalake(
            self.path,
            self._table([]),
            partition_by=["region"] if self.partitioned else None,
            configuration={"delta.enableChangeDataFeed": str(self.feed).lower()},
        )
        self._note()

    def step(self, chance: random.Random) -> str:
        do = chance.choice(
            ["append", "append", "merge", "merge", "delete", "overwrite", "replace", "compact", "add", "restore"]
        )
        getattr(self, f"_{do}")(chance)
        self._note()
        return do

    def _append(self, chance: random.Random) -> None:
        held = self._now()
        free = [n for n in range(KEYS) if n not in held]
        ids = chance.sample(free, min(len(free), chance.randint(1, 8)))
        write_deltalake(self.path, self._table(_rows(chance, ids, self.extra)), mode="append")

    def _merge(self, chance: random.Random) -> None:
        ids = chance.sample(range(KEYS), chance.randint(1, 10))
        merger = DeltaTable(self.path).merge(
            self._table(_rows(chance, ids, self.extra)), "t.id = s.id", source_alias="s", target_alias="t"
        )
        merger = merger.when_matched_delete("s.qty = 7").when_matched_update_all()
        merger.when_not_matched_insert_all("s.qty is null or s.qty <> 7").execute()

    def _delete(self, chance: random.Random) -> None:
        DeltaTable(self.path).delete(f"id % 5 = {chance.randint(0, 4)}")

    def _overwrite(self, chance: random.Random) -> None:
        """All rows anew, some of them as they were."""
        held = self._now()
        kept = [row for row in held.values() if chance.random() < 0.6]
        ids = [n for n in range(KEYS) if n not in {row["id"] for row in kept} and chance.random() < 0.2]
        rows = [*kept, *_rows(chance, ids, self.extra)]
        write_deltalake(self.path, self._table(rows), mode="overwrite")

    def _replace(self, chance: random.Random) -> None:
        ids = [n for n in self._now() if n < KEYS // 4]
        write_deltalake(
            self.path, self._table(_rows(chance, ids, self.extra)), mode="overwrite", predicate=f"id < {KEYS // 4}"
        )

    def _compact(self, chance: random.Random) -> None:
        DeltaTable(self.path).optimize.compact()

    def _add(self, chance: random.Random) -> None:
        name = f"more_{len(self.extra)}"
        DeltaTable(self.path).alter.add_columns([Field(name, PrimitiveType("string"), nullable=True)])
        self.extra.append(name)

    def _restore(self, chance: random.Random) -> None:
        """To a version of the same columns."""
        now = max(self.states)
        versions = [v for v, rows in self.states.items() if 0 < v < now and rows and self._alike(rows)]
        if versions:
            DeltaTable(self.path).restore(chance.choice(versions))

    def _alike(self, rows: dict[int, dict[str, Any]]) -> bool:
        return len(next(iter(rows.values()))) == len(self.extra) + 4

    def _now(self) -> dict[int, dict[str, Any]]:
        return self.states[max(self.states)]

    def _note(self) -> None:
        table = DeltaTable(self.path)
        self.states[table.version()] = _by_key(table.to_pyarrow_table())

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        kinds = {"id": pa.int64(), "name": pa.string(), "qty": pa.int32(), "region": pa.string()}
        return pa.Table.from_pylist(rows, pa.schema({**kinds, **dict.fromkeys(self.extra, pa.string())}))


@dataclass
class IcebergWriter:
    """The Iceberg table `shop.things`."""

    catalog: SqlCatalog
    partitioned: bool
    states: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    name: str = "name"

    def __post_init__(self) -> None:
        self.catalog.create_namespace("shop")
        table = self.catalog.create_table("shop.things", self._schema())
        if self.partitioned:
            with table.update_spec() as spec:
                spec.add_identity("region")
        self._note()

    def step(self, chance: random.Random) -> str:
        do = chance.choice(["append", "append", "upsert", "delete", "overwrite", "replace", "add", "rename"])
        getattr(self, f"_{do}")(chance)
        self._note()
        return do

    def _append(self, chance: random.Random) -> None:
        held = self._now()
        free = [n for n in range(KEYS) if n not in held]
        self._load().append(self._table(self._made(chance, chance.sample(free, min(len(free), chance.randint(1, 8))))))

    def _upsert(self, chance: random.Random) -> None:
        ids = chance.sample(range(KEYS), chance.randint(1, 10))
        self._load().overwrite(self._table(self._made(chance, ids)), _among(ids))

    def _delete(self, chance: random.Random) -> None:
        rest = chance.randint(0, 4)
        self._load().delete(_among([n for n in range(KEYS) if n % 5 == rest]))

    def _overwrite(self, chance: random.Random) -> None:
        held = self._now()
        kept = [row for row in held.values() if chance.random() < 0.6]
        ids = [n for n in range(KEYS) if n not in {row["id"] for row in kept} and chance.random() < 0.2]
        self._load().overwrite(self._table([*kept, *self._made(chance, ids)]))

    def _replace(self, chance: random.Random) -> None:
        ids = [n for n in self._now() if n < KEYS // 4]
        self._load().overwrite(self._table(self._made(chance, ids)), f"id < {KEYS // 4}")

    def _add(self, chance: random.Random) -> None:
        name = f"more_{len(self.extra)}"
        with self._load().update_schema() as change:
            change.add_column(name, StringType())
        self.extra.append(name)

    def _rename(self, chance: random.Random) -> None:
        name = f"name_{len(self._load().schemas())}"
        with self._load().update_schema() as change:
            change.rename_column(self.name, name)
        self.name = name

    def _made(self, chance: random.Random, ids: Sequence[int]) -> list[dict[str, Any]]:
        return [{self.name: row.pop("name"), **row} for row in _rows(chance, ids, self.extra)]

    def _now(self) -> dict[int, dict[str, Any]]:
        return _by_key(self._load().scan().to_arrow())

    def _note(self) -> None:
        table = self._load()
        snapshot = table.current_snapshot()
        number = snapshot.sequence_number or 0 if snapshot else 0
        self.states[number] = _by_key(table.scan().to_arrow())

    def _load(self) -> Any:
        return self.catalog.load_table("shop.things")

    def _schema(self) -> pa.Schema:
        kinds = {"id": pa.int64(), self.name: pa.string(), "qty": pa.int32(), "region": pa.string()}
        return pa.schema({**kinds, **dict.fromkeys(self.extra, pa.string())})

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(rows, self._schema())


def plain(rows: pl.DataFrame) -> dict[int, dict[str, Any]]:
    """Rows of a destination by id, without what the platform adds."""
    own = [name for name in rows.columns if not name.startswith("_cdc_")]
    return {row["id"]: row for row in rows.select(own).to_dicts()}
