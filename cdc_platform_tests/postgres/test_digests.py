"""What Postgres says of rows and what is said of the same rows as they are decoded, type by type."""

from __future__ import annotations

import psycopg2
import pytest

from cdc_platform.model import canonical
from cdc_platform.model.key_range import WHOLE
from cdc_platform_tests.key_ranges import check_digests, read
from cdc_platform_tests.postgres.conftest import Database, table
from cdc_platform_tests.postgres.test_ranges import KEYS
from cdc_platform_tests.postgres.test_types import NEEDS, filled
from cdc_platform_tests.postgres.type_cases import CASES, SETUP
from cdc_platform_tests.postgres.typed_table import A, prepared, put


@pytest.mark.parametrize("needs", NEEDS)
def test_every_type_digests_alike_in_the_database_and_here(database: Database, needs: str) -> None:
    """Each type alone, row by row, so that no cell hides behind another; then all in one."""
    database.run(SETUP)
    try:
        database.run(NEEDS[needs])
    except psycopg2.Error as error:
        pytest.skip(f"this server has no {needs}: {error.diag.message_primary}")
    cases = [case for case in CASES if case.needs == needs]
    source = prepared(database, [case.type for case in cases])
    put(database, [[text for _, text in row] for row in zip(*map(filled, cases), strict=True)])
    with source.snapshot([A]) as snapshot:
        rows = read(snapshot, A)
        alone = snapshot.split(A, 1)
        assert len(alone) == rows.height
        for place, case in enumerate(cases):
            found = snapshot.digests(A, [f"c{place}"], alone)
            wanted = canonical.digests([rows], [f"c{place}"], alone)
            assert wanted["rows"].to_list() == [1] * rows.height
            assert found.equals(wanted), case.type
        check_digests(snapshot, A, alone)
        check_digests(snapshot, A, [WHOLE])


def test_each_orderly_key_finds_its_range(database: Database) -> None:
    database.run("create domain number as numeric(8,3)")
    for number, (kind, keys) in enumerate(KEYS.items()):
        database.run(f'create table t{number} ("the ""key" {kind} primary key, v int default 1)')
        database.run(f'insert into t{number} ("the ""key") select * from ({keys}) keys (k)')
    tables = [table(f"t{number}") for number in range(len(KEYS))]
    source = database.source()
    source.prepare(tables)
    with source.snapshot(tables) as snapshot:
        for name in tables:
            ranges = snapshot.split(name, 2)
            check_digests(snapshot, name, ranges)
            check_digests(snapshot, name, [ranges[0], *ranges[2:4], *ranges[-1:]] if len(ranges) > 4 else ranges[1:])
            assert snapshot.digests(name, ["v"], []).height == 0
