"""TABLE_MAP events: the table that a number stands for in the row events after it, and its columns.

Facts: https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Table__map__event.html.
What a map leaves out (`binlog_row_metadata` is NO_LOG on MariaDB and MINIMAL on MySQL unless set) is filled in by
`shapes.py`. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.binlog import BadEvent
from cdc_platform.sources.mysql.types import (
    BIT,
    BLOB,
    BLOB_COMPRESSED,
    DOUBLE,
    ENUM,
    FLOAT,
    GEOMETRY,
    INT24,
    LONG,
    LONGLONG,
    NEWDECIMAL,
    SET,
    SHORT,
    STRING,
    TINY,
    VAR_STRING,
    VARCHAR,
    VARCHAR_COMPRESSED,
    VECTOR,
    YEAR,
    Physical,
)

_NUMERIC = {TINY, SHORT, INT24, LONG, LONGLONG, NEWDECIMAL, FLOAT, DOUBLE, YEAR}  # of which signs are told
_CHARACTER = {STRING, VAR_STRING, VARCHAR, BLOB, BLOB_COMPRESSED, VARCHAR_COMPRESSED, VECTOR}  # those with a collation
_LABELLED = {ENUM, SET}

# Bytes of metadata by type code; two-byte ones that are little-endian numbers, and those that are a pair of bytes.
_ONE_BYTE = {FLOAT, DOUBLE, BLOB, BLOB_COMPRESSED, GEOMETRY, VECTOR, 17, 18, 19, 245, 249, 250, 251}
_TWO_BYTES = {VARCHAR, VAR_STRING, VARCHAR_COMPRESSED}
_TWO_PARTS = {STRING, NEWDECIMAL, ENUM, SET}

_SIGNEDNESS, _CHARSET, _CHARSETS, _NAMES, _SET_LABELS, _ENUM_LABELS = 1, 2, 3, 4, 5, 6
_KEY, _KEY_WITH_PREFIX, _LABEL_CHARSET, _LABEL_CHARSETS = 8, 9, 10, 11


@dataclass(frozen=True, slots=True)
class TableMap:
    """Per column: physical type and nullability. The rest is None where the map does not tell.

    `unsigned` and `collations` have one entry a column (collation 0 for columns without one), `labels` too
    (bytes in the column's character set). `key` are column numbers, None when unknown. MariaDB counts geometry
    columns among those that have collations, MySQL does not: `geometry_collations` is what `collations` is on MariaDB,
    where there is such a column.
    """

    number: int
    table: TableName
    physical: tuple[Physical, ...]
    nullable: tuple[bool, ...]
    names: tuple[str, ...] | None = None
    unsigned: tuple[bool, ...] | None = None
    collations: tuple[int, ...] | None = None
    labels: tuple[tuple[bytes, ...], ...] | None = None
    key: tuple[int, ...] | None = None
    geometry_collations: tuple[int, ...] | None = None


class _Bytes:
    """A cursor that refuses to run over the end."""

    def __init__(self, data: bytes, offset: int) -> None:
        self.data, self.place, self.offset = data, 0, offset

    def take(self, count: int) -> bytes:
        part = self.data[self.place : self.place + count]
        if len(part) != count:
            raise BadEvent(self.offset, "the table map is cut off")
        self.place += count
        return part

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.number(1)
        if first < 251:
            return first
        if first > 254 or first == 251:
            raise BadEvent(self.offset, "the table map holds a bad length")
        return self.number({252: 2, 253: 3, 254: 8}[first])

    def more(self) -> bool:
        return self.place < len(self.data)


def table_number(body: bytes) -> int:
    return int.from_bytes(body[:6], "little")


def table_name(body: bytes, offset: int) -> TableName:
    """Database and table of a TABLE_MAP's body, without reading the rest."""
    reader = _Bytes(body, offset)
    reader.take(8)
    return _read_name(reader)


def _read_name(reader: _Bytes) -> TableName:
    try:
        database = reader.take(reader.packed() + 1)[:-1].decode()
        return TableName(database, reader.take(reader.packed() + 1)[:-1].decode())
    except UnicodeDecodeError as error:
        raise BadEvent(reader.offset, "the table's name is no UTF-8") from error


def read_table_map(body: bytes, offset: int) -> TableMap:
    """number 6, flags 2, database, table, column count, type codes, type metadata, null bits, optional metadata."""
    reader = _Bytes(body, offset)
    number = reader.number(6)
    reader.take(2)
    table = _read_name(reader)
    count = reader.packed()
    codes = reader.take(count)
    metadata = _Bytes(reader.take(reader.packed()), offset)
    physical = tuple(_physical(code, metadata) for code in codes)
    nullable = _bits(reader.take((count + 7) // 8), count)
    fields: Fields = {}
    while reader.more():
        field = reader.number(1)
        fields[field] = _Bytes(reader.take(reader.packed()), offset)
    if not all(column.understood for column in physical):
        # Such a table is not decoded, and servers differ in which columns the other fields count.
        return TableMap(number, table, physical, nullable, _names(fields, count))
    has_geometry = any(column.code == GEOMETRY for column in physical)
    return TableMap(
        number, table, physical, nullable, _names(fields, count), _unsigned(fields, physical),
        _collations(fields, physical, _CHARACTER), _labels(fields, physical), _key(fields, count),
        _collations(fields, physical, _CHARACTER | {GEOMETRY}) if has_geometry else None,
    )  # fmt: skip


def _physical(code: int, metadata: _Bytes) -> Physical:
    if code in _ONE_BYTE:
        return Physical(code, metadata.number(1))
    if code in _TWO_BYTES:
        return Physical(code, metadata.number(2))
    if code == BIT:
        rest, whole = metadata.number(1), metadata.number(1)
        return Physical(BIT, whole * 8 + rest)
    if code not in _TWO_PARTS:
        return Physical(code, 0)
    first, second = metadata.number(1), metadata.number(1)
    if code == NEWDECIMAL:
        return Physical(NEWDECIMAL, first << 8 | second)
    if code == STRING and first & 0x30 != 0x30:
        # Bits 8 and 9 of the length, inverted, sit in the type's byte.
        return Physical(first | 0x30, second | ((first & 0x30) ^ 0x30) << 4)
    return Physical(first, second)


def _bits(data: bytes, count: int) -> tuple[bool, ...]:
    return tuple(bool(data[i >> 3] >> (i & 7) & 1) for i in range(count))


Fields = dict[int, _Bytes]


def _names(fields: Fields, columns: int) -> tuple[str, ...] | None:
    if _NAMES not in fields:
        return None
    try:
        names = tuple(name.decode() for name in _strings(fields[_NAMES]))
    except UnicodeDecodeError as error:
        raise BadEvent(fields[_NAMES].offset, "a column's name is no UTF-8") from error
    if len(set(names)) != columns:
        raise BadEvent(fields[_NAMES].offset, "the table map's names do not fit its columns")
    return names


def _key(fields: Fields, columns: int) -> tuple[int, ...] | None:
    if _KEY in fields:
        key = _numbers(fields[_KEY])
    elif _KEY_WITH_PREFIX in fields:
        key = _numbers(fields[_KEY_WITH_PREFIX])[::2]
    else:
        return () if _NAMES in fields else None  # a full map without either is of a table without a key
    if any(column >= columns for column in key):
        raise BadEvent(next(iter(fields.values())).offset, "the table map's key does not fit its columns")
    return tuple(key)


def _unsigned(fields: Fields, physical: tuple[Physical, ...]) -> tuple[bool, ...] | None:
    """One bit a numeric column, the first one highest."""
    numeric = [column.code in _NUMERIC for column in physical]
    if not any(numeric):
        return (False,) * len(physical)
    if _SIGNEDNESS not in fields:
        return None
    reader = fields[_SIGNEDNESS]
    data = reader.take((sum(numeric) + 7) // 8)
    bits = iter(bool(data[i >> 3] << (i & 7) & 128) for i in range(sum(numeric)))
    return tuple(next(bits) if is_numeric else False for is_numeric in numeric)


def _collations(fields: Fields, physical: tuple[Physical, ...], codes: set[int]) -> tuple[int, ...] | None:
    """Numbers of collations, of texts (these type codes) from one pair of fields and of enums and sets from another."""
    texts = _collations_of(fields, physical, codes, _CHARSET, _CHARSETS)
    labels = _collations_of(fields, physical, _LABELLED, _LABEL_CHARSET, _LABEL_CHARSETS)
    if texts is None or labels is None:
        return None
    return tuple(text or label for text, label in zip(texts, labels, strict=True))


def _collations_of(
    fields: Fields, physical: tuple[Physical, ...], codes: set[int], default: int, each: int
) -> list[int] | None:
    """Either a default and the columns that differ from it, or one collation a column; only `codes` count."""
    places = [place for place, column in enumerate(physical) if column.code in codes]
    found = [0] * len(physical)
    if not places:
        return found
    if each in fields:
        chosen = _numbers(fields[each])
        fits = len(chosen) == len(places)
    elif default in fields:
        usual, *exceptions = _numbers(fields[default])
        fits = all(index < len(places) for index in exceptions[::2])
        others = dict(zip(exceptions[::2], exceptions[1::2], strict=False))
        chosen = [others.get(index, usual) for index in range(len(places))]
    else:
        return None
    if not fits and any(column.code == GEOMETRY for column in physical):
        return None  # they are counted in the other server's way
    if not fits:
        raise BadEvent(next(iter(fields.values())).offset, "the table map's collations do not fit its columns")
    for place, collation in zip(places, chosen, strict=True):
        found[place] = collation
    return found


def _labels(fields: Fields, physical: tuple[Physical, ...]) -> tuple[tuple[bytes, ...], ...] | None:
    """For each enum, and in another field each set: how many members, then the members."""
    if _NAMES not in fields:
        return None
    labels: list[tuple[bytes, ...]] = []
    for column in physical:
        reader = fields.get(_ENUM_LABELS if column.code == ENUM else _SET_LABELS)
        if column.code in _LABELLED and reader is not None:
            labels.append(tuple(reader.take(reader.packed()) for _ in range(reader.packed())))
        elif column.code in _LABELLED:
            return None
        else:
            labels.append(())
    return tuple(labels)


def _numbers(reader: _Bytes) -> list[int]:
    reader.place = 0
    numbers = []
    while reader.more():
        numbers.append(reader.packed())
    return numbers


def _strings(reader: _Bytes) -> list[bytes]:
    strings = []
    while reader.more():
        strings.append(reader.take(reader.packed()))
    return strings
