"""Customers and orders that change at random, written straight into two change logs: no server, many workloads.

`rows` is the truth, in plain Python: what each step made of the tables, and what the derived table should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.config.load import load_file
from cdc_platform.config.settings import Settings
from cdc_platform.engine.derivation.opened import Derivation, open_derivation
from cdc_platform.model.event import Origin, events
from cdc_platform.model.position import LSN, Position
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform_tests import readers
from cdc_platform_tests.derivation.shop import pipeline
from cdc_platform_tests.model.changes import batch

Row = dict[str, Any]

CUSTOMER = {
    "customer_id": pa.int32(),
    "email": pa.string(),
    "first_name": pa.string(),
    "last_name": pa.string(),
    "phone": pa.string(),
    "city": pa.string(),
    "state": pa.string(),
    "country": pa.string(),
    "registration_date": pa.timestamp("us"),
    "is_active": pa.bool_(),
    "customer_tier": pa.string(),
    "lifetime_value": pa.decimal128(12, 2),
}
ORDER = {"order_id": pa.int32(), "customer_id": pa.int64(), "order_status": pa.string()}
FAKE = {f"POSTGRES_{name}": "1" for name in ("HOST", "PORT", "DB", "USER", "PASSWORD")}


def schema(table: str, columns: Mapping[str, pa.DataType]) -> TableSchema:
    made = (Column(name, kind, True, str(kind), number) for number, (name, kind) in enumerate(columns.items(), 1))
    return TableSchema(TableName("public", table), tuple(made), (next(iter(columns)),))


SCHEMAS = {"customers": schema("customers", CUSTOMER), "orders": schema("orders", ORDER)}


@dataclass
class RandomShop:
    """`whole` says whether changes come with the whole row before them, or with its key alone."""

    settings: Settings
    chance: Random
    whole: bool = True
    format: str = "deltalake"
    sort_by: str = "[customer_tier, lifetime_value DESC]"
    rows: dict[str, dict[int, Row]] = field(default_factory=lambda: {"customers": {}, "orders": {}})
    places: dict[str, int] = field(default_factory=lambda: {"customers": 8, "orders": 8})
    last: dict[str, int] = field(default_factory=lambda: {"customers": 0, "orders": 0})

    def log(self, table: str) -> ChangeLog:
        return ChangeLog(self.settings.change_logs / "postgres" / table)

    def derivation(self, definition: str = "customers_analytics") -> Derivation:
        """Opened anew, as each process does."""
        file = self.settings.pipelines / "analytics.yaml"
        self.settings.pipelines.mkdir(parents=True, exist_ok=True)
        text = pipeline(self.format, definition)
        file.write_text(text.replace("[customer_tier, lifetime_value DESC]", self.sort_by))
        environment = {**FAKE, "CDC_HOME": str(self.settings.home)}
        (one,) = load_file(file, environment)
        return open_derivation(self.settings, environment, one)

    def begin(self, customers: int = 12, orders: int = 25) -> None:
        """The two logs with their snapshots."""
        for table, count in (("customers", customers), ("orders", orders)):
            log = self.log(table)
            log.create(SCHEMAS[table], Origin("postgres", "shop", TableName("public", table), "system-1"), LSN)
            changes = [self._inserted(table) for _ in range(count)]
            self._append(table, changes, snapshot=True)

    def work(self, transactions: int = 3) -> None:
        """Some transactions: changes of one table's rows or of both, a commit of its log each."""
        for _ in range(transactions):
            for table in self.chance.choice([("customers",), ("orders",), ("customers", "orders")]):
                changes = [change for _ in range(self.chance.randint(1, 6)) for change in self._changed(table)]
                self._append(table, changes)

    def expected(self) -> list[tuple[Any, ...]]:
        """The derived rows by key, without their time."""
        counts: dict[Any, int] = {}
        for order in self.rows["orders"].values():
            counts[order["customer_id"]] = counts.get(order["customer_id"], 0) + 1
        return [_analytics(row, counts.get(number, 0)) for number, row in sorted(self.rows["customers"].items())]

    def found(self) -> list[tuple[Any, ...]]:
        """The same as DuckDB reads them."""
        query = "select * exclude (_ingestion_timestamp) from it order by customer_id"
        if self.format == "deltalake":
            path = self.settings.home / "lake" / "deltalake" / "customers_analytics"
            # The generated partition column is the format's own.
            query = query.replace("(_ingestion_timestamp", "(_ingestion_timestamp, registration_date_year")
            rows = readers.duckdb_delta(path, query).rows()
            return [tuple(_plain(cell) for cell in row) for row in rows]
        (metadata,) = self._metadata()
        return readers.duckdb_iceberg(str(metadata), query).rows()

    def _metadata(self) -> list[Path]:
        folder = self.settings.home / "lake" / "iceberg" / "cdc" / "customers_analytics" / "metadata"
        return sorted(folder.glob("*.metadata.json"))[-1:]

    def _append(self, table: str, changes: list[tuple[Row | None, Row | None]], snapshot: bool = False) -> None:
        log, at = self.log(table), self.places[table]
        numbered = [(at, n, *self._images(table, *change)) for n, change in enumerate(changes)]
        made = batch(*numbered, schema=SCHEMAS[table])
        frame = events(made, log.origin(), 1, datetime.now(UTC), snapshot=snapshot)
        self.places[table] = at + 8
        log.append([frame], Position(at + 8), log.position(), snapshot=snapshot)

    def _images(self, table: str, before: Row | None, after: Row | None) -> tuple[Row | None, Row | None]:
        key = SCHEMAS[table].primary_key[0]
        return (before if self.whole or before is None else {key: before[key]}), after

    def _changed(self, table: str) -> list[tuple[Row | None, Row | None]]:
        rows, chance = self.rows[table], self.chance
        kind = chance.random()
        if not rows or kind < 0.3:
            return [self._inserted(table)]
        number = chance.choice(list(rows))
        before = rows.pop(number)
        if kind < 0.55:
            return [(before, None)]
        after = {**self._row(table, number), **({} if kind < 0.8 else self._same(before))}
        rows[number] = after
        return [(before, after)]

    def _same(self, row: Row) -> Row:
        """All cells but the one that the derived table does not look at."""
        return {name: cell for name, cell in row.items() if name not in ("phone", "order_status")}

    def _inserted(self, table: str) -> tuple[Row | None, Row | None]:
        gone = [number for number in range(1, self.last[table]) if number not in self.rows[table]]
        if gone and self.chance.random() < 0.5:
            number = self.chance.choice(gone)
        else:
            self.last[table] += 1
            number = self.last[table]
        self.rows[table][number] = self._row(table, number)
        return None, self.rows[table][number]

    def _row(self, table: str, number: int) -> Row:
        chance = self.chance

        def some(*values: Any) -> Any:
            return chance.choice(values)

        if table == "orders":
            customer = some(None, *range(1, self.last["customers"] + 4))
            return {"order_id": number, "customer_id": customer, "order_status": some("new", "paid")}
        return {
            "customer_id": number,
            "email": f"{number}@x.org",
            "first_name": some("Ann", "Bo", ""),
            "last_name": some("Ash", "Ö'Birch"),
            "phone": some(None, "+1", "+2"),
            "city": some(None, "", "Ulm", "Bonn"),
            "state": some(None, " ", "BW"),
            "country": some(None, "DE"),
            "registration_date": datetime(2023, 12, 31, 23, 59, 59, 999999)
            + timedelta(seconds=some(0, 1, 86_400 * 800)),
            "is_active": some(None, True, False),
            "customer_tier": some(None, "Gold", "Silver"),
            "lifetime_value": some(None, Decimal("0.00"), Decimal("12.34"), Decimal("9999999999.99")),
        }


def _analytics(row: Row, orders: int) -> tuple[Any, ...]:
    names = [part for part in (row["first_name"], row["last_name"]) if part]
    places = [part for part in (row["city"], row["state"], row["country"]) if part and part.strip()]
    return (
        row["customer_id"],
        row["email"],
        " ".join(names),
        ", ".join(places) or None,
        row["customer_tier"],
        row["lifetime_value"] if row["lifetime_value"] is not None else Decimal("0.00"),
        row["registration_date"],
        True if row["is_active"] is None else row["is_active"],
        orders,
        "postgres_cdc",
    )


def _plain(cell: Any) -> Any:
    return cell.astimezone(UTC).replace(tzinfo=None) if isinstance(cell, datetime) and cell.tzinfo else cell
