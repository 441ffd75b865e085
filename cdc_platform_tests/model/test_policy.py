"""What a change of the source's shape does to a destination, by policy: a table of cases, each read as a sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.errors import SchemaConflict
from cdc_platform.model.evolution import Kind, Policy
from cdc_platform.model.policy import Shaping, described, effects, reshaped
from cdc_platform.model.projection import ColumnRule, cdc_fields, first_target, rules_by_id
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.model.target import TargetField, TargetSchema

ID = Column("id", pa.int64(), False, "bigint", 1)
NAME = Column("name", pa.string(), False, "text", 2)
PRICE = Column("price", pa.decimal128(10, 2), True, "numeric(10,2)", 3)
COUNT = Column("count", pa.int32(), True, "integer", 4)
NOTE = Column("note", pa.string(), True, "text", 5)
BEFORE = TableSchema(TableName("public", "things"), (ID, NAME, PRICE, COUNT), ("id",))
APPEND: dict[Kind, Policy] = {"drop_column": "ignore"}


def shape(*columns: Column, key: tuple[str, ...] = ("id",)) -> TableSchema:
    return replace(BEFORE, columns=columns, primary_key=key)


def shaping(
    policies: dict[Kind, Policy] | None = None, rules: dict[str, ColumnRule] | None = None, **options: Any
) -> Shaping:
    how = Shaping(rules_by_id(rules or {}, [BEFORE]), policies or {}, "deltalake", upsert=False)
    return replace(how, **options)


def target(how: Shaping) -> TargetSchema:
    return first_target(BEFORE, how.rules, how.destination, "lsn", ("id",))


def columns(how: Shaping, after: TableSchema) -> list[str]:
    """The destination's own columns after the change."""
    return [f.name for f in reshaped(target(how), BEFORE, after, how, "0/1").fields if f.source_id is not None]


def test_an_added_column_comes_before_the_platforms_own_and_may_be_null() -> None:
    after = reshaped(target(shaping()), BEFORE, shape(*BEFORE.columns, NOTE), shaping(), "0/1")
    assert [f.name for f in after.fields][3:6] == ["count", "note", "_cdc_operation"]
    assert not after.fields[4].required
    assert columns(shaping({"add_column": "ignore"}), shape(*BEFORE.columns, NOTE)) == ["id", "name", "price", "count"]


def test_a_dropped_column_goes_or_stays_and_is_required_no_more() -> None:
    rules = {"name": ColumnRule(required=True)}
    assert columns(shaping(rules=rules), shape(ID, PRICE, COUNT)) == ["id", "price", "count"]
    how = shaping(APPEND, rules)
    after = reshaped(target(how), BEFORE, shape(ID, PRICE, COUNT), how, "0/1")
    assert [(f.name, f.required) for f in after.fields][:2] == [("id", False), ("name", False)]


def test_a_renamed_column_is_renamed_unless_the_pipeline_names_it() -> None:
    after = shape(ID, replace(NAME, name="title"), PRICE, COUNT)
    assert columns(shaping(), after)[1] == "title"
    assert columns(shaping({"rename_column": "ignore"}), after)[1] == "name"
    assert columns(shaping(rules={"name": ColumnRule(rename="label")}), after)[1] == "label"


def test_names_may_be_swapped() -> None:
    swapped = shape(ID, replace(NAME, name="price"), replace(PRICE, name="name"), COUNT)
    assert columns(shaping(), swapped) == ["id", "price", "name", "count"]


def test_a_kept_column_makes_room_for_a_new_one_of_its_name() -> None:
    how = shaping(APPEND)
    again = shape(ID, PRICE, COUNT, replace(NOTE, name="name"))
    assert columns(how, again) == ["id", "name__dropped", "price", "count", "name"]


def test_a_key_that_is_renamed_stays_the_key() -> None:
    how = shaping(upsert=True)
    after = shape(replace(ID, name="number"), NAME, PRICE, COUNT, key=("number",))
    assert reshaped(target(how), BEFORE, after, how, "0/1").key == ("number",)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (replace(COUNT, type=pa.int64(), source_type="bigint"), pa.int64()),
        (replace(COUNT, source_type="varchar"), pa.int32()),  # another source type, the same Arrow type
    ],
)
def test_a_wider_type_is_followed(changed: Column, expected: pa.DataType) -> None:
    after = reshaped(target(shaping()), BEFORE, shape(ID, NAME, PRICE, changed), shaping(), "0/1")
    assert after.fields[3].type == expected


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (replace(ID, type=pa.int32(), source_type="integer"), "narrows it"),
        (replace(ID, type=pa.string(), source_type="text"), "int64 cannot become string"),
        (replace(ID, type=pa.decimal128(20, 0), source_type="numeric"), "cannot become decimal"),
    ],
)
def test_a_type_that_narrows_or_does_not_fit_stops_unless_it_is_kept(changed: Column, why: str) -> None:
    after = shape(changed, NAME, PRICE, COUNT)
    with pytest.raises(SchemaConflict, match=why) as stopped:
        reshaped(target(shaping()), BEFORE, after, shaping(), "00000000/0000002A")
    assert "column 'id' changed from bigint to" in str(stopped.value)
    assert "00000000/0000002A" in str(stopped.value)
    kept = shaping({"change_type": "ignore"})
    assert reshaped(target(kept), BEFORE, after, kept, "0/1") == target(kept)


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("add_column", shape(*BEFORE.columns, NOTE)),
        ("drop_column", shape(ID, PRICE, COUNT)),
        ("rename_column", shape(ID, replace(NAME, name="title"), PRICE, COUNT)),
        ("change_type", shape(ID, NAME, PRICE, replace(COUNT, type=pa.int64(), source_type="bigint"))),
    ],
)
def test_each_kind_stops_where_the_pipeline_says_so(kind: Kind, after: TableSchema) -> None:
    with pytest.raises(SchemaConflict, match=f"schema_changes.{kind} is 'stop'"):
        reshaped(target(shaping()), BEFORE, after, shaping({kind: "stop"}), "0/1")


def test_rows_that_are_found_by_their_key_keep_it() -> None:
    how = shaping(upsert=True)
    with pytest.raises(SchemaConflict, match="rows are found by their key"):
        reshaped(target(how), BEFORE, shape(*BEFORE.columns, key=("id", "name")), how, "0/1")
    assert reshaped(target(shaping()), BEFORE, shape(*BEFORE.columns, key=("name",)), shaping(), "0/1").key == ("id",)


def test_two_live_columns_of_one_name_stop() -> None:
    how = shaping({"rename_column": "ignore"})
    after = shape(ID, replace(NAME, name="title"), PRICE, COUNT, replace(NOTE, name="name"))
    with pytest.raises(SchemaConflict, match="would be called 'name'"):
        reshaped(target(how), BEFORE, after, how, "0/1")


def test_effects_say_what_was_done_and_what_was_left() -> None:
    after = shape(ID, replace(COUNT, name="number", type=pa.int64(), source_type="bigint"), PRICE, NOTE)
    for policies, words in [
        (
            {},
            (
                "column 'name' dropped",
                "column 'count' renamed to 'number'",
                "column 'number' widened from int32 to int64",
                "column 'note' added (string)",
            ),
        ),
        (
            dict.fromkeys(("add_column", "drop_column", "rename_column", "change_type"), "ignore"),
            (
                "column 'name' kept, null from here on",
                "column 'count' keeps its name",
                "column 'count' stays int32",
                "column 'note' left out",
            ),
        ),
    ]:
        how = shaping(policies)  # type: ignore[arg-type]
        done = reshaped(target(how), BEFORE, after, how, "0/1")
        assert sorted(effects(target(how), done, BEFORE, after)) == sorted(words)


def test_a_pipeline_that_was_edited_describes_another_table() -> None:
    fields = target(shaping()).fields
    own = cdc_fields("deltalake", "lsn")

    def names(how: Shaping, now: TableSchema = BEFORE) -> list[str]:
        found = described(fields, [BEFORE, now], now, how, ("id",), own)
        return [f.name for f in found if f.source_id is not None]

    assert described(fields, [BEFORE], BEFORE, shaping(), ("id",), own) == fields
    strays = (TargetField("stray", pa.int32()), TargetField("other", pa.int32(), False, 99))
    assert described((*fields, *strays), [BEFORE], BEFORE, shaping(), ("id",), own) == fields
    assert names(shaping(rules={"name": ColumnRule(drop=True)})) == ["id", "price", "count"]
    assert names(shaping(rules={"name": ColumnRule(rename="label")})) == ["id", "label", "price", "count"]
    # What was ignored is wanted now: its old rows are not there, so the table is another one.
    wider = shape(*BEFORE.columns, NOTE)
    assert names(shaping({"add_column": "ignore"}), wider) == ["id", "name", "price", "count"]
    assert names(shaping(), wider) == ["id", "name", "price", "count", "note"]
