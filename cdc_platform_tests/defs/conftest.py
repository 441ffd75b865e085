"""A small installation on real servers: two tables in each database, both formats, both write modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.defs.build import build
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.world import World


def pipeline(name: str, system: str, destination: str) -> str:
    """A pipeline of the table `name`; `destination` is a YAML mapping."""
    prefix = system.upper()
    return f"""\
pipeline_id: {name}
source:
  type: {system}
  connection:
    host: ${{{prefix}_HOST}}
    port: ${{{prefix}_PORT}}
    database: ${{{prefix}_DB}}
    user: ${{{prefix}_USER}}
    password: ${{{prefix}_PASSWORD}}
  tables: [{{name: {name}}}]
destination: {destination}
"""


ICEBERG = "type: iceberg, path: '${CDC_HOME}/lake/iceberg'"
PIPELINES = "---\n".join(
    (
        pipeline(
            "items",
            "postgres",
            "{type: deltalake, path: '${CDC_HOME}/lake/items_cdc', columns: {title: {rename: name}}, preview: 2}",
        ),
        pipeline("notes", "postgres", f"{{{ICEBERG}, table: cdc.notes_cdc, write_mode: upsert}}"),
        pipeline("things", "mysql", f"{{{ICEBERG}, table: cdc.things_cdc, preview: 2}}"),
        pipeline("parts", "mysql", "{type: deltalake, path: '${CDC_HOME}/lake/parts_cdc', write_mode: upsert}"),
    )
)


@pytest.fixture
def world(
    tmp_path: Path,
    postgres_database: ServerState,
    mysql_database: ServerState,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    """Tables with rows, and pipelines that nobody ran yet. The environment leads Dagster's bodies to them."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "all.yaml").write_text(PIPELINES)
    made = World(tmp_path / "home", postgres_database, mysql_database, folder)
    made.postgres_do(
        "create table items (id int primary key, title text not null)",
        "create table notes (id int primary key, body text)",
        "alter table items replica identity full",
        "insert into items select n, 'secret title ' || n from generate_series(1, 10) n",
        "insert into notes select n, 'secret body ' || n from generate_series(1, 5) n",
    )
    made.mysql_do(
        "create table things (id int primary key, label varchar(50) not null)",
        "create table parts (id int primary key, weight int)",
        "insert into things values (1, 'secret one'), (2, 'secret two'), (3, 'secret three')",
        "insert into parts values (1, 10), (2, 20)",
    )
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def definitions(world: World) -> dg.Definitions:
    return build(world.settings, world.pipelines())


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made
