"""How far a snapshot that is taken in chunks by key range has come: said by each chunk's own commit. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from cdc_platform.model.key_range import Bound


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the log holds once the commit that says so is made: every row whose leading key is less than `below`, `rows`
    of about `total` (as they were read, changes since not counted). Without `below` all rows are in.
    """

    below: Bound | None
    rows: int
    total: int

    @property
    def last(self) -> bool:
        return self.below is None

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def chunk_of(text: str) -> Chunk:
    """The inverse of `Chunk.to_json`."""
    return Chunk(**json.loads(text))
