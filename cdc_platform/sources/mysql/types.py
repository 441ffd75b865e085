"""MySQL's column types: as the server declares them, as the binlog's table maps describe them, as Arrow.

A `MySQLType` is canonical: the same whether it comes from the information schema or from a table map, so that
snapshot and stream agree on it. Display widths (`int(11)`) say nothing about values and are left out.
How bytes become values is `values.py` (binlog) and `snapshot.py` (text). Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pyarrow as pa

from cdc_platform.errors import NotUnderstood

# Type codes of table maps: https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html
TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24 = 1, 2, 3, 4, 5, 8, 9
DATE, YEAR, VARCHAR, BIT = 10, 13, 15, 16
TIMESTAMP2, DATETIME2, TIME2 = 17, 18, 19
VECTOR, JSON, NEWDECIMAL, ENUM, SET, BLOB, VAR_STRING, STRING, GEOMETRY = 242, 245, 246, 247, 248, 252, 253, 254, 255
BLOB_COMPRESSED, VARCHAR_COMPRESSED = 140, 141  # MariaDB's

_INTEGERS = {
    "tinyint": pa.int8(), "smallint": pa.int16(), "mediumint": pa.int32(), "int": pa.int32(), "bigint": pa.int64(),
}  # fmt: skip
_UNSIGNED = {
    "tinyint": pa.int16(), "smallint": pa.int32(), "mediumint": pa.int32(), "int": pa.int64(),
    "bigint": pa.decimal128(20, 0),  # the lake's formats have no unsigned integers
}  # fmt: skip
_TEXTS = ("tinytext", "text", "mediumtext", "longtext")
_BLOBS = ("tinyblob", "blob", "mediumblob", "longblob")
_MAX_DECIMAL = 38  # digits of a decimal128
_MAX_BITS = 63  # of a bit column that is an int64

NUMBERS = {*_INTEGERS, "float", "double", "decimal"}
STRINGS = {"char", "varchar", *_TEXTS}
BINARIES = {"binary", "varbinary", *_BLOBS}
LABELLED = {"enum", "set"}
ADDRESSES = {"uuid": 16, "inet6": 16, "inet4": 4}
"""MariaDB's types that are BINARY of so many bytes in the log."""

AS_TEXT = {"date", "datetime", "timestamp", "decimal", "year"}
"""Types that can be taken as the server's text instead of as values."""

_GEOMETRIES = {
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
    "geometrycollection", "geomcollection",
}  # fmt: skip
_FRACTIONAL = {"datetime", "timestamp", "time"}
_KNOWN = NUMBERS | STRINGS | BINARIES | LABELLED | _FRACTIONAL | ADDRESSES.keys()
_KNOWN |= {"bit", "date", "year", "json", "vector", "geometry"}


@dataclass(frozen=True, slots=True)
class MySQLType:
    """A column's type. `length` counts characters (char, varchar), bytes (binary, varbinary) or bits (bit);
    `charset` is that of texts, `labels` are the members of an enum or set in order. `compressed` cells are packed in
    the log (MariaDB), `text` ones are taken as the server's text. All kinds of geometry are one type.
    """

    base: str
    unsigned: bool = False
    length: int = 0
    precision: int = 0
    scale: int = 0
    labels: tuple[str, ...] = ()
    charset: str = ""
    compressed: bool = False
    text: bool = False

    @property
    def declared(self) -> str:
        """As DDL would say it, without display width, character set and collation."""
        if self.base in LABELLED:
            quoted = ",".join("'" + label.replace("'", "''") + "'" for label in self.labels)
            return f"{self.base}({quoted})"
        if self.base in ("char", "varchar", "binary", "varbinary", "bit"):
            return f"{self.base}({self.length})"
        arguments = f"({self.precision},{self.scale})" if self.base == "decimal" else ""
        if self.base in _FRACTIONAL and self.scale:
            arguments = f"({self.scale})"
        return f"{self.base}{arguments}{' unsigned' if self.unsigned else ''}"

    @property
    def arrow(self) -> pa.DataType:
        """What both snapshot and stream deliver."""
        base = self.base
        if self.text:
            return pa.string()
        if base in _INTEGERS:
            return (_UNSIGNED if self.unsigned else _INTEGERS)[base]
        if base == "decimal":
            fits = self.precision <= _MAX_DECIMAL
            return pa.decimal128(self.precision, self.scale) if fits else pa.string()
        if base in BINARIES | {"vector", "geometry"} or (base == "bit" and self.length > _MAX_BITS):
            return pa.binary()
        return _FIXED.get(base, pa.string())


_FIXED = {
    "year": pa.int16(), "bit": pa.int64(), "float": pa.float32(), "double": pa.float64(),
    "date": pa.date32(), "datetime": pa.timestamp("us"), "timestamp": pa.timestamp("us", "UTC"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declared:
    """A row of information_schema.columns, as far as types go."""

    data_type: str
    column_type: str
    characters: int | None
    octets: int | None
    precision: int | None
    scale: int | None
    fraction: int | None
    charset: str | None


def from_declared(declared: Declared) -> MySQLType:
    """The type of a column of the information schema; NotUnderstood for those that have no Arrow form here."""
    base = declared.data_type.lower()
    base = "geometry" if base in _GEOMETRIES else base
    if base not in _KNOWN:
        raise NotUnderstood(f"type {declared.column_type} is not understood")
    kind = MySQLType(base, compressed=base not in LABELLED and "COMPRESSED" in declared.column_type)
    if base in NUMBERS:
        words = declared.column_type.lower().split()
        kind = replace(kind, unsigned="unsigned" in words or "zerofill" in words)
    if base == "decimal":
        kind = replace(kind, precision=declared.precision or 0, scale=declared.scale or 0)
    elif base == "bit":
        kind = replace(kind, length=declared.precision or 1)
    elif base in _FRACTIONAL:
        kind = replace(kind, scale=declared.fraction or 0)
    elif base in ("binary", "varbinary"):
        kind = replace(kind, length=declared.octets or 0)
    elif base in ("char", "varchar"):
        kind = replace(kind, length=declared.characters or 0)
    if base in LABELLED:
        kind = replace(kind, labels=labels_of(declared.column_type))
    if base in STRINGS | LABELLED:
        kind = replace(kind, charset=charset_name(declared.charset or ""))
    return kind


_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"''|\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "0": "\0"}


def labels_of(column_type: str) -> tuple[str, ...]:
    """The members in `enum('a','it''s')`, as the information schema writes them."""

    def plain(match: re.Match[str]) -> str:
        return "'" if match[1] is None else _ESCAPED.get(match[1], match[1])

    return tuple(_ESCAPE.sub(plain, label) for label in _LABEL.findall(column_type))


def charset_name(name: str) -> str:
    """`utf8` is what older servers call `utf8mb3`."""
    return "utf8mb3" if name == "utf8" else name


@dataclass(frozen=True, slots=True)
class Physical:
    """How a table map describes one column: the type's code and its metadata, both as plain numbers.

    Strings, enums and sets share code 254 on the wire; here the code is the real one and `meta` the length in bytes.
    For NEWDECIMAL `meta` is precision << 8 | scale, for BIT the number of bits.
    """

    code: int
    meta: int

    @property
    def understood(self) -> bool:
        """Whether values of this type can be decoded, and its metadata is within the type's limits."""
        if self.code == NEWDECIMAL:
            return 1 <= self.meta >> 8 <= _MOST_DIGITS and self.meta & 255 <= self.meta >> 8
        least, most = _METADATA.get(self.code, (1, 0))
        return least <= self.meta <= most

    @property
    def width(self) -> int:
        """Bytes of a value in a row image, or 0 when it says its own length."""
        if self.code in _FIXED_WIDTHS:
            return _FIXED_WIDTHS[self.code]
        if self.code in _TEMPORAL_WIDTHS:
            return _TEMPORAL_WIDTHS[self.code] + (self.meta + 1) // 2
        if self.code == NEWDECIMAL:
            return decimal_width(self.meta >> 8, self.meta & 255)
        if self.code == BIT:
            return (self.meta + 7) // 8
        return self.meta if self.code in (ENUM, SET) else 0

    @property
    def prefix(self) -> int:
        """Bytes of the length that precedes a value, or 0 for fixed widths."""
        if self.code in (VARCHAR, VARCHAR_COMPRESSED, VAR_STRING, STRING):
            return 1 if self.meta < 256 else 2
        return self.meta if self.code in _BLOB_LIKE else 0


_FIXED_WIDTHS = {TINY: 1, SHORT: 2, INT24: 3, LONG: 4, LONGLONG: 8, FLOAT: 4, DOUBLE: 8, DATE: 3, YEAR: 1}
_TEMPORAL_WIDTHS = {TIMESTAMP2: 4, DATETIME2: 5, TIME2: 3}
_BLOB_LIKE = {BLOB, BLOB_COMPRESSED, JSON, VECTOR, GEOMETRY}
_MOST_DIGITS = 65
_METADATA = {  # the least and the most that it can be
    **dict.fromkeys((TINY, SHORT, INT24, LONG, LONGLONG, DATE, YEAR), (0, 0)),
    FLOAT: (4, 4), DOUBLE: (8, 8), **dict.fromkeys((TIMESTAMP2, DATETIME2, TIME2), (0, 6)),
    BIT: (1, 64), ENUM: (1, 2), SET: (1, 8), **dict.fromkeys(_BLOB_LIKE, (1, 4)),
    **dict.fromkeys((VARCHAR, VARCHAR_COMPRESSED, VAR_STRING, STRING), (0, 65535)),
}  # fmt: skip

_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def decimal_width(precision: int, scale: int) -> int:
    """Bytes of a NEWDECIMAL: four for each nine digits on either side of the point, fewer for the rest."""
    return sum(digits // 9 * 4 + _DIGIT_BYTES[digits % 9] for digits in (precision - scale, scale))


_INTEGER_NAMES = {TINY: "tinyint", SHORT: "smallint", INT24: "mediumint", LONG: "int", LONGLONG: "bigint"}
_PLAIN_NAMES = {**_INTEGER_NAMES, FLOAT: "float", DOUBLE: "double", DATE: "date", YEAR: "year"}
_OTHER_NAMES = {JSON: "json", VECTOR: "vector", GEOMETRY: "geometry"}
_TEMPORAL_NAMES = {TIMESTAMP2: "timestamp", DATETIME2: "datetime", TIME2: "time"}


def from_physical(
    physical: Physical, *, unsigned: bool, charset: str, character_bytes: int, labels: tuple[str, ...]
) -> MySQLType:
    """The type that a table map's column has, given what the map's optional metadata (or else the catalogue) says.

    `charset` is `binary` for byte strings, `character_bytes` the most bytes that one of its characters takes.
    """
    code, meta = physical.code, physical.meta
    if code in _PLAIN_NAMES:
        base = _PLAIN_NAMES[code]
        return MySQLType(base, unsigned=unsigned and base in NUMBERS)
    if code in _TEMPORAL_NAMES:
        return MySQLType(_TEMPORAL_NAMES[code], scale=meta)
    if code == NEWDECIMAL:
        return MySQLType("decimal", unsigned=unsigned, precision=meta >> 8, scale=meta & 255)
    if code == BIT:
        return MySQLType("bit", length=meta)
    if code in (ENUM, SET):
        return MySQLType("enum" if code == ENUM else "set", labels=labels, charset=charset)
    if code in _OTHER_NAMES:
        return MySQLType(_OTHER_NAMES[code])
    binary = charset == "binary"
    charset = "" if binary else charset
    if code in (BLOB, BLOB_COMPRESSED):
        return MySQLType((_BLOBS if binary else _TEXTS)[meta - 1], charset=charset, compressed=code == BLOB_COMPRESSED)
    if code == VARCHAR_COMPRESSED:  # one byte more says how it is compressed
        base = "varbinary" if binary else "varchar"
        return MySQLType(base, length=(meta - 1) // character_bytes, charset=charset, compressed=True)
    if code in (VARCHAR, VAR_STRING, STRING):
        base = ("binary" if binary else "char") if code == STRING else ("varbinary" if binary else "varchar")
        return MySQLType(base, length=meta // character_bytes, charset=charset)
    raise NotUnderstood(f"binlog column type {code} is not understood")
