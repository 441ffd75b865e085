"""The floor and a peer for MySQL: the raw bytes of a binlog dump, and mysql-replication."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pymysql
from pymysql.constants.COMMAND import COM_BINLOG_DUMP
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.row_event import DeleteRowsEvent, UpdateRowsEvent, WriteRowsEvent

from cdc_platform.mock_data.endpoint import Address

_NON_BLOCK = 1
_CHUNK = 1 << 20


def dump_bytes(at: Address, position: str) -> int:
    """Receive a whole dump from `file:offset` on, look at nothing but its end; bytes received."""
    file, _, offset = position.rpartition(":")
    connection = pymysql.connect(host=at.host, port=at.port, user=at.user, password=at.password)
    cursor = connection.cursor()
    cursor.execute("set @master_binlog_checksum = 'NONE', @mariadb_slave_capability = 4")
    payload = struct.pack("<IHI", int(offset), _NON_BLOCK, 4_000_000_001) + file.encode()
    connection._execute_command(COM_BINLOG_DUMP, payload)  # type: ignore[attr-defined]
    total, tail = 0, b""
    sock: socket.socket = connection._sock  # type: ignore[attr-defined]
    buffer = bytearray(_CHUNK)
    while True:
        count = sock.recv_into(buffer)
        total += count
        tail = (tail + bytes(buffer[:count]))[-9:]
        # An EOF packet ends a dump that does not block: five bytes that begin with 0xFE.
        if count == 0 or (count < _CHUNK and tail[-9:-6] == b"\x05\x00\x00" and tail[-5] == 0xFE):
            return total


def read_rows(at: Address, position: str, rows: int) -> int:
    """The first `rows` row changes through mysql-replication."""
    file, _, offset = position.rpartition(":")
    settings: dict[str, Any] = {"host": at.host, "port": at.port, "user": at.user, "passwd": at.password}
    stream = BinLogStreamReader(
        connection_settings=settings,
        server_id=4_000_000_002,
        log_file=file,
        log_pos=int(offset),
        resume_stream=True,
        blocking=False,
        only_events=[DeleteRowsEvent, WriteRowsEvent, UpdateRowsEvent],
    )
    seen = 0
    for event in stream:
        seen += len(event.rows)
        if seen >= rows:
            break
    stream.close()
    return seen
