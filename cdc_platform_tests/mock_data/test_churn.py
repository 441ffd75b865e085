"""Churn makes exactly the changes that were asked for, and keeps the rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.mock_data.churn import churn_customers, churn_products
from cdc_platform.mock_data.seed import Sizes, seed
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.mock_data.conftest import NOW
from cdc_platform_tests.mock_data.rules import broken
from cdc_platform_tests.mock_data.test_seed import rows_of
from cdc_platform_tests.mock_data.test_simulate import seen, watch

SIZES = Sizes(customers=2_000, orders=500, products=2_000, inventory=500)
EXACT = {"INSERT": 2_100, "UPDATE": 1_050, "DELETE": 350}


@pytest.fixture
def both(postgres_database: ServerState, mysql_database: ServerState) -> tuple[ServerState, ServerState]:
    seed(postgres_database, mysql_database, SIZES, seed=1, now=NOW)
    return postgres_database, mysql_database


def test_the_changes_are_exact_and_all_rules_hold(both: tuple[ServerState, ServerState]) -> None:
    watch(*both)
    assert churn_customers(both[0], 3_500, seed=1) == {"customers": EXACT}
    assert churn_products(both[1], 3_500, seed=1) == {"products": EXACT}
    counted = seen(*both)
    assert (counted["customers"], counted["products"]) == (EXACT, EXACT)
    assert broken(*both) == {}


def test_transactions_have_the_size_asked_for(both: tuple[ServerState, ServerState]) -> None:
    churn_customers(both[0], 3_000, rows=1_000)
    # Every inserted row carries the transaction that made it.
    made = rows_of(both[0], "select count(*) from customers where customer_id > 2000 group by xmin::text")
    assert made == [(600,), (600,), (600,)]


def test_churning_twice_with_a_seed_collides_nowhere(both: tuple[ServerState, ServerState]) -> None:
    for _ in range(2):
        churn_customers(both[0], 500, seed=1)
        churn_products(both[1], 500, seed=1)
    assert broken(*both) == {}


@pytest.mark.parametrize("changes", [0, 1, 7])
def test_few_changes(both: tuple[ServerState, ServerState], changes: int) -> None:
    for made in (churn_customers(both[0], changes), churn_products(both[1], changes)):
        assert sum(sum(counts.values()) for counts in made.values()) == changes


@pytest.mark.parametrize(("churn", "which"), [(churn_customers, 0), (churn_products, 1)])
def test_too_many_changes_are_refused(
    both: tuple[ServerState, ServerState], churn: Callable[..., object], which: int
) -> None:
    with pytest.raises(ConfigError, match="not referred to by others"):
        churn(both[which], 25_000)
    with pytest.raises(ConfigError, match="make smaller ones"):
        churn(both[which], 10_000, rows=10_000)
    with pytest.raises(ConfigError, match="negative"):
        churn(both[which], -1)
