"""Runs of `capture_and_apply` on real servers: what lands, what is told of it, and what one table's failure does."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from cdc_platform.defs import captures
from cdc_platform.defs import failures as failing
from cdc_platform.defs.build import build
from cdc_platform.engine.capture import capture
from cdc_platform.engine.feeds import Feed
from cdc_platform.engine.follow import Capture
from cdc_platform.engine.memory import recall
from cdc_platform.engine.progress import Progress
from cdc_platform.errors import CdcError, ConfigError, Gap, Lost, Unavailable
from cdc_platform_tests.defs.runs import everything_said, execute, failures, materialised
from cdc_platform_tests.world import World

LOGS = {"change_log/postgres/items", "change_log/postgres/notes", "change_log/mysql/things", "change_log/mysql/parts"}
TABLES = {"deltalake/items_cdc", "iceberg/notes_cdc", "iceberg/things_cdc", "deltalake/parts_cdc"}


def delta_rows(path: Path, columns: str) -> list[tuple[object, ...]]:
    query = QueryBuilder().register("t", DeltaTable(str(path))).execute(f"select {columns} from t order by 1")
    return [tuple(row.values()) for row in pa.table(query.read_all()).to_pylist()]


def test_a_first_run_lands_every_row_and_says_so(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = execute(definitions, instance)
    assert result.success
    told = materialised(result)
    assert told.keys() == LOGS | TABLES
    rows = {"items": 10, "notes": 5, "things": 3, "parts": 2}
    for name, metadata in told.items():
        table = name.rpartition("/")[2].removesuffix("_cdc")
        assert metadata["snapshot_rows"] == rows[table], name
        assert (metadata["inserts"], metadata["updates"], metadata["deletes"]) == (0, 0, 0), name
        assert metadata["from"] == "", name
        assert metadata["to"], name
        assert metadata["seconds"] >= 0, name
    for name in TABLES:
        table = name.rpartition("/")[2].removesuffix("_cdc")
        assert told[name]["dagster/row_count"] == told[name]["rows_written"] == rows[table]
        assert told[name]["table_version"] > 0
        assert told[name]["lag_seconds"] >= 0
    assert delta_rows(world.home / "lake" / "parts_cdc", "id, weight") == [(1, 10), (2, 20)]


def test_changes_are_counted_by_operation_from_where_the_last_run_ended(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    before = materialised(execute(definitions, instance))
    world.postgres_do(
        "insert into items select n, 'new' from generate_series(11, 13) n",
        "update items set title = 'changed' where id <= 2",
        "delete from items where id = 10",
    )
    world.mysql_do("update parts set weight = 11 where id = 1", "delete from parts where id = 2")
    told = materialised(execute(definitions, instance))
    for name in ("change_log/postgres/items", "deltalake/items_cdc"):
        assert [told[name][k] for k in ("inserts", "updates", "deletes", "snapshot_rows")] == [3, 2, 1, 0]
        assert told[name]["from"] == before[name]["to"]
        assert told[name]["to"] > told[name]["from"]
    assert told["deltalake/items_cdc"]["dagster/row_count"] == 16
    assert told["deltalake/parts_cdc"]["dagster/row_count"] == 1
    assert [told["deltalake/parts_cdc"][k] for k in ("inserts", "updates", "deletes")] == [0, 1, 1]
    assert delta_rows(world.home / "lake" / "parts_cdc", "id, weight") == [(1, 11)]
    # Nothing happened to this one: no rows, and no lag where there was no change to measure it by.
    assert told["iceberg/notes_cdc"]["rows_written"] == 0
    assert "lag_seconds" not in told["iceberg/notes_cdc"]
    assert told["iceberg/notes_cdc"]["dagster/row_count"] == 5


def test_a_change_log_tells_what_came_in_by_other_ways_too(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    execute(definitions, instance)
    world.postgres_do("insert into notes values (6, 'by the command line')")
    world.run("notes")
    told = materialised(execute(definitions, instance))
    assert told["change_log/postgres/notes"]["inserts"] == 1
    assert told["iceberg/notes_cdc"]["inserts"] == 0
    assert told["iceberg/notes_cdc"]["dagster/row_count"] == 6


def test_a_destination_is_stale_exactly_while_its_log_has_more(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    def versions(*keys: str) -> list[str]:
        records = [instance.get_latest_materialization_event(dg.AssetKey.from_user_string(k)) for k in keys]
        tags = [r.asset_materialization.tags or {} for r in records if r and r.asset_materialization]
        return [t["dagster/data_version"] for t in tags]

    pair = ("change_log/mysql/parts", "deltalake/parts_cdc")
    execute(definitions, instance)
    log, table = versions(*pair)
    assert log == table
    world.mysql_do("insert into parts values (3, 30)")
    execute(definitions, instance, "capture_and_apply", "change_log/mysql/parts", "change_log/mysql/things")
    moved, left = versions(*pair)
    assert moved != left == table
    execute(definitions, instance, "capture_and_apply", "deltalake/parts_cdc")
    assert versions(*pair) == [moved, moved]


def test_columns_and_their_origin_are_told(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    told = materialised(execute(definitions, instance))["deltalake/items_cdc"]
    columns = {column.name: column for column in told["dagster/column_schema"].columns}
    assert list(columns) == ["id", "name", "_cdc_operation", "_cdc_timestamp", "_cdc_source_lsn"]
    assert columns["id"].constraints.other == ["primary key"]
    lineage = told["dagster/column_lineage"].deps_by_column
    log = dg.AssetKey(["change_log", "postgres", "items"])
    assert {(d.asset_key, d.column_name) for d in lineage["name"]} == {(log, "before.title"), (log, "after.title")}
    assert {(d.asset_key, d.column_name) for d in lineage["_cdc_source_lsn"]} == {(log, "metadata")}
    # What is known after a run is shown by the definitions of the next start, without a server.
    again = build(world.settings, world.pipelines()).resolve_asset_graph()
    source = again.get(dg.AssetKey(["postgres", "items"])).metadata["dagster/column_schema"]
    assert [(c.name, c.type) for c in source.columns] == [("id", "integer"), ("title", "text")]
    shown = again.get(log).metadata["dagster/column_lineage"].value.deps_by_column["after.title"]
    assert [(d.asset_key, d.column_name) for d in shown] == [(dg.AssetKey(["postgres", "items"]), "title")]


def test_rows_are_shown_only_where_the_pipeline_asks_for_a_preview(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = execute(definitions, instance)
    told = materialised(result)
    assert {name for name, metadata in told.items() if "preview" in metadata} == {
        "deltalake/items_cdc",
        "iceberg/things_cdc",
    }
    shown = told["deltalake/items_cdc"]["preview"].records
    assert len(shown) == 2
    assert shown[0].data["name"].startswith("secret title ")
    said = everything_said(instance, result.run_id)
    assert "secret title" in said
    assert "secret body" not in said


@pytest.mark.parametrize("broken", ["capture", "apply"])
def test_one_broken_table_leaves_the_others_going(
    broken: str, world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    assert execute(definitions, instance).success
    if broken == "capture":
        world.postgres_do("alter table items rename to elsewhere")
        failed, lost = "change_log__postgres__items", {"change_log/postgres/items", "deltalake/items_cdc"}
    else:
        (world.home / "lake" / "items_cdc").rename(world.home / "lake" / "aside")
        (world.home / "lake" / "items_cdc").write_text("in the way")
        failed, lost = "deltalake__items_cdc", {"deltalake/items_cdc"}
    world.postgres_do("insert into notes values (100, 'goes on')")
    result = execute(definitions, instance)
    assert not result.success
    told = materialised(result)
    assert told.keys() == (LOGS | TABLES) - lost
    assert told["iceberg/notes_cdc"]["inserts"] == 1
    found = failures(result)
    assert found.keys() == {failed}
    said = found[failed].user_failure_data
    assert "\n" not in said.description
    assert "items" in said.description
    assert {name: entry.value for name, entry in said.metadata.items()}["exit_code"] in (2, 4)
    # `cdc status` knows it as well, and forgets it when it is mended.
    remembered = recall(world.home, "items")
    assert remembered is not None
    assert remembered.message == said.description
    if broken == "apply":
        (world.home / "lake" / "items_cdc").unlink()
        (world.home / "lake" / "aside").rename(world.home / "lake" / "items_cdc")
        assert execute(definitions, instance).success
        assert recall(world.home, "items") is None


def test_a_source_is_captured_once_a_run(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured: list[str] = []

    def counted(feed: Feed, *, progress: Progress) -> Capture:
        captured.append(feed.label)
        return capture(feed, progress=progress)

    monkeypatch.setattr(captures, "capture", counted)
    definitions = build(world.settings, world.pipelines())
    for _ in range(2):
        captured.clear()
        assert execute(definitions, instance).success
        assert sorted(captured) == ["mysql", "postgres"]


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failing, "PAUSES_SECONDS", (0.0, 0.0))


@pytest.mark.usefixtures("quick_retries")
def test_what_a_server_that_is_down_stops_is_tried_again(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = build(world.settings, world.pipelines())
    monkeypatch.setenv("POSTGRES_PORT", "1")
    result = execute(definitions, instance)
    told = materialised(result)
    assert told.keys() == {name for name in LOGS | TABLES if "items" not in name and "notes" not in name}
    tries = [str(e.step_key) for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
    assert sorted(set(tries)) == ["change_log__postgres__items", "change_log__postgres__notes"]
    assert len(tries) == 4
    # Back again while the step is tried: it goes through.
    tried: list[str] = []
    real = captures.Captures._capture

    def back_at_the_second_try(self: captures.Captures, label: str, progress: Progress) -> Capture | CdcError:
        tried.append(label)
        if tried.count("postgres") == 2:
            monkeypatch.setenv("POSTGRES_PORT", str(world.postgres.port))
        return real(self, label, progress)

    monkeypatch.setattr(captures.Captures, "_capture", back_at_the_second_try)
    assert execute(definitions, instance).success


@pytest.mark.usefixtures("quick_retries")
def test_what_needs_an_edit_or_a_person_is_not_tried_again(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    definitions = build(world.settings, world.pipelines())
    monkeypatch.setenv("MYSQL_PASSWORD", "not-the-password")
    result = execute(definitions, instance)
    assert failures(result).keys() == {"change_log__mysql__things", "change_log__mysql__parts"}
    assert not [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]


@pytest.mark.parametrize("error", [Unavailable("down"), ConfigError("wrong"), Gap("lost", Lost.LOG_PURGED)])
def test_a_failure_says_its_kind(error: CdcError) -> None:
    told = failing.failure(error)
    assert told.description == str(error)
    assert {name: entry.value for name, entry in told.metadata.items()} == {
        "kind": error.kind,
        "exit_code": error.exit_code,
    }


def test_a_destination_without_a_change_log_says_what_comes_first(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = execute(definitions, instance, "capture_and_apply", "deltalake/items_cdc")
    (said,) = failures(result).values()
    assert said.user_failure_data.description == (
        "nothing is captured yet; materialise change_log/postgres/items first"
    )


def test_no_secret_is_told(
    world: World, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [execute(definitions, instance)]
    world.mysql_do("rename table parts to elsewhere")
    monkeypatch.setenv("POSTGRES_DB", "there-is-no-such-database")
    runs.append(execute(definitions, instance))
    assert len(failures(runs[1])) == 3
    said = "\n".join(everything_said(instance, run.run_id) for run in runs)
    assert "secret title" in said  # it is all there to be searched
    for secret in (world.postgres.password, world.mysql.password):
        assert len(secret) > 8
        assert secret not in said
