"""Snapshot, capture and apply of both systems, the limits beside them, and a peer.

    python -m cdc_platform_tests.bench [--rows 500000] [--changes 500000]

| limit                  | what it is                                                                         |
|------------------------|------------------------------------------------------------------------------------|
| COPY to /dev/null      | Postgres reads the table and formats it as binary COPY, nobody receives it          |
| server decodes         | Postgres decodes the changes and counts the messages; nothing leaves the server     |
| raw dump               | the binlog's bytes are received and not looked at                                  |
| Parquet from Polars    | the rows that are already in memory become one Parquet file                        |
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.mock_data.churn import churn_customers, churn_products
from cdc_platform.mock_data.endpoint import Address
from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.servers.embedded import up
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.bench import work
from cdc_platform_tests.bench.measure import Step, measure
from cdc_platform_tests.conftest import temporary_home

# Wide enough for the table where there is no terminal.
console = Console(width=None if sys.stdout.isatty() else 140)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=500_000, help="rows of customers and of products")
    options.add_argument("--changes", type=int, default=500_000, help="mixed changes on each, 60/30/10")
    chosen = options.parse_args()
    with temporary_home() as settings:
        servers = up(settings, environ={})
        steps = bench(settings, servers["postgres"], servers["mysql"], chosen.rows, chosen.changes)
    show(steps)


def bench(settings: Settings, postgres: ServerState, mysql: ServerState, rows: int, changes: int) -> list[Step]:
    steps: list[Step] = []

    def add(name: str, function: Callable[..., int], *arguments: object, limit: str | None = None) -> None:
        step = measure(name, function, *arguments, limit=limit)
        console.print(f"  {step.name}: {step.rows:,} rows in {step.seconds:.2f} s", style="dim")
        # A step that is measured again, around another one, counts with the mean: machines are noisy.
        again = next((n for n, earlier in enumerate(steps) if earlier.name == name), None)
        if again is None:
            steps.append(step)
        else:
            steps[again] = steps[again].mean(step)

    at = work.Places(settings.home, PACKAGE / "pipelines", _address(postgres), _address(mysql))
    console.print(f"seeding {rows:,} customers and {rows:,} products")
    seed(at.postgres, at.mysql, Sizes(customers=rows, orders=0, products=rows, inventory=0, evolution=0), 1)

    add("postgres: COPY to /dev/null", work.postgres_copy, at)
    add("postgres: snapshot, decoded", work.snapshot, at, "postgres", limit="postgres: COPY to /dev/null")
    add("postgres: COPY to /dev/null", work.postgres_copy, at)
    add("postgres: snapshot into change log", work.capture, at, "postgres", limit="postgres: COPY to /dev/null")
    add("postgres: key ranges of 100,000", work.split, at, "postgres", limit="postgres: COPY to /dev/null")
    add("postgres: digests in the database", partial(work.digests, in_database=True), at, "postgres",
        limit="postgres: COPY to /dev/null")  # fmt: skip
    add("postgres: digests of rows read", partial(work.digests, in_database=False), at, "postgres",
        limit="postgres: COPY to /dev/null")  # fmt: skip
    add("mysql: snapshot, decoded", work.snapshot, at, "mysql")
    add("mysql: digests in the database", partial(work.digests, in_database=True), at, "mysql")
    add("mysql: digests of rows read", partial(work.digests, in_database=False), at, "mysql")
    add("mysql: snapshot into change log", work.capture, at, "mysql")
    add("delta: snapshot applied (append, 30 days)", work.apply, at, "postgres_customers_cdc")
    add("iceberg: snapshot applied (upsert, months)", work.apply, at, "mysql_products_cdc")
    add("delta: digests", work.lake_digests, at, "postgres_customers_cdc")
    add("iceberg: digests", work.lake_digests, at, "mysql_products_cdc")

    console.print(f"making {changes:,} changes on each source")
    churn_customers(at.postgres, changes, 1)
    churn_products(at.mysql, changes, 1)
    add("postgres: server decodes", work.server_decodes, at)
    add("postgres: changes, decoded", work.changes, at, "postgres", limit="postgres: server decodes")
    add("postgres: server decodes", work.server_decodes, at)
    add("postgres: changes into change log", work.capture, at, "postgres", limit="postgres: server decodes")
    add("mysql: raw dump", work.raw_dump, at, changes)
    add("mysql: changes, decoded", work.changes, at, "mysql", limit="mysql: raw dump")
    add("mysql: mysql-replication, first 20,000", work.mysql_replication, at, 20_000)
    add("mysql: changes into change log", work.capture, at, "mysql", limit="mysql: raw dump")
    with tempfile.TemporaryDirectory() as folder:
        add("parquet from polars", work.parquet, at, Path(folder) / "x.parquet")
    add("delta: changes applied (append)", work.apply, at, "postgres_customers_cdc", limit="parquet from polars")
    add("iceberg: changes applied (upsert)", work.apply, at, "mysql_products_cdc", limit="parquet from polars")
    return steps


def show(steps: list[Step]) -> None:
    """The table; the last column is how many times its limit's time per row a step takes."""
    by_name = {step.name: step for step in steps}
    table = Table(title="one run, this machine", title_justify="left", box=None)
    for heading in ("step", "rows", "s", "rows/s", "rows/CPU s", "peak MB", "x limit"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    for step in steps:
        ratio = f"{by_name[step.limit].rate / step.rate:.1f}" if step.limit else ""
        per_cpu = f"{step.rows / step.cpu_seconds:,.0f}" if step.cpu_seconds > 0.01 else ""
        cells = (f"{step.rows:,}", f"{step.seconds:.2f}", f"{step.rate:,.0f}", per_cpu, f"{step.peak_mb:,.0f}", ratio)
        table.add_row(step.name, *cells)
    console.print(table)
    ours, theirs = by_name["mysql: changes, decoded"], by_name["mysql: mysql-replication, first 20,000"]
    console.print(f"mysql: {ours.rate / theirs.rate:.0f} times mysql-replication")


def _address(server: ServerState) -> Address:
    return Address(server.host, server.port, server.database, server.user, server.password)


if __name__ == "__main__":
    main()
