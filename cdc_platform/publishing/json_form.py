"""Events as JSON, the same documents as `cdc events` prints: cells that JSON cannot hold are text, nothing is rounded.

    decimals   "12.50"                 times      "2026-01-31T10:00:00.000000Z"
    bytes      base64                  nan, inf   "nan", "inf", "-inf"

Polars writes whole columns. It has null for a number that JSON lacks: rows that hold one are put together from the JSON
of their columns, with the word in its place. Layer: publishing; pure.
"""

from __future__ import annotations

from typing import cast

import polars as pl

from cdc_platform.model.event import BOOKKEEPING
from cdc_platform.model.time_text import as_text
from cdc_platform.publishing.form import Messages, as_bytes, key_rows, primary_key

_IMAGES = ("before", "after")


class JsonForm:
    """Stateless."""

    def encode(self, events: pl.DataFrame) -> Messages:
        key = primary_key(events)
        told = documents(events)
        keys = as_bytes(_json(jsonable(key_rows(events, key).to_frame(), "key")["key"])) if key else [None] * len(told)
        ids = cast("list[bytes]", as_bytes(events["event_id"]))
        return Messages(keys, cast("list[bytes]", as_bytes(told)), ids)


def documents(events: pl.DataFrame) -> pl.Series:
    """Each event as the text of one JSON object."""
    shown = jsonable(events.drop(BOOKKEEPING, strict=False), *_IMAGES, "timestamp")
    endless = shown.select(pl.any_horizontal(pl.lit(value=False), *(_endless(shown, name) for name in _IMAGES)))
    mask = endless.to_series()
    if mask.len() != shown.height:  # no column of floats: one literal
        mask = pl.Series([False]).new_from_index(0, shown.height)
    if not mask.any():
        return _json(_whole(shown))
    numbered = shown.with_row_index("_number").with_columns(mask.alias("_endless"))
    plain, odd = numbered.filter(~pl.col("_endless")), numbered.filter("_endless")
    parts = [
        pl.DataFrame([part["_number"], texts.alias("text")])
        for part, texts in (
            (p, f(p.drop("_number", "_endless"))) for p, f in ((plain, _plain), (odd, _pieced)) if len(p)
        )
    ]
    return pl.concat(parts).sort("_number")["text"]


def jsonable(frame: pl.DataFrame, *structs: str) -> pl.DataFrame:
    """The frame with the cells of these structs in types that have JSON of their own; floats stay what they are."""
    changed = []
    for name in structs:
        dtype = frame.schema[name]
        assert isinstance(dtype, pl.Struct)
        cells = [cell for field in dtype.fields if (cell := _cell(field.name, field.dtype)) is not None]
        changed += [pl.col(name).struct.with_fields(*cells)] if cells else []
    return frame.with_columns(changed)


def _cell(name: str, dtype: object) -> pl.Expr | None:
    """A struct's field in another type; None where it stays as it is."""
    if isinstance(dtype, pl.Decimal):
        return pl.field(name).cast(pl.String)
    if dtype == pl.Binary:
        return pl.field(name).bin.encode("base64")
    if dtype == pl.Float32:  # the same number as `cdc events` shows, which are Python's
        return pl.field(name).cast(pl.Float64)
    return as_text(name, dtype)


def _whole(frame: pl.DataFrame) -> pl.Series:
    return frame.select(pl.struct(pl.all()).alias("event")).to_series()


def _json(structs: pl.Series) -> pl.Series:
    return structs.struct.json_encode()


def _plain(frame: pl.DataFrame) -> pl.Series:
    return _json(_whole(frame))


def _floats(frame: pl.DataFrame, image: str) -> list[str]:
    dtype = frame.schema[image]
    assert isinstance(dtype, pl.Struct)
    return [field.name for field in dtype.fields if field.dtype == pl.Float64]


def _endless(frame: pl.DataFrame, image: str) -> pl.Expr:
    """Whether an image has a float that is no number of JSON's."""
    cells = [~pl.col(image).struct.field(name).is_finite() for name in _floats(frame, image)]
    return pl.any_horizontal(*cells).fill_null(value=False) if cells else pl.lit(value=False)


def _pieced(frame: pl.DataFrame) -> pl.Series:
    """The same with words for floats that are no numbers of JSON's."""
    rest = pl.struct(pl.all().exclude(*_IMAGES)).struct.json_encode().str.strip_suffix("}")
    images = [part for name in _IMAGES for part in (pl.lit(f',"{name}":'), _pieced_image(frame, name))]
    return frame.select(pl.concat_str(rest, *images, pl.lit("}")).alias("event")).to_series()


def _pieced_image(frame: pl.DataFrame, image: str) -> pl.Expr:
    dtype = frame.schema[image]
    assert isinstance(dtype, pl.Struct)
    floats, pieces = set(_floats(frame, image)), []
    for field in dtype.fields:
        cell = pl.col(image).struct.field(field.name)
        # One field's object without its braces: "name":value
        piece = pl.struct(cell).struct.json_encode().str.slice(1).str.strip_suffix("}")
        if field.name in floats:
            word = (
                pl.when(cell.is_nan())
                .then(pl.lit('"nan"'))
                .when(cell > 0)
                .then(pl.lit('"inf"'))
                .otherwise(pl.lit('"-inf"'))
            )
            piece = (
                pl.when(cell.is_finite() | cell.is_null())
                .then(piece)
                .otherwise(pl.concat_str(piece.str.strip_suffix("null"), word))
            )
        pieces.append(piece)
    whole = pl.concat_str(pl.lit("{"), pl.concat_str(pieces, separator=","), pl.lit("}"))
    return pl.when(pl.col(image).is_null()).then(pl.lit("null")).otherwise(whole)
