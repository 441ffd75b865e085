"""Columns that the server fills by itself: stored and virtual generated ones, identity columns, serials."""

from __future__ import annotations

import psycopg2
import pytest

from cdc_platform.errors import NeedsPerson
from cdc_platform.sources.postgres.catalogue import read_tables
from cdc_platform_tests.postgres.conftest import Database, follow, images, table

A = table("a")
COLUMNS = "id int primary key, twice int generated always as (id * 2) stored, name text"
VIRTUAL = "loud text generated always as (upper(name)) virtual"
LOGS_GENERATED = 180000


def version(database: Database) -> int:
    return int(database.session.server_version)


def both(database: Database, statement: str) -> list[list[dict[str, object]]]:
    """Rows of table a after the statement: as the snapshot has them, and those that the stream brought."""
    source = database.source()
    source.prepare([A])
    start = source.head()
    database.run(statement)
    streamed = [after for _, _, after in images(follow(source, [A], start)) if after is not None]
    with source.snapshot([A]) as snapshot:
        return [[row["after"] for b in snapshot.read(A) for row in b.frame.to_dicts()], streamed]


def test_stored_generated_columns_are_followed_where_the_log_has_them(database: Database) -> None:
    """The shape is the same before the publication is there and after."""
    database.run(f"create table a ({COLUMNS})")
    logged = version(database) >= LOGS_GENERATED
    names = ("id", "twice", "name") if logged else ("id", "name")
    assert database.source().schemas([A])[A].names == names
    row = {"id": 2, "twice": 4, "name": "x"} if logged else {"id": 2, "name": "x"}
    assert both(database, "insert into a (id, name) values (2, 'x')") == [[row], [row]]
    assert database.source().schemas([A])[A].names == names


def test_a_generated_key(database: Database) -> None:
    database.run("create table a (id int, code int generated always as (id * 2) stored, name text, primary key (code))")
    (key,) = (shape.primary_key for shape in database.source().schemas([A]).values())
    assert key == (("code",) if version(database) >= LOGS_GENERATED else ())
    snapshot, streamed = both(database, "insert into a (id) values (2); update a set id = 3; update a set name = 'x'")
    assert snapshot == streamed[-1:]


def needs_virtual(database: Database) -> None:
    if version(database) < LOGS_GENERATED:
        pytest.skip("virtual generated columns are there since Postgres 18")


def test_virtual_columns_are_left_out(database: Database) -> None:
    needs_virtual(database)
    database.run(f"create table a ({COLUMNS}, {VIRTUAL}, note text)")
    row = {"id": 2, "twice": 4, "name": "x", "note": "n"}
    after = {**row, "name": "y"}
    statement = "insert into a (id, name, note) values (2, 'x', 'n'); update a set name = 'y'"
    assert both(database, statement) == [[after], [row, after]]


@pytest.mark.parametrize("identity", ["", "alter table a replica identity full"])
@pytest.mark.parametrize("key", ["", "primary key"])
def test_a_virtual_column_where_the_source_could_not_update_any_more(
    database: Database, identity: str, key: str
) -> None:
    """With replica identity full, which a table without a key would be given, Postgres 18 refuses updates."""
    needs_virtual(database)
    database.run(f"create table a (id int {key}, name text, {VIRTUAL}); insert into a values (1, 'x')")
    if identity:
        database.run(identity)
    source = database.source()
    if key and not identity:
        source.prepare([A])
    else:
        with pytest.raises(NeedsPerson, match="generated column 'loud' that is not logged"):
            source.prepare([A])
    database.run("update a set name = 'y'; delete from a")


def test_the_server_does_refuse_it(database: Database) -> None:
    """Why the preflight stops: what it is about, without it."""
    needs_virtual(database)
    database.run(f"create table a (id int, name text, {VIRTUAL}); alter table a replica identity full")
    database.run("create publication p for table a with (publish_generated_columns = stored)")
    database.run("insert into a values (1, 'x')")
    with pytest.raises(psycopg2.Error, match="cannot update table"):
        database.run("update a set name = 'y'")


def test_a_publication_that_an_administrator_made_is_taken_as_it_is(database: Database) -> None:
    database.run(f"create table a ({COLUMNS}); create publication {database.slot} for table a")
    row = {"id": 2, "name": "x"}
    assert both(database, "insert into a (id, name) values (2, 'x'); update a set name = 'x'") == [[row], [row, row]]
    if version(database) >= LOGS_GENERATED:
        database.run(f"alter publication {database.slot} set (publish_generated_columns = stored)")
        assert database.source().schemas([A])[A].names == ("id", "twice", "name")


def test_a_table_that_joins_such_a_publication(database: Database) -> None:
    database.run("create table b (id int primary key)")
    database.run(f"create table a ({COLUMNS}); create publication {database.slot} for table b")
    before = database.source().schemas([A])[A].names
    assert before == ("id", "name")
    row = {"id": 2, "name": "x"}
    assert both(database, "insert into a (id, name) values (2, 'x')") == [[row], [row]]


def test_an_administrators_column_list(database: Database) -> None:
    if version(database) < 150000:
        pytest.skip("column lists are there since Postgres 15")
    logged = version(database) >= LOGS_GENERATED
    database.run(f"create table a ({COLUMNS}, secret text)")
    listed = "id, twice" if logged else "id, name"
    database.run(f"create publication {database.slot} for table a ({listed})")
    row = {"id": 2, "twice": 4} if logged else {"id": 2, "name": "x"}
    assert both(database, "insert into a (id, name) values (2, 'x'); update a set secret = 's'") == [[row], [row, row]]


def test_stored_and_not_logged_under_replica_identity_full(database: Database) -> None:
    database.run(f"create table a ({COLUMNS}); alter table a replica identity full")
    database.run(f"create table b (id int primary key); create publication {database.slot} for table b")
    if version(database) >= LOGS_GENERATED:
        with pytest.raises(NeedsPerson, match="generated column 'twice' that is not logged"):
            database.source().prepare([A])
    else:
        database.source().prepare([A])
    database.run("insert into a (id) values (1); update a set name = 'y'; delete from a")


def test_columns_beside_the_key_in_its_index_are_not_of_the_key(database: Database) -> None:
    database.run("create table a (id int, name text, primary key (id) include (name))")
    assert database.source().schemas([A])[A].primary_key == ("id",)


def test_identity_columns_and_serials_are_plain_numbers(database: Database) -> None:
    database.run("create table a (id bigint generated always as identity primary key, n serial, s smallserial,"
                 " d int generated by default as identity (increment by -5))")  # fmt: skip
    assert [str(c.type) for c in database.source().schemas([A])[A].columns] == ["int64", "int32", "int16", "int32"]
    rows = [{"id": 1, "n": 1, "s": 1, "d": -1}, {"id": 2, "n": 2, "s": 2, "d": 7}]
    statement = "insert into a default values; insert into a (d) values (7)"
    assert both(database, statement) == [rows, rows]


def test_what_is_left_out_is_known(database: Database) -> None:
    database.run(f"create table a ({COLUMNS})")
    source = database.source()
    source.prepare([A])
    shape = read_tables(database.session, [A], database.slot)[A]
    assert shape.left_out == (() if version(database) >= LOGS_GENERATED else ("twice",))
