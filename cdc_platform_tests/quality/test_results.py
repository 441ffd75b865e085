"""Validation results are kept for their days, and found again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from cdc_platform.quality.checks import Verdict
from cdc_platform.quality.results import SCHEMA, history, record, retire
from cdc_platform_tests import readers


def aged(path: Path, pipeline: str, days: float) -> None:
    row = dict.fromkeys(SCHEMA.names, "x")
    when = datetime.now(UTC) - timedelta(days=days)
    table = pa.Table.from_pylist(
        [{**row, "pipeline_id": pipeline, "validation_timestamp": when, "duration_ms": 1}], SCHEMA
    )
    write_deltalake(str(path), table, mode="append")


def test_old_results_go_by_each_pipelines_days(tmp_path: Path) -> None:
    path = tmp_path / "results"
    assert retire(path, {"a": 1}) == 0
    for pipeline, days in [("a", 0.5), ("a", 2), ("a", 40), ("b'c", 2), ("b'c", 40), ("other", 400)]:
        aged(path, pipeline, days)
    assert retire(path, {"a": 1, "b'c": 30}) == 3
    left = readers.duckdb_delta(path, "select pipeline_id, count(*) as n from it group by 1 order by 1")
    assert left.rows() == [("a", 1), ("b'c", 1), ("other", 1)]
    assert retire(path, {"a": 1, "b'c": 30}) == 0


def test_the_latest_come_first(tmp_path: Path) -> None:
    path = tmp_path / "results"
    assert history(path, ["a"], 10).is_empty()
    aged(path, "a", 3)
    aged(path, "b", 2)
    record(path, [("a", Verdict("lag", "PASS", "1", "1", {}))])
    assert history(path, ["a"], 10)["validation_type"].to_list() == ["lag", "x"]
    assert history(path, ["a", "b"], 2)["pipeline_id"].to_list() == ["a", "b"]
