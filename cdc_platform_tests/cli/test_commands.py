"""The commands' documents: one JSON on stdout and nothing else there."""

from __future__ import annotations

import json

import psycopg2

from cdc_platform_tests.conftest import Servers
from cdc_platform_tests.world import SMALL, World


def test_up_names_both_servers_and_is_idempotent(servers: Servers, world: World) -> None:
    world.home = servers.settings.home
    for name in list(world.variables):
        if name.startswith(("POSTGRES", "MYSQL")):
            world.extra[name] = ""
    process = world.start("up", "--json")
    out, _ = process.communicate(timeout=60)
    document = json.loads(out)
    assert process.returncode == 0
    assert document == {"postgres": {"dsn": servers.postgres.dsn()}, "mysql": {"dsn": servers.mysql.dsn()}}
    psycopg2.connect(document["postgres"]["dsn"]).close()


def test_seed_tells_the_rows_of_each_table(empty_world: World) -> None:
    sizes = ["--customers", "20", "--orders", "30", "--products", "10", "--inventory", "15"]
    rows = empty_world.cdc("seed", *sizes, "--seed", "3", "--json")
    assert rows["customers"] == 20
    assert rows["inventory_transactions"] == 15
    assert empty_world.postgres_rows("select count(*) from orders") == [(30,)]


def test_simulate_tells_operations_by_table(world: World) -> None:
    done = world.cdc("simulate", "--seconds", "1", "--rate", "50", "--json")
    assert set(done["customers"]) == {"INSERT", "UPDATE", "DELETE"}
    assert sum(sum(operations.values()) for operations in done.values()) == 50


def test_run_and_status_have_the_documented_keys(world: World) -> None:
    first = world.cdc_apart("run", "--json")
    assert {p["pipeline"] for p in first} == {p.id for p in world.pipelines()}
    assert all(set(p) == {"pipeline", "events", "snapshot_rows", "from", "to", "seconds", "evidence"} for p in first)
    assert sum(p["snapshot_rows"] for p in first) == 300 + 500 + 200 + 300 + SMALL.evolution + 300
    assert all(p["events"] == {"INSERT": 0, "UPDATE": 0, "DELETE": 0} and p["from"] is None for p in first)
    found = world.cdc("status", "--json")
    assert {s["state"] for s in found} == {"current"}
    assert all(s["applied"] == s["captured"] and s["lag_seconds"] == 0 for s in found)
    assert all(s["source_head"] and s["last_error"] is None for s in found)


def test_status_of_what_was_never_run_and_of_a_server_that_is_down(world: World) -> None:
    assert {s["state"] for s in world.cdc("status", "--json")} == {"new"}
    world.extra["POSTGRES_PORT"] = "1"
    states = {s["pipeline"]: s["state"] for s in world.cdc("status", "--json")}
    assert states["postgres_customers_cdc"] == "unreachable"
    assert states["mysql_products_cdc"] == "new"


def test_a_server_that_is_down_does_not_stop_the_other_sources_pipelines(world: World) -> None:
    world.extra["POSTGRES_PORT"] = "1"
    documents = {p["pipeline"]: p for p in world.cdc_apart("run", "--json", code=3)}
    assert documents["mysql_products_cdc"]["snapshot_rows"] == 200
    assert "127.0.0.1:1" in documents["postgres_customers_cdc"]["error"]


def test_events_of_what_was_never_run(world: World) -> None:
    assert "cdc run postgres_customers_cdc" in world.cdc("events", "postgres_customers_cdc", code=4)
