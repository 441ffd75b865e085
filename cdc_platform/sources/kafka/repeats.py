"""Events that a connector sent again: after a restart it goes on from its last stored offset, which may be behind.

They come again in the same order, with the same source positions, to the same partitions. So in each partition an event
is new exactly if its source position is greater than that of all before it in the same line:

| system        | line                        | position                                            |
|---------------|-----------------------------|-----------------------------------------------------|
| postgres      | one                         | commit before its transaction, its own LSN          |
| mysql         | the server's UUID (GTIDs)   | transaction's number, binlog offset, row            |
| mariadb       | domain and server (GTIDs)   | the same                                            |
| without GTIDs | server's number, binlog     | number of the binlog, offset, row                   |

A change of a key is a DELETE and an INSERT at one position: the INSERT is behind the DELETE. Rows that were read for a
snapshot have no such position and are never held for repeats; a snapshot anew begins new lines. Another server means
another line; and an event that was committed later than all before it is none of those, wherever it stands: so nothing
of a source that failed over, was restored or reset its log is taken for old. Pure. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from cdc_platform.model.event import System
from cdc_platform.sources.cells import Ints, Mask


@dataclass(frozen=True, slots=True)
class Last:
    """The greatest position of a partition's last line, and the latest commit in it (us since 1970)."""

    line: str
    place: tuple[int, int, int]
    time: int

    def to_list(self) -> list[str | int]:
        return [self.line, *self.place, self.time]

    @classmethod
    def from_list(cls, stored: list[str | int]) -> Last:
        line, first, second, third, time = stored
        return cls(str(line), (int(first), int(second), int(third)), int(time))


def fresh(
    frame: pl.DataFrame, partitions: Ints, last: Mapping[int, Last], system: System
) -> tuple[Mask, dict[int, Last]]:
    """Which rows (columns as `envelope.Rows.frame`, each from one of `partitions`) are new, and the last ones now."""
    lines, places = _places(frame, system)
    times = frame["source_ts"].to_physical().fill_null(0).to_numpy()
    is_read = frame["snapshot"].to_numpy()
    initial = is_read & (frame["source"].struct.field("snapshot") != "incremental").fill_null(value=True).to_numpy()
    kept: Mask = np.ones(frame.height, np.bool_)
    known = dict(last)
    for partition in np.unique(partitions).tolist():
        own = np.flatnonzero(partitions == partition)
        if initial[own].any():
            known.pop(partition, None)
            own = own[np.flatnonzero(initial[own])[-1] + 1 :]
        own = own[~is_read[own]]
        if not len(own):
            continue
        found = known.get(partition)
        starts = np.flatnonzero(np.concatenate([[True], lines[own][1:] != lines[own][:-1]]))
        for start, end in zip(starts, [*starts[1:], len(own)], strict=True):
            run = own[start:end]
            line = str(lines[run[0]])
            found = found if found is not None and found.line == line else None
            while len(run):
                new, taken, found = _rising(line, places[run], times[run], found)
                kept[run[:taken]] = new
                run = run[taken:]
                found = found if not len(run) else None
        assert found is not None
        known[partition] = found
    return kept, known


def _rising(line: str, places: Ints, times: Ints, before: Last | None) -> tuple[Mask, int, Last]:
    """Which of these (n, 3) are greater than all before them, for as many as are of one history; and the last."""
    given = np.array([before.place if before else (-1, -1, -1)], np.int64)
    every = np.concatenate([given, places])
    order = np.lexsort((every[:, 2], every[:, 1], every[:, 0]))
    step = np.concatenate([[0], (every[order][1:] != every[order][:-1]).any(axis=1)]).cumsum()
    rank = np.empty(len(every), np.int64)
    rank[order] = step
    new = rank[1:] > np.maximum.accumulate(rank)[:-1]
    latest = np.maximum.accumulate(np.concatenate([[before.time if before else np.iinfo(np.int64).min], times]))
    other = np.flatnonzero(~new & (times > latest[:-1]))
    count = int(other[0]) if len(other) else len(places)
    first, second, third = every[int(np.argmax(rank[: count + 1]))].tolist()
    return new[:count], count, Last(line, (first, second, third), int(latest[count]))


def _places(frame: pl.DataFrame, system: System) -> tuple[npt.NDArray[np.object_], Ints]:
    """The line and the place in it of each row: (n,) and (n, 3)."""
    block = frame["source"].struct
    behind = (frame["operation"].cast(pl.String) == "INSERT").cast(pl.Int64).to_numpy()
    if system == "postgres":
        commit = block.field("sequence").str.extract(r'^\["(\d+)"', 1).cast(pl.Int64).fill_null(0).to_numpy()
        own = block.field("lsn").fill_null(0).to_numpy()
        return np.full(frame.height, "", object), np.stack([commit, own, behind], axis=1)
    gtid = block.field("gtid")
    file = block.field("file").fill_null("")
    sequence = file.str.extract(r"\.(\d+)$", 1).cast(pl.Int64).fill_null(0)
    where = pl.DataFrame(
        {
            "gtid_line": gtid.str.extract(r"^(.*)[:-]\d+$", 1),
            "number": gtid.str.extract(r"(\d+)$", 1).cast(pl.Int64),
            "server": block.field("server_id").cast(pl.String).fill_null(""),
            "base": file.str.replace(r"\.\d+$", ""),
            "sequence": sequence,
        }
    ).select(
        pl.coalesce("gtid_line", pl.concat_str("server", pl.lit("/"), "base")).alias("line"),
        pl.coalesce("number", "sequence").alias("first"),
    )
    offset, row = block.field("pos").fill_null(0).to_numpy(), block.field("row").fill_null(0).to_numpy()
    third = row * 2 + behind
    return where["line"].to_numpy().astype(object), np.stack([where["first"].to_numpy(), offset, third], axis=1)
