"""Reading the binlog from a server, in stretches that end between transactions whenever they can.

    COM_BINLOG_DUMP ── packets ──> headers ──> places in the log ──> cut ──> Stretch, Stretch, ...

A stretch ends where a transaction begins or a file does; only a transaction larger than a stretch is cut inside,
between two of its events. So a position that was handed out is nearly always one where reading can begin again;
from one inside a transaction, reading begins at its file's start and what is before the position is passed over.
What events mean is `follow.py`. Layer: sources.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from cdc_platform.errors import Gap, Lost
from cdc_platform.failpoints import failpoint
from cdc_platform.model.position import binlog_at, binlog_parts
from cdc_platform.sources.cells import Ints
from cdc_platform.sources.mysql.binlog import (
    BETWEEN_TRANSACTIONS,
    BOUNDARIES,
    CHECKSUM,
    FORMAT,
    ROTATE,
    Events,
    file_sequence,
    has_checksums,
    read_headers,
    read_rotation,
)
from cdc_platform.sources.mysql.connection import Session
from cdc_platform.sources.mysql.packets import COM_BINLOG_DUMP, PacketReader

FILE_START = 4
"""A file's first event comes after four bytes of magic."""

_NON_BLOCK, _ANNOTATED = 1, 2
_WRAP = 1 << 32  # headers hold offsets modulo this; a transaction that large is still in one file


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events of the log in order, those that the server made up for the connection left out.

    `at[i]` is the place where event i begins; `upto` is where the last one ends.
    """

    events: Events
    at: Ints
    upto: int


def prepare_dump(session: Session, mariadb: bool) -> None:
    """Tell the server what this reader understands: checksums as they are in the file, MariaDB's own events."""
    session.run(
        "set @master_binlog_checksum = @@global.binlog_checksum, @source_binlog_checksum = @@global.binlog_checksum,"
        " session net_write_timeout = 3600"  # whoever takes the stretches may be busy writing them
        + (", @mariadb_slave_capability = 4" if mariadb else ", @slave_uuid = uuid(), @replica_uuid = uuid()")
    )


@dataclass(slots=True)
class _Place:
    """Where reading stands: the file's number, the end of its last event, and whether its events have checksums."""

    sequence: int
    end: int
    checksums: bool = False


def read_log(
    session: Session, server_id: int, base: str, start: int, size: int, *, annotated: bool = False
) -> Generator[Stretch]:
    """Stretches of about `size` bytes from the place `start` (where an event begins) to the log's present end.

    `annotated`: with the statements that MariaDB notes beside row events.
    """
    sequence, offset = binlog_parts(start)
    flags = _NON_BLOCK | (_ANNOTATED if annotated else 0)
    command = struct.pack("<IHI", offset, flags, server_id) + f"{base}.{sequence:06d}".encode()
    failpoint("mysql.log.opened")
    reader = PacketReader(session.connection, COM_BINLOG_DUMP, command, size)
    place = _Place(sequence, offset)
    first = True
    while not reader.ended:
        whole = read_headers(reader.read())
        cut = len(whole) if reader.ended else _cut(whole)
        at, placed, place = _placed(whole, cut, place)
        real = np.flatnonzero(at >= 0)
        stretch = Stretch(_pick(placed, real), at[real], binlog_at(place.sequence, place.end))
        if first and len(real):
            _check_start(stretch, start)
            first = False
        reader.keep(cut)
        yield stretch
        del whole, placed, stretch


def begins_inside(stretch: Stretch) -> bool:
    """Whether the stretch's first event belongs to a transaction that began before."""
    return len(stretch.events) > 0 and stretch.events.kinds[0] not in (*BOUNDARIES, *BETWEEN_TRANSACTIONS)


def _cut(events: Events) -> int:
    """How many events to hand out: those before the last beginning of a transaction or file, or else all."""
    bounds = events.of(*BOUNDARIES)
    files = events.of(ROTATE)
    files = files[events.begins[files] < 0]
    last = max(int(bounds[-1]) if len(bounds) else 0, int(files[-1]) if len(files) else 0)
    return last or len(events)


def _placed(events: Events, cut: int, place: _Place) -> tuple[Ints, Events, _Place]:
    """The place of each event before `cut` (-1 for made-up ones), events without checksums, and where it all ends."""
    at = np.full(cut, -1, np.int64)
    stops = events.stops[:cut].copy()
    place = replace(place)
    controls = events.of(ROTATE, FORMAT)
    begin = 0
    for control in [*controls[controls < cut].tolist(), cut]:
        stop = min(control + 1, cut)
        _place_run(events, begin, stop, place, at, stops)
        begin = stop
        if control == cut:
            break
        if events.kinds[control] == FORMAT:
            body = events.buffer[int(events.starts[control]) + 19 : int(events.stops[control])].tobytes()
            place.checksums = has_checksums(body, max(int(events.begins[control]), 0))
        elif events.begins[control] < 0:
            whole = events.buffer[int(events.starts[control]) : int(events.stops[control])].tobytes()
            rotation = read_rotation(whole)
            sequence = file_sequence(rotation.file)[1]
            place.sequence, place.end = sequence, rotation.position
    placed = replace(events.slice(0, cut), stops=stops)
    return at, placed, place


def _place_run(events: Events, begin: int, stop: int, place: _Place, at: Ints, stops: Ints) -> None:
    """Places of the events begin..stop, all in one file. Moves `place` on."""
    if place.checksums:
        stops[begin:stop] -= CHECKSUM
    real = begin + np.flatnonzero(events.ends[begin:stop] >= 0)
    if not len(real):
        return
    ends = events.ends[real]
    before = np.concatenate([[place.end % _WRAP], ends[:-1]])
    wraps = place.end // _WRAP + np.cumsum(ends < before)
    ends = ends + wraps * _WRAP
    sizes = events.ends[real] - events.begins[real]
    at[real] = binlog_at(place.sequence, 0) + ends - sizes
    place.end = int(ends[-1])


def _pick(events: Events, which: Ints) -> Events:
    if len(which) == len(events):
        return events
    return Events(events.buffer, events.starts[which], events.stops[which], events.kinds[which], events.seconds[which],
                  events.servers[which], events.flags[which], events.begins[which], events.ends[which])  # fmt: skip


def _check_start(stretch: Stretch, start: int) -> None:
    """Between transactions, an event begins exactly where reading does. Inside them the server leaves some out."""
    if int(stretch.at[0]) == start or begins_inside(stretch):
        return
    if binlog_parts(int(stretch.at[0])) == (binlog_parts(start)[0] + 1, FILE_START):
        return  # the start was a file's end
    raise Gap(
        "no event begins at the position to go on from: the binlog was reset or belongs to another server;"
        " run: cdc resync",
        Lost.LOG_FOREIGN,
    )
