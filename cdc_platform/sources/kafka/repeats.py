"""Events that a connector sent again: after a restart it goes on from its last stored offset, which may be behind.

They come again in the same order, with the same source positions and times, to the same partitions. So in each
partition an event is new exactly if its source position is greater than that of all before it:

| system   | position                                       |
|----------|------------------------------------------------|
| postgres | commit before its transaction, its own LSN     |
| mysql    | number of the binlog, offset, row in the event |

A change of a key is a DELETE and an INSERT at one position: the INSERT is behind the DELETE. Rows that were read for a
snapshot are never held for repeats.

An event that was committed later than all before it, at a position that is not greater, is no repeat: the source failed
over, was restored or began its log anew, and its positions order nothing any more. That is `Rewound`. Pure.
Layer: sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from cdc_platform.model.event import System
from cdc_platform.sources.cells import Ints, Mask


class Rewound(Exception):
    """The source's log goes on at an earlier position, or in other files. `row` is the first one there."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


@dataclass(frozen=True, slots=True)
class Last:
    """The greatest position in a partition, the latest commit (us since 1970), and the name of the binlog's files."""

    place: tuple[int, int, int]
    time: int
    base: str = ""

    def to_list(self) -> list[str | int]:
        return [*self.place, self.time, self.base]

    @classmethod
    def from_list(cls, stored: list[str | int]) -> Last:
        first, second, third, time, base = stored
        return cls((int(first), int(second), int(third)), int(time), str(base))


def fresh(
    frame: pl.DataFrame, partitions: Ints, last: Mapping[int, Last], system: System
) -> tuple[Mask, dict[int, Last]]:
    """Which rows (columns as `envelope.Rows.frame`, each from one of `partitions`) are new, and the last ones now."""
    bases, places = _places(frame, system)
    times = frame["source_ts"].to_physical().fill_null(0).to_numpy()
    is_read = frame["snapshot"].to_numpy()
    kept: Mask = np.ones(frame.height, np.bool_)
    known = dict(last)
    for partition in np.unique(partitions).tolist():
        own = np.flatnonzero((partitions == partition) & ~is_read)
        if not len(own):
            continue
        before, base = known.get(partition), str(bases[int(own[0])])
        if before is not None and before.base != base:
            raise Rewound(int(own[0]))
        if (changed := (bases.gather(own) != base)).any():
            raise Rewound(int(own[int(changed.arg_max() or 0)]))
        kept[own], known[partition] = _rising(own, places[own], times[own], before, base)
    return kept, known


def _rising(rows: Ints, places: Ints, times: Ints, before: Last | None, base: str) -> tuple[Mask, Last]:
    """Which of these (n, 3) are greater than all before them, and the last."""
    every = np.concatenate([np.array([before.place if before else (-1, -1, -1)], np.int64), places])
    order = np.lexsort((every[:, 2], every[:, 1], every[:, 0]))
    step = np.concatenate([[0], (every[order][1:] != every[order][:-1]).any(axis=1)]).cumsum()
    rank = np.empty(len(every), np.int64)
    rank[order] = step
    new: Mask = rank[1:] > np.maximum.accumulate(rank)[:-1]
    latest = np.maximum.accumulate(np.concatenate([[before.time if before else np.iinfo(np.int64).min], times]))
    if (odd := ~new & (times > latest[:-1])).any():
        raise Rewound(int(rows[odd.argmax()]))
    first, second, third = every[int(np.argmax(rank))].tolist()
    return new, Last((first, second, third), int(latest[-1]), base)


def _places(frame: pl.DataFrame, system: System) -> tuple[pl.Series, Ints]:
    """The name of the log's files and the place in it of each row: (n,) and (n, 3)."""
    block = frame["source"].struct
    behind = (frame["operation"].cast(pl.String) == "INSERT").cast(pl.Int64).to_numpy()
    if system == "postgres":
        commit = block.field("sequence").str.extract(r'^\["(\d+)"', 1).cast(pl.Int64).fill_null(0).to_numpy()
        own = block.field("lsn").fill_null(0).to_numpy()
        return pl.repeat("", frame.height, eager=True), np.stack([commit, own, behind], axis=1)
    file = block.field("file").fill_null("")
    number = file.str.extract(r"\.(\d+)$", 1).cast(pl.Int64).fill_null(0).to_numpy()
    offset, row = block.field("pos").fill_null(0).to_numpy(), block.field("row").fill_null(0).to_numpy()
    return file.str.replace(r"\.\d+$", ""), np.stack([number, offset, row * 2 + behind], axis=1)
