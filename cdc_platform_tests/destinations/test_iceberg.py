"""What is Iceberg's own: positions in snapshots, other writers' snapshots, catalogs, manifests, renamed columns."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFileContent, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2
from pyiceberg.types import StringType

from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.errors import ConfigError, NotUnderstood, SchemaConflict, Unavailable
from cdc_platform.model.target import TargetField, TargetSchema
from cdc_platform_tests.destinations.conftest import IcebergLake, layout
from cdc_platform_tests.destinations.rows import FIELDS, NAMES, SCHEMA, TYPES, at, deleted, frame, frames, row

DAILY = layout(["day(updated)"])


@pytest.fixture
def lake(tmp_path: Path) -> IcebergLake:
    return IcebergLake(tmp_path)


def _made(lake: IcebergLake, shape: Any = DAILY) -> Destination:
    destination = lake.open(shape)
    destination.ensure(SCHEMA)
    return destination


def test_a_snapshot_says_what_is_in_it(lake: IcebergLake) -> None:
    _made(lake).append(frames(row(1)), at(7))
    snapshot = lake.table().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    found = {key: snapshot.summary[key] for key in ("cdc.log_id", "cdc.version", "cdc.position", "added-records")}
    assert found == {"cdc.log_id": "log", "cdc.version": "7", "cdc.position": "00000000/00000007", "added-records": "1"}


def test_an_upsert_is_one_snapshot(lake: IcebergLake) -> None:
    destination = _made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    destination.upsert(frame(row(1, 2, "UPDATE"), deleted(2, 2)), at(2))
    assert len(lake.table().snapshots()) == 2
    summary = lake.table().snapshots()[1].summary
    assert summary is not None
    assert (summary["total-records"], summary["total-data-files"]) == ("1", "1")


def test_applied_outlives_other_writers_and_expired_snapshots(lake: IcebergLake) -> None:
    destination = _made(lake)
    destination.append(frames(row(1)), at(4))
    for i in range(3):
        lake.foreign_append(frame(row(50 + i)))
    assert destination.applied("log") == at(4)
    ours = lake.table().snapshots()[0].snapshot_id
    lake.table().maintenance.expire_snapshots().by_id(ours).commit()
    assert destination.applied("log") == at(4)
    with pytest.raises(SchemaConflict):
        destination.applied("another")


def test_a_table_rolled_back_says_so(lake: IcebergLake) -> None:
    destination = _made(lake)
    destination.append(frames(row(1)), at(1))
    first = lake.table().current_snapshot()
    assert first is not None
    destination.append(frames(row(2)), at(2))
    lake.table().manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    assert destination.applied("log") == at(1)


def test_questions_do_not_import_pyiceberg(lake: IcebergLake, tmp_path: Path) -> None:
    _made(lake).append(frames(row(1)), at(3))
    program = f"""
import sys
from cdc_platform.destinations.open import open_destination
from cdc_platform.config.pipeline import DestinationConfig
from cdc_platform_tests.destinations.rows import SCHEMA
config = DestinationConfig(type="iceberg", path={str(tmp_path)!r}, table="cdc.t", partition_by="day(updated)")
destination = open_destination(config)
destination.ensure(SCHEMA)
print(destination.applied("log").version, destination.table_version() > 0, "pyiceberg" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "True", "False"]


def test_delete_files_of_others_are_not_understood(lake: IcebergLake) -> None:
    destination = _made(lake)
    destination.append(frames(row(1)), at(1))
    _add_delete_manifest(lake)
    with pytest.raises(NotUnderstood, match="delete files"):
        destination.upsert(frame(row(1, 2, "UPDATE")), at(2))
    with pytest.raises(NotUnderstood, match="delete files"):
        list(destination.scan())


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


def _add_delete_manifest(lake: IcebergLake) -> None:
    """A snapshot that has a manifest of deletes, as merge-on-read writers leave them."""
    table = lake.table()
    (task,) = table.scan().plan_files()
    task.file._data[0] = DataFileContent.POSITION_DELETES
    with table.transaction() as transaction:
        producer = transaction.update_snapshot().fast_append()
        output = producer.new_manifest_output()
        with _DeleteManifest(table.spec(), table.schema(), output, producer.snapshot_id, "deflate") as writer:
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, snapshot_id=producer.snapshot_id, data_file=task.file
            )
            writer.add_entry(entry)
        deletes = writer.to_manifest_file()
        original = producer._manifests
        producer._manifests = lambda: [*original(), deletes]  # type: ignore[method-assign]
        producer.commit()


def test_manifests_stay_few(lake: IcebergLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_platform.destinations.iceberg_snapshot._MERGE_AT", 5)
    destination = _made(lake)
    for version in range(1, 16):
        rows = [row(1, version, "UPDATE"), row(100 + version, version, updated=datetime(2025, 1, version, tzinfo=UTC))]
        destination.upsert(frame(*rows), at(version))
    snapshot = lake.table().current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(lake.table().io)) <= 6
    assert sorted(lake.readers(["id"])["duckdb"]["id"]) == [1, *range(101, 116)]


def test_a_column_renamed_by_somebody_is_read_by_its_id(lake: IcebergLake) -> None:
    destination = _made(lake)
    destination.append(frames(row(1), row(2)), at(1))
    with lake.table().update_schema() as update:
        update.rename_column("note", "remark")
        update.add_column("extra", StringType())
    fields = tuple(TargetField("remark", field.type) if field.name == "note" else field for field in FIELDS)
    schema = TargetSchema((*fields, TargetField("extra", pa.string())), ("id",))
    renamed = lake.open(DAILY)
    renamed.ensure(schema)
    change = frame(row(1, 2, "UPDATE", note="new")).rename({"note": "remark"}).with_columns(extra=pl.lit("e"))
    renamed.upsert(change, at(2))
    seen = pl.concat(list(renamed.scan())).sort("id")
    assert seen.select("id", "remark", "extra").rows() == [(1, "new", "e"), (2, "plain", None)]
    assert sorted(lake.readers(["id", "remark", "extra"])["pyiceberg"].rows()) == sorted(
        seen.select("id", "remark", "extra").rows()
    )


def test_a_catalog_of_ones_own(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mine.db"
    destination = IcebergDestination(
        str(tmp_path / "house"), "a.b.t", {"type": "sql", "name": "mine", "uri": uri}, DAILY
    )
    destination.ensure(SCHEMA)
    destination.append(frames(row(1)), at(1))
    destination.upsert(frame(row(1, 2, "UPDATE")), at(2))
    assert destination.applied("log") == at(2)
    table = SqlCatalog("mine", uri=uri).load_table("a.b.t")
    assert pl.DataFrame(table.scan().to_arrow()).select(NAMES).cast(TYPES).equals(frame(row(1, 2, "UPDATE")))


@pytest.mark.parametrize(
    ("catalog", "words"),
    [({"type": "nonsense"}, "destination.catalog"), ({"type": "sql"}, "destination.catalog")],
)
def test_catalogs_that_cannot_be(tmp_path: Path, catalog: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        IcebergDestination(str(tmp_path), "cdc.t", catalog, DAILY).ensure(SCHEMA)


def test_a_catalog_that_does_not_answer(tmp_path: Path) -> None:
    catalog = {"type": "sql", "uri": "postgresql+psycopg2://user:secret@127.0.0.1:1/db"}
    with pytest.raises(Unavailable, match="does not answer") as caught:
        IcebergDestination(str(tmp_path), "cdc.t", catalog, DAILY).ensure(SCHEMA)
    assert "secret" not in str(caught.value)


def test_two_tables_share_a_catalog(tmp_path: Path) -> None:
    for name in ("cdc.one", "cdc.two", "other.one"):
        destination = IcebergDestination(str(tmp_path), name, None, DAILY)
        destination.ensure(SCHEMA)
        destination.append(frames(row(1), row(2)), at(len(name)))
    assert IcebergDestination(str(tmp_path), "cdc.two", None, DAILY).applied("log") == at(7)


@pytest.mark.parametrize(
    ("identifier", "shape", "words"),
    [
        ("plain", DAILY, "namespace.name"),
        ("cdc.t", layout(properties={"format-version": "3"}), "format-version"),
        ("cdc.t", layout(sort=["nothing"]), "no column 'nothing'"),
        ("cdc.t", layout(["ratio"]), "partitions are of other types"),
    ],
)
def test_configurations_that_cannot_be(tmp_path: Path, identifier: str, shape: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        IcebergDestination(str(tmp_path), identifier, None, shape).ensure(SCHEMA)


def test_another_sort_order_is_a_conflict(lake: IcebergLake) -> None:
    _made(lake)
    with pytest.raises(SchemaConflict, match="sorted by nothing and should be by id desc"):
        lake.open(layout(["day(updated)"], ["id desc"])).ensure(SCHEMA)


def test_metrics_as_the_properties_ask(lake: IcebergLake) -> None:
    properties = {"write.metadata.metrics.default": "truncate(4)", "write.metadata.metrics.column.blob": "none"}
    _made(lake, layout(properties=properties)).append(frames(row(1, note="abcdefgh", ratio=float("nan"))), at(1))
    (task,) = lake.table().scan().plan_files()
    ids = {field.name: field.field_id for field in lake.table().schema().fields}
    bounds = task.file.lower_bounds[ids["note"]], task.file.upper_bounds[ids["note"]]
    assert bounds == (b"abcd", b"abce")
    assert ids["blob"] not in task.file.value_counts
    assert task.file.nan_value_counts[ids["ratio"]] == 1
    assert ids["ratio"] not in task.file.lower_bounds


def test_writing_as_the_properties_ask(lake: IcebergLake, tmp_path: Path) -> None:
    properties = {"write.data.path": f"{tmp_path}/elsewhere", "write.parquet.compression-codec": "gzip"}
    _made(lake, layout(["day(updated)"], properties=properties)).append(frames(row(1)), at(1))
    (file,) = lake.data_files()
    assert file.is_relative_to(tmp_path / "elsewhere")
    assert pq.read_metadata(file).row_group(0).column(0).compression == "GZIP"
    assert lake.readers(["id"])["duckdb"]["id"].to_list() == [1]
