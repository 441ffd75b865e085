"""Payloads of the MySQL protocol from a socket, many at a time, in one buffer that columns can point into.

Result sets and binlog dumps are both a chain of packets: three bytes of length, one of sequence, the payload
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html). PyMySQL makes one Python
object a row of it; here the only thing done per packet is to step over it. What a payload means belongs to
`snapshot.py` and `binlog.py`.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymysql.connections import Connection

from cdc_platform.errors import CdcError, Unavailable
from cdc_platform.sources.cells import MARGIN, Bytes, Ints
from cdc_platform.sources.mysql.connection import packet_error, raw_socket

COM_QUERY, COM_BINLOG_DUMP = 0x03, 0x12

_TWO_BYTES, _EOF, _ERROR = 0xFC, 0xFE, 0xFF
_EOF_BELOW = 9  # a payload that begins like EOF and is longer is a row
_WHOLE = 0xFFFFFF  # a packet of this length is continued by the next one
_SLACK = 1 << 20  # room for the end of the packet that crosses the wanted size
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Packets:
    """Payload i is `buffer[starts[i] : starts[i] + lengths[i]]`; MARGIN bytes surround them all."""

    buffer: Bytes
    starts: Ints
    lengths: Ints

    def __len__(self) -> int:
        return len(self.starts)

    def payload(self, index: int) -> bytes:
        start = int(self.starts[index])
        return self.buffer[start : start + int(self.lengths[index])].tobytes()


class PacketReader:
    """Reads the answer to one command from a PyMySQL connection's socket, in chunks of whole packets.

    The answer to a query is `preamble()` and then chunks of rows, that to a non-blocking dump only chunks. It ends
    with an EOF packet: when all before that was handed out, `ended` is true and the connection is free for another
    command. Errors of the server are raised when met.
    """

    def __init__(self, connection: Connection[Any], command: int, argument: bytes, size: int) -> None:
        self._socket = raw_socket(connection)
        self._size = size
        self._buffer = _allocate(size)
        self._heads: list[int] = []  # where packets begin that are there in full and not given up yet
        self._filled = self._walked = MARGIN
        self._handed = 0  # how many of them were handed out before
        self._complete = False  # nothing more will come
        self.ended = False
        try:
            self._socket.sendall((len(argument) + 1).to_bytes(3, "little") + bytes([0, command]) + argument)
        except OSError as error:
            raise Unavailable(f"the connection to the MySQL server broke: {error}") from error

    def preamble(self) -> list[bytes]:
        """What precedes the rows of a result set: column count, one definition a column, EOF."""
        while len(self._heads) < self._preamble_length():
            self._receive()
            if len(self._heads) == 1:  # an error comes alone
                self._look_for_end()
        count = self._preamble_length()
        packets = self._packets(count)
        self._heads = self._heads[count:]
        self._look_for_end()
        return [packets.payload(index) for index in range(count)]

    def _preamble_length(self) -> int:
        """How many packets precede the rows, or 1 before the first of them is there."""
        if not self._heads:
            return 1
        first = self._packets(1).payload(0)
        columns = first[0] if first[0] < _TWO_BYTES else int.from_bytes(first[1:3], "little")
        return columns + 2

    def read(self) -> Packets:
        """The payloads that were kept, and about `size` bytes of further ones, or all there are."""
        goal = (self._heads[self._handed] if self._handed < len(self._heads) else self._walked) + self._size
        while not self._complete and self._walked < goal:
            self._receive()
            self._look_for_end()
        self._handed = max(bisect_left(self._heads, goal), min(self._handed + 1, len(self._heads)))
        self.ended = self._complete and self._handed == len(self._heads)
        return self._packets(self._handed)

    def keep(self, first: int) -> None:
        """Payload number `first` and those after it come again with the next chunk, in a buffer of its own."""
        old, heads, filled = self._buffer, self._heads[first:], self._filled
        begin = heads[0] if heads else self._walked
        self._buffer = _allocate(self._size + filled - begin)
        self._filled += MARGIN - begin
        self._walked += MARGIN - begin
        self._heads = [head - begin + MARGIN for head in heads]
        self._handed -= first
        self._buffer[MARGIN : self._filled] = old[begin:filled]

    def drain(self) -> None:
        """Read what is left of an answer that is no longer wanted; that it was broken off is no error then."""
        try:
            while not self.ended:
                self.keep(self._handed)
                self.read()
        except CdcError:
            if not self.ended:
                raise

    def _packets(self, count: int) -> Packets:
        after = self._heads[count] if count < len(self._heads) else self._walked
        heads = np.array([*self._heads[:count], after], np.int64)
        return Packets(self._buffer, heads[:-1] + 4, np.diff(heads) - 4)

    def _receive(self) -> None:
        room = len(self._buffer) - MARGIN - self._filled
        if room == 0:
            grown = _allocate(2 * len(self._buffer))
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer, room = grown, len(grown) - MARGIN - self._filled
        view = self._buffer.data[self._filled : self._filled + room]
        try:
            count = self._socket.recv_into(view)
        except OSError as error:
            raise Unavailable(f"reading from the MySQL server failed: {error}") from error
        if count == 0:
            raise Unavailable("the MySQL server closed the connection in the middle of its answer")
        self._filled += count
        self._walk()

    def _walk(self) -> None:
        """Step over the packets that are complete: the one loop per packet that there is."""
        view, head, filled = self._buffer.data, self._walked, self._filled
        append, unpack = self._heads.append, _LENGTH.unpack_from
        while head + 4 <= filled:
            length = unpack(view, head)[0] & _WHOLE
            after = head + 4 + length
            if length == _WHOLE:
                joined = self._join(head)
                if joined is None:
                    break
                after, filled = joined, self._filled
            elif after > filled:
                break
            append(head)
            head = after
        self._walked = head

    def _join(self, head: int) -> int | None:
        """Make one packet of those that continue each other: where it ends, or None while parts are missing."""
        parts: list[tuple[int, int]] = []
        place, length = head, _WHOLE
        while length == _WHOLE:
            length = _LENGTH.unpack_from(self._buffer.data, place)[0] & _WHOLE
            parts.append((place + 4, length))
            place += 4 + length
            # The next head is read only when it is there in full.
            if place + (4 if length == _WHOLE else 0) > self._filled:
                return None
        into = head + 4
        for start, length in [*parts, (place, self._filled - place)]:
            self._buffer[into : into + length] = self._buffer[start : start + length]
            into += length
        rest = self._filled - place
        self._filled = into
        return into - rest

    def _look_for_end(self) -> None:
        if self._walked != self._filled or not self._heads:
            return
        begin = self._heads[-1] + 4
        length, first = self._walked - begin, self._buffer[begin]
        if first == _ERROR:
            self._complete = self.ended = True
            raise packet_error(self._buffer[begin : self._walked].tobytes())
        if first == _EOF and length < _EOF_BELOW:
            self._complete = True
            self._walked = self._heads.pop()


def _allocate(size: int) -> Bytes:
    return np.zeros(size + _SLACK + 2 * MARGIN, np.uint8)
