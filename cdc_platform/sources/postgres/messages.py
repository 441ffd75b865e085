"""Logical replication messages as they lie in a buffer, and what cannot be read of them. Pure. Layer: sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.position import format_lsn
from cdc_platform.sources.cells import MARGIN, Bytes, Ints, padded


class MalformedMessage(NotUnderstood):
    """A message that is not of the form above. `offset` counts bytes in the message at `lsn`."""

    def __init__(self, lsn: int, offset: int, reason: str) -> None:
        super().__init__(f"the log message at {format_lsn(lsn)} is malformed at byte {offset}: {reason}")
        self.lsn, self.offset = lsn, offset


@dataclass(frozen=True, slots=True)
class Messages:
    """Message i is `buffer[starts[i]:ends[i]]` (the buffer has the margins of `Cells`), logged at `lsns[i]`."""

    buffer: Bytes
    starts: Ints
    ends: Ints
    lsns: Ints

    @classmethod
    def of(cls, lsns: Ints, offsets: npt.NDArray[np.int32], data: Bytes) -> Messages:
        """From Arrow's layout: n + 1 `offsets` into `data`."""
        base = int(offsets[0])
        places = offsets.astype(np.int64) + (MARGIN - base)
        return cls(padded(data[base : int(offsets[-1])]), places[:-1], places[1:], lsns)

    def __len__(self) -> int:
        return len(self.starts)

    def malformed(self, message: int, place: int, reason: str) -> NoReturn:
        raise MalformedMessage(int(self.lsns[message]), place - int(self.starts[message]), reason)


def sized(messages: Messages, places: Ints, size: int) -> None:
    wrong = messages.ends[places] - messages.starts[places] != size
    if wrong.any():
        message = int(places[wrong.argmax()])
        length = int(messages.ends[message] - messages.starts[message])
        messages.malformed(message, int(messages.starts[message]) + min(size, length), f"{size} bytes were expected")


def long_enough(messages: Messages, places: Ints, needed: Ints) -> None:
    short = needed > messages.ends[places]
    if short.any():
        row = int(short.argmax())
        messages.malformed(int(places[row]), int(messages.ends[places[row]]), "it ends too early")


def integers(messages: Messages, places: Ints, offset: int, size: int) -> Ints:
    """The unsigned big-endian integer of 4 or 8 bytes at `offset` in each of the messages `places`."""
    values = np.ndarray((len(messages.buffer) - size + 1,), f">u{size}", messages.buffer, 0, (1,))
    return values[messages.starts[places] + offset].astype(np.int64)


class Reader:
    """One message's fields, one after the other: for the kinds of which there are few."""

    def __init__(self, data: bytes, messages: Messages, message: int) -> None:
        self._data, self._messages, self._message, self._place = data, messages, message, 0

    def integer(self, size: int) -> int:
        part = self._data[self._place : self._place + size]
        if len(part) < size:
            self._malformed("it ends too early")
        self._place += size
        return int.from_bytes(part)

    def string(self) -> str:
        end = self._data.find(b"\0", self._place)
        if end < 0:
            self._malformed("a name has no end")
        raw, self._place = self._data[self._place : end], end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._malformed("a name is no UTF-8")

    def end(self) -> None:
        if self._place != len(self._data):
            self._malformed("it is too long")

    def _malformed(self, reason: str) -> NoReturn:
        self._messages.malformed(self._message, int(self._messages.starts[self._message]) + self._place, reason)
