"""MySQL's binary JSON, as row images hold it, becomes the text that the server itself prints.

    document     type, value
    object       count, size, (place, length) of each key, (type, place or small value) of each member, keys, values
    array        count, size, (type, place or small value) of each element, values

Numbers inside objects and arrays are two bytes in the small forms and four in the large ones; places count from the
container's begin. Members are printed in the order in which they are stored (shorter keys first).
Format: https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html. A document is a tree: it is walked,
not laid out in columns. MariaDB's JSON is text and does not come here. Pure.
"""

from __future__ import annotations

import json
import math
import struct
from base64 import b64encode
from collections.abc import Callable

import polars as pl

from cdc_platform.sources.cells import BadCell, Cells

_SMALL_OBJECT, _LARGE_OBJECT, _SMALL_ARRAY, _LARGE_ARRAY = 0, 1, 2, 3
_LITERAL, _INT16, _UINT16, _INT32, _UINT32, _INT64, _UINT64 = 4, 5, 6, 7, 8, 9, 10
_DOUBLE, _STRING, _OPAQUE = 11, 12, 15
_LITERALS = ("null", "true", "false")
_NUMBERS = {
    _INT16: struct.Struct("<h"), _UINT16: struct.Struct("<H"), _INT32: struct.Struct("<i"),
    _UINT32: struct.Struct("<I"), _INT64: struct.Struct("<q"), _UINT64: struct.Struct("<Q"),
}  # fmt: skip
_INLINE = {False: (_LITERAL, _INT16, _UINT16), True: (_LITERAL, _INT16, _UINT16, _INT32, _UINT32)}
_SIGNS = {_INT16: 1 << 15, _INT32: 1 << 31}
_SMALL = struct.Struct("<HH"), struct.Struct("<HH"), struct.Struct("<BH")  # count and size, key, member
_LARGE = struct.Struct("<II"), struct.Struct("<IH"), struct.Struct("<BI")
_DEEPEST = 100  # the server's own limit

# Type codes of opaque values (include/field_types.h).
_DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP, _VAR_STRING = 246, 10, 11, 12, 7, 253
_LINE = 76  # characters of base64 in a line

_quoted = json.JSONEncoder(ensure_ascii=False).encode


class BadDocument(ValueError):
    """Bytes that are no binary JSON document; `offset` is where."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"{reason} at byte {offset}")
        self.offset = offset
        self.reason = reason


def json_column(cells: Cells) -> pl.Series:
    """The documents as text; raises BadCell."""
    texts: list[str | None] = []
    known: dict[bytes, str] = {}  # an update has most documents twice
    for row, (start, length) in enumerate(zip(cells.starts.tolist(), cells.lengths.tolist(), strict=True)):
        if not cells.valid[row]:
            texts.append(None)
            continue
        document = cells.buffer[start : start + length].tobytes()
        try:
            texts.append(known.get(document) or known.setdefault(document, document_text(document)))
        except BadDocument as error:
            raise BadCell(row, f"is no JSON document ({error})") from error
    return pl.Series(texts, dtype=pl.String)


def document_text(data: bytes) -> str:
    """The text of one document; raises BadDocument. No bytes at all are what the server stores for an empty value."""
    if not data:
        return "null"
    return _Document(data).value(data[0], 1, 0)


class _Document:
    """A cursor would not do: values are found by their places."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.containers = 0

    def value(self, kind: int, place: int, depth: int) -> str:
        """The text of the value of type `kind` whose bytes begin at `place`."""
        if kind <= _LARGE_ARRAY:
            return self._container(kind, place, depth + 1)
        if kind == _LITERAL:
            return self._literal(self._bytes(place, 1)[0], place)
        if kind in _NUMBERS:
            number = _NUMBERS[kind]
            return str(number.unpack(self._bytes(place, number.size))[0])
        if kind == _DOUBLE:
            return double_text(struct.unpack("<d", self._bytes(place, 8))[0])
        if kind == _STRING:
            return self._string(*self._sized(place))
        if kind == _OPAQUE:
            return self._opaque(place)
        raise BadDocument(place - 1, f"unknown type {kind}")

    def _container(self, kind: int, base: int, depth: int) -> str:
        self.containers += 1
        if depth > _DEEPEST or self.containers > len(self.data):
            raise BadDocument(base, "a container inside itself, or too deep")
        large, is_object = kind in (_LARGE_OBJECT, _LARGE_ARRAY), kind in (_SMALL_OBJECT, _LARGE_OBJECT)
        head, key, member = _LARGE if large else _SMALL
        count, size = head.unpack(self._bytes(base, head.size))
        first = base + head.size + count * key.size * is_object
        stop = first + count * member.size
        if stop > base + size or base + size > len(self.data):
            raise BadDocument(base, "a container that ends before its members")
        inline = _INLINE[large]
        values = [
            self._inline(kind, number, base) if kind in inline else self.value(kind, base + number, depth)
            for kind, number in member.iter_unpack(self.data[first:stop])
        ]
        if not is_object:
            return f"[{', '.join(values)}]"
        keys = key.iter_unpack(self.data[base + head.size : first])
        named = [
            f"{self._string(base + place, length)}: {value}"
            for (place, length), value in zip(keys, values, strict=True)
        ]
        return f"{{{', '.join(named)}}}"

    def _inline(self, kind: int, number: int, place: int) -> str:
        """A value that stands where others have their place."""
        if kind == _LITERAL:
            return self._literal(number, place)
        if kind in (_INT16, _UINT16):
            number &= 0xFFFF
        sign = _SIGNS.get(kind, 0)
        return str((number ^ sign) - sign)

    def _literal(self, number: int, place: int) -> str:
        if number >= len(_LITERALS):
            raise BadDocument(place, "an unknown literal")
        return _LITERALS[number]

    def _string(self, place: int, length: int) -> str:
        try:
            return _quoted(self._bytes(place, length).decode())
        except UnicodeDecodeError as error:
            raise BadDocument(place + error.start, "a string that is no UTF-8") from error

    def _opaque(self, place: int) -> str:
        """Type code, length, bytes: values that JSON has no type for."""
        kind = self._bytes(place, 1)[0]
        begin, length = self._sized(place + 1)
        if kind == _VAR_STRING:
            return self._string(begin, length)
        data = self._bytes(begin, length)
        if kind == _DECIMAL:
            return _decimal(data, begin)
        if kind in _MOMENTS:
            if length != 8:
                raise BadDocument(begin, "a moment that is not eight bytes long")
            return f'"{_MOMENTS[kind](int.from_bytes(data, "little", signed=True))}"'
        encoded = b64encode(data).decode()
        lines = [encoded[first : first + _LINE] for first in range(0, len(encoded), _LINE)]
        return _quoted(f"base64:type{kind}:" + "\n".join(lines))

    def _sized(self, place: int) -> tuple[int, int]:
        """A length in groups of seven bits, lowest first, of which all but the last have the eighth bit set.
        -> where what it measures begins, the length
        """
        length = 0
        for index in range(5):
            byte = self._bytes(place + index, 1)[0]
            length |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return place + index + 1, length
        raise BadDocument(place, "a length of more than five bytes")

    def _bytes(self, place: int, count: int) -> bytes:
        if place + count > len(self.data):
            raise BadDocument(place, "the document is cut off")
        return self.data[place : place + count]


def double_text(number: float) -> str:
    """The shortest digits that are this number: plain from 1e-15 to 1e15, and beyond as long as they need no zeros
    before the point; else with an exponent without sign or zeros. A whole number keeps `.0`.
    """
    digits, point = _digits(repr(abs(number)))
    sign = "-" if math.copysign(1, number) < 0 else ""
    if point < -_PLAIN + 1 or (point > _PLAIN and len(digits) <= point):
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{point - 1}"
    if point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if len(digits) <= point:
        return f"{sign}{digits}{'0' * (point - len(digits))}.0"
    return f"{sign}{digits[:point]}.{digits[point:]}"


_PLAIN = 15


def _digits(shortest: str) -> tuple[str, int]:
    """Python's shortest digits of a positive number as (significant digits, place of the point before them)."""
    mantissa, _, exponent = shortest.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    significant = digits.lstrip("0")
    point = len(whole) - (len(digits) - len(significant)) + int(exponent or 0)
    return (significant.rstrip("0"), point) if significant else ("0", 1)


_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)


def _decimal(data: bytes, place: int) -> str:
    """Precision, scale, then a NEWDECIMAL (see `decimals.py`)."""
    if len(data) < 3 or not data[1] <= data[0]:
        raise BadDocument(place, "a decimal without precision")
    precision, scale = data[0], data[1]
    whole = precision - scale
    counts = [whole % 9, *[9] * (whole // 9), *[9] * (scale // 9), scale % 9]
    negative = data[2] < 0x80
    body = bytes([data[2] ^ 0x80]) + data[3:]
    if negative:
        body = bytes(byte ^ 0xFF for byte in body)
    if len(body) != sum(_DIGIT_BYTES[count] for count in counts):
        raise BadDocument(place, "a decimal of another length than its precision")
    digits, at = "", 0
    for count in filter(None, counts):
        group = int.from_bytes(body[at : at + _DIGIT_BYTES[count]], "big")
        if group >= 10**count:
            raise BadDocument(place + 2 + at, "a decimal with a bad group of digits")
        digits += f"{group:0{count}d}"
        at += _DIGIT_BYTES[count]
    text = (digits[:whole].lstrip("0") or "0") + (f".{digits[whole:]}" if scale else "")
    return f"-{text}" if negative else text


def _clock(packed: int) -> str:
    time = packed >> 24
    return f"{time >> 12 & 1023:02d}:{time >> 6 & 63:02d}:{time & 63:02d}.{packed & 0xFFFFFF:06d}"


def _date_text(packed: int) -> str:
    days = packed >> 41
    return f"{(days >> 5) // 13:04d}-{(days >> 5) % 13:02d}-{days & 31:02d}"


def _datetime_text(packed: int) -> str:
    return f"{_date_text(packed)} {_clock(packed & ((1 << 41) - 1))}"


def _time_text(packed: int) -> str:
    return f"-{_clock(-packed)}" if packed < 0 else _clock(packed)


_MOMENTS: dict[int, Callable[[int], str]] = {
    _DATE: _date_text, _DATETIME: _datetime_text, _TIMESTAMP: _datetime_text, _TIME: _time_text,
}  # fmt: skip
