"""Which transaction an event belongs to: the names and commit times that GTID events give.

A name is MariaDB's `domain-server-sequence`, MySQL's `uuid:number`, and where the log has neither (GTIDs are off, or
are of a newer, tagged kind) the place where the transaction begins, `file:offset`. Pure.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from cdc_platform.model.position import binlog_text
from cdc_platform.sources.cells import Ints, Mask
from cdc_platform.sources.mysql.binlog import (
    BOUNDARIES,
    GTID,
    HEADER,
    MARIADB_GTID,
    Events,
    little,
    records,
)

_MARIADB_GROUP, _MARIADB_DDL, _MARIADB_PREPARED, _MARIADB_XA = 0x02, 0x20, 0x40, 0xC0
_MARIADB_ANNOUNCED = 0x02 | 0x08  # in the second flags: START ALTER, ROLLBACK ALTER
_MYSQL_TIMED = 49  # bytes of a GTID event's body that reach to its commit time
_MYSQL_CLOCK = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_MASK = np.uint64((1 << 55) - 1)  # the 56th bit says that another time follows


@dataclass(frozen=True, slots=True)
class Transactions:
    """Transactions in log order; the first one is that which was open when the stretch began.

    `firsts[i]` is the index of the event that begins transaction i + 1, `micros` the commit time in microseconds since
    1970-01-01. `prepared` marks XA transactions, of which only a later statement says whether they take effect,
    `moot` those that only announce an ALTER, or take one back that was announced (binlog_alter_two_phase).
    """

    firsts: Ints
    names: pl.Series
    micros: Ints
    prepared: Mask
    moot: Mask

    def of(self, events: Ints) -> Ints:
        """The number of the transaction that each of these events is in."""
        return np.searchsorted(self.firsts, events, "right")

    def last(self) -> Transactions:
        """What the next stretch carries on."""
        return Transactions(
            self.firsts[:0], self.names[-1:], self.micros[-1:], self.prepared[-1:].copy(), self.moot[-1:]
        )

    def name(self, number: int) -> str | None:
        name: str | None = self.names[number]
        return name

    def time(self, number: int) -> datetime:
        return _EPOCH + timedelta(microseconds=int(self.micros[number]))


def unknown() -> Transactions:
    """Before the first event."""
    none = np.empty(0, np.int64)
    no = np.zeros(1, np.bool_)
    return Transactions(none, pl.Series([None], dtype=pl.String), np.zeros(1, np.int64), no.copy(), no.copy())


def read_transactions(events: Events, at: Ints, base: str, open_one: Transactions) -> Transactions:
    """The transactions of a stretch whose first events may belong to `open_one`, the last one of the stretch before."""
    firsts = events.of(*BOUNDARIES)
    if not len(firsts):
        return open_one
    kinds = events.kinds[firsts]
    names = binlog_text(base, at[firsts])
    micros = events.seconds[firsts] * 1_000_000
    prepared, moot = np.zeros(len(firsts), np.bool_), np.zeros(len(firsts), np.bool_)
    mariadb, mysql = kinds == MARIADB_GTID, kinds == GTID
    if mariadb.any():
        names = names.scatter(np.flatnonzero(mariadb), _mariadb_names(events, firsts[mariadb]))
        flags = events.buffer[events.starts[firsts[mariadb]] + HEADER + 12]
        prepared[mariadb] = flags & _MARIADB_PREPARED != 0
        for place in np.flatnonzero(mariadb)[flags & _MARIADB_DDL != 0].tolist():
            moot[place] = _announces_only(events.body(int(firsts[place])))
    if mysql.any():
        names = names.scatter(np.flatnonzero(mysql), _mysql_names(events, firsts[mysql]))
    timed = ~mariadb
    if timed.any():
        micros[timed] = _mysql_micros(events, firsts[timed], micros[timed])
    return Transactions(
        firsts,
        pl.concat([open_one.names, names]),
        np.concatenate([open_one.micros, micros]),
        np.concatenate([open_one.prepared, prepared]),
        np.concatenate([open_one.moot, moot]),
    )


def _announces_only(body: bytes) -> bool:
    """MariaDB's GTID of a DDL: behind the flags a group's id, an XA identifier, and more flags, where there are any."""
    flags, place = body[12], 13
    if flags & _MARIADB_GROUP:
        place += 8
    if flags & _MARIADB_XA and len(body) > place + 5:
        place += 6 + body[place + 4] + body[place + 5]
    return len(body) > place and body[place] & _MARIADB_ANNOUNCED != 0


def _mariadb_names(events: Events, indices: Ints) -> pl.Series:
    """sequence 8, domain 4, flags 1; the server is in the header."""
    starts = events.starts[indices] + HEADER
    parts = pl.DataFrame(
        {
            "domain": little(events.buffer, "<u4", 8)[starts],
            "server": events.servers[indices],
            "sequence": little(events.buffer, "<i8")[starts],
        }
    )
    return parts.select(pl.format("{}-{}-{}", "domain", "server", "sequence")).to_series()


def _mysql_names(events: Events, indices: Ints) -> pl.Series:
    """flags 1, uuid 16, number 8."""
    starts = events.starts[indices] + HEADER
    uuids = records(events.buffer, starts + 1, 16)
    distinct, which = np.unique(uuids.view("V16").ravel(), return_inverse=True)
    texts = pl.Series([str(uuid.UUID(bytes=bytes(one))) for one in distinct], dtype=pl.String)
    parts = pl.DataFrame({"uuid": texts.gather(which), "number": little(events.buffer, "<i8", 17)[starts]})
    return parts.select(pl.format("{}:{}", "uuid", "number")).to_series()


def _mysql_micros(events: Events, indices: Ints, otherwise: Ints) -> Ints:
    """After the number: kind of clock 1, two clocks of 8, the commit time in 7 bytes of microseconds."""
    starts = events.starts[indices] + HEADER
    timed = (events.stops[indices] - starts >= _MYSQL_TIMED) & (events.buffer[starts + 25] == _MYSQL_CLOCK)
    micros = (little(events.buffer, "<u8", 42)[np.where(timed, starts, 0)] & _TIME_MASK).astype(np.int64)
    return np.where(timed & (micros > 0), micros, otherwise)
