"""The rules hold after seeding, and each of them is able not to."""

from __future__ import annotations

import pytest

from cdc_platform_tests.mock_data.conftest import Seeded
from cdc_platform_tests.mock_data.rules import MYSQL_RULES, POSTGRES_RULES, broken, open_mysql, open_postgres


def test_all_rules_hold_after_seeding(seeded: Seeded) -> None:
    assert broken(seeded.postgres, seeded.mysql) == {}


@pytest.mark.parametrize("name", POSTGRES_RULES)
def test_an_offence_in_postgres_is_seen(seeded: Seeded, name: str) -> None:
    rule = POSTGRES_RULES[name]
    with open_postgres(seeded.postgres) as connected, connected.cursor() as cursor:
        cursor.execute(rule.offence)
        cursor.execute(rule.count)
        ((offences,),) = cursor.fetchall()
        connected.rollback()
    assert offences > 0


@pytest.mark.parametrize("name", MYSQL_RULES)
def test_an_offence_in_mysql_is_seen(seeded: Seeded, name: str) -> None:
    rule = MYSQL_RULES[name]
    with open_mysql(seeded.mysql) as connected, connected.cursor() as cursor:
        for statement in rule.offence.split(";"):
            cursor.execute(statement)
        cursor.execute(rule.count)
        ((offences,),) = cursor.fetchall()
        connected.rollback()
    assert offences > 0
