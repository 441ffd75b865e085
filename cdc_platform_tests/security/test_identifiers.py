"""Names that need quoting somewhere, everywhere: of schemas, tables, keys and columns, on the whole way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyiceberg.table import StaticTable

from cdc_platform.defs.naming import name_flows
from cdc_platform_tests import readers
from cdc_platform_tests.world import World

SHARED = [
    "a\"b`c'd",
    "50% of {x} %s ${HOME} $1 \\n",
    "1st select",
    "dot.ted",
    "x/../y",
    "e\u0301 combining",
    "שלום عالم",
    "\u202egnp.exe",
    "[/bold] #?&=",
    "tab\tline\nend",
    "n" * 63,
]
NAMES = {
    "postgres": [*SHARED, " ", "😀🎉", "é" * 31, '"' * 63],
    "mysql": [*SHARED, "é" * 42, "`" * 48, "n" * 64],
}
QUOTES = {"postgres": '"', "mysql": "`"}


def quoted(system: str, *names: str) -> str:
    mark = QUOTES[system]
    return ".".join(mark + name.replace(mark, mark * 2) + mark for name in names)


def pipeline(system: str, number: int, schema: str, table: str, destination: dict[str, Any]) -> str:
    prefix = system.upper()
    variables = {"host": "HOST", "port": "PORT", "database": "DB", "user": "USER", "password": "PASSWORD"}
    # `${` begins a variable in YAML; a name has it by way of one.
    name = table.replace("${", "${DOLLAR}{")
    return json.dumps(
        {
            "pipeline_id": f"{number} {name}",
            "source": {
                "type": system,
                "connection": {key: f"${{{prefix}_{name}}}" for key, name in variables.items()},
                "tables": [{"name": name, "schema": schema}],
            },
            "destination": destination,
        },
        ensure_ascii=False,
    )


def delta(number: int) -> dict[str, Any]:
    return {
        "type": "deltalake",
        "path": f"${{CDC_HOME}}/lä ke/d{number}",
        "properties": {"delta.columnMapping.mode": "name"},
    }


def iceberg(number: int) -> dict[str, Any]:
    place = "${CDC_HOME}/ice 'berg ü"
    return {"type": "iceberg", "path": place, "table": f"o'd\"d ü.t{number}", "write_mode": "upsert"}


def write(world: World, folder: Path, texts: Sequence[str]) -> None:
    folder.mkdir(exist_ok=True)
    world.folder = folder
    world.extra["DOLLAR"] = "$"
    (folder / "all.yaml").write_text("\n---\n".join(texts), encoding="utf-8")


def rows(world: World, number: int) -> list[dict[str, Any]]:
    """By DuckDB, or by pyiceberg from the files alone (DuckDB takes no quotes in a path)."""
    if number % 2 == 0:
        return readers.duckdb_delta(world.home / "lä ke" / f"d{number}").to_dicts()
    *_, newest = sorted((world.home / "ice 'berg ü").rglob(f"t{number}/metadata/*.metadata.json"))
    found: list[dict[str, Any]] = StaticTable.from_metadata(str(newest)).scan().to_arrow().to_pylist()
    return found


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_names_on_the_whole_way(empty_world: World, tmp_path: Path, system: str) -> None:
    world = empty_world
    execute: Callable[..., None] = world.postgres_do if system == "postgres" else world.mysql_do
    # MySQL's schema is its database.
    schema = "sch. \"e'm%s ü" if system == "postgres" else world.mysql.database
    if system == "postgres":
        execute(f"create schema {quoted(system, schema)}")
    names = NAMES[system]
    tables = {name: quoted(system, schema, name) for name in names}
    for name, table in tables.items():
        key, value = quoted(system, name), quoted(system, f"{name[:-1]}2")
        execute(f"create table {table} ({key} int primary key, {value} int)", f"insert into {table} values (1, 1)")
    texts = [pipeline(system, n, schema, name, iceberg(n) if n % 2 else delta(n)) for n, name in enumerate(names)]
    write(world, tmp_path / "pipelines", texts)
    world.run()
    for name, table in tables.items():
        new, key = quoted(system, f"{name[:-1]}3"), quoted(system, name)
        execute(
            f"alter table {table} add column {new} int",
            f"insert into {table} values (2, 2, 2)",
            f"delete from {table} where {key} = 1",
        )
    world.run()
    assert {v.status for v in world.check()} == {"PASS"}
    for number, name in enumerate(names):
        found = [(row[name], row[f"{name[:-1]}2"], row[f"{name[:-1]}3"]) for row in rows(world, number)]
        # Postgres logs of a deleted row what its replica identity holds: the key.
        deleted = (1, 1 if system == "mysql" else None, None)
        history = [] if number % 2 else [(1, 1, None), deleted]
        assert sorted(found, key=repr) == sorted([*history, (2, 2, 2)], key=repr), name
    status = world.cdc("status", "--json")
    assert [(s["pipeline"].partition(" ")[2], s["state"]) for s in status] == [(name, "current") for name in names]
    flows = name_flows(world.pipelines())
    keys = {flow.change_log for flow in flows}
    assert len(keys) == len(names)
    assert all(dg.AssetKey.from_user_string(key.to_user_string()) == key for key in keys)
    events = [json.loads(line) for line in world.cdc("events", f"0 {names[0]}").splitlines()]
    assert [e["operation"] for e in events] == ["INSERT", "INSERT", "DELETE"]
    assert len(world.cdc("schema", f"9 {names[9]}", "--json")) == 2
    logs = [path for path in (world.home / "change_log" / system).iterdir() if path.is_dir()]
    assert len(logs) == len(names)
