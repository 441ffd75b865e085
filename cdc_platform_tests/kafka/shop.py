"""A pipeline that publishes one table of Postgres, and what its topic holds."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2

from cdc_platform_tests.kafka.stack import Broker
from cdc_platform_tests.kafka.topics import Received, committed
from cdc_platform_tests.world import World

_PIPELINE = """
pipeline_id: shop
source:
  type: postgres
  connection:
    host: ${{POSTGRES_HOST}}
    port: ${{POSTGRES_PORT}}
    database: ${{POSTGRES_DB}}
    user: ${{POSTGRES_USER}}
    password: ${{POSTGRES_PASSWORD}}
  tables:
    - name: {table}
destination:
  type: deltalake
  path: ${{CDC_HOME}}/lake/{table}
publish:
  bootstrap_servers: ${{KAFKA}}
  topic: {topic}
  places: {topic}.places
"""

EVERY_TYPE = """
create table thing (
    id bigint, part text, primary key (id, part),
    small smallint, price numeric(12, 2), wide numeric(38, 10), ratio real, exact double precision, ok boolean,
    born date, seen timestamp, sent timestamptz, raw bytea, note text, doc jsonb, span interval, tags text[]
);
"""
ROW = """
insert into thing values
    ({id}, 'é"\\n', -7, 12.50, 123456789012345678.0000000001, 0.1, 1e300, true, '2024-02-29', '2024-02-29 12:30:00.5',
     '2024-02-29 12:30:00.000001+02', '\\x00ff', E'tab\\t back\\\\slash \\u2028 end', '{{"a": [1, null]}}',
     '1 mon -1 days', '{{x,NULL}}')
"""


@dataclass(frozen=True)
class Shop:
    """`world` has the pipeline `shop` alone; `topic` is its topic."""

    world: World
    topic: str
    broker: Broker

    def sql(self, *statements: str) -> None:
        with closing(psycopg2.connect(self.world.postgres.dsn())) as session:
            session.autocommit = True
            for statement in statements:
                session.cursor().execute(statement)

    def run(self, code: int = 0, **environment: str) -> Any:
        """`cdc run --json` as a process of its own; its document of the pipeline, or its words."""
        world = replace(self.world, extra={**self.world.extra, **environment})
        found = world.cdc("run", "--json", code=code)
        return found[0] if isinstance(found, list) else found

    def events(self) -> list[dict[str, Any]]:
        """What the change log holds, by `cdc events`."""
        return [json.loads(line) for line in self.world.cdc("events", "shop").split("\n") if line]

    def received(self) -> list[Received]:
        return committed(self.broker, self.topic)

    def configure(self, **publish: object) -> None:
        """Other keys of `publish:`."""
        file = self.world.folder / "shop.yaml"
        file.write_text(
            file.read_text() + "".join(f"  {name}: {json.dumps(value)}\n" for name, value in publish.items())
        )


@contextmanager
def shop(world: World, broker: Broker, folder: Path, table: str = "thing") -> Iterator[Shop]:
    topic = f"{table}.{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "shop.yaml").write_text(_PIPELINE.format(table=table, topic=topic))
    yield Shop(replace(world, folder=folder, extra={"KAFKA": broker.bootstrap}), topic, broker)
