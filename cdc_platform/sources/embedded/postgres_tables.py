"""Followed Postgres tables: Debezium's messages of each, with their places, to entries of the table's own shape.

What a message tells of its table's shape are names and Debezium's types. Numbers of columns, nullability and the
server's own types are those of the shape that the table is followed with, or of the catalogue now, whichever has a
column of that name and type. Layer: sources.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from cdc_platform.errors import CdcError, ConfigError, InvalidRow, NeedsPerson, NotUnderstood
from cdc_platform.model.change import ChangeBatch, Entry, Followed, Place, Truncated, Unlogged
from cdc_platform.model.position import Position, format_lsn
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.cells import BadCell, Ints, polars_type
from cdc_platform.sources.debezium.connect import Field
from cdc_platform.sources.debezium.decoder import Cut, Decoder
from cdc_platform.sources.debezium.envelope import Rows
from cdc_platform.sources.debezium.json_form import JsonForm
from cdc_platform.sources.debezium.messages import Messages as DecoderMessages
from cdc_platform.sources.embedded.frames import Kind, Messages
from cdc_platform.sources.embedded.transactions import Placed
from cdc_platform.sources.postgres.attributes import read_attributes
from cdc_platform.sources.postgres.batches import first_place
from cdc_platform.sources.postgres.catalogue import AsText, CatalogueTable, Session, read_tables

# Output functions of the types whose every value Debezium has as the native reader does, or refuses: see
# cdc_platform_tests/embedded/test_types.py. What has none of its own in Debezium comes as the server's text.
_SAME: Final = frozenset(
    """
    boolout byteaout int2out int4out int8out oidout float4out float8out numeric_out
    textout varcharout bpcharout nameout charout citextout ltree_out uuid_out json_out jsonb_out jsonpath_out xml_out
    enum_out record_out range_out multirange_out tsvectorout tsqueryout cube_out
    date_out timestamp_out timestamptz_out time_out inet_out cidr_out macaddr_out macaddr8_out
    regclassout regtypeout xidout xid8out tidout pg_lsn_out pg_snapshot_out
    """.split()
)
_NUMERIC: Final = 1700
_NO_NUMBERS: Final = {"NAN": "NaN", "POSITIVE_INFINITY": "Infinity", "NEGATIVE_INFINITY": "-Infinity"}


def check_types(tables: Mapping[TableName, CatalogueTable], as_text: AsText) -> None:
    """Raise NotUnderstood about the first column that Debezium would have as another value than the native reader."""
    for name, table in tables.items():
        if table.texts:
            raise ConfigError(f"{name}: as_text: Debezium has no server's text; cdc_method: native has")
        for column in table.schema.columns:
            known = table.types[column.name]
            negative_scale = known.base == _NUMERIC and ",-" in column.source_type
            if known.output.rpartition(".")[2] not in _SAME or (negative_scale and column.type == pa.string()):
                raise NotUnderstood(
                    f"{name}: column '{column.name}': Debezium does not have {column.source_type} as the server writes "
                    "it; use cdc_method: native"
                )


RewrittenBy = Callable[[TableSchema, TableSchema], str | None]


@dataclass(slots=True)
class _Table:
    name: TableName
    position: Position
    shape: TableSchema
    whole_images: bool
    numerics: frozenset[str]


@dataclass(slots=True)
class Tables:
    """The tables of one call of `changes`: `able` as the catalogue has them now, `followed` as their logs do."""

    session: Session
    publication: str
    able: Mapping[TableName, CatalogueTable]
    followed: Mapping[TableName, Followed]
    rewritten_by: RewrittenBy
    _tables: dict[TableName, _Table] = field(init=False)
    _names: dict[int, TableName] = field(default_factory=dict)
    _decoders: dict[int, Decoder] = field(default_factory=dict)
    _failures: dict[TableName, CdcError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tables = {
            name: _Table(
                name,
                self.followed[name].position,
                self.followed[name].schema,
                found.identity == "f",
                frozenset(column for column, known in found.types.items() if known.base == _NUMERIC),
            )
            for name, found in self.able.items()
        }

    def failed(self) -> dict[TableName, CdcError]:
        """The tables that failed since the last time."""
        failures, self._failures = self._failures, {}
        for table in failures:
            del self._tables[table]
        return failures

    def take(self, placed: Placed, kinds: Sequence[Kind], until: Position) -> list[Entry]:
        """Entries of whole transactions, those of each table in log order."""
        return self._take(placed.messages, kinds, placed.changes, placed.at, placed.ordinal, until)

    def take_part(self, part: Messages, kinds: Sequence[Kind], at: int, done: int, until: Position) -> list[Entry]:
        """Entries of a part of the transaction at `at`, of which `done` changes came before."""
        is_change = np.array([kind.is_change for kind in kinds], np.bool_)
        changes = np.flatnonzero(is_change[part.kinds])
        ats = np.full(len(changes), at, np.int64)
        return self._take(part, kinds, changes, ats, done + np.arange(len(changes)), until)

    def _take(
        self, messages: Messages, kinds: Sequence[Kind], changes: Ints, at: Ints, ordinal: Ints, until: Position
    ) -> list[Entry]:
        entries: list[Entry] = []
        kind = messages.kinds[changes]
        by_table: dict[TableName, list[int]] = {}
        for number in np.unique(kind).tolist():
            first = int(changes[int(np.argmax(kind == number))])
            name = self._name(number, messages, first)
            if name in self._tables:
                by_table.setdefault(name, []).append(number)
        for name, numbers in by_table.items():
            table = self._tables[name]
            wanted = np.isin(kind, numbers)
            wanted &= (at > table.position.at) | ((at == table.position.at) & (ordinal >= table.position.ordinal))
            wanted &= (at < until.at) | ((at == until.at) & (ordinal < until.ordinal))
            try:
                for run in _runs(np.flatnonzero(wanted), kind):
                    values, number = messages.values(changes[run]), int(kind[run[0]])
                    self._decode(table, number, kinds[number].schema, values, at[run], ordinal[run], entries)
            except NeedsPerson as error:
                self._failures[name] = error
        return entries

    def _name(self, number: int, messages: Messages, first: int) -> TableName:
        """The table of a kind's messages, by the source block of one: topics are named after it, not always alike."""
        if number not in self._names:
            source = json.loads(messages.values(np.array([first]))[0])["source"]
            self._names[number] = TableName(source["schema"], source["table"])
        return self._names[number]

    def _decode(
        self,
        table: _Table,
        number: int,
        schema: Field,
        values: pl.Series,
        at: Ints,
        ordinal: Ints,
        entries: list[Entry],
    ) -> None:
        """Add what messages of one kind say; raises about the first that cannot be taken, with those before it in."""
        decoder = self._decoders.get(number)
        if decoder is None:
            decoder = Decoder(table.name, "postgres", JsonForm(lambda: schema), table.whole_images)
            decoder.key = table.shape.primary_key
            self._decoders[number] = decoder
        decoded = decoder.decode(DecoderMessages(pl.repeat(None, len(values), dtype=pl.Binary, eager=True), values))
        bad = decoded.poison[0] if decoded.poison else None
        for piece in decoded.pieces:
            taken = piece if bad is None else _before(piece, bad.message)
            if isinstance(taken, Cut):
                n = taken.message
                place = Place(int(at[n]), int(ordinal[n]), taken.lsn, taken.transaction_id, taken.source_ts)
                entries.append(Truncated(table.name, place))
            elif taken is not None:
                self._rows(table, taken, at, ordinal, entries)
        if bad is not None:
            raise _invalid(table, int(at[bad.message]), int(ordinal[bad.message]), bad.reason)

    def _rows(self, table: _Table, rows: Rows, at: Ints, ordinal: Ints, entries: list[Entry]) -> None:
        reason = self._take_on(table, rows.schema)
        numbers, bad = rows.frame["message"].to_numpy(), None
        try:
            images = [_as_wanted(rows.frame[name], rows.schema, table) for name in ("before", "after")]
        except BadCell as error:
            bad = _invalid(table, int(at[numbers[error.row]]), int(ordinal[numbers[error.row]]), error.reason)
            rows, numbers = rows.slice(0, error.row), numbers[: error.row]
            images = [_as_wanted(rows.frame[name], rows.schema, table) for name in ("before", "after")]
        if len(rows):
            frame = rows.frame.select(
                "operation", pl.Series("at", at[numbers]), pl.Series("ordinal", ordinal[numbers]), "lsn",
                "transaction_id", "source_ts", *images,
            )  # fmt: skip
            batch = ChangeBatch(table.shape, frame, rows.holes)
            entries += [Unlogged(table.name, first_place(batch), reason)] if reason is not None else []
            entries.append(batch)
        if bad is not None:
            raise bad

    def _take_on(self, table: _Table, told: TableSchema) -> str | None:
        """Let the table have the shape that its messages have from here on; why rows may have changed with that."""
        if len(told.columns) == len(table.shape.columns) and all(map(_same, told.columns, table.shape.columns)):
            return None
        now = read_tables(self.session, [table.name], self.publication)[table.name].schema
        columns: list[Column] = []
        for column in told.columns:
            known = _find(column, table.shape) or _find(column, now) or self._renamed_since(column, told, table, now)
            if known is None:
                raise NotUnderstood(
                    f"{table.name}: column '{column.name}' comes from Debezium as {column.type}, and neither the log "
                    "nor the table has it so: the table was altered several times, or its type is not understood; "
                    "begin its pipeline anew, or use cdc_method: native"
                )
            columns.append(known)
        names = {column.name for column in columns}
        key = now.primary_key if set(now.primary_key) <= names else table.shape.primary_key
        shape = TableSchema(table.name, tuple(columns), tuple(name for name in key if name in names))
        reason = self.rewritten_by(table.shape, shape)
        table.shape = shape
        return reason

    def _renamed_since(self, column: Column, told: TableSchema, table: _Table, now: TableSchema) -> Column | None:
        """A column under a name that it had for a while: the only one that stands, or stood, where this one does.

        A table's columns are in the order of their numbers, which are not given twice.
        """
        attributes = read_attributes(self.session, self.able[table.name].oid, self.publication)
        if attributes is None:
            return None
        known = [_find(one, table.shape) or _find(one, now) for one in told.columns]
        here = told.columns.index(column)
        before = [one.source_id for one in known[:here] if one is not None and one.source_id is not None]
        after = [one.source_id for one in known[here:] if one is not None and one.source_id is not None]
        low, high = max(before, default=0), min(after, default=1 << 16)
        taken = {one.source_id for one in known if one is not None}
        earlier = {one.source_id for one in table.shape.columns}
        found = [
            one for one in now.columns
            if one.source_id is not None and low < one.source_id < high and one.source_id not in taken
            and _same(replace(column, name=one.name), one)
        ]  # fmt: skip
        gone = [number for number in attributes.dropped if low < number < high and number not in earlier]
        if len(found) != 1 or gone:
            return None
        return replace(found[0], name=column.name, nullable=True)


def _invalid(table: _Table, at: int, ordinal: int, reason: str) -> InvalidRow:
    return InvalidRow(f"{table.name}: the change at {format_lsn(at)}#{ordinal}: {reason}")


def _runs(places: Ints, kind: Ints) -> Iterator[Ints]:
    """Places of one kind each, in order."""
    if len(places):
        edges = [0, *(np.flatnonzero(np.diff(kind[places])) + 1).tolist(), len(places)]
        for start, end in pairwise(edges):
            yield places[start:end]


def _before(piece: Rows | Cut, message: int) -> Rows | Cut | None:
    """What of the piece comes before the message of this number."""
    if isinstance(piece, Cut):
        return piece if piece.message < message else None
    kept = piece.filter(piece.frame["message"] < message)
    return kept if len(kept) else None


def _same(told: Column, known: Column) -> bool:
    """Whether a column comes as `told` where the native reader has it as `known`."""
    return told.name == known.name and (
        told.type == known.type
        or (told.type == pa.string() and pa.types.is_decimal(known.type))
        or (told.type == pa.binary() and known.type == pa.string())
    )


def _find(told: Column, schema: TableSchema) -> Column | None:
    return next((known for known in schema.columns if _same(told, known)), None)


def _as_wanted(image: pl.Series, told: TableSchema, table: _Table) -> pl.Series:
    """The image with the native reader's types: decimals out of their digits, texts of types that Debezium does not
    know out of their bytes. Raises BadCell."""
    if told.row_type == table.shape.row_type and not table.numerics:
        return image
    columns = []
    for source, column in zip(told.columns, table.shape.columns, strict=True):
        given = image.struct.field(column.name)
        if column.type == pa.string() and (column.name in table.numerics or column.source_type.startswith("numeric")):
            given = given.replace(list(_NO_NUMBERS), list(_NO_NUMBERS.values()))
        elif source.type != column.type:
            given = _cast(given, column)
        columns.append(given)
    struct = pl.DataFrame(columns).to_struct(image.name)
    return pl.select(pl.when(image.is_not_null()).then(struct).alias(image.name)).to_series()


def _cast(given: pl.Series, column: Column) -> pl.Series:
    if given.dtype == pl.Binary:
        text = given.to_arrow().cast(pa.large_binary())
        try:
            made = pl.from_arrow(text.cast(pa.large_string()))
        except pa.ArrowInvalid:
            raise BadCell(0, f"column '{column.name}' is no text") from None
        assert isinstance(made, pl.Series)
        return made.alias(given.name)
    number = given.cast(polars_type(column.type), strict=False)
    if number.null_count() != given.null_count():
        row = int((number.is_null() & given.is_not_null()).arg_max() or 0)
        raise BadCell(row, f"column '{column.name}' is no finite {column.type}")
    return number
