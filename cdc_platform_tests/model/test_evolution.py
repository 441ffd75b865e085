"""Columns are known by their ids: what `differences` says is exactly what was done, and `carried` keeps ids through."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.evolution import Difference, carried, differences, widens
from cdc_platform.model.schema import Column, TableName, TableSchema

TABLE = TableName("public", "things")
INTEGER, BIGINT, TEXT = (pa.int32(), "integer"), (pa.int64(), "bigint"), (pa.string(), "text")


def column(name: str, kind: tuple[pa.DataType, str] = INTEGER, number: int | None = None) -> Column:
    return Column(name, kind[0], True, kind[1], number)


def table(*columns: Column, key: tuple[str, ...] = (), last: int = 0) -> TableSchema:
    return TableSchema(TABLE, columns, key, last)


def test_each_kind_of_difference_is_told() -> None:
    before = table(column("id", number=1), column("a", number=2), column("b", number=3), key=("id",))
    after = table(column("id", number=1), column("z", BIGINT, 2), column("c", TEXT, 4), key=("c",))
    assert differences(before, after) == (
        Difference("drop_column", "b", "integer"),
        Difference("rename_column", "z", "a", "z"),
        Difference("change_type", "z", "integer", "bigint"),
        Difference("add_column", "c", "", "text"),
        Difference("change_key", "c", "id", "c"),
    )
    assert [str(d) for d in differences(before, after)] == [
        "column 'b' dropped",
        "column 'a' renamed to 'z'",
        "column 'z' changed from integer to bigint",
        "column 'c' added (text)",
        "primary key changed from (id) to (c)",
    ]


def test_order_and_nullability_are_no_difference() -> None:
    before = table(column("a", number=1), column("b", number=2), key=("a",))
    after = table(column("b", number=2), replace(column("a", number=1), nullable=False), key=("a",))
    assert differences(before, after) == ()


def test_a_key_column_that_is_renamed_keeps_the_key() -> None:
    before = table(column("a", number=1), key=("a",))
    assert [d.kind for d in differences(before, table(column("b", number=1), key=("b",)))] == ["rename_column"]


def test_two_columns_that_swap_their_names_are_two_renames() -> None:
    before = table(column("a", number=1), column("b", TEXT, 2))
    after = table(column("b", number=1), column("a", TEXT, 2))
    assert [str(d) for d in differences(before, after)] == [
        "column 'a' renamed to 'b'",
        "column 'b' renamed to 'a'",
    ]


def test_ids_are_handed_out_once() -> None:
    first = carried(None, table(column("a"), column("b")))
    assert [c.source_id for c in first.columns] == [1, 2]
    gone = carried(first, table(column("a")))
    back = carried(gone, table(column("a"), column("b")))
    assert [c.source_id for c in back.columns] == [1, 3]  # not the number of the one that went


def test_a_source_with_numbers_of_its_own_is_left_alone() -> None:
    own = table(column("a", number=7), column("b", number=9))
    assert carried(None, own).columns == own.columns


@given(data=st.data())
def test_ids_follow_renames_and_never_come_back(data: st.DataObject) -> None:
    """Any sequence of statements: each column ends with the id that it was made with."""
    shape = carried(None, table(column("a"), column("b")))
    truth = {c.name: c.source_id for c in shape.columns}
    used = set(truth.values())
    for _ in range(data.draw(st.integers(0, 8))):
        action = data.draw(st.sampled_from(["add", "drop", "rename", "replace"]))
        names = list(truth)
        free = [n for n in "abcdef" if n not in truth]
        renamed: dict[str, str] = {}
        dropped: set[str] = set()
        if action == "add" and free:
            names.append(data.draw(st.sampled_from(free)))
        elif action == "drop" and len(names) > 1:
            names.remove(data.draw(st.sampled_from(names)))
        elif action == "rename" and free and names:
            old, new = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(free))
            names[names.index(old)], renamed = new, {old: new}
        elif action == "replace" and names:
            dropped = {data.draw(st.sampled_from(names))}
        new_shape = carried(shape, table(*(column(n) for n in names)), renamed, dropped)
        kept = {renamed.get(n, n): i for n, i in truth.items() if n not in dropped}
        for one in new_shape.columns:
            if one.name in kept:
                assert one.source_id == kept[one.name]
            else:
                assert one.source_id not in used
        truth = {c.name: c.source_id for c in new_shape.columns}
        used |= set(truth.values())
        shape = new_shape


def test_what_widens() -> None:
    assert widens(pa.int8(), pa.int64())
    assert widens(pa.float32(), pa.float64())
    assert widens(pa.decimal128(10, 2), pa.decimal128(12, 2))
    for narrow, wide in [
        (pa.int64(), pa.int32()),
        (pa.int32(), pa.float64()),
        (pa.decimal128(10, 2), pa.decimal128(12, 3)),
        (pa.int32(), pa.string()),
        (pa.date32(), pa.timestamp("us")),
    ]:
        assert not widens(narrow, wide)
