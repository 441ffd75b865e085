"""Which small files of a Delta table are gathered into bigger ones.

    live files ──by partition, oldest first──> neighbours that fit one file together ──> one new file each

A file is bounded twice: in stored bytes by the caller, in memory by what a write holds at once. Both figures of a new
file are at most the sums of the old ones', and less by the headers of very small ones: repeated, a compaction may
gather a little more and soon changes nothing. Figures come from the log and from Parquet footers; no row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from cdc_platform.destinations.delta_write import LiveFile

_WIDTHS: Final = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}
_VIEW: Final = 16


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction found and left: live data files, their bytes, the table's version."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    table_version: int


def groups(
    files: Iterable[LiveFile], target_bytes: int, memory_bytes: int, memory_of: Callable[[LiveFile], int]
) -> list[list[LiveFile]]:
    """Files to be gathered, two or more of one partition each, in the order in which they were made."""
    partitions: dict[tuple[str | None, ...], list[LiveFile]] = {}
    for file in sorted(files, key=lambda file: (file.made, file.path)):
        if file.size < target_bytes:
            partitions.setdefault(tuple(file.values.values()), []).append(file)
    found: list[list[LiveFile]] = []
    for small in partitions.values():
        if len(small) > 1:
            found += _gathered(small, target_bytes, memory_bytes, memory_of)
    return found


def _gathered(
    files: Sequence[LiveFile], target_bytes: int, memory_bytes: int, memory_of: Callable[[LiveFile], int]
) -> list[list[LiveFile]]:
    found: list[list[LiveFile]] = []
    group: list[LiveFile] = []
    stored = held = 0
    for file in files:
        memory = memory_of(file)
        if group and (stored + file.size > target_bytes or held + memory > memory_bytes):
            found.append(group)
            group, stored, held = [], 0, 0
        group.append(file)
        stored, held = stored + file.size, held + memory
    found.append(group)
    return [group for group in found if len(group) > 1]


def memory_of(file: Path) -> int:
    """About what a file's rows take in memory, from its footer."""
    footer = pq.read_metadata(file)
    total = 0
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group)
        for i in range(rows.num_columns):
            column = rows.column(i)
            width = _WIDTHS.get(column.physical_type)
            total += rows.num_rows * width if width else column.total_uncompressed_size + _VIEW * rows.num_rows
    return total
