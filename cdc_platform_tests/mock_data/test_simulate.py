"""The workload keeps every rule, counts what really happened, and can be repeated, doubled and disturbed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from subprocess import PIPE
from typing import Any

import numpy as np
import pytest

from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.mock_data import mysql as mysql_source
from cdc_platform.mock_data import postgres as postgres_source
from cdc_platform.mock_data import shop, warehouse
from cdc_platform.mock_data.people import people
from cdc_platform.mock_data.products import catalogue
from cdc_platform.mock_data.sampling import generator
from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.mock_data.shop import Shop
from cdc_platform.mock_data.simulate import simulate
from cdc_platform.mock_data.warehouse import Warehouse
from cdc_platform.mock_data.workload import Keys, Names, Outcome, Script
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.mock_data.conftest import NOW
from cdc_platform_tests.mock_data.rules import broken
from cdc_platform_tests.mock_data.test_seed import rows_of

SIZES = Sizes(customers=500, orders=1_000, products=400, inventory=800, evolution=50)
NONE = Sizes(customers=0, orders=0, products=0, inventory=0, evolution=0)
POSTGRES_TABLES = ("customers", "orders", "cdc_schema_evolution_test")
MYSQL_TABLES = ("products", "inventory_transactions")
OPERATIONS = ("INSERT", "UPDATE", "DELETE")


@pytest.fixture
def both(postgres_database: ServerState, mysql_database: ServerState) -> tuple[ServerState, ServerState]:
    seed(postgres_database, mysql_database, SIZES, seed=1, now=NOW)
    return postgres_database, mysql_database


def watch(postgres: ServerState, mysql: ServerState) -> None:
    """Triggers that count every row change."""
    rows_of(postgres, "create table seen (name text, operation text)")
    rows_of(
        postgres,
        "create function see() returns trigger language plpgsql as"
        " $$ begin insert into seen values (tg_table_name, tg_op); return null; end $$",
    )
    for table in POSTGRES_TABLES:
        rows_of(
            postgres,
            f"create trigger see after insert or update or delete on {table} for each row execute function see()",
        )
    rows_of(mysql, "create table seen (name varchar(50), operation varchar(10))")
    # An update that leaves a row as it was is no change: MySQL neither counts nor logs it, but its triggers fire.
    compared = {
        "products": ["price", "quantity_in_stock", "is_discontinued", "updated_at"],
        "inventory_transactions": ["notes"],
    }
    for table, columns in compared.items():
        for operation in OPERATIONS:
            same = " and ".join(f"old.{name} <=> new.{name}" for name in columns) if operation == "UPDATE" else "false"
            rows_of(
                mysql,
                f"create trigger see_{table}_{operation} after {operation} on {table} for each row"
                f" insert into seen select '{table}', '{operation}' from dual where not ({same})",
            )


def seen(postgres: ServerState, mysql: ServerState) -> dict[str, dict[str, int]]:
    counted = {table: dict.fromkeys(OPERATIONS, 0) for table in (*POSTGRES_TABLES, *MYSQL_TABLES)}
    for at in (postgres, mysql):
        for table, operation, count in rows_of(at, "select name, operation, count(*) from seen group by 1, 2"):
            counted[table][operation] = count
    return counted


def test_changes_are_counted_as_they_happened_and_all_rules_hold(both: tuple[ServerState, ServerState]) -> None:
    watch(*both)
    operations = simulate(*both, seconds=3, rate=1_500, seed=2)
    assert operations == seen(*both)
    assert broken(*both) == {}
    for table in ("customers", "orders", "products", "inventory_transactions"):
        assert all(operations[table].values()), f"{table} saw not every operation: {operations[table]}"


def test_the_rate_is_kept(both: tuple[ServerState, ServerState]) -> None:
    reported: list[int] = []

    def progress(task: str, done: int, total: int | None = None) -> None:
        assert (task, total) == ("changes", 300)
        reported.append(done)

    started = time.monotonic()
    operations = simulate(*both, seconds=3, rate=100, progress=progress)
    took = time.monotonic() - started
    changes = sum(sum(counts.values()) for counts in operations.values())
    # A transaction may overshoot by its rows; a busy machine may lag a little.
    assert 150 <= changes <= 340
    assert reported == sorted(reported)
    assert reported[-1] == changes
    assert took < 6


def test_no_time_means_no_change(both: tuple[ServerState, ServerState]) -> None:
    operations = simulate(*both, seconds=0, rate=100)
    assert sum(sum(counts.values()) for counts in operations.values()) == 0


@contextmanager
def businesses(postgres: ServerState, mysql: ServerState, seed_number: int) -> Iterator[list[Callable[[], Outcome]]]:
    """Each system's next transaction of its script, without any pace."""
    with ExitStack() as stack:
        shops = stack.enter_context(postgres_source.connect(postgres))
        wares = stack.enter_context(mysql_source.connect(mysql))
        shop_keys = Keys({table: postgres_source.keys(shops, table, key) for table, key in shop.KEY_COLUMNS.items()})
        ware_keys = Keys({table: mysql_source.keys(wares, table, key) for table, key in warehouse.KEY_COLUMNS.items()})
        shop_rng, ware_rng = generator(seed_number, "shop"), generator(seed_number, "warehouse")
        kinds = Shop(shops, shop_rng, people(1), shop_keys, Names("tag")).kinds()
        lines = Warehouse(wares, ware_rng, catalogue(1), ware_keys, 100, Names("tag")).kinds()

        def next_of(script: Script, keys: Keys, transact: Callable[[Callable[[], Outcome]], Outcome]) -> Outcome:
            kind, rows = script.next()
            outcome = transact(lambda: kind(rows))
            keys.follow(outcome)
            return outcome

        yield [
            lambda: next_of(
                Script.of(shop_rng, kinds, 5), shop_keys, lambda work: postgres_source.transact(shops, work)
            ),
            lambda: next_of(Script.of(ware_rng, lines, 5), ware_keys, lambda work: mysql_source.transact(wares, work)),
        ]


def timeless(postgres: ServerState, mysql: ServerState) -> dict[str, list[tuple[Any, ...]]]:
    """All rows without the times that the workload writes."""
    queries = {
        "customers": "select (to_jsonb(c) - '{registration_date,last_updated}'::text[])::text from customers c",
        "orders": "select (to_jsonb(o) - '{order_date,last_updated}'::text[])::text from orders o",
        "evolution": "select id, original_column from cdc_schema_evolution_test",
        "products": "select product_id, sku, product_name, price, cost, quantity_in_stock from products",
        "movements": "select transaction_id, product_id, transaction_type, quantity_change, reference_order_id, notes"
        " from inventory_transactions",
    }
    return {
        name: sorted(rows_of(mysql if name in ("products", "movements") else postgres, query))
        for name, query in queries.items()
    }


def test_the_same_seed_on_the_same_tables_makes_the_same_changes(both: tuple[ServerState, ServerState]) -> None:
    runs = []
    for seed_number in (3, 3, 4):
        rows_of(both[0], "drop table orders, customers, cdc_schema_evolution_test")
        rows_of(both[1], "drop table products, inventory_transactions")
        seed(*both, SIZES, seed=1, now=NOW)
        outcomes = Counter[tuple[str, str]]()
        with businesses(*both, seed_number) as steps:
            for _ in range(60):
                for step in steps:
                    outcomes += step().changes
        runs.append((outcomes, timeless(*both)))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert broken(*both) == {}


def test_two_runs_at_once_disturb_neither_each_other_nor_the_rules(both: tuple[ServerState, ServerState]) -> None:
    watch(*both)
    with ThreadPoolExecutor(2) as threads:
        tasks = [threads.submit(simulate, *both, seconds=3, rate=2_000, seed=5) for _ in range(2)]
        first, second = (task.result() for task in tasks)
    together = {table: {name: first[table][name] + second[table][name] for name in OPERATIONS} for table in first}
    assert together == seen(*both)
    assert broken(*both) == {}


def test_rows_that_others_removed_are_passed_over(both: tuple[ServerState, ServerState]) -> None:
    with businesses(*both, 1) as steps:
        rows_of(both[0], "delete from orders where order_id % 3 <> 0")
        rows_of(both[0], "delete from customers where customer_id not in (select customer_id from orders)")
        rows_of(both[1], "delete from inventory_transactions where product_id % 3 <> 0")
        rows_of(both[1], "delete from products where product_id % 3 <> 0")
        for _ in range(40):
            for step in steps:
                step()
    assert broken(*both) == {}


def test_empty_tables_come_to_life(postgres_database: ServerState, mysql_database: ServerState) -> None:
    both = postgres_database, mysql_database
    seed(*both, NONE)
    operations = simulate(*both, seconds=2, rate=500)
    assert operations["customers"]["INSERT"]
    assert operations["products"]["INSERT"]
    assert broken(*both) == {}


@pytest.mark.parametrize(
    "steps",
    [
        ["add column new_column_added varchar(100)"],
        ["add column new_column_added varchar(100)", "drop column original_column"],
        ["drop column original_column"],
        ["add column new_column_added text", "rename column new_column_added to renamed_column"],
        ["alter column original_column type varchar(3) using left(original_column, 3)", "add column n int default 1"],
    ],
    ids=["added", "replaced", "dropped", "renamed", "narrowed"],
)
def test_an_evolving_table_is_used_by_the_columns_it_has(
    both: tuple[ServerState, ServerState], steps: list[str]
) -> None:
    with postgres_source.connect(both[0]) as connected:
        keys = Keys({"cdc_schema_evolution_test": np.arange(1, 51)})
        used = Shop(connected, generator(1, "x"), people(1), keys)
        for step in steps:
            rows_of(both[0], f"alter table cdc_schema_evolution_test {step}")
            if "narrowed" not in step and "varchar(3)" not in step and "n int" not in step:
                outcome = postgres_source.transact(connected, lambda: used.add_evolution_rows(3))
                assert outcome.changes == {("cdc_schema_evolution_test", "INSERT"): 3}
        postgres_source.transact(connected, lambda: used.change_evolution_rows(3))


def test_the_key_of_an_evolving_table_may_go(both: tuple[ServerState, ServerState]) -> None:
    rows_of(both[0], "alter table cdc_schema_evolution_test rename column id to number")
    with postgres_source.connect(both[0]) as connected:
        used = Shop(connected, generator(1, "x"), people(1), Keys({"cdc_schema_evolution_test": np.arange(1, 51)}))
        assert not used.add_evolution_rows(3).changes
        assert not used.change_evolution_rows(3).changes


def test_deadlocks_are_tried_again(both: tuple[ServerState, ServerState]) -> None:
    """Two sessions lock two orders in opposite directions; the one that Postgres ends starts over."""
    lock = "select 1 from orders where order_id = %s for update"
    attempts = 0
    with (
        postgres_source.connect(both[0]) as mine,
        postgres_source.connect(both[0]) as other,
        ThreadPoolExecutor(1) as threads,
    ):

        def cross() -> None:
            with other.cursor() as theirs:
                theirs.execute(lock, (1,))
            other.rollback()

        def work() -> None:
            nonlocal attempts
            attempts += 1
            with mine.cursor() as cursor:
                cursor.execute(lock, (1,))
                if attempts == 1:
                    with other.cursor() as theirs:
                        # The other one does not look for deadlocks in time, so that it is always mine that is ended.
                        theirs.execute("set deadlock_timeout = '60s'")
                        theirs.execute(lock, (2,))
                    threads.submit(cross)
                    time.sleep(0.3)
                cursor.execute(lock, (2,))

        postgres_source.transact(mine, work)
    assert attempts == 2


def test_tables_must_be_seeded_first(postgres_database: ServerState, mysql_database: ServerState) -> None:
    with pytest.raises(ConfigError, match="run `cdc seed` first"):
        simulate(postgres_database, mysql_database, seconds=1, rate=10)
    seed(postgres_database, mysql_database, NONE)
    rows_of(mysql_database, "drop table products")
    with pytest.raises(ConfigError, match=r"MySQL .* run `cdc seed` first"):
        simulate(postgres_database, mysql_database, seconds=60, rate=10)


@pytest.mark.parametrize(("seconds", "rate"), [(-1, 10), (1, 0), (1, -5), (float("nan"), 1), (1, float("nan"))])
def test_senseless_numbers_are_refused(postgres: ServerState, mysql: ServerState, seconds: float, rate: float) -> None:
    with pytest.raises(ConfigError, match="rate above 0"):
        simulate(postgres, mysql, seconds=seconds, rate=rate)


def test_a_lost_connection_ends_both_sides(both: tuple[ServerState, ServerState]) -> None:
    def progress(task: str, done: int, total: int | None = None) -> None:
        if done > 50:
            rows_of(
                both[0],
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where application_name = 'cdc mock data' and datname = current_database()",
            )

    started = time.monotonic()
    with pytest.raises(Unavailable, match="closed the connection"):
        simulate(*both, seconds=60, rate=200, progress=progress)
    assert time.monotonic() - started < 20


def test_an_interrupt_ends_it_soon(both: tuple[ServerState, ServerState]) -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from cdc_platform.mock_data.endpoint import Address;"
        " from cdc_platform.mock_data.simulate import simulate;"
        " ends = [Address(a[0], int(a[1]), *a[2:]) for a in (sys.argv[1:6], sys.argv[6:11])];"
        " simulate(*ends, seconds=60, rate=100, progress=lambda *_: print('at work', flush=True))"
    )
    ends = [str(part) for at in both for part in (at.host, at.port, at.database, at.user, at.password)]
    with subprocess.Popen([sys.executable, "-c", program, *ends], stdout=PIPE, stderr=PIPE, text=True) as running:
        assert running.stdout
        assert running.stdout.readline() == "at work\n"
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = running.communicate(timeout=30)
    assert time.monotonic() - started < 10
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert broken(*both) == {}


def test_keys_follow_what_was_done() -> None:
    keys = Keys({"t": np.array([1, 3, 5, 7])})
    keys.follow(Outcome(added={"t": np.array([10, 9])}, removed={"t": np.array([3, 4, 99])}))
    assert keys.known["t"].tolist() == [1, 5, 7, 9, 10]
    assert keys.pick(np.random.default_rng(0), "t", 99) == [1, 5, 7, 9, 10]
    keys.follow(Outcome(removed={"t": np.array([1, 5, 7, 9, 10])}))
    assert keys.pick(np.random.default_rng(0), "t", 3) == []
