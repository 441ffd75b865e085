"""JSON as Kafka Connect's converter writes it, to Arrow columns. Pure. Layer: sources.

    {"schema":{...},"payload":{"before":...,"after":{...},"source":{...},"op":"u",...}}    with its schema
    {"before":...,"after":{...},"source":{...},"op":"u",...}                               without

The converter writes the schema first, the same bytes in each message of one shape: it is read once, compared as bytes
in the others, and cut off; what is left is parsed all at once, in C++, into the columns that the schema announces
(pyarrow.json reads 150 MB/s a core; of the libraries at hand it is the one that refuses what is not of the type).
It takes nothing for something else: a number that does not fit, a text for a number, a key twice are errors.

Where a part of the messages is refused, halves of it are tried, down to the message that is poison. Floats that JSON
has no number for (`"NaN"`) are made the bare words that the parser knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json

from cdc_platform.sources.cells import Ints
from cdc_platform.sources.debezium.columns import wire_type
from cdc_platform.sources.debezium.connect import Field, from_json
from cdc_platform.sources.debezium.messages import Poison, Unreadable

_WRAPPED: Final = b'{"schema":'
_PAYLOAD: Final = ',"payload":'
_WHY: Final = re.compile(
    r"Column\([^)]*\) (changed from \w+ to \w+|was specified twice)|Failed to convert JSON to [^:,]*"
)
_WORDS: Final = '"(NaN|Infinity|-Infinity)"'

SOURCE: Final = pa.struct(
    [
        ("connector", pa.string()), ("snapshot", pa.string()), ("db", pa.string()), ("schema", pa.string()),
        ("table", pa.string()), ("sequence", pa.string()), ("ts_ms", pa.int64()), ("ts_us", pa.int64()),
        ("txId", pa.int64()), ("lsn", pa.int64()), ("server_id", pa.int64()), ("gtid", pa.string()),
        ("file", pa.string()), ("pos", pa.int64()), ("row", pa.int64()),
    ]
)  # fmt: skip
"""What is taken of the source block; each field null where a connector has none of the kind."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """Messages of one shape. `rows` are their numbers, rising; `table` has a row for each: before, after (structs of
    `wire_type`s), source (as SOURCE) and op."""

    schema: Field
    rows: Ints
    table: pa.Table


@dataclass(slots=True)
class JsonForm:
    """A topic's JSON. `schemaless` gives the envelope's schema for messages that say nothing of theirs."""

    schemaless: Callable[[], Field]
    _known: dict[bytes, Field] = field(default_factory=dict)

    def parse(self, values: pl.Series, rows: Ints) -> tuple[list[Parsed], list[Poison]]:
        """All `values` (Binary without nulls, numbered `rows`), by shape."""
        parsed: list[Parsed] = []
        poison: list[Poison] = []
        while len(rows):
            try:
                prefix, schema = self._prefix(values[0])
            except Unreadable as error:
                poison.append(Poison(int(rows[0]), str(error)))
                values, rows = values[1:], rows[1:]
                continue
            suffix = b"}" if prefix else b""
            alike = values.bin.starts_with(prefix + b"{") & values.bin.ends_with(b"}" + suffix)
            mine = alike.to_numpy()
            mine[0] = True
            bodies = values.filter(alike)
            if len(bodies) < mine.sum():  # the first one is not even an object
                poison.append(Poison(int(rows[0]), "its payload is no JSON object"))
                values, rows = values[1:], rows[1:]
                continue
            bodies = _within(bodies, len(prefix), len(suffix))
            tables, bad = _parse(bodies, rows[mine], schema)
            poison += bad
            parsed += [Parsed(schema, numbers, table) for numbers, table in tables]
            values, rows = values.filter(pl.Series(~mine)), rows[~mine]
        return parsed, poison

    def key_names(self, key: bytes | None) -> tuple[str, ...]:
        return key_names(key)

    def _prefix(self, value: bytes) -> tuple[bytes, Field]:
        """The bytes before the payload, and the schema that they hold."""
        if not value.startswith(_WRAPPED):
            return b"", self.schemaless()
        for prefix, schema in self._known.items():
            if value.startswith(prefix):
                return prefix, schema
        try:
            text = value.decode()
            document, end = json.JSONDecoder().raw_decode(text, len(_WRAPPED))
        except ValueError as error:
            raise Unreadable("it is no JSON") from error
        if not text.startswith(_PAYLOAD, end):
            raise Unreadable("no payload follows its schema")
        prefix = text[: end + len(_PAYLOAD)].encode()
        if document is None:
            return prefix, self.schemaless()
        self._known[prefix] = schema = from_json(document)
        return prefix, schema


def _within(values: pl.Series, before: int, after: int) -> pl.Series:
    """The bytes but so many at the beginning and the end."""
    value = pl.col("value")
    kept = value.bin.slice(before, value.bin.size().cast(pl.Int64) - (before + after))
    return pl.DataFrame({"value": values}).select(kept).to_series()


def key_names(key: bytes | None) -> tuple[str, ...]:
    """The columns that a message's key has; none for a table without one."""
    if key is None:
        return ()
    try:
        document = json.loads(key)
    except ValueError as error:
        raise Unreadable("its key is no JSON") from error
    if isinstance(document, dict) and set(document) == {"schema", "payload"}:
        document = document["payload"]
    return tuple(document) if isinstance(document, dict) else ()


def columns_of(schema: Field) -> pa.Schema:
    """What is parsed of an envelope."""
    row = wire_type(schema.row)
    return pa.schema([("before", row), ("after", row), ("source", SOURCE), ("op", pa.string())])


def _parse(bodies: pl.Series, rows: Ints, schema: Field) -> tuple[list[tuple[Ints, pa.Table]], list[Poison]]:
    if not schema.is_envelope:
        reason = "it is no change event of Debezium with before, after, source and op (was it flattened?)"
        return [], [Poison(int(row), reason) for row in rows]
    text = bodies.cast(pl.String, strict=False)
    bad = (text.is_null() | text.str.contains("\n", literal=True)).to_numpy()
    poison = [Poison(int(row), "it is no JSON on one line") for row in rows[bad]]
    if bad.any():
        text, rows = text.filter(pl.Series(~bad)), rows[~bad]
    floats = [f.name for f in schema.row.fields if f.type in ("float", "double")]
    if floats and text.str.contains(_WORDS).any():
        for name in floats:
            text = text.str.replace_all(f"{_literal(name)}:{_WORDS}", f"{_dollars(name)}:$1")
    found: list[tuple[Ints, pa.Table]] = []
    todo = [(text, rows)]
    while todo:
        part, numbers = todo.pop()
        if not len(part):
            continue
        table = _read(part, columns_of(schema), "ignore")
        if isinstance(table, pa.Table) and table.num_rows == len(part):
            found.append((numbers, table))
        elif len(part) == 1:
            poison.append(Poison(int(numbers[0]), f"its payload is not of its schema: {_plain(table)}"))
        else:
            half = len(part) // 2
            todo += [(part[half:], numbers[half:]), (part[:half], numbers[:half])]
    return found, poison


def _lines(text: pl.Series) -> pa.Buffer:
    """One a line, in one buffer."""
    lines = pl.select(pl.concat_str(text, pl.lit("\n"))).to_series().to_arrow().cast(pa.large_string())
    start, end = lines.offset, lines.offset + len(lines)
    first, last = (np.frombuffer(lines.buffers()[1], np.int64)[place] for place in (start, end))
    return lines.buffers()[2].slice(first, last - first)


def _read(text: pl.Series, wanted: pa.Schema, others: str) -> pa.Table | str:
    """The table, or why it is none. Each begins with { and ends with }: the parser must not meet other documents."""
    data = _lines(text)
    options = pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior=others)
    reading = pa.json.ReadOptions(use_threads=False, block_size=data.size + 16)
    try:
        return pa.json.read_json(pa.BufferReader(data), reading, options).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        return str(error)


def _plain(reason: Any) -> str:
    """The parser's words without the value that it may show."""
    if not isinstance(reason, str):
        return "it holds several documents"
    words = _WHY.search(reason)
    return words[0] if words else "no JSON"


def _literal(name: str) -> str:
    return re.escape(json.dumps(name, ensure_ascii=False))


def _dollars(name: str) -> str:
    return json.dumps(name, ensure_ascii=False).replace("$", "$$")
