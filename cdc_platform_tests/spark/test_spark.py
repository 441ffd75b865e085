"""Spark reads our tables in every shape that they take, writes into them, and reads their change data feed."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.lake.delta_feed import read_feed
from cdc_platform_tests.destinations.conftest import MAPPED, DeltaLake, layout
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.destinations.shapes import FIRST, added, changed, dropped, renamed, rows
from cdc_platform_tests.destinations.test_evolution_sequences import LAYOUTS, Model, steps

FOLDER = Path(os.environ.get("CDC_SPARK", ""))
FEED = {"delta.enableChangeDataFeed": "true"}

pytestmark = [
    pytest.mark.skipif("CDC_SPARK" not in os.environ, reason="Spark is asked by `make test-spark` only"),
    pytest.mark.skipif(not (FOLDER / "bin" / "python").exists(), reason="Spark could not be fetched, see above"),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17 or newer on the path"),
]


@dataclass(frozen=True)
class Task:
    table: Path
    feed: int | None = None
    insert: str | None = None


def spark(out: Path, *tasks: Task) -> list[pl.DataFrame | str]:
    """What Spark reads for each task, or what it says where it refuses."""
    out.mkdir()
    given = json.dumps([{"table": str(t.table), "feed": t.feed, "insert": t.insert} for t in tasks])
    script = Path(__file__).with_name("session.py")
    command = [str(FOLDER / "bin" / "python"), str(script), str(FOLDER / "jars"), str(out)]
    done = subprocess.run(command, input=given, text=True, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return [_answer(out, number) for number in range(len(tasks))]


def _answer(out: Path, number: int) -> pl.DataFrame | str:
    refused = out / f"{number}.error"
    return refused.read_text() if refused.exists() else pl.read_parquet(out / str(number) / "*.parquet")


def same(found: pl.DataFrame | str, wanted: pl.DataFrame) -> None:
    assert isinstance(found, pl.DataFrame), found
    shown = found.select(wanted.columns).cast(wanted.schema)
    order = [name for name in wanted.columns if name.startswith("_c")]
    order = [*order, wanted.columns[0]]
    assert shown.sort(order).equals(wanted.sort(order))


def test_spark_agrees_after_random_sequences(tmp_path: Path) -> None:
    tasks, wanted = [], []
    for number, (partitions, properties) in enumerate((p, q) for p in LAYOUTS for q in ({}, FEED, MAPPED)):
        kept = frozenset({1, 6, 7} if len(partitions) > 1 else {1, 6})
        lake = DeltaLake(tmp_path / str(number), {**properties, "delta.checkpointInterval": "5"})
        destination = lake.open(layout(partitions))
        assert isinstance(destination, DeltaDestination)
        destination.ensure(FIRST)
        model = Model(random.Random(number), kept)
        done = steps(model, destination)
        for _ in range(12):
            next(done)
        tasks.append(Task(lake.path))
        wanted.append(model.frame(model.rows))
    for found, rows_ in zip(spark(tmp_path / "out", *tasks), wanted, strict=True):
        same(found, rows_)


def evolved(lake: DeltaLake) -> tuple[DeltaDestination, Any]:
    """Versions: 1 rows, 2 upsert, 3 another shape, 4 upsert, 5 append, 6 compaction."""
    destination = lake.open(layout(["month(updated)"]))
    assert isinstance(destination, DeltaDestination)
    destination.ensure(FIRST)
    destination.append(iter([rows(FIRST, *({"id": i} for i in range(1, 30)))]), at(1))
    destination.upsert(rows(FIRST, {"id": 1, "lsn": 2}, {"id": 2, "lsn": 2, "operation": "DELETE"}), at(2))
    now = changed(renamed(dropped(FIRST, "ratio"), name="title", updated="changed"), "small", type=pa.int64())
    now = changed(added(now, "more", pa.string(), 8), "amount", type=pa.decimal128(20, 2))
    destination.evolve(now, at(3))
    destination.upsert(rows(now, {"id": 3, "lsn": 3}, {"id": 4, "lsn": 3, "operation": "DELETE"}), at(4))
    destination.append(iter([rows(now, {"id": 40, "lsn": 4}, {"id": 41, "lsn": 4})]), at(5))
    assert destination.compact(1 << 20).table_version == 6
    return destination, now


def test_spark_reads_the_feed(tmp_path: Path) -> None:
    lakes = [DeltaLake(tmp_path / "plain", FEED), DeltaLake(tmp_path / "mapped", MAPPED)]
    for lake in lakes:
        evolved(lake)
    found = spark(tmp_path / "out", *(Task(lake.path, 3) for lake in lakes), *(Task(lake.path, 1) for lake in lakes))
    for lake, answer in zip(lakes, found[:2], strict=True):
        # Spark's time of a commit is its file's, ours what the commit says.
        same(answer, pl.concat(list(read_feed(lake.path, 3, 6))).drop("_commit_timestamp"))
    # Delta's own bound: its reader refuses the feed across a change of shape other than a new column.
    for answer in found[2:]:
        assert isinstance(answer, str)
        assert "DELTA_CHANGE_DATA_FEED_INCOMPATIBLE_DATA_SCHEMA" in answer


@pytest.mark.parametrize("properties", [FEED, MAPPED], ids=["plain", "mapped"])
def test_spark_writes_into_an_evolved_table(tmp_path: Path, properties: dict[str, str]) -> None:
    lake = DeltaLake(tmp_path, properties)
    destination, now = evolved(lake)
    names = ", ".join(f.name for f in now.fields)
    new = ", ".join("100L as id" if f.name == "id" else f.name for f in now.fields)
    insert = f"insert into delta.`{lake.path}` ({names}) select {new} from delta.`{lake.path}` where id = 41"
    before = pl.concat(list(destination.scan()))
    theirs = before.filter(id=41).with_columns(id=pl.lit(100, pl.Int64))
    (found,) = spark(tmp_path / "out", Task(lake.path, insert=insert))
    same(found, pl.concat([before, theirs]))
    last = renamed(now, changed="moved")
    destination.evolve(last, at(6))
    destination.upsert(rows(last, {"id": 100, "lsn": 9}), at(7))
    kept = before.rename({"changed": "moved"}).select([f.name for f in last.fields])
    same(pl.concat(list(destination.scan())), pl.concat([kept, rows(last, {"id": 100, "lsn": 9})]))
