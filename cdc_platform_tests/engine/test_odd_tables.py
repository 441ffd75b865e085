"""Any table of any database: odd names, keys that change, nothing in it, everything in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from cdc_platform.errors import ConfigError
from cdc_platform_tests.engine.test_end_to_end import delta_rows, iceberg_rows, one_pipeline
from cdc_platform_tests.world import World, latest


def pipelines(world: World, tmp_path: Path, *texts: str) -> World:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "all.yaml").write_text("\n---\n".join(texts))
    world.folder = folder
    return world


def execute(world: World, system: str, *statements: str) -> None:
    (world.postgres_do if system == "postgres" else world.mysql_do)(*statements)


def statuses(world: World) -> list[str]:
    return [v.status for v in world.check()]


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_primary_keys_that_change(empty_world: World, tmp_path: Path, system: str, mode: str, destination: str) -> None:
    world = pipelines(empty_world, tmp_path, one_pipeline(system, "things", destination, mode))
    execute(world, system, "create table things (id int primary key, name varchar(9))")
    execute(world, system, "insert into things values (1, 'a'), (2, 'b'), (3, 'c')")
    world.run()
    execute(world, system, "update things set id = 10, name = 'A' where id = 1")
    # Every row takes the key that another one gives up, in one statement where the server can do that.
    if system == "mysql":
        execute(world, system, "update things set id = id + 1 where id < 10 order by id desc")
    else:
        execute(world, system, "update things set id = 4 where id = 3", "update things set id = 3 where id = 2")
    (result,) = world.run()
    assert result.application.events == {"INSERT": 3, "UPDATE": 0, "DELETE": 3}
    rows = delta_rows(world, "target") if destination == "deltalake" else iceberg_rows(world, "target")
    state = latest(rows, ["id"]) if mode == "append" else {(r["id"],): r for r in rows}
    assert {(r["id"], r["name"]) for r in state.values()} == {(10, "A"), (3, "b"), (4, "c")}
    assert statuses(world) == ["PASS"] * 4


NAMES = ["straße", 'a"b', "a%20b", "Mixed Case é", "select", "a/b", "a~b", "n" * 60]


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_names_that_need_quoting(empty_world: World, tmp_path: Path, system: str) -> None:
    def text(number: int, name: str) -> str:
        mapped = "  properties: {delta.columnMapping.mode: name}"
        one = one_pipeline(system, "things", "deltalake", "append", mapped).replace("target", f"t{number}")
        one = one.replace("pipeline_id: one", f"pipeline_id: p{number}")
        return one.replace("- name: things", f"- name: '{name}'")

    world = pipelines(empty_world, tmp_path, *(text(n, name) for n, name in enumerate(NAMES)))
    quote = '"' if system == "postgres" else "`"
    for name in NAMES:
        quoted = quote + name.replace(quote, quote * 2) + quote
        column = f"{quote}größe %s {{}}{quote}"
        execute(world, system, f"create table {quoted} (id int primary key, {column} int)")
        execute(world, system, f"insert into {quoted} values (1, 1)")
    world.run()
    for name in NAMES:
        quoted = quote + name.replace(quote, quote * 2) + quote
        execute(world, system, f"insert into {quoted} values (2, 2)")
    for result in world.run():
        assert result.application.events["INSERT"] == 1
    for number, _ in enumerate(NAMES):
        assert sorted(r["größe %s {}"] for r in delta_rows(world, f"t{number}")) == [1, 2]
    assert set(statuses(world)) == {"PASS"}


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_an_empty_table(empty_world: World, tmp_path: Path, mode: str, destination: str) -> None:
    world = pipelines(empty_world, tmp_path, one_pipeline("postgres", "things", destination, mode))
    world.postgres_do("create table things (id int primary key)")
    (first,) = world.run()
    assert first.application.end
    assert statuses(world) == ["PASS"] * 4
    (found,) = world.cdc("status", "--json")
    assert (found["state"], found["applied"]) == ("current", found["captured"])
    world.postgres_do("insert into things values (1)")
    world.run()
    assert statuses(world) == ["PASS"] * 4


def test_a_row_that_is_there_twice_in_an_upsert_table_is_red(empty_world: World, tmp_path: Path) -> None:
    world = pipelines(empty_world, tmp_path, one_pipeline("postgres", "things", "deltalake", "upsert"))
    world.postgres_do("create table things (id int primary key)", "insert into things values (1), (2)")
    world.run()
    assert statuses(world) == ["PASS"] * 4
    path = str(world.home / "lake" / "deltalake" / "target")
    from deltalake import write_deltalake

    write_deltalake(path, DeltaTable(path).to_pyarrow_table(), mode="append")
    assert {v.type: v.status for v in world.check()} == {
        "lag": "PASS",
        "schema": "PASS",
        "row_count": "FAIL",
        "checksum": "FAIL",
    }


def test_a_key_of_ones_own_that_does_not_tell_rows_apart(empty_world: World, tmp_path: Path) -> None:
    text = one_pipeline("postgres", "things", "deltalake", "upsert").replace(
        "- name: things", "- name: things\n      primary_key: [kind]"
    )
    world = pipelines(empty_world, tmp_path, text)
    world.postgres_do(
        "create table things (id int primary key, kind text)", "insert into things values (1, 'a'), (2, 'a')"
    )
    with pytest.raises(ConfigError, match=r"1 rows share the key \(kind\)"):
        world.run()


def test_a_delete_that_shows_only_its_key_passes_required_columns(empty_world: World, tmp_path: Path) -> None:
    text = one_pipeline("postgres", "things", "iceberg", "upsert", "  columns: {name: {required: true}}")
    world = pipelines(empty_world, tmp_path, text)
    world.postgres_do(
        "create table things (id int primary key, name text not null)", "insert into things values (1, 'a'), (2, 'b')"
    )
    world.run()
    world.postgres_do("delete from things where id = 1")
    world.run()
    assert [row["id"] for row in iceberg_rows(world, "target")] == [2]


def test_events_that_json_cannot_hold_as_they_are(empty_world: World, tmp_path: Path) -> None:
    world = pipelines(empty_world, tmp_path, one_pipeline("postgres", "things", "deltalake", "append"))
    world.postgres_do(
        "create table things (id int primary key, f float8, d date)",
        "insert into things values (1, 'NaN', '2020-01-02'), (2, '-Infinity', null), (3, 1.5, '0044-03-15')",
    )
    world.run()
    import json

    def strict(name: str) -> Any:
        raise AssertionError(name)

    rows = [json.loads(line, parse_constant=strict)["after"] for line in world.cdc("events", "one").splitlines()]
    assert sorted((r["id"], r["f"], r["d"]) for r in rows) == [
        (1, "nan", "2020-01-02"),
        (2, "-inf", None),
        (3, 1.5, "0044-03-15"),
    ]
