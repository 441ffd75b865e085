"""A topic of Debezium's events as a `Source`: one table, read from the offsets that its change log holds.

    change log ── token: offsets ──> assign ──> blocks ──> decoder ──> rows ──> repeats dropped ──> Captured, token
        ^                                                                                              │
        └────────────────────────────────── rows and token in one commit <────────────────────────────┘

Why nothing is lost or doubled. A stretch's token says, by partition, the offset behind its last message, and travels in
the commit of its rows: after a death reading goes on exactly behind what is logged. What a connector sent twice is
dropped by its source position (repeats.py), which travels along. The group's committed offsets are for other people.

Positions count messages. With one partition a change's `at` is its offset. With several, `at` is the sum of the offsets
of the token before its stretch, and `ordinal` the number in it: the order among partitions is that of Kafka's
timestamps as far as they are read together, and the changes of one key, which are in one partition, keep theirs. The
log stands at a token's sum whenever a stretch begins, so whatever order comes another time, none is before it.

There is no snapshot to take: the connector's own is in the topic, rows with the operation `r`. A new table begins empty
at the first message that is kept. Layer: sources.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from cdc_platform.errors import CdcError, Gap, InvalidRow, Lost, NeedsPerson, Unavailable
from cdc_platform.model.change import Captured, ChangeBatch, Entry, Followed, Place, Truncated
from cdc_platform.model.evolution import carried, differences
from cdc_platform.model.keeping import Extent, Keeping
from cdc_platform.model.position import Notation, Position
from cdc_platform.model.schema import Fingerprint, TableName, TableSchema
from cdc_platform.sources.ahead import ahead
from cdc_platform.sources.debezium.decoder import Cut, Decoder
from cdc_platform.sources.debezium.envelope import Rows
from cdc_platform.sources.debezium.messages import Poison, Unreadable
from cdc_platform.sources.kafka.client import Block, Client, Topic
from cdc_platform.sources.kafka.connection import KafkaConnection
from cdc_platform.sources.kafka.empty import EmptySnapshot
from cdc_platform.sources.kafka.forms import form_of
from cdc_platform.sources.kafka.repeats import Last, Rewound, fresh
from cdc_platform.sources.kafka.token import Token

NOTATION: Final = Notation("offset")
_BLOCK_BYTES: Final = 48 << 20
_LOOK_BACK: Final = 20
"""So many of a partition's last offsets are looked at for a message that tells the table's shape."""


class KafkaSource:
    """The topic of one table. Implements `Source`."""

    def __init__(self, connection: KafkaConnection, group: str, topics: Mapping[TableName, str | None]) -> None:
        self._connection, self._topics = connection, topics
        self._client = Client(connection, connection.group_id or group)
        self._found: dict[TableName, Topic] = {}
        self._safe: dict[int, tuple[str, Mapping[int, int]]] = {}
        self._goes_on = False

    def schemas(self, tables: Sequence[TableName]) -> Mapping[TableName, TableSchema]:
        """As the last message that says one has it."""
        return {table: self._schema(table) for table in tables}

    def fingerprints(self, tables: Sequence[TableName]) -> Mapping[TableName, Fingerprint]:
        return {table: Fingerprint(f"topic {self._topic(table).id}") for table in tables}

    def rewritten_by(self, before: TableSchema, now: TableSchema) -> str | None:
        return None  # what a statement did to rows is not in the topic, nor anywhere else for us

    def prepare(self, tables: Sequence[TableName]) -> None:
        """A new table begins: it may be given an empty first state."""
        for table in tables:
            self._topic(table)
        self._goes_on = False

    def check_resumable(self, start: Position) -> None:
        """Of a topic with one partition; with several, `changes` knows."""
        self._goes_on = True
        for table in self._topics:
            topic = self._topic(table)
            ends = self._client.ends(topic)
            total = sum(high for _, high in ends.values())
            if start.at > total:
                raise Gap(
                    f"topic '{topic.name}' ends at {total}, before {start.at} up to where it was read: it was made "
                    "anew or its brokers lost messages; run: cdc resync --anew",
                    Lost.LOG_ENDS_BEFORE,
                )
            if len(topic.partitions) == 1:
                _check_kept(topic, Token({topic.partitions[0]: start.at}), ends)

    def available(self) -> Position:
        return Position(sum(low for table in self._topics for low, _ in self._client.ends(self._topic(table)).values()))

    def reopen(self, tables: Sequence[TableName]) -> None:
        for table in tables:
            self._topic(table)

    def keeping(self, position: Position) -> Keeping:
        return Keeping()

    def extent(self, table: TableName) -> Extent:
        return Extent(0, 0)

    def identity(self) -> str:
        return f"kafka/{self._client.cluster()}"

    def head(self) -> Position:
        ends = (self._client.ends(self._topic(table)) for table in self._topics)
        return Position(sum(high for one in ends for _, high in one.values()))

    @contextmanager
    def snapshot(self, tables: Sequence[TableName], readers: int = 1) -> Iterator[EmptySnapshot]:
        """Of tables that begin. For those that go on there is none: nothing may be taken for their rows."""
        if self._goes_on:
            raise NeedsPerson(
                f"{', '.join(map(str, tables))}: the database behind the topic is not ours to read: there is nothing "
                "to compare with; after a gap run: cdc resync --anew"
            )
        yield EmptySnapshot(self.available(), self.schemas(tables))

    def changes(self, followed: Mapping[TableName, Followed], start: Position, until: Position) -> Iterator[Captured]:
        for table, known in followed.items():
            # The next stretch is read and decoded while this one is written.
            with closing(self._changes(table, known, until)) as stretches:
                yield from ahead(stretches)

    def withdraw(self, tables: Sequence[TableName]) -> list[TableName]:
        return []

    def readers(self, names: Sequence[str]) -> Mapping[str, int]:
        return {}

    def remove(self, name: str) -> None:
        return None

    def acknowledge(self, position: Position) -> None:
        """Nothing is kept for us alone: only the group's offsets are told, for others to see."""
        done = [at for at in list(self._safe) if at <= position.at]
        said = [self._safe.pop(at) for at in sorted(done)]
        if said:
            self._client.commit(*said[-1])

    def notation(self) -> Notation:
        return NOTATION

    def format(self, position: Position) -> str:
        return NOTATION.format(position)

    def close(self) -> None:
        self._client.close()

    def _topic(self, table: TableName) -> Topic:
        if table not in self._found:
            name = self._topics.get(table) or f"{self._connection.topic_prefix}.{table.schema}.{table.name}"
            self._found[table] = self._client.topic(name)
        return self._found[table]

    def _decoder(self, table: TableName) -> Decoder:
        connection = self._connection
        whole = connection.replica_identity == "full"
        return Decoder(table, connection.system, form_of(), whole)

    def _schema(self, table: TableName) -> TableSchema:
        topic = self._topic(table)
        ends = self._client.ends(topic)
        count, reason = _LOOK_BACK, ""
        while True:
            block = self._client.last(topic, ends, count)
            if block is not None:
                try:
                    return self._decoder(table).schema(block.messages)
                except Unreadable as error:
                    reason = str(error) if block.messages.values.null_count() < len(block.messages) else reason
            if all(high - count <= low for low, high in ends.values()):
                break
            count *= 50
        if reason:
            raise NeedsPerson(f"no message of topic '{topic.name}' can be taken, the last one because {reason}")
        raise Unavailable(
            f"topic '{topic.name}' has no message yet that tells the shape of {table}; let the connector write one "
            "(its snapshot does), then run again"
        )

    def _changes(self, table: TableName, known: Followed, until: Position) -> Generator[Captured, None, None]:
        topic = self._topic(table)
        ends = self._client.ends(topic)
        if known.resume is None:
            token = Token({p: low for p, (low, _) in ends.items()})
        else:
            token = Token.from_json(known.resume).with_partitions(topic.partitions)
        _check_kept(topic, token, ends)
        reading = _Reading(table, topic, self._connection, self._decoder(table), known.schema, token, token.total)
        bounds = _bounds(token, ends, until)
        for block in self._client.read(topic, token.offsets, bounds, _BLOCK_BYTES):
            for captured in reading.take(block):
                self._safe[captured.upto.at] = topic.name, reading.token.offsets
                yield captured
                if captured.failures:
                    return
        token = replace(reading.token, offsets=bounds)
        self._safe[until.at] = topic.name, bounds
        yield Captured((), max(until, Position(token.total)), {}, {table: token.to_json()})


def _bounds(token: Token, ends: Mapping[int, tuple[int, int]], until: Position) -> dict[int, int]:
    """By partition where to stop: at its end; before it where that is more than `until` asks for."""
    bounds = {p: max(high, token.offsets[p]) for p, (_, high) in ends.items()}
    over = sum(bounds.values()) - until.at
    for partition in sorted(bounds, reverse=True):
        spare = min(max(over, 0), bounds[partition] - token.offsets[partition])
        bounds[partition] -= spare
        over -= spare
    return bounds


def _check_kept(topic: Topic, token: Token, ends: Mapping[int, tuple[int, int]]) -> None:
    for partition, (low, high) in ends.items():
        place = token.offsets.get(partition, 0)
        where = f"partition {partition} of topic '{topic.name}'"
        if place < low:
            raise Gap(
                f"{where} begins at offset {low}: messages from {place} on went by its retention before they were "
                "read; run: cdc resync --anew, after the connector has taken a new snapshot",
                Lost.LOG_PURGED,
            )
        if place > high:
            raise Gap(
                f"{where} ends at offset {high}, before {place} up to where it was read: it was made anew or its "
                "brokers lost messages; run: cdc resync --anew",
                Lost.LOG_ENDS_BEFORE,
            )


@dataclass(slots=True)
class _Reading:
    """Blocks of one topic become stretches, each with rows of one shape or a TRUNCATE.

    `token` is behind all that was looked at, `logged` the sum of the last one that was given away with a stretch.
    """

    table: TableName
    topic: Topic
    connection: KafkaConnection
    decoder: Decoder
    schema: TableSchema
    token: Token
    logged: int

    def take(self, block: Block) -> Iterator[Captured]:
        decoded = self.decoder.decode(block.messages)
        poison = decoded.poison[0] if decoded.poison else None
        end = poison.message if poison is not None else len(block.messages)
        for piece in decoded.pieces:
            first = piece.message if isinstance(piece, Cut) else int(piece.frame["message"][0])
            if first >= end:
                break
            if isinstance(piece, Cut):
                yield from self._cut(piece, block)
                continue
            for part in _by_kind(piece.filter(piece.frame["message"] < end)):
                yield from self._rows(part, block)
        if poison is not None:
            yield self._failed(poison, block)
            return
        self.token = replace(self.token, offsets={**self.token.offsets, **block.reached})

    def _rows(self, rows: Rows, block: Block) -> Iterator[Captured]:
        numbers = rows.frame["message"].to_numpy()
        try:
            kept, last = fresh(rows.frame, block.partitions[numbers], self.token.last, self.connection.system)
        except Rewound as rewound:
            yield self._failure(self._other_history(block, int(numbers[rewound.row])))
            return
        self.token = self._behind(block, int(numbers[-1]), last)
        if not kept.all():
            rows, numbers = rows.filter(pl.Series(kept)), numbers[kept]
        if not len(rows):
            return
        try:
            schema = self._shape(rows.schema, int(block.timestamps[numbers[0]]))
        except CdcError as error:
            yield self._failure(error)
            return
        if len(self.topic.partitions) == 1:
            at, ordinal = pl.Series("at", block.offsets[numbers]), pl.repeat(0, len(rows), dtype=pl.Int64, eager=True)
        else:
            at = pl.repeat(self.logged, len(rows), dtype=pl.Int64, eager=True).alias("at")
            ordinal = pl.int_range(len(rows), dtype=pl.Int64, eager=True)
        frame = rows.frame.select("operation", at, ordinal.alias("ordinal"), "lsn", "transaction_id", "source_ts",
                                  "before", "after")  # fmt: skip
        batch = ChangeBatch(schema, frame, rows.holes, snapshot=bool(rows.frame["snapshot"][0]))
        yield self._captured(batch)

    def _cut(self, cut: Cut, block: Block) -> Iterator[Captured]:
        if len(self.topic.partitions) > 1:
            error = NeedsPerson(
                f"{self.table} was truncated, which has no place among the partitions of topic '{self.topic.name}'; "
                "run: cdc resync --anew, after the connector has taken a new snapshot"
            )
            yield self._failure(error)
            return
        at = int(block.offsets[cut.message])
        self.token = self._behind(block, cut.message, self.token.last)
        place = Place(at, 0, cut.lsn, cut.transaction_id, cut.source_ts)
        yield self._captured(Truncated(self.table, place))

    def _captured(self, entry: Entry) -> Captured:
        self.logged = self.token.total
        return Captured((entry,), Position(self.logged), {}, {self.table: self.token.to_json()})

    def _failure(self, error: CdcError) -> Captured:
        return Captured((), Position(self.logged), {self.table: error})

    def _behind(self, block: Block, message: int, last: Mapping[int, Last]) -> Token:
        """The token behind this message of the block."""
        offsets = dict(self.token.offsets)
        seen = block.partitions[: message + 1]
        for partition in np.unique(seen).tolist():
            own = block.offsets[: message + 1][seen == partition]
            offsets[partition] = max(offsets[partition], int(own[-1]) + 1)
        return replace(self.token, offsets=offsets, last=last)

    def _shape(self, now: TableSchema, seen: int) -> TableSchema:
        """The rows' schema, with the ids that the columns have in the log."""
        schema = carried(self.schema, now)
        if differences(self.schema, schema):
            if seen < self.token.shape_at:
                raise NeedsPerson(
                    f"{self.table}: a message of topic '{self.topic.name}' has the shape from before a change of the "
                    "table that another partition's messages had already; run: cdc resync --anew"
                )
            self.token = replace(self.token, shape_at=seen)
        self.schema = schema
        return schema

    def _other_history(self, block: Block, message: int) -> Gap:
        return Gap(
            f"{self.table}: at offset {int(block.offsets[message])} of partition {int(block.partitions[message])} of "
            f"topic '{self.topic.name}' the source's log goes on at an earlier position or in other files: the "
            "database failed over, was restored, or reset its log; empty the topic, let the connector take a new "
            "snapshot, and run: cdc resync --anew",
            Lost.LOG_FOREIGN,
        )

    def _failed(self, poison: Poison, block: Block) -> Captured:
        partition, offset = int(block.partitions[poison.message]), int(block.offsets[poison.message])
        error = InvalidRow(
            f"{self.table}: the message at offset {offset} of partition {partition} of topic '{self.topic.name}' "
            f"cannot be taken: {poison.reason}; mend what writes it, then run: cdc resync --anew"
        )
        return self._failure(error)


def _by_kind(rows: Rows) -> Iterator[Rows]:
    """Rows that were read, and rows that changed, apart."""
    marks = rows.frame["snapshot"].to_numpy()
    edges = [0, *(np.flatnonzero(marks[1:] != marks[:-1]) + 1).tolist(), len(rows)]
    for start, end in pairwise(edges):
        if end > start:
            yield rows.slice(start, end - start)
