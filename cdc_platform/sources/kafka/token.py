"""How far a topic is read: the word that a Kafka source leaves in the change log's commit. Pure. Layer: sources."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from cdc_platform.sources.kafka.repeats import Last


@dataclass(frozen=True, slots=True)
class Token:
    """By partition: the offset that is read next, and the source position of the last event (repeats.py).

    `shape_at` is the time (Kafka's, ms) of the first message that had the log's present shape.
    """

    offsets: Mapping[int, int]
    last: Mapping[int, Last] = field(default_factory=dict)
    shape_at: int = 0

    @property
    def total(self) -> int:
        """Messages before it, counted as offsets: it only grows, whatever partition is read."""
        return sum(self.offsets.values())

    def with_partitions(self, partitions: Sequence[int]) -> Token:
        """The same where partitions were added since: they are read from their beginning."""
        return replace(self, offsets={p: self.offsets.get(p, 0) for p in partitions})

    def to_json(self) -> str:
        last = {str(p): one.to_list() for p, one in self.last.items()}
        return json.dumps(
            {"offsets": {str(p): o for p, o in self.offsets.items()}, "last": last, "shape": self.shape_at}
        )

    @classmethod
    def from_json(cls, text: str) -> Token:
        stored = json.loads(text)
        last = {int(p): Last.from_list(one) for p, one in stored["last"].items()}
        return cls({int(p): int(o) for p, o in stored["offsets"].items()}, last, int(stored["shape"]))
