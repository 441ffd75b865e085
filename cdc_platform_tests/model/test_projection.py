from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from cdc_platform.errors import ConfigError, InvalidRow
from cdc_platform.model.collapse import history
from cdc_platform.model.event import events
from cdc_platform.model.evolution import carried
from cdc_platform.model.projection import ColumnRule, Format, Order, Projection, first_target, rules_by_id
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform_tests.model.changes import ORIGIN, SCHEMA, batch

WIDE = TableSchema(
    TableName("public", "wide"),
    tuple(
        Column(name, kind, nullable=True, source_type=str(kind))
        for name, kind in {
            "tiny": pa.int8(),
            "small": pa.int16(),
            "normal": pa.int32(),
            "big": pa.int64(),
            "amount": pa.decimal128(12, 2),
            "local": pa.timestamp("us"),
            "instant": pa.timestamp("us", "UTC"),
            "day": pa.date32(),
            "flag": pa.bool_(),
            "raw": pa.binary(),
            "words": pa.string(),
        }.items()
    ),
    ("normal",),
)


def projection(
    table: TableSchema, rules: dict[str, ColumnRule], destination: Format, order: Order, key: tuple[str, ...]
) -> Projection:
    """That of a destination that was made with the table as it is."""
    table = carried(None, table)
    target = first_target(table, rules_by_id(rules, [table]), destination, order, key)
    return Projection(target, order, table)


def types(destination: Format) -> dict[str, pa.DataType]:
    return {f.name: f.type for f in projection(WIDE, {}, destination, "lsn", ("normal",)).target.fields}


def test_default_types_of_delta() -> None:
    found = types("deltalake")
    assert found["tiny"] == pa.int8()
    assert found["local"] == found["instant"] == found["_cdc_timestamp"] == pa.timestamp("us", "UTC")
    assert found["amount"] == pa.decimal128(12, 2)


def test_default_types_of_iceberg() -> None:
    found = types("iceberg")
    assert found["tiny"] == found["small"] == pa.int32()
    assert found["local"] == found["_cdc_timestamp"] == pa.timestamp("us")
    assert found["instant"] == pa.timestamp("us", "UTC")


def test_the_cdc_columns_follow_the_source() -> None:
    mysql = projection(WIDE, {}, "iceberg", "binlog", ()).target.fields[-4:]
    assert [(f.name, f.type, f.required) for f in mysql] == [
        ("_cdc_operation", pa.string(), True),
        ("_cdc_timestamp", pa.timestamp("us"), True),
        ("_cdc_binlog_file", pa.string(), False),
        ("_cdc_binlog_position", pa.int64(), False),
    ]
    postgres = projection(WIDE, {}, "deltalake", "lsn", ()).target.fields[-3:]
    assert [f.name for f in postgres] == ["_cdc_operation", "_cdc_timestamp", "_cdc_source_lsn"]


def test_rows_are_renamed_cast_and_dropped() -> None:
    plan = projection(SCHEMA, {"id": ColumnRule(rename="key", cast="long")}, "deltalake", "lsn", ("id",))
    changes = batch((8, 0, None, {"id": 1, "name": "a"}), (8, 1, {"id": 1, "name": "a"}, None))
    rows = plan.rows(history(events(changes, ORIGIN, 1, datetime.now(UTC), snapshot=False)))
    assert plan.target.key == ("key",)
    assert plan.source_of("key") == "id"
    assert rows.select("key", "name", "_cdc_operation", "_cdc_source_lsn").rows() == [
        (1, "a", "INSERT", "00000000/00000008"),
        (1, "a", "DELETE", "00000000/00000009"),
    ]
    dropped = projection(SCHEMA, {"name": ColumnRule(drop=True)}, "deltalake", "lsn", ("id",))
    assert [f.name for f in dropped.target.fields][:2] == ["id", "_cdc_operation"]


def project(kind: pa.DataType, value: object, rule: ColumnRule) -> list[object]:
    schema = TableSchema(
        TableName("public", "one"),
        (
            Column("id", pa.int32(), nullable=False, source_type="integer"),
            Column("v", kind, nullable=True, source_type="x"),
        ),
        ("id",),
    )
    plan = projection(schema, {"v": rule}, "iceberg", "lsn", ("id",))
    changes = batch((8, 0, None, {"id": 1, "v": value}), schema=schema)
    return plan.rows(history(events(changes, ORIGIN, 1, datetime.now(UTC), snapshot=False)))["v"].to_list()


def test_casts_keep_values() -> None:
    assert project(pa.int8(), 1, ColumnRule(cast="bool")) == [True]
    assert project(pa.int8(), None, ColumnRule(cast="bool")) == [None]
    assert project(pa.int64(), 2**31 - 1, ColumnRule(cast="int")) == [2**31 - 1]
    assert project(pa.decimal128(12, 2), Decimal("1.50"), ColumnRule(cast="string")) == ["1.50"]


@pytest.mark.parametrize(
    ("kind", "value", "rule"),
    [
        (pa.int8(), 2, ColumnRule(cast="bool")),
        (pa.int64(), 2**31, ColumnRule(cast="int")),
        (pa.string(), "x", ColumnRule(cast="long")),
        (pa.string(), None, ColumnRule(required=True)),
    ],
)
def test_a_value_that_does_not_fit_stops_and_is_not_shown(kind: pa.DataType, value: object, rule: ColumnRule) -> None:
    with pytest.raises(InvalidRow, match=r"column 'v'.*00000000/00000008") as caught:
        project(kind, value, rule)
    assert str(2**31) not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "cast"), [(pa.float64(), "long"), (pa.decimal128(12, 2), "double"), (pa.string(), "bool")]
)
def test_a_lossy_cast_is_refused_whatever_the_values(kind: pa.DataType, cast: str) -> None:
    with pytest.raises(ConfigError, match="cast"):
        project(kind, None, ColumnRule(cast=cast))


def test_rules_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="no such column"):
        projection(SCHEMA, {"nam": ColumnRule()}, "deltalake", "lsn", ("id",))
    with pytest.raises(ConfigError, match="primary key"):
        projection(SCHEMA, {"id": ColumnRule(drop=True)}, "deltalake", "lsn", ("id",))
    with pytest.raises(ConfigError, match="two columns"):
        projection(SCHEMA, {"id": ColumnRule(rename="name")}, "deltalake", "lsn", ("id",))
