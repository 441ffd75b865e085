"""Rows brought into the order that files want: by partition, inside a partition by the layout's sort terms.

    frames ──gather──> chunks of bounded size ──sort──> one chunk:  handed on as it is
                                                        several:    spilled, then merged partition by partition

A partitioned append that is larger than memory would otherwise write one small file a partition for every
chunk. Spilled chunks are sorted, so a partition is one slice of each, read back through a memory map.
Shared by all file formats; knows neither names nor types of any.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa

from cdc_platform.errors import InvalidRow
from cdc_platform.model.target import PartitionField, SortField

CHUNK_BYTES: Final = 128 << 20
"""What is sorted at once, and the most that becomes one file: in-memory size, before encoding."""

_YEARS: Final = (-719_162, 2_932_897)  # days since 1970 of 0001-01-01 and 10000-01-01
_DAY_MICROSECONDS: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What decides a row's file and its place in it. `chunk_bytes` bounds memory (about four times that much)."""

    partitions: tuple[PartitionField, ...]
    sort: tuple[SortField, ...]
    chunk_bytes: int = field(default_factory=lambda: CHUNK_BYTES)

    @property
    def partition_columns(self) -> list[str]:
        """Names of the columns that `sorted` adds in front of a frame: one partition value each."""
        return [f"\x1fpartition{i}" for i in range(len(self.partitions))]

    def sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with its partition values, stably sorted by them and then by the sort terms, nulls last.

        Raises InvalidRow for a date that no partition can be made of.
        """
        _check_years(frame, self.partitions)
        values = [
            partition_value(term).alias(name)
            for term, name in zip(self.partitions, self.partition_columns, strict=True)
        ]
        names = [*self.partition_columns, *(term.column for term in self.sort)]
        if not names:
            return frame
        descending = [False] * len(values) + [term.descending for term in self.sort]
        return frame.select(*values, *frame.columns).sort(
            names, descending=descending, nulls_last=True, maintain_order=True
        )

    def runs(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One row a partition of a sorted frame, in its order: the partition values, `offset`, `length`."""
        if not self.partitions:
            return pl.DataFrame({"offset": [0], "length": [frame.height]})
        counted = frame.group_by(self.partition_columns, maintain_order=True).agg(pl.len().alias("length"))
        return counted.with_columns(offset=pl.col("length").cum_sum().shift(1, fill_value=0))


def partition_value(field: PartitionField) -> pl.Expr:
    """A row's partition value: the column itself, or the first day (UTC) of its day, month or year as a Date."""
    column = pl.col(field.column)
    match field.transform:
        case "identity":
            return column
        case "day":
            return column.cast(pl.Date)
        case "month":
            return column.cast(pl.Date).dt.truncate("1mo")
        case "year":
            return column.cast(pl.Date).dt.truncate("1y")


def _check_years(frame: pl.DataFrame, partitions: Sequence[PartitionField]) -> None:
    """Partition values are texts in the tables' metadata, where readers know years of four digits only."""
    for term in partitions:
        column = frame[term.column]
        if not isinstance(column.dtype, (pl.Date, pl.Datetime)):
            continue
        first, after = (number * (1 if column.dtype == pl.Date else _DAY_MICROSECONDS) for number in _YEARS)
        values = column.to_physical()
        if ((values < first) | (values >= after)).any():
            raise InvalidRow(
                f"a date in {term.column} lies outside the years 1 to 9999, of which no partition can be made; "
                "partition by another column, or mend the row at the source"
            )


def arranged(frames: Iterable[pl.DataFrame], arrangement: Arrangement, spool: Path) -> Iterator[pl.DataFrame]:
    """Sorted packs of rows, each at most about `chunk_bytes`; a partition is in one pack wherever it fits.

    `spool` is a folder for spilled chunks, made when needed and removed in the end; what an earlier, killed
    process left there goes first.
    """
    chunks = _chunks(frames, arrangement.chunk_bytes)
    first = next(chunks, None)
    if first is None:
        return
    second = next(chunks, None) if arrangement.partitions else None
    yield_now = [arrangement.sorted(first)]
    if second is None:
        del first
        yield yield_now.pop()
        yield from (arrangement.sorted(chunk) for chunk in chunks)
        return
    with _emptied(spool) as folder:
        spilled = [_spill(yield_now.pop(), folder / "0.arrow", arrangement)]
        for chunk in chain([second], chunks):
            file = folder / f"{len(spilled)}.arrow"
            spilled.append(_spill(arrangement.sorted(chunk), file, arrangement))
        yield from _merged(spilled, arrangement)


def memory_bytes(frame: pl.DataFrame) -> int:
    """What a frame takes in memory. Polars' own estimate leaves out the 16 bytes that a string has beside its text."""
    views = sum(dtype in (pl.String, pl.Binary) for dtype in frame.dtypes)
    return int(frame.estimated_size()) + 16 * views * frame.height


def _chunks(frames: Iterable[pl.DataFrame], limit: int) -> Iterator[pl.DataFrame]:
    held: list[pl.DataFrame] = []
    size = 0
    for frame in frames:
        for part in _parts(frame, limit):
            part_size = memory_bytes(part)
            if held and size + part_size > limit:
                yield pl.concat(held)
                held, size = [], 0
            held.append(part)
            size += part_size
    if held:
        yield pl.concat(held)


def _parts(frame: pl.DataFrame, limit: int) -> Iterator[pl.DataFrame]:
    if not frame.height:
        return
    pieces = -(-memory_bytes(frame) // limit)
    yield from frame.iter_slices(max(1, -(-frame.height // max(1, pieces))))


@dataclass(frozen=True, slots=True)
class _Spilled:
    """A sorted chunk on disk, one Arrow record batch a partition run; `runs` has a row for each, in order."""

    file: Path
    runs: pl.DataFrame
    row_bytes: float


def _spill(chunk: pl.DataFrame, file: Path, arrangement: Arrangement) -> _Spilled:
    runs = arrangement.runs(chunk)
    table = chunk.to_arrow().combine_chunks()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for offset, length in runs.select("offset", "length").iter_rows():
            writer.write_table(table.slice(offset, length))
    return _Spilled(file, runs, memory_bytes(chunk) / chunk.height)


def _merged(spilled: Sequence[_Spilled], arrangement: Arrangement) -> Iterator[pl.DataFrame]:
    """Packs of whole partitions in order; one that alone is over the limit comes as one pack a chunk.

    Read through file handles, not a memory map: mapped pages would count as this process' memory.
    """
    keys = arrangement.partition_columns
    runs = pl.concat(
        [part.runs.with_row_index("batch").with_columns(chunk=pl.lit(i)) for i, part in enumerate(spilled)]
    ).sort(keys, nulls_last=True, maintain_order=True)
    limit = int(arrangement.chunk_bytes / max(part.row_bytes for part in spilled))
    with ExitStack() as stack:
        readers = [pa.ipc.open_file(stack.enter_context(pa.OSFile(str(part.file)))) for part in spilled]
        pack: list[pa.RecordBatch] = []
        held = 0
        for partition in runs.partition_by(keys, maintain_order=True):
            rows = int(partition["length"].sum())
            if held and held + rows > limit:
                yield _pack(pack, arrangement)
                pack, held = [], 0
            batches = (
                readers[chunk].get_batch(batch) for chunk, batch in partition.select("chunk", "batch").iter_rows()
            )
            if rows > limit:
                yield from (_pack([batch], arrangement) for batch in batches)
            else:
                pack += batches
                held += rows
        if pack:
            yield _pack(pack, arrangement)


def _pack(batches: Sequence[pa.RecordBatch], arrangement: Arrangement) -> pl.DataFrame:
    frame = pl.from_arrow(pa.Table.from_batches(batches), rechunk=False)
    assert isinstance(frame, pl.DataFrame)
    return arrangement.sorted(frame.drop(arrangement.partition_columns))


@contextmanager
def _emptied(folder: Path) -> Iterator[Path]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
