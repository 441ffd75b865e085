"""Types that only MariaDB has, and what of them its log does not say."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_platform.sources.cells import BadCell
from cdc_platform.sources.mysql.addresses import inet6_text
from cdc_platform.sources.mysql.compressed import uncompressed
from cdc_platform.sources.mysql.layout import cells_of, flat
from cdc_platform_tests.mysql.conftest import Database, events
from cdc_platform_tests.mysql.images import images, opened
from cdc_platform_tests.mysql.test_failures import global_setting

FEW = settings(
    max_examples=3,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],
)


@pytest.fixture
def mariadb(database: Database) -> Database:
    if not database.mariadb:
        pytest.skip("only MariaDB has them")
    database.run("set sql_mode = 'STRICT_ALL_TABLES'")
    return database


GROUPS = st.lists(st.sampled_from((0, 0, 0, 0xFFFF, 1)) | st.integers(0, 0xFFFF), min_size=8, max_size=8)
INET6 = GROUPS.map(lambda groups: ":".join(f"{group:x}" for group in groups))

# MariaDB refuses a version of 8 or more with the variant 0.
UUIDS = st.uuids().filter(lambda uuid: uuid.bytes[6] < 0x80 or uuid.bytes[8] >= 0x80)


@FEW
@given(st.lists(st.tuples(st.none() | UUIDS, st.none() | st.ip_addresses(v=4), st.none() | INET6), min_size=40))
def test_uuids_and_addresses(mariadb: Database, rows: list[tuple[object, ...]]) -> None:
    mariadb.run("create table if not exists t (u uuid, a inet4, b inet6, n int default 0)")
    with opened(mariadb) as source:
        start = source.head()
    rows = [tuple(None if cell is None else str(cell) for cell in row) for row in rows]
    mariadb.run("begin", "insert into t (u, a, b) values (%s, %s, %s)", rows=rows)
    mariadb.run("commit")
    wanted = mariadb.query("select u, a, b from t")
    assert images(mariadb, "t", start).rows() == wanted
    assert [row[0] for row in wanted] == [row[0] for row in rows]


@pytest.mark.parametrize("metadata", ["NO_LOG", "MINIMAL", "FULL"])
def test_the_table_tells_what_the_log_does_not(mariadb: Database, metadata: str) -> None:
    """Beside bytes of the same length, with whatever metadata; uuids of all versions, also ones that end in zeros."""
    mariadb.run(
        "create table t (b binary(16), u uuid, i inet6, four binary(4), a inet4, w point, v varchar(9) compressed,"
        " g geometry, l varchar(9) character set latin1, n int default 0)"
    )
    uuids = [f"12345678-9abc-{version}def-8123-450000000000" for version in "12345678"]
    rows = [(b"\1" * 16, uuid, "::1", b"\1\2\0\0", "1.2.0.0", "x", "é") for uuid in uuids]
    with global_setting(mariadb, "binlog_row_metadata", f"'{metadata}'"):
        with opened(mariadb) as source:
            start = source.head()
        mariadb.run(
            "set session sql_mode = ''",
            "insert into t (b, u, i, four, a, v, l) values (%s, %s, %s, %s, %s, %s, %s)",
            rows=rows,
        )
        wanted = mariadb.query("select b, u, i, four, a, w, v, g, l from t")
        assert images(mariadb, "t", start).rows() == wanted
    assert [row[1] for row in wanted] == uuids


def test_a_uuid_stays_one_when_other_columns_come(mariadb: Database) -> None:
    """Full metadata names the column; the table that has another shape by now still tells its type."""
    mariadb.run("create table t (u uuid, b binary(16), i int)")
    with opened(mariadb) as source:
        start = source.head()
    mariadb.run(
        "insert into t values ('12345678-9abc-4def-8123-450000000000', x'01', 1)", "alter table t drop column i"
    )
    (one,) = mariadb.changes("t", start=start)
    rows = events([one], mariadb.table("t"))["after"].struct.unnest().rows()
    assert rows == [("12345678-9abc-4def-8123-450000000000", b"\1".ljust(16, b"\0"), 1)]


UUID = "12345678-9abc-4def-8123-450000000000"


@pytest.mark.parametrize("stretch_bytes", [1, 1 << 20])
def test_a_uuid_stays_one_whatever_becomes_of_its_column(mariadb: Database, stretch_bytes: int) -> None:
    """What the column was when the rows were written is told by the shape that the table is followed with, and by the
    statements since."""
    mariadb.run("create table t (id int primary key, u uuid, b binary(16), a inet4)")
    start = mariadb.source().head()
    followed = mariadb.followed("t", start=start)
    mariadb.run(
        f"insert into t values (1, '{UUID}', x'01', '1.2.3.4')",
        "alter table t rename column u to v, rename column a to c",
        f"insert into t values (2, '{UUID}', x'02', '1.2.3.4')",
        "alter table t rename column v to b, rename column b to v, add column n inet6 null",
        f"insert into t values (3, '{UUID}', x'03', '1.2.3.4', '::1')",
        "alter table t modify b binary(16), drop column n, change c d binary(4), add column u uuid null",
        "insert into t values (4, x'04', x'05', x'01020304', null)",
        "alter table t drop column b",
    )
    found = mariadb.follow(followed, start=start, stretch_bytes=stretch_bytes)
    rows = [row for one in found for batch in one.batches for row in batch.frame["after"].struct.unnest().rows()]
    one, two, three, four, five = (bytes([i]).ljust(16, b"\0") for i in range(1, 6))
    assert rows == [
        (1, UUID, one, "1.2.3.4"),
        (2, UUID, two, "1.2.3.4"),
        (3, UUID, three, "1.2.3.4", "::1"),
        (4, four, five, b"\1\2\3\4", None),
    ]


def test_a_column_that_came_and_went_unseen_is_a_stop_where_it_may_be_a_uuid(mariadb: Database) -> None:
    mariadb.run("create table t (id int primary key)")
    followed = mariadb.followed("t", start=mariadb.source().head())
    mariadb.run("alter table t add column b binary(16) null")
    start = mariadb.source().head()
    mariadb.run("insert into t values (1, x'01')", "alter table t drop column b")
    (one,) = mariadb.follow(followed, start=start)
    assert "does not tell whether it held bytes" in str(one.failures[mariadb.table("t")])


@FEW
@given(data=st.data())
def test_compressed_columns(mariadb: Database, data: st.DataObject) -> None:
    mariadb.run(
        "set column_compression_threshold = 10",
        "create table if not exists t (v varchar(300) compressed, p text compressed, b blob compressed,"
        " y varbinary(250) compressed, l longtext compressed character set sjis, n int default 0)",
    )
    mariadb.run(f"set column_compression_zlib_wrap = {data.draw(st.booleans())}")
    text = st.none() | st.text(st.sampled_from("abcé表"), max_size=250)
    lump = st.none() | st.binary(max_size=40).map(lambda part: (part * 9)[:250])
    rows = data.draw(
        st.lists(st.tuples(text, text, lump, lump, text.map(lambda t: t and t.replace("é", ""))), min_size=9)
    )
    with opened(mariadb) as source:
        start = source.head()
    mariadb.run("begin", "insert into t (v, p, b, y, l) values (%s, %s, %s, %s, %s)", rows=rows)
    mariadb.run("commit")
    assert images(mariadb, "t", start).rows() == rows


def test_compressed_cells_that_are_broken() -> None:
    whole = b"\x8a\x01\x90" + zlib.compress(b"ab" * 200)[2:-4]
    assert flat(uncompressed(cells_of([b"\0x", whole, b""]))).tobytes() == b"x" + b"ab" * 200
    for broken in (whole[:-2], whole[:3], b"\x8a\x01\x91" + whole[3:], b"\x70abc", b"\x81\x05abcdef"):
        with pytest.raises(BadCell, match=r"row 1: .*compressed"):
            uncompressed(cells_of([b"\0x", broken]))


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (bytes(16), "::"), (bytes(15) + b"\1", "::1"), (bytes(10) + b"\xff\xff\1\2\3\4", "::ffff:1.2.3.4"),
        (bytes(12) + b"\1\2\3\4", "::1.2.3.4"), (b"\0\1" + bytes(14), "1::"),
        (b"\0\1\0\0\0\1\0\1\0\1\0\1\0\1\0\1", "1::1:1:1:1:1:1"),
    ],
)  # fmt: skip
def test_inet6_as_mariadb_prints_it(address: bytes, text: str) -> None:
    assert inet6_text(address) == text
