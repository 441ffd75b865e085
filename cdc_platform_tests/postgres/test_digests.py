"""What Postgres says of rows and what is said of the same rows as they are decoded, type by type."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import psycopg2
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.model import canonical
from cdc_platform.model.key_range import WHOLE
from cdc_platform.servers.state import ServerState
from cdc_platform_tests.conftest import drop_slots
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


def test_a_database_of_another_encoding(database: Database) -> None:
    """Hashed is UTF-8, whatever bytes the database keeps."""
    name = f"{database.state.database}_latin1"
    database.run(f"create database {name} encoding 'LATIN1' locale 'C' template template0")
    try:
        with closing(psycopg2.connect(replace(database.state, database=name).dsn())) as session:
            session.autocommit = True
            other = Database(replace(database.state, database=name), session, f"{database.slot}_latin1")
            source = prepared(other, ["text", "char(5)", "text[]", "json"])
            put(other, [("£é\xa0ÿ", "é", "{ä,NULL}", '{"é": 1}'), (None, None, None, None)])
            with closing(source), source.snapshot([A]) as snapshot:
                check_digests(snapshot, A, snapshot.split(A, 1))
    finally:
        with database.session.cursor() as cursor:
            drop_slots(cursor, name)
        database.run(f"drop database {name} with (force)")


def test_more_columns_than_a_function_has_arguments(database: Database) -> None:
    source = prepared(database, ["text", "int"] * 120)
    put(database, [[str(n) for n in range(240)], [None] * 240])
    with source.snapshot([A]) as snapshot:
        check_digests(snapshot, A, [WHOLE])


def test_columns_taken_as_text_and_what_arrow_cannot_hold(database: Database) -> None:
    """As text an infinity is its word. Else it stops whoever reads it; its digest is that of no date, no null."""
    source = prepared(database, ["date", "timestamptz", "numeric(5,2)", "date", "numeric(5,2)"], ["c0", "c1", "c2"])
    put(database, [("infinity", "-infinity", "NaN", "infinity", "NaN"), (None,) * 5,
        ("2000-01-01", "2000-01-01", "1.5", "2000-01-01", "1.5")])  # fmt: skip
    with source.snapshot([A]) as snapshot:
        alone = snapshot.split(A, 1)
        texts = ["c0", "c1", "c2"]
        frames = [batch.frame["after"].struct.unnest() for batch in snapshot.read(A, ["id", *texts])]
        assert snapshot.digests(A, texts, alone).equals(canonical.digests(frames, texts, alone))
        for name in ("c3", "c4"):
            assert snapshot.digests(A, [name], alone)["first"].n_unique() == 3


def test_a_cell_that_changed_changes_its_range(database: Database) -> None:
    source = prepared(database, ["text", "text"])
    put(database, [("a", "bc")] * 9)
    with source.snapshot([A]) as snapshot:
        ranges = snapshot.split(A, 3)
        before = snapshot.digests(A, ["c0", "c1"], ranges)
    for number, change in enumerate(("c0 = 'ab', c1 = 'c'", "c0 = '', c1 = null", "c0 = null, c1 = ''")):
        database.run(f"update a set {change} where id = {number * 3 + 2}")
    with source.snapshot([A]) as snapshot:
        after = snapshot.digests(A, ["c0", "c1"], ranges)
        check_digests(snapshot, A, ranges)
    assert before["rows"].to_list() == after["rows"].to_list() == [3, 3, 3]
    assert [*(before["first"] != after["first"]), *(before["second"] != after["second"])] == [True] * 6


def test_a_digest_is_of_the_snapshot_and_not_of_what_came_since(database: Database) -> None:
    source = prepared(database, ["text"])
    put(database, [("a",)] * 9)
    with source.snapshot([A]) as snapshot:
        before = snapshot.digests(A, ["id", "c0"], [WHOLE])
        database.run("update a set c0 = 'b'; delete from a where id = 1")
        assert snapshot.digests(A, ["id", "c0"], [WHOLE]).equals(before)
        with pytest.raises(ConfigError, match="has no column 'x'"):
            snapshot.digests(A, ["x"], [WHOLE])


def test_an_older_release_writes_numbers_another_way(postgres15_database: ServerState) -> None:
    with closing(psycopg2.connect(postgres15_database.dsn())) as session:
        session.autocommit = True
        database = Database(postgres15_database, session, f"slot_{postgres15_database.database}")
        database.run(SETUP)
        cases = [case for case in CASES if not case.needs]
        source = prepared(database, [case.type for case in cases])
        put(database, [[text for _, text in row] for row in zip(*map(filled, cases), strict=True)])
        with closing(source), source.snapshot([A]) as snapshot:
            check_digests(snapshot, A, snapshot.split(A, 1))
