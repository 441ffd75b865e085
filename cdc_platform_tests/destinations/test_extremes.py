"""The first and last values of each type, and the odd ones, come back from the tables as they went in, to every reader.

What a reader cannot give back does not come so far: see `LAST_MOMENT` in sources/cells.py, and the last tests here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from cdc_platform.errors import InvalidRow
from cdc_platform.model.projection import polars_type
from cdc_platform.model.target import PartitionField, TargetField, TargetSchema
from cdc_platform.sources.cells import LAST_MOMENT
from cdc_platform_tests.destinations.conftest import DeltaLake, IcebergLake, Lake, layout
from cdc_platform_tests.destinations.rows import at
from cdc_platform_tests.readers import duckdb_delta, duckdb_iceberg

_DAY = 86_400_000_000
_DAYS = {
    "4714-11-24 BC": -2_440_588,
    "0001-12-31 BC": -719_163,
    "0001-01-01": -719_162,
    "1582-10-10": -141_432,
    "9999-12-31": 2_932_896,
    "10000-01-01": 2_932_897,
    "5874897-12-31": 2_145_042_905,
}
_MOMENTS = [
    *(days * _DAY for days in list(_DAYS.values())[:-1]),
    -1,
    2_932_897 * _DAY - 1,
    LAST_MOMENT - 1,
    LAST_MOMENT,
]
_INFINITE = [float("inf"), float("-inf"), float("nan"), -0.0, 0.0]
VALUES: Mapping[str, tuple[pa.DataType, Sequence[Any]]] = {
    "day": (pa.date32(), list(_DAYS.values())),
    "seen": (pa.timestamp("us"), _MOMENTS),
    "updated": (pa.timestamp("us", "UTC"), _MOMENTS),
    "single": (pa.float32(), [*_INFINITE, 1.401298464324817e-45, 3.4028234663852886e38, 7.038531e-26]),
    "ratio": (pa.float64(), [*_INFINITE, 5e-324, 2.225073858507201e-308, 1.7976931348623157e308]),
    "amount": (pa.decimal128(38, 10), [Decimal(sign + "9" * 28 + "." + "9" * 10) for sign in ("", "-")]),
    "fraction": (pa.decimal128(38, 38), [Decimal(sign + "." + "9" * 38) for sign in ("", "-")]),
    "whole": (pa.decimal128(38, 0), [Decimal(sign + "9" * 38) for sign in ("", "-")]),
    "big": (pa.int64(), [-(2**63), 2**63 - 1]),
    "note": (pa.string(), ["", " ", "\U0010ffff", "infinity", "4714-11-24 BC", "x" * 100_000]),
    "blob": (pa.binary(), [b"", b"\0", b"\xff" * 100]),
}
_ROWS = max(len(values) for _, values in VALUES.values())
SCHEMA = TargetSchema(
    (
        TargetField("id", pa.int64(), required=True),
        *(TargetField(name, kind) for name, (kind, _) in VALUES.items()),
        TargetField("_cdc_operation", pa.string()),
    ),
    ("id",),
)


def frame(first_id: int) -> pl.DataFrame:
    """Each column's values from the top, nulls below them."""
    columns = [pl.Series("id", range(first_id, first_id + _ROWS), dtype=pl.Int64)]
    for name, (kind, values) in VALUES.items():
        dtype = polars_type(kind)
        physical = pl.Int32 if dtype == pl.Date else pl.Int64 if isinstance(dtype, pl.Datetime) else dtype
        cells = [*values, *[None] * (_ROWS - len(values))]
        columns.append(pl.Series(name, cells, dtype=physical).cast(dtype))
    return pl.DataFrame([*columns, pl.Series("_cdc_operation", ["INSERT"] * _ROWS)])


def bits(rows: pl.DataFrame) -> dict[str, list[Any]]:
    """The cells by id, with nothing in them that compares equal and is not the same."""
    exact = rows.sort("id").select(*VALUES)
    return {
        name: series.fill_null(7).to_numpy().view(f"i{4 if series.dtype == pl.Float32 else 8}").tolist()
        if series.dtype.is_float()
        else series.to_physical().to_list()
        for name, series in exact.to_dict().items()
    }


def test_the_first_and_the_last_values_come_back(lake: Lake) -> None:
    """Appended, and written anew by an upsert beside them."""
    destination = lake.open()
    destination.ensure(SCHEMA)
    destination.append(iter([frame(0)]), at(1))
    destination.upsert(frame(100), at(2))
    wanted = pl.concat([frame(0), frame(100)])
    assert bits(pl.concat(list(destination.scan()))) == bits(wanted)
    for reader, rows in lake.readers(["id", *VALUES]).items():
        assert bits(rows) == bits(wanted), reader


@pytest.mark.parametrize("column", ["day", "seen"])
def test_rows_before_christ_and_after_9999_are_found_by_their_dates(lake: Lake, column: str) -> None:
    """Statistics that lack such dates, or cut them, would hide the row from a reader that skips files by them."""
    kind, values = VALUES[column]
    destination = lake.open()
    destination.ensure(SCHEMA)
    for version, place in enumerate(range(len(values)), 1):
        destination.append(iter([frame(0)[place : place + 1]]), at(version))
    word = "date" if column == "day" else "timestamp"
    for condition in (f"{column} < {word} '0001-01-01'", f"{column} > {word} '9999-12-31'"):
        query = f"select id from it where {condition} order by id"
        found = _found(lake, query)
        bound = (-719_162 if "<" in condition else 2_932_896) * (1 if kind == pa.date32() else _DAY)
        wanted = [i for i, value in enumerate(values) if (value < bound if "<" in condition else value > bound)]
        assert found["id"].to_list() == wanted


def _found(lake: Lake, query: str) -> pl.DataFrame:
    if isinstance(lake, DeltaLake):
        return duckdb_delta(lake.path, query)
    assert isinstance(lake, IcebergLake)
    return duckdb_iceberg(lake.table().metadata_location, query)


@pytest.mark.parametrize("term", ["day(day)", "month(seen)", "year(updated)", "day"])
@pytest.mark.parametrize("which", ["4714-11-24 BC", "10000-01-01", "5874897-12-31"])
def test_no_partition_is_made_of_a_date_that_readers_would_misread(lake: Lake, term: str, which: str) -> None:
    days = min(_DAYS[which], LAST_MOMENT // _DAY)
    moments = pl.Series([days * _DAY])
    row = frame(0)[:1].with_columns(
        pl.Series("day", [_DAYS[which]], dtype=pl.Int32).cast(pl.Date),
        moments.cast(pl.Datetime("us")).alias("seen"),
        moments.cast(pl.Datetime("us", "UTC")).alias("updated"),
    )
    destination = lake.open(layout([term]))
    destination.ensure(SCHEMA)
    with pytest.raises(InvalidRow, match=f"a date in {PartitionField.parse(term).column} lies outside the years"):
        destination.append(iter([row]), at(1))
    assert not list(destination.scan())


def test_the_moment_after_the_last_one_is_infinity_to_duckdb(tmp_path: Path) -> None:
    """Why no source delivers it: what DuckDB reads there is another value."""
    lake = DeltaLake(tmp_path, {})
    destination = lake.open()
    schema = TargetSchema((TargetField("id", pa.int64(), True), TargetField("seen", pa.timestamp("us"))), ("id",))
    destination.ensure(schema)
    moments = pl.Series("seen", [LAST_MOMENT, LAST_MOMENT + 1]).cast(pl.Datetime("us"))
    destination.append(iter([pl.DataFrame([pl.Series("id", [1, 2]), moments])]), at(1))
    assert duckdb_delta(lake.path, "select isinf(seen) as it from it order by id")["it"].to_list() == [False, True]
