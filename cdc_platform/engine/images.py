"""Row images as JSON text, by columns: for people's eyes, where a table keeps rows of any shape.

As `cdc events` prints them: decimals, times and bytes (base64) are text, so nothing is rounded; a float column with
numbers that JSON does not have is text as well.
"""

from __future__ import annotations

import polars as pl


def as_json(images: pl.Series) -> pl.Series:
    """A struct series as JSON texts of the same length; null where there is no image."""
    assert isinstance(images.dtype, pl.Struct)
    cells = images.struct.unnest()
    readable = cells.select(_readable(cells[name]) for name in cells.columns)
    text = readable.to_struct("image").struct.json_encode()
    return pl.select(pl.when(images.is_not_null()).then(text).alias(images.name)).to_series()


def _readable(cells: pl.Series) -> pl.Series:
    kind = cells.dtype
    if isinstance(kind, pl.Datetime):
        return cells.dt.to_string("%Y-%m-%dT%H:%M:%S%.6f" + ("Z" if kind.time_zone else ""))
    if kind == pl.Date:
        return cells.dt.to_string("%Y-%m-%d")
    if kind == pl.Binary:
        return cells.bin.encode("base64")
    if kind.is_float() and not cells.is_finite().fill_null(True).all():
        return cells.cast(pl.String)
    return cells.cast(pl.String) if kind.is_decimal() or kind.is_temporal() else cells
