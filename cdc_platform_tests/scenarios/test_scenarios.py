"""Every scenario file on every server that it is for: one test each. Their language: `script.py`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdc_platform_tests.scenarios.origin import MySQLOrigin, Origin, PostgresOrigin
from cdc_platform_tests.scenarios.play import Player
from cdc_platform_tests.scenarios.script import parse
from cdc_platform_tests.world import World

FOLDER = Path(__file__).parent
LARGE_ROWS = os.environ.get("CDC_TESTS_LARGE_ROWS", "50000")
_REQUIREMENT = re.compile(r"(postgres|mysql|mariadb)(?: *(>=|<) *(\d+))?")


# What an older Postgres may do otherwise: publications, what is logged of a row, and what an ALTER does to the log.
# `CDC_TESTS_POSTGRES15=all` plays the others on it as well.
_OLDER_TOO = re.compile(
    "add_column|decimals|drop_and_add_of_one_name|generated|identity|partition|primary_key_(swap|update)|publication|put_|"
    "row_moves|savepoint|slot_dropped|table_(recreated|rewritten)|taken_out|toast_unchanged_(alone|in_a)|truncate|"
    "two_phase|type_change|unlogged"
)


def _servers(file: Path) -> tuple[str, ...]:
    if file.parent.name == "mysql":
        return ("mysql",)
    older = _OLDER_TOO.match(file.stem) or os.environ.get("CDC_TESTS_POSTGRES15") == "all"
    return ("postgres18", "postgres15") if older else ("postgres18",)


def _scenarios() -> Iterator[object]:
    for file in sorted(FOLDER.glob("*/*.sql")):
        for server in _servers(file):
            yield pytest.param(file, server, id=f"{file.stem}-{server}")


def open_origin(world: World, server: str) -> Origin:
    return MySQLOrigin(world.mysql) if server == "mysql" else PostgresOrigin(world.postgres)


def _is_met(requirement: str, origin: Origin) -> bool:
    match = _REQUIREMENT.fullmatch(requirement)
    assert match, f"'{requirement}' names no server"
    kind, comparison, number = match.groups()
    if kind != origin.kind:
        return False
    if comparison is None:
        return True
    return (origin.version[0] >= int(number)) == (comparison == ">=")


@pytest.mark.parametrize(("file", "server"), list(_scenarios()))
def test_scenario(file: Path, server: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    scenario = parse(file, {"large_rows": LARGE_ROWS})
    state = request.getfixturevalue({"postgres18": "postgres_database"}.get(server, f"{server}_database"))
    world = World(tmp_path / "home", state, state, folder=tmp_path / "pipelines")
    with closing(open_origin(world, server)) as origin:
        for requirement in scenario.requires:
            if not _is_met(requirement, origin):
                pytest.skip(f"is for {requirement}")
        Player(scenario, world, origin).play()
