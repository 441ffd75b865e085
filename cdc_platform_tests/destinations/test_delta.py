"""What is Delta's own: the change data feed, the protocol, positions that outlive the log, other tools' tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.errors import ConfigError, InvalidRow, NotUnderstood
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import MAPPED, layout
from cdc_platform_tests.destinations.rows import FIELDS, NAMES, SCHEMA, TYPES, at, deleted, frame, frames, row
from cdc_platform_tests.readers import duckdb_delta

FEED = {"delta.enableChangeDataFeed": "true"}


def _made(path: Path, properties: dict[str, str], partitions: tuple[str, ...] = ("day(updated)",)) -> DeltaDestination:
    destination = DeltaDestination(str(path), layout(partitions, properties=properties))
    destination.ensure(SCHEMA)
    return destination


def _upserted(path: Path, properties: dict[str, str]) -> DeltaDestination:
    destination = _made(path, properties)
    destination.append(frames(row(1), row(2), row(3), row(4)), at(1))
    moved = row(2, 2, "UPDATE", updated=datetime(2030, 1, 1, tzinfo=UTC))
    destination.upsert(frame(row(1, 2, "UPDATE", note="new"), moved, deleted(3, 2), row(5, 2)), at(2))
    return destination


CHANGES = [
    (1, "update_postimage"), (1, "update_preimage"), (2, "update_postimage"), (2, "update_preimage"),
    (3, "delete"), (5, "insert"),
]  # fmt: skip


def test_the_change_data_feed_of_an_upsert(tmp_path: Path) -> None:
    _upserted(tmp_path, FEED)
    feed = pl.DataFrame(pa.table(DeltaTable(tmp_path).load_cdf(starting_version=2).read_all()))
    assert sorted(feed.select("id", "_change_type").rows()) == CHANGES
    before = feed.filter(pl.col("_change_type") == "update_preimage", pl.col("id") == 1)
    after = feed.filter(pl.col("_change_type") == "update_postimage", pl.col("id") == 1)
    assert (before["note"].item(), after["note"].item()) == ("plain", "new")
    appended = pl.DataFrame(pa.table(DeltaTable(tmp_path).load_cdf(starting_version=1, ending_version=1).read_all()))
    assert sorted(appended.select("id", "_change_type").rows()) == [(i, "insert") for i in (1, 2, 3, 4)]


def test_the_feed_of_a_mapped_table_is_in_its_log(tmp_path: Path) -> None:
    _upserted(tmp_path, MAPPED)
    log = (tmp_path / "_delta_log" / f"{2:020d}.json").read_text().splitlines()
    cdc = [action["cdc"] for action in map(json.loads, log) if "cdc" in action]
    found = [
        (row["id"], row["_change_type"])
        for action in cdc
        for row in pq.read_table(tmp_path / action["path"], partitioning=None).to_pylist()
    ]
    assert sorted(found) == CHANGES
    assert {action["partitionValues"]["updated_day"] for action in cdc} == {"2025-05-17", "2030-01-01"}


def test_without_the_property_there_is_no_feed(tmp_path: Path) -> None:
    _upserted(tmp_path, {})
    assert not (tmp_path / "_change_data").exists()


def test_applied_outlives_checkpoints_and_the_log(tmp_path: Path) -> None:
    destination = _made(tmp_path, {**MAPPED, "delta.checkpointInterval": "3"})
    for version in range(1, 8):
        destination.upsert(frame(row(version, version)), at(version))
    assert (tmp_path / "_delta_log" / f"{6:020d}.checkpoint.parquet").exists()
    for old in range(7):
        (tmp_path / "_delta_log" / f"{old:020d}.json").unlink()
    assert destination.applied("log") == at(7)
    (tmp_path / "_delta_log" / f"{7:020d}.json").unlink()
    applied = destination.applied("log")
    assert applied is not None
    assert (applied.version, applied.position) == (6, "")
    assert sorted(duckdb_delta(tmp_path)["id"]) == [1, 2, 3, 4, 5, 6]


def test_identity_partitions_of_a_mapped_table_are_read_by_duckdb(tmp_path: Path) -> None:
    destination = _made(tmp_path, MAPPED, ("region", "day"))
    given = [row(1, region="a b/ü%20=:"), row(2, region="x+y", day=None), row(3, region="k" * 500)]
    destination.append(frames(*given), at(1))
    seen = duckdb_delta(tmp_path).select(NAMES).sort("id").cast(TYPES)
    assert seen.equals(frame(*given))


def test_an_empty_text_cannot_be_a_partition(tmp_path: Path) -> None:
    destination = _made(tmp_path, {}, ("region",))
    with pytest.raises(InvalidRow, match="empty text"):
        destination.append(frames(row(1, region="")), at(1))
    assert list(tmp_path.rglob("*.parquet")) == []


def test_turning_the_feed_on_later_adds_no_other_feature(tmp_path: Path) -> None:
    _made(tmp_path, {}).append(frames(row(1)), at(1))
    before = DeltaTable(tmp_path).protocol()
    destination = _made(tmp_path, FEED)
    after = DeltaTable(tmp_path).protocol()
    assert set(after.writer_features or ()) - set(before.writer_features or ()) == {"changeDataFeed"}
    assert after.reader_features == before.reader_features
    destination.upsert(frame(row(1, 2, "UPDATE")), at(2))
    feed = pa.table(DeltaTable(tmp_path).load_cdf(starting_version=3).read_all())
    assert sorted(feed["_change_type"].to_pylist()) == ["update_postimage", "update_preimage"]


@pytest.mark.parametrize("properties", [FEED, MAPPED], ids=["plain", "mapped"])
def test_required_columns_name_their_feature(tmp_path: Path, properties: dict[str, str]) -> None:
    """Spark refuses a table of named features with NOT NULL columns without it."""
    _made(tmp_path, properties)
    assert "invariants" in (DeltaTable(tmp_path).protocol().writer_features or ())
    # One made without it gets it.
    log = tmp_path / "_delta_log" / f"{0:020d}.json"
    log.write_text(log.read_text().replace('"invariants", ', ""))
    assert "invariants" not in (DeltaTable(tmp_path).protocol().writer_features or ())
    _made(tmp_path, properties).append(frames(row(1)), at(1))
    assert "invariants" in (DeltaTable(tmp_path).protocol().writer_features or ())
    assert _made(tmp_path, properties).table_version() == 2


def test_a_table_that_asks_more_of_writers_is_left_alone(tmp_path: Path) -> None:
    destination = _made(tmp_path, {})
    DeltaTable(tmp_path).alter.add_constraint({"small": "small > 0"})
    with pytest.raises(NotUnderstood, match=r"delta\.constraints\.small"):
        destination.ensure(SCHEMA)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"delta.nonsense": "1"}, "nonsense"),
        ({"delta.columnMapping.mode": "id"}, "'name' or left out"),
        ({"delta.enableDeletionVectors": "true"}, "deletionVectors"),
        ({"delta.checkpointInterval": "often"}, "whole number"),
    ],
)
def test_properties_that_cannot_be(tmp_path: Path, properties: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        _made(tmp_path, properties)
    assert DeltaDestination(str(tmp_path), layout()).table_version() is None


def test_a_type_that_delta_lacks(tmp_path: Path) -> None:
    schema = TargetSchema((*FIELDS, TargetField("clock", pa.time64("us"))), ("id",))
    with pytest.raises(NotUnderstood, match="column 'clock'"):
        DeltaDestination(str(tmp_path), layout()).ensure(schema)


def test_names_that_delta_cannot_have(tmp_path: Path) -> None:
    twins = TargetSchema((TargetField("a", pa.int64()), TargetField("A", pa.int64())), ())
    with pytest.raises(ConfigError, match="differ in case"):
        DeltaDestination(str(tmp_path / "a"), layout()).ensure(twins)
    odd = TargetSchema((TargetField("a (b) = c", pa.int64()), TargetField('ü`"', pa.int64())), ("a (b) = c",))
    with pytest.raises(ConfigError, match="column mapping"):
        DeltaDestination(str(tmp_path / "b"), layout()).ensure(odd)
    mapped = DeltaDestination(str(tmp_path / "c"), layout(['ü`"'], properties=MAPPED))
    mapped.ensure(odd)
    mapped.append(iter([pl.DataFrame({"a (b) = c": [1, 2], 'ü`"': [3, 4]})]), at(1))
    assert duckdb_delta(tmp_path / "c").sort("a (b) = c").rows() == [(1, 3), (2, 4)]


def test_statistics_prune_for_other_readers(tmp_path: Path) -> None:
    destination = _made(tmp_path, MAPPED, ())
    long = "k" * 40
    for version, text in enumerate(("a", long + "1", long + "2", "\U0010ffff" * 40), 1):
        destination.append(frames(row(version, note=text)), at(version))
    table = DeltaTable(tmp_path)
    for version, text in enumerate(("a", long + "1", long + "2"), 1):
        found = duckdb_delta(tmp_path, f"select id from it where note = '{text}'")
        assert found["id"].to_list() == [version]
        assert pa.table(table.scan(predicate=f"note = '{text}'").read_all())["id"].to_pylist() == [version]
    seen = duckdb_delta(tmp_path, "select id from it where updated >= timestamptz '2025-05-17 23:59:59.999999+00'")
    assert seen.height == 4
    assert duckdb_delta(tmp_path, "select id from it where amount > 12.30").is_empty()
