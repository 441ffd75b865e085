"""Digests computed by Postgres: the canonical text of model/canonical.py in SQL, hashed and summed by range.

    select bucket, count(*), sum(word 1), sum(word 2)
    from (select bucket, sha256(cells with commas between)
          from (select cells and key from the table))  group by bucket

One scan serves all ranges that are neighbours: `width_bucket` finds a key's range by binary search. Each cell that is
used twice (a text and its length) is made once, in the innermost SELECT, which OFFSET 0 keeps apart.

Every type has its form in SQL: Arrow strings are the text that a snapshot selects, floats, dates and timestamps
their binary form in hexadecimal. `textsend` gives bytes in the session's encoding, UTF-8, whatever the database's is.
What Arrow cannot hold (an infinite date, NaN in a numeric(p, s)) has a text that no value of the lake has. Layer:
sources; pure.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cdc_platform.model.key_range import KeyRange
from cdc_platform.sources.postgres.catalogue import CatalogueTable
from cdc_platform.sources.postgres.connection import identifier
from cdc_platform.sources.postgres.locks import own_rows
from cdc_platform.sources.postgres.ranges import bound, where
from cdc_platform.sources.postgres.types import PgType

_MOST_ARGUMENTS = 99  # of a function: FUNC_MAX_ARGS is 100

_SENT = {1082: "date", 1114: "timestamp", 1184: "timestamptz"}
"""Types whose canonical text is their binary form in hexadecimal."""

_FLOATS = {700: ("float4", "7fc00000"), 701: ("float8", "7ff8000000000000")}
"""The same, with the one form of all NaNs."""

_BYTEA = 17
_PADDED = 1042  # char(n), which loses its blanks on the way to any text function
_WORD = "('x' || pg_catalog.encode(pg_catalog.substr(h, {0}, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8"
_WORD_18 = "pg_catalog.substr(h, {0}, 8)::pg_catalog.int8"  # bytes become numbers since Postgres 18, in less time


def statement(
    shape: CatalogueTable, columns: Sequence[str], ranges: Sequence[KeyRange], whole: KeyRange, version: int
) -> str:
    """Select (bucket, rows, first, second) of these neighbouring ranges, which together are `whole`; sums are text.

    Buckets count from 0; one without rows is missing. `version` is the server's, 180000 and the like.
    """
    cells = {f"c{number}": (_cell(shape.types[name], name), name) for number, name in enumerate(columns)}
    inner = "".join(f"{made} as {cell}, " for cell, (made, _) in cells.items())
    arguments: list[str] = []
    for cell, (_, name) in cells.items():
        text = pa.types.is_string(shape.schema.column(name).type)
        arguments += ["','"] if arguments else []
        arguments += [f"pg_catalog.octet_length(pg_catalog.textsend({cell}))", "':'", cell] if text else [cell]
    word = _WORD_18 if version >= 180000 else _WORD
    sums = ", ".join(f"pg_catalog.sum({word.format(place)})::text" for place in (1, 9))
    source = f"{own_rows(shape)}{where(shape, whole)}"
    return (
        f"select bucket, pg_catalog.count(*), {sums} from"
        f" (select bucket, pg_catalog.sha256(pg_catalog.textsend({_concatenated(arguments)})) as h from"
        f" (select {inner}{_bucket(shape, ranges)} as bucket from {source} offset 0) as rows offset 0) as hashes"
        " group by bucket"
    )


def _cell(kind: PgType, name: str) -> str:
    """What is canonical as it stands or, of a string, after its length and a colon."""
    made = kind.select(name)
    if kind.as_text:
        return made
    if kind.base in _FLOATS:
        base, nan = _FLOATS[kind.base]
        sent = f"pg_catalog.encode(pg_catalog.{base}send({made}), 'hex')"
        return f"case when {made} = 'NaN' then '{nan}' else {sent} end"
    if kind.base in _SENT:
        return f"pg_catalog.encode(pg_catalog.{_SENT[kind.base]}_send({made}), 'hex')"
    if kind.base == _PADDED:
        return f"pg_catalog.textin({kind.output}({made}))"
    return f"('x' || pg_catalog.encode({made}, 'hex'))" if kind.base == _BYTEA else made


def _concatenated(arguments: list[str]) -> str:
    """Texts of any number in one, nulls as nothing."""
    while len(arguments) > _MOST_ARGUMENTS:
        parts = [arguments[start : start + _MOST_ARGUMENTS] for start in range(0, len(arguments), _MOST_ARGUMENTS)]
        arguments = [_concatenated(part) for part in parts]
    return f"pg_catalog.concat({', '.join(arguments)})"


def _bucket(shape: CatalogueTable, ranges: Sequence[KeyRange]) -> str:
    """The number of a row's range among neighbours, given that it is in one of them."""
    if len(ranges) == 1:
        return "0"
    column = shape.schema.column(ranges[0].columns[0])
    lows = ", ".join(bound(shape, column, one.low[0]) for one in ranges[1:] if one.low)
    return f"pg_catalog.width_bucket({identifier(column.name)}::{shape.types[column.name].base_name}, array[{lows}])"
