"""Pipelines that come later, or are edited, or whose destination is made anew: the log's history, by their words."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from cdc_platform.errors import ConfigError, SchemaConflict
from cdc_platform_tests.engine.changing_table import assert_exact, changing_table, log_of, statements
from cdc_platform_tests.engine.test_end_to_end import delta_rows, one_pipeline
from cdc_platform_tests.engine.test_odd_tables import execute, pipelines, statuses
from cdc_platform_tests.world import World

SYSTEMS = pytest.mark.parametrize("system", ["postgres", "mysql"])


def named(name: str, system: str, mode: str, extra: str = "") -> str:
    """One more pipeline on the table `things`, into the Delta table of its name."""
    text = one_pipeline(system, "things", "deltalake", mode, extra)
    return text.replace("target", name).replace("pipeline_id: one", f"pipeline_id: {name}")


def rows(world: World, name: str) -> list[dict[str, object]]:
    found = [{k: v for k, v in row.items() if not k.startswith("_cdc_")} for row in delta_rows(world, name)]
    return sorted(found, key=repr)


@SYSTEMS
def test_a_pipeline_that_comes_later_speaks_of_columns_by_their_present_names(
    empty_world: World, tmp_path: Path, system: str
) -> None:
    first = named("first", system, "append")
    world = pipelines(empty_world, tmp_path, first)
    execute(world, system, "create table things (id int primary key, code varchar(9) not null, gone int)")
    execute(world, system, "insert into things values (1, 'a', 0), (2, 'b', 0)")
    if system == "postgres":
        world.postgres_do("alter table things replica identity full")
    world.run()
    execute(world, system, "alter table things rename column code to sku")
    execute(world, system, "alter table things add column size int", "alter table things drop column gone")
    execute(world, system, "insert into things (id, sku, size) values (3, 'c', 3)", "delete from things where id = 1")
    world.run()
    later = named("later", system, "upsert", "  columns: {sku: {rename: article}, size: {cast: long}}")
    own = named("own", system, "upsert").replace("- name: things", "- name: things\n      primary_key: [sku]")
    (world.folder / "all.yaml").write_text("\n---\n".join([first, later, own]))
    world.run()
    assert rows(world, "later") == [
        {"id": 2, "article": "b", "size": None},
        {"id": 3, "article": "c", "size": 3},
    ]
    assert [row["sku"] for row in rows(world, "own")] == ["b", "c"]
    assert set(statuses(world)) == {"PASS"}
    for name in ("first", "later", "own"):
        assert [one["state"] for one in world.cdc("schema", name, "--json")][-1] == "applied"
    # Made anew, all over.
    for name in ("first", "later", "own"):
        shutil.rmtree(world.home / "lake" / "deltalake" / name)
    world.run()
    assert [row["article"] for row in rows(world, "later")] == ["b", "c"]
    assert set(statuses(world)) == {"PASS"}


@SYSTEMS
def test_each_pipeline_follows_by_its_own_policies(empty_world: World, tmp_path: Path, system: str) -> None:
    texts = [
        named("follows", system, "append"),
        named("ignores", system, "upsert", "  schema_changes: {add_column: ignore, drop_column: ignore}"),
        named("stops", system, "append", "  schema_changes: {add_column: stop}"),
    ]
    world = pipelines(empty_world, tmp_path, *texts)
    execute(world, system, "create table things (id int primary key, a int)", "insert into things values (1, 1)")
    world.run()
    execute(world, system, "alter table things add column b int", "insert into things values (2, 2, 2)")
    execute(world, system, "alter table things drop column a", "insert into things values (3, 3)")
    errors = {result.pipeline: result.error for result in world.run_all()}
    assert errors["follows"] is None
    assert errors["ignores"] is None
    assert isinstance(errors["stops"], SchemaConflict)
    assert rows(world, "ignores") == [{"id": 1, "a": 1}, {"id": 2, "a": 2}, {"id": 3, "a": None}]
    assert rows(world, "stops") == [{"id": 1, "a": 1}]
    # Let go on, it goes on where it stopped.
    (world.folder / "all.yaml").write_text("\n---\n".join([*texts[:2], named("stops", system, "append")]))
    world.run()
    assert rows(world, "stops") == rows(world, "follows")


@SYSTEMS
def test_text_asked_for_later_is_a_clear_stop(empty_world: World, tmp_path: Path, system: str) -> None:
    text = named("one", system, "append")
    world = pipelines(empty_world, tmp_path, text)
    execute(world, system, "create table things (id int primary key, d date)")
    execute(world, system, "insert into things values (1, '2020-01-01')")
    world.run()
    before = rows(world, "one")
    (world.folder / "all.yaml").write_text(text.replace("- name: things", "- name: things\n      as_text: [d]"))
    execute(world, system, "insert into things values (2, '2020-01-02')")
    for _ in range(2):
        (result,) = world.run_all()
        assert isinstance(result.error, (SchemaConflict, ConfigError)), result.error
        assert rows(world, "one") == before


@SYSTEMS
def test_two_runs_at_once_while_the_table_changes(empty_world: World, system: str) -> None:
    with changing_table(empty_world, system, "delta") as found:
        empty_world.run()
        running: list[subprocess.Popen[str]] = []
        for statement in statements(system):
            found.origin.run("writer", statement)
            running = [process for process in running if process.poll() is None]
            if len(running) < 2:
                running.append(empty_world.start("run"))
        for process in running:
            _, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
        empty_world.run()
        assert_exact(found)
        assert log_of(found).unlogged() is None
