"""Positions in a source's log, and their text.

A `Position` is an exclusive bound: everything strictly before it is included. `at` is the place in the
log as one integer that orders as the log does, `ordinal` counts changes that share one `at`.

- Postgres: `at` is an LSN. A change's `at` is the LSN of its transaction's commit record, because
  logical decoding delivers whole transactions in commit order; `ordinal` counts inside the transaction.
- MySQL and MariaDB: `at` is `file sequence << 36 | offset` (64 GiB a file); a change's `at` is the start of
  its row event, `ordinal` the row inside the event. A binlog is written in commit order.

- Other sources count otherwise: a version of a lake table, a time, a number of messages; see `Notation`. The tables of
  such a source have a line of positions each.

`at` stays below 2**63, so that it fits a Delta app transaction's version and an Arrow int64.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from cdc_platform.errors import ConfigError

_OFFSET_BITS = 36
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_HEX_PAIRS = np.frombuffer(b"".join(b"%02X" % byte for byte in range(256)), np.uint16)  # two digits of each byte
_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})(?:#(\d+))?")
_BINLOG = re.compile(r"(.*)\.(\d+):(\d+)(?:#(\d+))?")


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """Everything with (at, ordinal) strictly below this bound is included."""

    at: int
    ordinal: int = 0


ORIGIN = Position(0, 0)


def format_lsn(at: int) -> str:
    """An LSN as zero-padded text, `XXXXXXXX/XXXXXXXX`, which sorts as the number does."""
    return f"{at >> 32:08X}/{at & 0xFFFFFFFF:08X}"


def parse_lsn(text: str) -> int:
    """An LSN in Postgres' own form (`16/B374D848`) or the zero-padded one."""
    match = _LSN.fullmatch(text)
    if match is None:
        raise ConfigError(f"'{text}' is no Postgres position; the form is XXXXXXXX/XXXXXXXX")
    return int(match[1], 16) << 32 | int(match[2], 16)


def lsn_numbers(text: pl.Series) -> pl.Series:
    """The inverse of `lsn_text`."""
    return text.str.replace("/", "", literal=True).str.to_integer(base=16, dtype=pl.Int64)


def lsn_text(at: npt.NDArray[np.int64]) -> pl.Series:
    """`format_lsn` of every element: a String series of the same length."""
    digits = _HEX_PAIRS[at.astype(">i8").view(np.uint8)].view(np.uint8).reshape(len(at), 16)
    text = np.empty((len(at), 17), np.uint8)
    text[:, :8], text[:, 8], text[:, 9:] = digits[:, :8], ord("/"), digits[:, 8:]
    return fixed_width_text(text)


def fixed_width_text(text: npt.NDArray[np.uint8]) -> pl.Series:
    """ASCII bytes of shape (n, width) as a String series of length n, without a Python object a row."""
    import pyarrow as pa

    count, width = text.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int64)
    data = pa.py_buffer(np.ascontiguousarray(text))
    array = pa.LargeStringArray.from_buffers(count, pa.py_buffer(offsets), data)
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series


def binlog_at(sequence: int, offset: int) -> int:
    """The integer place of `offset` bytes in the binlog file number `sequence`."""
    return sequence << _OFFSET_BITS | offset


def binlog_parts(at: int) -> tuple[int, int]:
    """The inverse of `binlog_at`: (file sequence, offset in bytes)."""
    return at >> _OFFSET_BITS, at & _OFFSET_MASK


def format_binlog(base: str, at: int) -> str:
    """`base.000012:3456`, as the server names its files (six digits or more)."""
    sequence, offset = binlog_parts(at)
    return f"{base}.{sequence:06d}:{offset}"


def parse_binlog(text: str) -> tuple[str, int]:
    """`base.000012:3456` as (base, at)."""
    match = _BINLOG.fullmatch(text)
    if match is None:
        raise ConfigError(f"'{text}' is no binlog position; the form is FILE.NNNNNN:OFFSET")
    return match[1], binlog_at(int(match[2]), int(match[3]))


def binlog_text(base: str, at: npt.NDArray[np.int64]) -> pl.Series:
    """`format_binlog` of every element: a String series of the same length."""
    frame = pl.DataFrame({"at": at})
    sequence = (pl.col("at") // (1 << _OFFSET_BITS)).cast(pl.String).str.zfill(6)
    offset = (pl.col("at") % (1 << _OFFSET_BITS)).cast(pl.String)
    return frame.select(
        pl.format(f"{base.replace('{', '{{').replace('}', '}}')}.{{}}:{{}}", sequence, offset)
    ).to_series()


Kind = Literal["lsn", "binlog", "version", "time", "offset"]
"""What `at` counts: bytes of WAL or of binlogs, versions of a lake table, microseconds since 1970 (UTC), messages."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Notation:
    """How the positions of one log are written: a kind, and for binlogs the name of their files without the number.

    `#n` behind the place is the ordinal, where it is not 0: `0000000A/000000F0#3`.
    """

    kind: Kind
    base: str = ""

    def format(self, position: Position) -> str:
        """A position for people."""
        text = self._place(position.at)
        return f"{text}#{position.ordinal}" if position.ordinal else text

    def lsn(self, position: Position) -> str:
        """What stands in an event's `lsn` to order it behind all changes of its key before `position`."""
        if self.kind == "version":
            return f"{position.at:010d}/{position.ordinal:010d}"
        return self.format(position)

    def parse(self, text: str) -> Position:
        """The inverse of `format`. Raises ConfigError that says the form."""
        plain, _, suffix = text.partition("#")
        if suffix and not suffix.isdecimal():
            raise ConfigError(f"'{text}' is no position; behind # there is a number")
        return Position(self._at(plain), int(suffix or 0))

    def _place(self, at: int) -> str:
        match self.kind:
            case "lsn":
                return format_lsn(at)
            case "binlog":
                return format_binlog(self.base, at)
            case "time":
                moment = _EPOCH + timedelta(microseconds=at)
                return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
            case "version" | "offset":
                return str(at)

    def _at(self, text: str) -> int:
        match self.kind:
            case "lsn":
                return parse_lsn(text)
            case "binlog":
                return parse_binlog(text)[1]
            case "time":
                try:
                    moment = datetime.fromisoformat(text).astimezone(UTC)
                except ValueError as error:
                    raise ConfigError(f"'{text}' is no position; the form is 2026-11-24T12:00:00.000000Z") from error
                return (moment - _EPOCH) // timedelta(microseconds=1)
            case "version" | "offset":
                if not text.isdecimal():
                    raise ConfigError(f"'{text}' is no position; the form is a whole number")
                return int(text)


LSN: Final = Notation("lsn")
