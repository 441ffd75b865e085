"""The binlog's framing: event headers as arrays, and the bodies of the events that are not rows.

Facts: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html and
https://mariadb.com/kb/en/replication-protocol/. Table maps are `tablemap.py`, row images `rows.py`; what a stretch of
events means is `stretch.py`. Pure: bytes in, values out; what is not as documented is a `BadEvent`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from cdc_platform.errors import NotUnderstood
from cdc_platform.sources.cells import Bytes, Ints, Mask
from cdc_platform.sources.mysql.packets import Packets

HEADER = 19
CHECKSUM = 4

QUERY, STOP, ROTATE, INTVAR, RAND, USER_VAR, FORMAT, XID = 2, 3, 4, 5, 13, 14, 15, 16
BEGIN_LOAD, EXECUTE_LOAD, TABLE_MAP, INCIDENT, HEARTBEAT, IGNORABLE, ROWS_QUERY = 17, 18, 19, 26, 27, 28, 29
APPEND_BLOCK, DELETE_FILE = 9, 11
GTID, ANONYMOUS_GTID, PREVIOUS_GTIDS, TRANSACTION_CONTEXT, VIEW_CHANGE, XA_PREPARE = 33, 34, 35, 36, 37, 38
PARTIAL_UPDATE, TRANSACTION_PAYLOAD, HEARTBEAT_V2, GTID_TAGGED = 39, 40, 41, 42
ANNOTATE_ROWS, BINLOG_CHECKPOINT, MARIADB_GTID, GTID_LIST, START_ENCRYPTION = 160, 161, 162, 163, 164
QUERY_COMPRESSED = 165
WRITE_V1, UPDATE_V1, DELETE_V1, WRITE_V2, UPDATE_V2, DELETE_V2 = 23, 24, 25, 30, 31, 32
ROWS = (WRITE_V1, UPDATE_V1, DELETE_V1, WRITE_V2, UPDATE_V2, DELETE_V2)
ROWS_COMPRESSED = (166, 167, 168, 169, 170, 171)
UPDATES_COMPRESSED, DELETES_COMPRESSED = (167, 170), (168, 171)

BOUNDARIES = (GTID, ANONYMOUS_GTID, GTID_TAGGED, MARIADB_GTID)
"""Events that begin a transaction. Both servers write one before each."""

BETWEEN_TRANSACTIONS = (STOP, ROTATE, FORMAT, PREVIOUS_GTIDS, GTID_LIST, BINLOG_CHECKPOINT, START_ENCRYPTION)
"""Events that are never inside a transaction."""

HARMLESS = (
    *BETWEEN_TRANSACTIONS, *BOUNDARIES, INTVAR, RAND, USER_VAR, XID, TABLE_MAP, HEARTBEAT, HEARTBEAT_V2, IGNORABLE,
    ROWS_QUERY, TRANSACTION_CONTEXT, VIEW_CHANGE, ANNOTATE_ROWS, XA_PREPARE,
    # The file of a LOAD DATA: what becomes of it is said by EXECUTE_LOAD.
    APPEND_BLOCK, DELETE_FILE, BEGIN_LOAD,
)  # fmt: skip
"""Events that change no row by themselves."""

_ARTIFICIAL = 0x20
_IGNORABLE_FLAG = 0x80


class BadEvent(NotUnderstood):
    """Bytes that are not what the binlog's format says; the message gives the offset in the file."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"the binlog event at offset {offset} is not understood: {reason}")
        self.offset = offset
        self.reason = reason


def little(buffer: Bytes, kind: str, offset: int = 0) -> npt.NDArray[Any]:
    """A view of `buffer` in which element i is the number of NumPy type `kind` at byte i + offset. Index it only."""
    return np.ndarray((len(buffer) - np.dtype(kind).itemsize + 1 - offset,), kind, buffer, offset, (1,))


def records(buffer: Bytes, starts: Ints, width: int) -> Bytes:
    """The `width` bytes from each start on, as a matrix (starts, width)."""
    return little(buffer, f"V{width}")[starts].view(np.uint8).reshape(len(starts), width)


@dataclass(frozen=True, slots=True)
class Events:
    """Events in log order, as arrays of one length. Event i is `buffer[starts[i] : stops[i]]`, checksum excluded.

    `begins` and `ends` are offsets in the file (-1 for events that the server made up for this connection).
    """

    buffer: Bytes
    starts: Ints
    stops: Ints
    kinds: Bytes
    seconds: Ints
    servers: Ints
    flags: npt.NDArray[np.uint16]
    begins: Ints
    ends: Ints

    def __len__(self) -> int:
        return len(self.starts)

    def body(self, index: int) -> bytes:
        """What follows the header of event `index`."""
        return self.buffer[int(self.starts[index]) + HEADER : int(self.stops[index])].tobytes()

    def of(self, *kinds: int) -> Ints:
        """Indices of the events of these kinds."""
        return np.flatnonzero(_table(kinds)[self.kinds])

    def slice(self, first: int, last: int) -> Events:
        part = slice(first, last)
        return Events(self.buffer, self.starts[part], self.stops[part], self.kinds[part], self.seconds[part],
                      self.servers[part], self.flags[part], self.begins[part], self.ends[part])  # fmt: skip

    def ignorable(self) -> Mask:
        """Events whose writer says that readers which do not know them may pass them over."""
        flagged: Mask = (self.flags & _IGNORABLE_FLAG) != 0
        return flagged


@cache
def _table(kinds: tuple[int, ...]) -> Mask:
    table = np.zeros(256, np.bool_)
    table[list(kinds)] = True
    return table


def read_headers(packets: Packets) -> Events:
    """Headers of a dump's packets: an OK byte, then 4 bytes of time, 1 of kind, 4 of server id, 4 of size, 4 of
    where the event ends in the file (modulo 2**32), 2 of flags. Checksums are still inside `stops`.
    """
    buffer, starts = packets.buffer, packets.starts + 1
    if len(starts) and int(packets.lengths.min()) < HEADER + 1:
        raise BadEvent(0, "it is shorter than an event's header")
    sizes = little(buffer, "<u4", 9)[starts].astype(np.int64)
    ends = little(buffer, "<u4", 13)[starts].astype(np.int64)
    flags = little(buffer, "<u2", 17)[starts]
    wrong = (buffer[packets.starts] != 0) | (sizes != packets.lengths - 1)
    if wrong.any():
        raise BadEvent(int(ends[wrong.argmax()]), "its size is not that of its packet")
    artificial = ((flags & _ARTIFICIAL) != 0) | (ends == 0)
    ends[artificial] = -1
    begins = np.where(artificial, -1, ends - sizes)
    return Events(
        buffer, starts, starts + sizes, buffer[starts + 4], little(buffer, "<u4")[starts].astype(np.int64),
        little(buffer, "<u4", 5)[starts].astype(np.int64), flags, begins, ends,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rotation:
    """The file that the events after it are in, and where in that file they begin."""

    file: str
    position: int


def read_rotation(event: bytes) -> Rotation:
    """A whole ROTATE event: 8 bytes of position, then the name. Made-up ones have a checksum or not, at the
    server's whim: it is one if it fits.
    """
    if zlib.crc32(event[:-CHECKSUM]).to_bytes(CHECKSUM, "little") == event[-CHECKSUM:]:
        event = event[:-CHECKSUM]
    if len(event) < HEADER + 8:
        raise BadEvent(0, "a rotation without a position")
    (position,) = struct.unpack_from("<Q", event, HEADER)
    return Rotation(event[HEADER + 8 :].decode("utf-8", "surrogateescape"), position)


def file_sequence(file: str) -> tuple[str, int]:
    """`base.000012` as (base, 12)."""
    base, _, number = file.rpartition(".")
    if not base or not number.isdigit():
        raise NotUnderstood(f"the binlog's file name '{file}' does not end in a number")
    return base, int(number)


def has_checksums(body: bytes, offset: int = 0) -> bool:
    """Whether a FORMAT_DESCRIPTION's file has checksums: the byte before the event's own checksum says so."""
    if len(body) < 57 + CHECKSUM + 1 or body[:2] != b"\x04\x00":
        raise BadEvent(offset, "only binlogs of version 4 with a checksum field are understood")
    algorithm = body[-CHECKSUM - 1]
    if algorithm > 1:
        raise BadEvent(offset, f"checksum algorithm {algorithm}")
    return algorithm == 1


NO_BACKSLASH_ESCAPES, STRICT = 1 << 20, 1 << 21 | 1 << 22
"""Bits of sql_mode: a backslash in a string is one; a value that does not fit is an error (either strict mode)."""


@dataclass(frozen=True, slots=True)
class Query:
    """A statement in the log, the database that was current, and the session's sql_mode (0 where it is not told).

    `exact` is False where the text is not UTF-8: names beyond ASCII may then be wrong.
    """

    database: str
    statement: str
    sql_mode: int = 0
    exact: bool = True


def read_query(body: bytes, offset: int) -> Query:
    """QUERY: thread 4, seconds 4, length of database 1, error 2, length of status 2, status, database, 0, statement."""
    if len(body) < 13:
        raise BadEvent(offset, "a statement without its head")
    place = 13 + int.from_bytes(body[11:13], "little")
    text = body[place + body[8] + 1 :]
    return Query(_text(body[place : place + body[8]]), _text(text), _sql_mode(body[13:place]), _is_utf8(text))


def _sql_mode(status: bytes) -> int:
    """Status variables: both servers write the flags (code 0, 4 bytes) and then sql_mode (code 1, 8 bytes) first."""
    if status[:1] == b"\0":
        status = status[5:]
    return int.from_bytes(status[1:9], "little") if status[:1] == b"\1" and len(status) >= 9 else 0


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_load(body: bytes, offset: int) -> Query:
    """EXECUTE_LOAD_QUERY: a QUERY whose head is 13 bytes longer."""
    return read_query(body[:13] + body[26:], offset)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


@dataclass(frozen=True, slots=True)
class Prepared:
    """The identifier of an XA transaction, as statements in the log write it, and whether it is committed with this."""

    identifier: str
    one_phase: bool


def read_xa_prepare(body: bytes, offset: int) -> Prepared:
    """XA_PREPARE: one phase 1, format 4, length of the global part 4, of the branch 4, both of them."""
    if len(body) < 13:
        raise BadEvent(offset, "an XA PREPARE without its head")
    form, first, second = struct.unpack_from("<iII", body, 1)
    if len(body) < 13 + first + second:
        raise BadEvent(offset, "an XA PREPARE without its identifier")
    parts = body[13 : 13 + first].hex(), body[13 + first : 13 + first + second].hex()
    return Prepared(f"X'{parts[0]}',X'{parts[1]}',{form}".upper(), body[0] != 0)


def begins_transaction(events: Events, queries: Ints) -> Mask:
    """Which of these QUERY events say just BEGIN, as MySQL writes before each transaction's rows."""
    starts = events.starts[queries] + HEADER
    status = little(events.buffer, "<u2", 11)[starts].astype(np.int64)
    statements = starts + 13 + status + events.buffer[starts + 8] + 1
    last_five = little(events.buffer, "<u8")[events.stops[queries] - 8] >> np.uint64(24)
    begin: Mask = (events.stops[queries] - statements == 5) & (last_five == int.from_bytes(b"BEGIN", "little"))
    return begin
