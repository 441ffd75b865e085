"""The type table: how a column's cells arrive from Debezium, and what they become. Pure. Layer: sources.

| Connect type, logical type                              | Arrow                                    |
|---------------------------------------------------------|------------------------------------------|
| boolean, int8 to int64, float, double, string           | the same                                 |
| bytes (binary.handling.mode = bytes)                    | binary                                   |
| Decimal with a precision of at most 38                  | decimal128(p, s)                         |
| Decimal of MySQL with scale 0, without a precision      | decimal128(20, 0): bigint unsigned       |
| other Decimals, VariableScaleDecimal                    | string, all digits                       |
| Date (days)                                             | date32                                   |
| Timestamp, MicroTimestamp, NanoTimestamp, IsoTimestamp  | timestamp[us]                            |
| ZonedTimestamp                                          | timestamp[us, UTC]                       |
| Time, MicroTime, NanoTime, IsoTime                      | string, `HH:MM:SS` and what follows      |
| Year                                                    | int16                                    |
| Bits                                                    | MySQL: int64 up to 63 bits; else binary  |
| Geometry, Point of MySQL                                | binary: SRID, then WKB                   |
| array of booleans, whole numbers, strings               | string, as Postgres writes arrays        |
| other structs                                           | string: JSON                             |
| Enum, EnumSet, Uuid, Json, Xml, Ltree, ZonedTime, ...   | string                                   |

What Debezium itself makes less of is not undone: an interval in microseconds is a whole number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import polars as pl
import pyarrow as pa

from cdc_platform.errors import NotUnderstood
from cdc_platform.model.event import System
from cdc_platform.model.schema import Column
from cdc_platform.sources.cells import polars_type
from cdc_platform.sources.debezium import cells
from cdc_platform.sources.debezium.connect import Field

UNAVAILABLE: Final = "__debezium_unavailable_value"
"""What Debezium writes for a TOAST value that did not change (unavailable.value.placeholder)."""

Reader = Callable[[pl.Series], pl.Series]
_MAX_DIGITS: Final = 38
_PLAIN: Final = {
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "boolean": pa.bool_(), "string": pa.string(), "bytes": pa.binary(),
}  # fmt: skip
_CONNECT, _TIME, _DATA = "org.apache.kafka.connect.data.", "io.debezium.time.", "io.debezium.data."


@dataclass(frozen=True, slots=True)
class Reading:
    """How a field becomes a column. `read` raises BadCell."""

    field: Field
    column: Column
    read: Reader

    @property
    def wire(self) -> pa.DataType:
        """The Arrow type in which JSON's cells are taken first."""
        return wire_type(self.field)


def wire_type(field: Field) -> pa.DataType:
    """What the field is in JSON: bytes are base64."""
    if field.type == "struct":
        return pa.struct([pa.field(inner.name, wire_type(inner)) for inner in field.fields])
    if field.type == "array":
        assert field.items is not None
        return pa.list_(wire_type(field.items))
    if field.type == "map":
        raise NotUnderstood(f"column '{field.name}' arrives as a map; set hstore.handling.mode = json at the connector")
    return pa.string() if field.type == "bytes" else _PLAIN[field.type]


def reading(field: Field, system: System) -> Reading:
    """The column that a field of a row is."""
    arrow, read = _reader(field, system)
    return Reading(field, Column(field.name, arrow, field.optional, _declared(field)), read)


def _declared(field: Field) -> str:
    """The type in words: the source's own where the connector hands it on (column.propagate.source.type)."""
    if (own := field.parameter("__debezium.source.column.type")) is not None:
        sizes = [field.parameter(f"__debezium.source.column.{name}") for name in ("length", "scale")]
        inside = ",".join(size for size in sizes if size is not None)
        return f"{own.lower()}({inside})" if inside else own.lower()
    if field.logical == f"{_CONNECT}Decimal":
        sizes = [field.parameter("connect.decimal.precision"), field.parameter("scale")]
        return f"decimal({','.join(size for size in sizes if size is not None)})"
    return field.logical.rpartition(".")[2] or field.type


def _reader(field: Field, system: System) -> tuple[pa.DataType, Reader]:
    logical = field.logical
    if logical == f"{_CONNECT}Decimal":
        return _decimal(field, system)
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    if logical == f"{_DATA}Bits":
        bits = int(field.parameter("length") or 0)
        return (pa.int64(), cells.bits) if system == "mysql" and 0 < bits <= 63 else (pa.binary(), _bits(bits, system))
    if field.type == "array":
        assert field.items is not None
        if field.items.type in ("float", "double", "bytes", "struct", "array", "map") or field.items.logical:
            raise NotUnderstood(
                f"column '{field.name}' is an array of {field.items.logical or field.items.type}, which is not read; "
                "leave it out by column.exclude.list at the connector"
            )
        return pa.string(), cells.array_text
    if field.type == "struct":
        spatial = logical.startswith(f"{_DATA}geometry.") and system == "mysql"
        return (pa.binary(), cells.geometry) if spatial else (pa.string(), cells.struct_text)
    if field.type == "map":
        wire_type(field)
    if field.type == "bytes":
        return pa.binary(), cells.raw
    return _PLAIN[field.type], lambda series: series.cast(polars_type(_PLAIN[field.type]))


def _bits(length: int, system: System) -> Reader:
    return cells.bits_highest_first if system == "mysql" and length == 64 else cells.raw


def _decimal(field: Field, system: System) -> tuple[pa.DataType, Reader]:
    scale, digits = int(field.parameter("scale") or 0), field.parameter("connect.decimal.precision")
    if digits is None and scale == 0 and system == "mysql":
        digits = "20"  # bigint unsigned, with bigint.unsigned.handling.mode = precise
    if digits is None or int(digits) > _MAX_DIGITS or not 0 <= scale <= int(digits):
        return pa.string(), lambda series: cells.decimal_text(series, scale)
    wanted = pa.decimal128(int(digits), scale)
    return wanted, lambda series: cells.decimal(series, wanted)


_NAIVE, _UTC = pa.timestamp("us"), pa.timestamp("us", "UTC")
_LOGICAL: Final[dict[str, tuple[pa.DataType, Reader]]] = {
    f"{_DATA}VariableScaleDecimal": (pa.string(), cells.variable_decimal),
    f"{_TIME}Date": (pa.date32(), cells.days),
    f"{_CONNECT}Date": (pa.date32(), cells.days),
    f"{_TIME}IsoDate": (pa.date32(), cells.iso_date),
    f"{_TIME}Timestamp": (_NAIVE, lambda series: cells.moments(series, 1000, 1)),
    f"{_CONNECT}Timestamp": (_NAIVE, lambda series: cells.moments(series, 1000, 1)),
    f"{_TIME}MicroTimestamp": (_NAIVE, lambda series: cells.moments(series, 1, 1)),
    f"{_TIME}NanoTimestamp": (_NAIVE, lambda series: cells.moments(series, 1, 1000)),
    f"{_TIME}IsoTimestamp": (_NAIVE, cells.iso_moments),
    f"{_TIME}ZonedTimestamp": (_UTC, cells.zoned_moments),
    f"{_TIME}Time": (pa.string(), lambda series: cells.clock(series, 1000)),
    f"{_CONNECT}Time": (pa.string(), lambda series: cells.clock(series, 1000)),
    f"{_TIME}MicroTime": (pa.string(), lambda series: cells.clock(series, 1)),
    f"{_TIME}NanoTime": (pa.string(), lambda series: cells.clock(series, 1, 1000)),
    f"{_TIME}IsoTime": (pa.string(), lambda series: series.str.strip_suffix("Z")),
    f"{_TIME}Year": (pa.int16(), lambda series: series.cast(pl.Int16)),
}
