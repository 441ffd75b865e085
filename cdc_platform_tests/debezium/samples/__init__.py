"""Messages that Debezium 3.6 made (by its embedded engine): [topic, key, value, headers] each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from cdc_platform.sources.debezium.messages import Messages

Record = tuple[str, str | None, str | None]


def records(name: str) -> list[Record]:
    """All of a file, in order."""
    with gzip.open(Path(__file__).with_name(f"{name}.json.gz"), "rt") as file:
        return [(topic, key, value) for topic, key, value, _ in json.load(file)]


def messages(found: list[Record]) -> Messages:
    keys = [key.encode() if key is not None else None for _, key, _ in found]
    return Messages.of(keys, [value.encode() if value is not None else None for _, _, value in found])


def of_table(name: str, table: str) -> list[Record]:
    return [record for record in records(name) if record[0].endswith(f".{table}")]
