"""What is measured. Each function runs in a process of its own and returns the rows that it handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psycopg2

from cdc_platform.config.load import load_pipelines, select
from cdc_platform.config.settings import Settings
from cdc_platform.engine import apply as applying
from cdc_platform.engine import capture as capturing
from cdc_platform.engine.feeds import Feed, open_feed, open_flow
from cdc_platform.mock_data.endpoint import Address
from cdc_platform.model import canonical
from cdc_platform.model.change import Followed
from cdc_platform.model.key_range import WHOLE
from cdc_platform.model.schema import TableName
from cdc_platform.sources.source import Snapshot

RANGE_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Places:
    """Where the servers, the state and the pipelines are."""

    home: Path
    folder: Path
    postgres: Address
    mysql: Address

    @property
    def settings(self) -> Settings:
        return Settings(self.home, self.folder)


@contextmanager
def feed(at: Places, system: str) -> Iterator[Feed]:
    """The feed of customers or of products alone."""
    environment = at.settings.environment({})
    name = {"postgres": "postgres_customers_cdc", "mysql": "mysql_products_cdc"}[system]
    pipelines = select(load_pipelines(at.folder, environment), [name])
    with open_feed(at.settings, environment, pipelines, system) as opened:
        yield opened


def table(opened: Feed) -> TableName:
    (name,) = opened.logs
    return name


def postgres_copy(at: Places) -> int:
    with _postgres(at) as cursor:
        cursor.execute("copy customers to '/dev/null' (format binary)")
        return cursor.rowcount


def snapshot(at: Places, system: str) -> int:
    with feed(at, system) as opened:
        opened.source.prepare([table(opened)])
        with opened.source.snapshot([table(opened)]) as found:
            return sum(len(batch) for batch in found.read(table(opened)))


def split(at: Places, system: str) -> int:
    """The key ranges of a table; the rows that were stepped over."""
    with _snapshot(at, system) as (found, name):
        found.split(name, RANGE_ROWS)
        return found.count(name)


def digests(at: Places, system: str, *, in_database: bool) -> int:
    """Digests of all columns by key range: the database's, or those of rows that are read."""
    with _snapshot(at, system) as (found, name):
        ranges, columns = found.split(name, RANGE_ROWS), found.schema(name).names
        if in_database:
            return int(found.digests(name, columns, ranges)["rows"].sum())
        frames = (batch.frame["after"].struct.unnest() for batch in found.read(name))
        return int(canonical.digests(frames, columns, ranges)["rows"].sum())


def lake_digests(at: Places, pipeline: str) -> int:
    """Digests of the rows that a destination holds."""
    environment = at.settings.environment({})
    (one,) = select(load_pipelines(at.folder, environment), [pipeline])
    flow = open_flow(at.settings, environment, one)
    names = [field.name for field in flow.destination.schema() or () if not field.name.startswith("_cdc_")]
    return int(canonical.digests(flow.destination.scan(names), names, [WHOLE])["rows"].sum())


@contextmanager
def _snapshot(at: Places, system: str) -> Iterator[tuple[Snapshot, TableName]]:
    with feed(at, system) as opened:
        name = table(opened)
        opened.source.prepare([name])
        with opened.source.snapshot([name]) as found:
            yield found, name


def capture(at: Places, system: str) -> int:
    with feed(at, system) as opened:
        done = capturing.capture(opened)
        for error in done.failures.values():
            raise error
        return sum(done.changes.values()) + sum(done.snapshot_rows.values())


def changes(at: Places, system: str) -> int:
    with feed(at, system) as opened:
        log = opened.logs[table(opened)]
        start = log.position()
        assert start is not None
        stretches = opened.source.changes({table(opened): Followed(log.schema(), start)}, start, opened.source.head())
        return sum(len(batch) for stretch in stretches for batch in stretch.batches)


def apply(at: Places, pipeline: str) -> int:
    environment = at.settings.environment({})
    (one,) = select(load_pipelines(at.folder, environment), [pipeline])
    done = applying.apply(open_flow(at.settings, environment, one))
    return sum(done.events.values()) + done.snapshot_rows


def server_decodes(at: Places) -> int:
    """Messages less those that begin and end transactions."""
    with _postgres(at) as cursor:
        cursor.execute("select slot_name from pg_replication_slots where slot_type = 'logical' and not temporary")
        (slot,) = cursor.fetchone() or ("",)
        cursor.execute(
            "select count(*) from pg_logical_slot_peek_binary_changes(%s, null, null, 'proto_version', '1', "
            "'publication_names', %s)",
            (slot, slot),
        )
        (count,) = cursor.fetchone() or (0,)
        return int(count)


def raw_dump(at: Places, rows: int) -> int:
    """The bytes of the binlog from the logged position on, which hold `rows` changes."""
    from cdc_platform_tests.bench.peers import dump_bytes

    with feed(at, "mysql") as opened:
        start = opened.logs[table(opened)].position()
        assert start is not None
        dump_bytes(at.mysql, opened.source.format(start))
    return rows


def mysql_replication(at: Places, rows: int) -> int:
    from cdc_platform_tests.bench.peers import read_rows

    with feed(at, "mysql") as opened:
        start = opened.logs[table(opened)].position()
        assert start is not None
        return read_rows(at.mysql, opened.source.format(start), rows)


def parquet(at: Places, file: Path) -> int:
    """The rows of the last changes of customers, from memory into one file; reading them is part of the time."""
    with feed(at, "postgres") as opened:
        log = opened.logs[table(opened)]
        frames = [f["after"].struct.unnest() for part in log.read(1) for f in part.frames(["after"])]
    rows = pl.concat(frames)
    rows.write_parquet(file, compression="snappy")
    return rows.height


@contextmanager
def _postgres(at: Places) -> Iterator[psycopg2.extensions.cursor]:
    address = at.postgres
    with (
        closing(
            psycopg2.connect(
                host=address.host,
                port=address.port,
                dbname=address.database,
                user=address.user,
                password=address.password,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor
