"""The decoder on recorded bytes: dumps of a MariaDB 10.11 and a MySQL 9.7, whole and damaged.

`recorded/*.dump` holds the payloads of a binlog dump's packets, each after four bytes of length. They were made by

    create table goods (id int unsigned primary key, name varchar(40), price decimal(10,2), kind enum('new','used'),
        tags set('a','b','c'), seen timestamp(3) null, day date, span time, flag bit(3),
        note text character set latin1, bytes binary(4), weight double, year_made year);
    create table other (i int);
    -- the dump begins here
    insert into goods values (1, 'Größe', 12.50, 'new', 'a,c', '2024-02-29 12:34:56.789', '2024-02-29', '-01:02:03', 5,
        'café', x'01020000', 1.5, 2024), (4000000000, null, -0.01, null, ...);
    begin; insert into other values (1); update goods set name = 'small' where id = 1;
    update goods set price = 99 where id > 1; delete from goods where id = 1; commit;
    flush binary logs; delete from goods;
"""

from __future__ import annotations

import datetime as dt
import socket
import struct
import threading
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.errors import CdcError, ConfigError, NotUnderstood
from cdc_platform.model.change import Captured, Followed
from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.model.schema import TableName, TableSchema
from cdc_platform.sources.mysql.batches import Bounds
from cdc_platform.sources.mysql.binlog import DELETE_V1, MARIADB_GTID, ROTATE, TABLE_MAP, BadEvent, read_headers
from cdc_platform.sources.mysql.catalogue import Catalogue, Table
from cdc_platform.sources.mysql.characters import Codepage
from cdc_platform.sources.mysql.connection import MySQLConnection, Session
from cdc_platform.sources.mysql.follow import Follower, ServerTraits
from cdc_platform.sources.mysql.foreign_keys import ForeignKeys, Origins
from cdc_platform.sources.mysql.log import read_log
from cdc_platform.sources.mysql.packets import COM_QUERY, PacketReader, Packets
from cdc_platform.sources.mysql.rows import RowEvents, find_images
from cdc_platform.sources.mysql.tablemap import TableMap, read_table_map
from cdc_platform.sources.mysql.types import BLOB, LONG, VARCHAR, Physical
from cdc_platform_tests.mysql.conftest import events

GOODS, OTHER = TableName("shop", "goods"), TableName("shop", "other")
EVER = Position(2**62)
STARTS = {"mariadb_10_11": 4398046512018, "mysql_9_7": 4398046511935}
EOF = b"\xfe\0\0\2\0"


class NoServer(Catalogue):
    """The answers of a server whose tables are gone: all that a full table map needs."""

    def __init__(self) -> None:
        super().__init__(lambda: pytest.fail("the server is asked"))

    @property
    def mariadb(self) -> bool:
        return False

    def tables(self, names: Iterable[TableName]) -> Mapping[TableName, Table]:
        raise ConfigError("gone")

    def charset_of(self, collation: int) -> str:
        return {8: "latin1", 63: "binary"}.get(collation, "utf8mb4")

    def character_bytes(self, charset: str) -> int:
        return 4 if charset == "utf8mb4" else 1

    def codepage(self, charset: str) -> Codepage | None:
        return Codepage(charset, "single", np.arange(256, dtype=np.uint32)) if charset == "latin1" else None


class NoKeys(ForeignKeys):
    """No table has a foreign key."""

    def __init__(self) -> None:
        super().__init__(lambda: pytest.fail("the server is asked"))

    def origins(self, table: TableName) -> Origins:
        return Origins()


def recorded(name: str) -> list[bytes]:
    data = (Path(__file__).parent / "recorded" / f"{name}.dump").read_bytes()
    payloads = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        payloads.append(data[4 : 4 + length])
        data = data[4 + length :]
    return payloads


def served(payloads: Iterable[bytes]) -> Session:
    """A session whose server answers any command with these payloads and an EOF."""
    here, there = socket.socketpair()
    whole = b""
    for number, payload in enumerate([*payloads, EOF]):
        for first in range(0, len(payload) + 1, 0xFFFFFF):
            part = payload[first : first + 0xFFFFFF]
            whole += len(part).to_bytes(3, "little") + bytes([number % 256]) + part

    def answer() -> None:
        with there:
            there.recv(1 << 16)
            there.sendall(whole)

    threading.Thread(target=answer, daemon=True).start()
    connection = cast("Any", SimpleNamespace(_sock=here))
    return Session(MySQLConnection("127.0.0.1", 0, "", "", ""), connection)


def follow(payloads: Iterable[bytes], start: int, tables: set[TableName], size: int = 1 << 20) -> list[Captured]:
    followed = {table: Followed(TableSchema(table, (), ()), ORIGIN) for table in tables}
    follower = Follower.of(followed, Bounds("binlog", ORIGIN, EVER), NoServer(), NoKeys(), ServerTraits())
    captured = []
    for stretch in read_log(served(payloads), 1, "binlog", start, size):
        one = follower.take(stretch)
        captured.append(Captured(one.entries, Position(one.upto), one.failures))
        if one.stop:
            raise one.stop
    return captured


FIRST = {
    "id": 1, "name": "Größe", "price": Decimal("12.50"), "kind": "new", "tags": "a,c",
    "seen": dt.datetime(2024, 2, 29, 12, 34, 56, 789000, dt.UTC), "day": dt.date(2024, 2, 29), "span": "-01:02:03",
    "flag": 5, "note": "café", "bytes": b"\1\2\0\0", "weight": 1.5, "year_made": 2024,
}  # fmt: skip
SECOND = dict.fromkeys(FIRST) | {"id": 4_000_000_000, "price": Decimal("-0.01")}
WANTED = [
    ("INSERT", None, FIRST),
    ("INSERT", None, SECOND),
    ("UPDATE", FIRST, FIRST | {"name": "small"}),
    ("UPDATE", SECOND, SECOND | {"price": Decimal("99.00")}),
    ("DELETE", FIRST | {"name": "small"}, None),
    ("DELETE", SECOND | {"price": Decimal("99.00")}, None),
]


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
@pytest.mark.parametrize("name", STARTS)
def test_recorded_changes(name: str, size: int) -> None:
    captured = follow(recorded(name), STARTS[name], {GOODS, OTHER}, size)
    frame = events(captured, GOODS)
    assert frame.select("operation", "before", "after").rows() == WANTED
    assert frame["transaction_id"].n_unique() == 3
    assert frame["source_ts"].dt.year().unique().to_list() == [2023 if name.startswith("mariadb") else 2026]
    assert events(captured, OTHER)["after"].to_list() == [{"i": 1}]
    (schema,) = {batch.schema for one in captured for batch in one.batches if batch.schema.table == GOODS}
    assert schema.primary_key == ("id",)
    assert [column.source_type for column in schema.columns][:5] == [
        "int unsigned", "varchar(40)", "decimal(10,2)", "enum('new','used')", "set('a','b','c')",
    ]  # fmt: skip
    assert [column.nullable for column in schema.columns] == [False] + [True] * 12


def table_map_bodies(name: str) -> list[bytes]:
    payloads = recorded(name)
    return [payload[20:-4] for payload in payloads if payload[5] == TABLE_MAP]


@pytest.mark.parametrize("name", STARTS)
def test_a_table_map_that_is_cut_off_is_a_bad_event(name: str) -> None:
    for body in table_map_bodies(name):
        whole = read_table_map(body, 77)
        parts = [_map_or_none(body[:length]) for length in range(len(body))]
        # A cut between two fields of the optional metadata cannot be told from their absence.
        told = [part for part in parts if part is not None]
        assert len(told) < 12
        for part in told:
            assert (part.table, part.physical, part.nullable) == (whole.table, whole.physical, whole.nullable)


def _map_or_none(body: bytes) -> TableMap | None:
    try:
        return read_table_map(body, 77)
    except BadEvent:
        return None


def packets_of(payloads: list[bytes]) -> Packets:
    reader = PacketReader(served(payloads).connection, COM_QUERY, b"", 1 << 27)
    return reader.read()


@pytest.mark.parametrize("name", STARTS)
def test_headers_that_do_not_fit_their_packets(name: str) -> None:
    payloads = recorded(name)
    for index in (2, len(payloads) - 1):
        for damaged in (payloads[index] + b"x", payloads[index][:-1], payloads[index][:15]):
            with pytest.raises(BadEvent):
                read_headers(packets_of([*payloads[:index], damaged, *payloads[index + 1 :]]))


def test_rows_without_columns_come_to_an_end() -> None:
    events = RowEvents(np.zeros(64, np.uint8), np.array([20]), np.array([21]), np.array([4]))
    both: list[list[Physical] | None] = [None, []]
    for others in both:
        with pytest.raises(BadEvent, match="no columns"):
            find_images(events, [], others)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_dumps_end_in_the_error_tree(data: st.DataObject) -> None:
    """Whatever byte is wrong: an error of ours, or values. Never another exception."""
    name = data.draw(st.sampled_from(sorted(STARTS)))
    payloads = recorded(name)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(payloads) - 1))
        damaged = bytearray(payloads[index])
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        payloads[index] = bytes(damaged)
    with suppress(CdcError):
        follow(payloads, STARTS[name], {GOODS, OTHER})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (40, "binlog_transaction_compression"),
        (165, "log_bin_compress"),
        (26, "changes were lost"),
        (99, "type 99 is unknown"),
    ],
)
def test_events_that_nobody_may_pass_over(kind: int, words: str) -> None:
    payloads = recorded("mariadb_10_11")
    last = bytearray(payloads[-2])
    last[5] = kind
    with pytest.raises(NotUnderstood, match=words):
        follow([*payloads[:-2], bytes(last), payloads[-1]], STARTS["mariadb_10_11"], {GOODS})
    last[18] |= 0x80  # says that readers may ignore it
    assert follow([*payloads[:-2], bytes(last), payloads[-1]], STARTS["mariadb_10_11"], {GOODS})


@pytest.mark.parametrize(("kind", "words"), [(39, "binlog_row_value_options"), (168, "log_bin_compress")])
def test_row_events_that_are_not_understood(kind: int, words: str) -> None:
    """They stop the table that they belong to; another one's are passed over."""
    payloads = recorded("mariadb_10_11")
    last = max(index for index, payload in enumerate(payloads) if payload[5] == DELETE_V1)
    payloads[last] = payloads[last][:5] + bytes([kind]) + payloads[last][6:]
    (one,) = follow(payloads, STARTS["mariadb_10_11"], {GOODS, OTHER})
    assert words in str(one.failures[GOODS])
    assert len(events([one], OTHER)) == 1
    (one,) = follow(payloads, STARTS["mariadb_10_11"], {OTHER})
    assert not one.failures


def test_flags_of_a_table_map_are_not_its_meaning() -> None:
    """MySQL flags the maps of statements that have to do with foreign keys; one table's maps then differ in a file."""
    payloads = recorded("mariadb_10_11")
    whole = events(follow(payloads, STARTS["mariadb_10_11"], {GOODS}), GOODS)
    last = max(index for index, payload in enumerate(payloads) if payload[5] == TABLE_MAP)
    for place, fails in ((26, False), (27, False), (28, True)):  # both bytes of the flags, and what follows them
        changed = bytearray(payloads[last])
        changed[place] ^= 2
        flagged = [*payloads[:last], bytes(changed), *payloads[last + 1 :]]
        if fails:
            with pytest.raises(CdcError):
                follow(flagged, STARTS["mariadb_10_11"], {GOODS})
        else:
            assert events(follow(flagged, STARTS["mariadb_10_11"], {GOODS}), GOODS).equals(whole)


def test_images_that_do_not_end_where_their_event_does() -> None:
    columns = [Physical(LONG, 0), Physical(VARCHAR, 20), Physical(BLOB, 4)]
    image = b"\0" + b"\1\0\0\0" + b"\3abc" + b"\2\0\0\0hi"
    buffer = np.frombuffer(bytes(16) + image * 3 + bytes(16), np.uint8)
    first, size = 16, len(image)

    def images(stop: int) -> list[int]:
        rows = RowEvents(buffer, np.array([first]), np.array([stop]), np.array([4711]))
        return [int(start) for start in find_images(rows, columns).starts]

    assert images(first + 3 * size) == [first, first + size, first + 2 * size]
    for stop in (first + 1, first + size - 1, first + 2 * size + 5):
        with pytest.raises(BadEvent, match="offset 4711"):
            images(stop)
    huge = np.frombuffer(bytes(16) + b"\0\1\0\0\0\0\xff\xff\xff\xff" + bytes(16), np.uint8)
    with pytest.raises(BadEvent):
        find_images(RowEvents(huge, np.array([16]), np.array([26]), np.array([0])), columns)


def test_offsets_beyond_four_gigabytes() -> None:
    """Headers hold an event's end modulo 2**32; a transaction can make a file larger than that."""
    payloads = recorded("mariadb_10_11")
    first = next(index for index, payload in enumerate(payloads) if payload[5] == MARIADB_GTID)
    shift = 2**32 - 1500  # the log then wraps in the middle of the transactions
    start = STARTS["mariadb_10_11"] + shift
    shifted = []
    for index, payload in enumerate(payloads):
        (end,) = struct.unpack_from("<I", payload, 14)
        second_file = index > first and any(p[5] == ROTATE for p in payloads[first:index])
        real = end and index >= first and not second_file
        shifted.append(payload[:14] + struct.pack("<I", (end + shift) % 2**32) + payload[18:] if real else payload)
    rotation = payloads[0][1:20] + struct.pack("<Q", start % 2**36) + payloads[0][28:-4]
    shifted[0] = b"\0" + rotation + struct.pack("<I", zlib.crc32(rotation))
    plain = events(follow(payloads, STARTS["mariadb_10_11"], {GOODS}), GOODS)
    moved = events(follow(shifted, start, {GOODS}), GOODS)
    in_first = plain["at"] < (65 << 36)
    assert in_first.sum() == 5
    assert (moved["at"] - plain["at"]).filter(in_first).unique().to_list() == [shift]
    assert moved["at"].max() == plain["at"].max()
    assert moved["after"].equals(plain["after"])


@pytest.mark.parametrize("size", [0, 1, 0xFFFFFE, 0xFFFFFF, 0x1000000, 2 * 0xFFFFFF, 2 * 0xFFFFFF + 7])
def test_packets_that_continue_each_other_are_joined(size: int) -> None:
    payloads = [b"first", bytes(size), b"last"]
    packets = packets_of(payloads)
    assert [packets.payload(index) for index in range(len(packets))] == payloads
