"""Changes that break a rule, or that the destination cannot hold: stopped, or put aside and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.destination import Applied, Written
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.engine.feeds import Flow, open_flow
from cdc_platform.engine.quarantine import Replayed, listed, replay
from cdc_platform.engine.replay import replay as build_anew
from cdc_platform.engine.replay import replica_of
from cdc_platform.errors import ConfigError, InvalidRow, Unavailable
from cdc_platform_tests import readers
from cdc_platform_tests.engine.test_end_to_end import delta_rows, iceberg_rows, one_pipeline
from cdc_platform_tests.engine.test_failpoints import Killed
from cdc_platform_tests.world import World, latest

RULES = """      rules:
        - {name: name_lower, column: name, matches: '^[a-z]+$'}
        - {name: amount_positive, column: amount, more_than: 0}
"""
QUARANTINE = "  on_invalid: quarantine\n"


# Each two of a system, a mode and a format.
PAIRS = [
    ("postgres", "append", "deltalake"),
    ("postgres", "upsert", "iceberg"),
    ("mysql", "append", "iceberg"),
    ("mysql", "upsert", "deltalake"),
]


def system_do(world: World, system: str, *statements: str) -> None:
    (world.postgres_do if system == "postgres" else world.mysql_do)(*statements)


def things(
    world: World, tmp_path: Path, system: str, destination: str, mode: str, extra: str = QUARANTINE, rules: str = RULES
) -> World:
    system_do(world, system, "create table things (id int primary key, name varchar(20), amount int)")
    if system == "postgres":
        world.postgres_do("alter table things replica identity full")
    world.folder = tmp_path / "pipelines"
    world.folder.mkdir(exist_ok=True)
    write(world, system, destination, mode, extra, rules)
    return world


def write(world: World, system: str, destination: str, mode: str, extra: str, rules: str = RULES) -> None:
    text = one_pipeline(system, "things", destination, mode, extra)
    (world.folder / "one.yaml").write_text(text.replace("    - name: things\n", f"    - name: things\n{rules}"))


def rows(world: World, destination: str) -> list[dict[str, Any]]:
    return delta_rows(world, "target") if destination == "deltalake" else iceberg_rows(world, "target")


def state(world: World, destination: str, mode: str) -> dict[int, tuple[Any, Any]]:
    found = rows(world, destination)
    alive = latest(found, ["id"]).values() if mode == "append" else found
    return {row["id"]: (row["name"], row["amount"]) for row in alive}


def held(world: World) -> list[tuple[str, str, str]]:
    """What a reader that is not ours finds in quarantine: key, operation, what is to blame."""
    path = world.home / "lake" / "quarantine" / "one"
    if not path.exists():
        return []
    found = readers.duckdb_delta(path)
    return sorted((r["key"], r["operation"], r["rule"] or r["column"]) for r in found.to_dicts())


@pytest.mark.parametrize(("system", "mode", "destination"), PAIRS)
def test_what_breaks_a_rule_is_put_aside_and_the_rest_goes_on(
    empty_world: World, tmp_path: Path, system: str, mode: str, destination: str
) -> None:
    world = things(empty_world, tmp_path, system, destination, mode)
    system_do(world, system, "insert into things values (1, 'a', 1), (2, 'B', 2), (3, 'c', null)")
    (first,) = world.run()
    assert first.application.quarantined == 1
    assert state(world, destination, mode) == {1: ("a", 1), 3: ("c", None)}
    assert held(world) == [('{"id":2}', "INSERT", "name_lower")]
    system_do(
        world,
        system,
        "update things set amount = -1 where id = 1",  # the row before stays
        "update things set name = 'b' where id = 2",  # well again, by a change of its own
        "insert into things values (4, 'D', -4)",
        "delete from things where id = 4",
        "update things set name = 'd', amount = 0 where id = 3",
        "delete from things where id = 3",
    )
    (second,) = world.run()
    assert second.application.quarantined == 3
    assert state(world, destination, mode) == {1: ("a", 1), 2: ("b", 2)}
    assert [what for what in held(world) if what[0] != '{"id":2}'] == [
        ('{"id":1}', "UPDATE", "amount_positive"),
        ('{"id":3}', "UPDATE", "amount_positive"),
        ('{"id":4}', "INSERT", "name_lower"),
    ]


def test_by_default_the_pipeline_stops_and_says_which_rule_and_where(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append", extra="")
    world.postgres_do("insert into things values (1, 'a', 1)")
    world.run()
    world.postgres_do("insert into things values (2, 'SECRET', 1)")
    with pytest.raises(InvalidRow, match="breaks the rule 'name_lower': name matches") as caught:
        world.run()
    assert "SECRET" not in str(caught.value)
    assert state(world, "deltalake", "append") == {1: ("a", 1)}
    assert held(world) == []
    write(world, "postgres", "deltalake", "append", "", RULES.replace("a-z]+$'", "a-z]+$', on_event: check"))
    world.run()
    assert state(world, "deltalake", "append") == {1: ("a", 1), 2: ("SECRET", 1)}


def test_a_rule_on_a_column_that_never_was(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append", rules=RULES.replace("name,", "nmae,"))
    world.postgres_do("insert into things values (1, 'a', 1)")
    with pytest.raises(ConfigError, match=r"rules.name_lower: public.things has no column 'nmae'"):
        world.run()


def test_rules_follow_their_columns_through_renames(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append")
    world.postgres_do("insert into things values (1, 'A', 1), (2, 'b', 1)")
    world.run()
    world.postgres_do(
        "insert into things values (3, 'C', 1)",
        "alter table things rename column name to label",
        "insert into things values (4, 'D', 1), (5, 'e', 1)",
    )
    write(world, "postgres", "deltalake", "append", QUARANTINE, RULES.replace("column: name", "column: label"))
    world.run()
    assert [key for key, *_ in held(world)] == ['{"id":1}', '{"id":3}', '{"id":4}']
    assert sorted(row["id"] for row in delta_rows(world, "target")) == [2, 5]


def flow_of(world: World) -> Flow:
    (pipeline,) = world.pipelines()
    return open_flow(world.settings, world.variables, pipeline)


def counted(world: World) -> list[tuple[int, int]]:
    return sorted((h.key["id"], h.count) for h in listed(flow_of(world)) if h.key)


@pytest.mark.parametrize(("system", "mode", "destination"), PAIRS)
def test_replay_brings_in_what_may_pass_now(
    empty_world: World, tmp_path: Path, system: str, mode: str, destination: str
) -> None:
    world = things(empty_world, tmp_path, system, destination, mode)
    system_do(
        world, system, "insert into things values (1, 'A', 1), (2, 'B', 2), (3, 'C', -3), (4, 'd', 4), (5, 'E', 5)"
    )
    world.run()
    system_do(
        world,
        system,
        "update things set name = 'b' where id = 2",
        "update things set name = 'D' where id = 4",
        "delete from things where id = 5",
        "insert into things values (6, 'F', 1)",
        "update things set amount = 7 where id = 6",
    )
    world.run()
    assert state(world, destination, mode) == {2: ("b", 2), 4: ("d", 4)}
    assert counted(world) == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, 2)]
    write(world, system, destination, mode, QUARANTINE, RULES.replace("^[a-z]+$", "^[a-zA-Z]+$"))
    assert replay(flow_of(world)) == Replayed("one", replayed=6, superseded=0, kept=1)
    assert state(world, destination, mode) == {1: ("A", 1), 2: ("b", 2), 4: ("D", 4), 6: ("F", 7)}
    assert counted(world) == [(3, 1)]
    if mode == "append":
        changes = [(r["id"], r["_cdc_operation"]) for r in rows(world, destination)]
        assert sorted(changes) == [
            (1, "INSERT"), (2, "INSERT"), (2, "UPDATE"), (4, "INSERT"), (4, "UPDATE"), (5, "DELETE"), (5, "INSERT"),
            (6, "INSERT"), (6, "UPDATE"),
        ]  # fmt: skip
    assert replay(flow_of(world)) == Replayed("one", replayed=0, superseded=0, kept=1)
    assert {v.type: v.status for v in world.check("one")}["checksum"] == "WARNING"
    system_do(world, system, "update things set amount = 3 where id = 3")
    world.run()
    assert {v.type: v.status for v in world.check("one") if v.type in ("row_count", "checksum")} == dict.fromkeys(
        ("row_count", "checksum"), "WARNING"
    )
    last = replay(flow_of(world))
    assert (last.superseded, last.kept) == ((1, 0) if mode == "upsert" else (0, 1))


def test_the_commands(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "upsert")
    world.postgres_do("insert into things values (1, 'A', 1), (2, 'b', 2)")
    (ran,) = world.cdc("run", "--json")
    assert ran["quarantined"] == 1
    counted_in = (world.home / "metrics" / "cdc.prom").read_text().splitlines()
    assert 'cdc_rows_quarantined_total{pipeline="one",source="postgres"} 1.0' in counted_in
    (row,) = world.cdc("quarantine", "list", "--json")
    assert row.pop("position")
    reason = "breaks the rule 'name_lower': name matches ^[a-z]+$"
    assert row == {"pipeline": "one", "key": {"id": 1}, "reason": reason, "count": 1}
    write(world, "postgres", "deltalake", "upsert", QUARANTINE, "")
    assert world.cdc("quarantine", "replay", "one", "--json") == [
        {"pipeline": "one", "replayed": 1, "superseded": 0, "kept": 0}
    ]
    assert held(world) == []


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_the_checks_leave_out_what_is_in_quarantine_and_nothing_else(
    empty_world: World, tmp_path: Path, mode: str
) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", mode)
    world.postgres_do("insert into things values (1, 'a', 1), (2, 'B', 2), (3, 'c', 3)")
    world.run()
    world.postgres_do("update things set amount = 0 where id = 1")
    found = {v.type: v for v in world.check("one")}
    assert (found["row_count"].status, found["checksum"].status) == ("WARNING", "WARNING")
    assert found["row_count"].actual == "1 rows, 2 changes in quarantine"
    assert found["row_count"].details["rows_left_out"] == 2
    assert found["rule:name_lower"].status == "FAIL"
    DeltaTable(str(world.home / "lake" / "deltalake" / "target")).delete("id = 3")
    found = {v.type: v for v in world.check("one")}
    assert (found["row_count"].status, found["checksum"].status) == ("FAIL", "FAIL")


def die_in(patch: pytest.MonkeyPatch, owner: type, method: str, when: str) -> None:
    """Let the write of all rows be the last thing that happens, before or after its commit."""
    real = getattr(owner, method)

    def deadly(self: Any, rows: Any, applied: Applied, *evidence: Any) -> None:
        if when == "after":
            real(self, rows, applied, *evidence)
        else:
            list(rows)
        raise Killed

    patch.setattr(owner, method, deadly)


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_between_quarantine_and_destination(
    empty_world: World, tmp_path: Path, mode: str, destination: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = things(empty_world, tmp_path, "postgres", destination, mode)
    world.postgres_do("insert into things values (1, 'A', 1), (2, 'b', 2)")
    world.run()
    world.postgres_do("insert into things values (3, 'C', 3), (4, 'd', 4)")
    owner = DeltaDestination if destination == "deltalake" else IcebergDestination
    with monkeypatch.context() as armed:
        die_in(armed, owner, mode, when)
        with pytest.raises(Killed):
            world.run()
    assert len(held(world)) == 2  # there before the destination's commit
    world.postgres_do("insert into things values (5, 'E', 5)")
    world.run()
    assert [key for key, *_ in held(world)] == ['{"id":1}', '{"id":3}', '{"id":5}']
    assert state(world, destination, mode) == {2: ("b", 2), 4: ("d", 4)}


def test_what_a_dead_run_put_aside_goes_on_where_the_rule_has_changed_meanwhile(
    empty_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append")
    world.postgres_do("insert into things values (1, 'a', 1)")
    world.run()
    world.postgres_do("insert into things values (2, 'B', 2)")
    with monkeypatch.context() as armed:
        die_in(armed, DeltaDestination, "append", "before")
        with pytest.raises(Killed):
            world.run()
    assert [key for key, *_ in held(world)] == ['{"id":2}']
    write(world, "postgres", "deltalake", "append", "", "")
    world.run()
    assert held(world) == []
    assert state(world, "deltalake", "append") == {1: ("a", 1), 2: ("B", 2)}


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_death_in_a_replay(
    empty_world: World, tmp_path: Path, mode: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", mode)
    world.postgres_do("insert into things values (1, 'A', 1), (2, 'b', 2)")
    world.run()
    write(world, "postgres", "deltalake", mode, QUARANTINE, "")
    flow = flow_of(world)
    with monkeypatch.context() as armed:
        die_in(armed, DeltaDestination, mode, when)
        with pytest.raises(Killed):
            replay(flow)
    assert held(world) == [('{"id":1}', "INSERT", "name_lower")]
    assert replay(flow).replayed == 1
    assert held(world) == []
    assert sorted(row["id"] for row in delta_rows(world, "target")) == [1, 2]
    assert {v.status for v in world.check("one")} == {"PASS"}


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_replay_whose_commit_was_lost_to_another_writer_takes_nothing_out(
    empty_world: World, tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", mode)
    world.postgres_do("insert into things values (1, 'A', 1)")
    world.run()
    write(world, "postgres", "deltalake", mode, QUARANTINE, "")
    flow = flow_of(world)
    with monkeypatch.context() as armed:
        armed.setattr(DeltaDestination, mode, lambda self, rows, applied, *evidence: Written(0, 0))
        with pytest.raises(Unavailable, match="replay again"):
            replay(flow)
    assert [key for key, *_ in held(world)] == ['{"id":1}']


ODD = {
    "cast": ("amount text", "  columns: {amount: {cast: date}}\n", "'2024-01-02'", "'0000-00-00'", "amount"),
    "bool": ("amount int", "  columns: {amount: {cast: bool}}\n", "1", "7", "amount"),
    "required": ("amount int", "  columns: {amount: {required: true}}\n", "1", "null", "amount"),
    "years": ("amount date", "  partition_by: year(amount)\n", "'2024-01-02'", "'10000-01-01'", "amount"),
    "empty": ("amount text", "  partition_by: amount\n", "'a'", "''", "amount"),
}


@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("odd", ODD)
def test_what_the_destination_cannot_hold_is_put_aside_row_by_row(
    empty_world: World, tmp_path: Path, mode: str, odd: str
) -> None:
    column, extra, good, bad, blamed = ODD[odd]
    world = things(empty_world, tmp_path, "postgres", "deltalake", mode, extra, rules="")
    world.postgres_do(
        "drop table things",
        f"create table things (id int primary key, name varchar(20), {column})",
        "alter table things replica identity full",
        f"insert into things values (1, 'a', {good}), (2, 'b', {bad})",
    )
    with pytest.raises(InvalidRow):  # what stops without a quarantine
        world.run()
    write(world, "postgres", "deltalake", mode, extra + QUARANTINE, "")
    world.run()
    assert held(world) == [('{"id":2}', "INSERT", blamed)]
    world.postgres_do(f"insert into things values (3, 'c', {bad})", "delete from things where id = 3")
    world.postgres_do(f"update things set amount = {bad} where id = 1", "delete from things where id = 1")
    world.run()
    found = delta_rows(world, "target")
    gone = sorted(row["id"] for row in found if row["_cdc_operation"] == "DELETE")
    if mode == "upsert":
        assert found == []
    elif odd == "required":
        # The row before is part of a history, and would hold a null where the destination has none.
        assert gone == []
        assert ('{"id":1}', "DELETE", blamed) in held(world)
    else:
        assert gone == [1, 3]
        assert latest(found, ["id"]) == {}


def test_tables_without_a_key(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append")
    world.postgres_do(
        "alter table things drop constraint things_pkey", "insert into things values (1, 'a', 1), (2, 'B', 1)"
    )
    world.run()
    world.postgres_do("insert into things values (3, 'C', 1)", "delete from things where id = 3")
    world.run()
    assert [(str(key), operation) for key, operation, _ in held(world)] == [("None", "INSERT")] * 2
    write(world, "postgres", "deltalake", "append", QUARANTINE, "")
    assert replay(flow_of(world)).replayed == 2
    assert {v.type: v.status for v in world.check("one")}["row_count"] == "PASS"


def test_a_table_built_anew_leaves_the_quarantine_alone(empty_world: World, tmp_path: Path) -> None:
    world = things(empty_world, tmp_path, "postgres", "deltalake", "append")
    world.postgres_do("insert into things values (1, 'A', 1), (2, 'b', 2)")
    world.run()
    (pipeline,) = world.pipelines()
    replica = replica_of(pipeline, [pipeline], None)
    rebuilt = build_anew(world.settings, world.variables, pipeline, replica)
    assert rebuilt.comparison is not None
    assert (rebuilt.comparison.equal, rebuilt.application.quarantined) == (True, 1)
    assert [key for key, *_ in held(world)] == ['{"id":1}']
