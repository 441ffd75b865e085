"""Messages as they come through the pipe: kinds and bytes, none of them looked into. Pure. Layer: sources.

A kind is a topic with one schema of its values (infra/debezium/cdc/Engine.java); messages of one kind are decoded
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from cdc_platform.sources.cells import Ints
from cdc_platform.sources.debezium.connect import Field

PREFIX: Final = "cdc"
"""The topics' prefix, which nobody else sees."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A topic, and the schema of these of its values."""

    topic: str
    schema: Field

    @property
    def is_change(self) -> bool:
        return self.schema.is_envelope

    @property
    def is_transaction(self) -> bool:
        return self.topic == f"{PREFIX}.transaction"

    @property
    def is_message(self) -> bool:
        return self.topic == f"{PREFIX}.message"


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages in order: `kinds[i]` is the number of each one's kind, `data` holds their bytes without gaps, the first
    `offsets[0]` bytes in; `offsets` has one more element than there are messages."""

    kinds: Ints
    offsets: Ints
    data: bytes | memoryview

    @classmethod
    def of(cls, frame: bytes) -> Messages:
        """The body of a batch frame."""
        count = int(np.frombuffer(frame, np.int32, 1)[0])
        numbers = np.frombuffer(frame, np.int32, 2 * count, 4).astype(np.int64)
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(numbers[count:], out=offsets[1:])
        return cls(numbers[:count], offsets, memoryview(frame)[4 + 8 * count :])

    @classmethod
    def joined(cls, parts: Sequence[Messages]) -> Messages:
        """Those of all parts."""
        if len(parts) == 1:
            return parts[0]
        sizes = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
        data = b"".join(memoryview(part.data)[part.offsets[0] : part.offsets[-1]] for part in parts)
        return cls(np.concatenate([np.zeros(0, np.int64), *(part.kinds for part in parts)]), np.cumsum(sizes), data)

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def size(self) -> int:
        """Their bytes."""
        return int(self.offsets[-1] - self.offsets[0])

    def part(self, start: int, end: int) -> Messages:
        return Messages(self.kinds[start:end], self.offsets[start : end + 1], self.data)

    def values(self, numbers: Ints) -> pl.Series:
        """The messages of these numbers as a Binary series."""
        every = pa.LargeBinaryArray.from_buffers(
            pa.large_binary(),
            len(self),
            [None, pa.py_buffer(np.ascontiguousarray(self.offsets)), pa.py_buffer(self.data)],
        )
        series = pl.from_arrow(every if len(numbers) == len(self) else every.take(pa.array(numbers)))
        assert isinstance(series, pl.Series)
        return series
