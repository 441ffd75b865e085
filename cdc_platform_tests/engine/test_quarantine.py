"""Changes that break a rule, or that the destination cannot hold: stopped, or put aside and replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform_tests import readers
from cdc_platform_tests.engine.test_end_to_end import delta_rows, iceberg_rows, one_pipeline
from cdc_platform_tests.world import World, latest

RULES = """      rules:
        - {name: name_lower, column: name, matches: '^[a-z]+$'}
        - {name: amount_positive, column: amount, more_than: 0}
"""
QUARANTINE = "  on_invalid: quarantine\n"


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


@pytest.mark.parametrize("destination", ["deltalake", "iceberg"])
@pytest.mark.parametrize("mode", ["append", "upsert"])
@pytest.mark.parametrize("system", ["postgres", "mysql"])
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
