"""The decoder on bytes: a recorded stream gives these rows, and no damaged one gives anything but a typed error."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.errors import Gap
from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Cells, column
from cdc_platform.sources.postgres.messages import MalformedMessage, Messages
from cdc_platform.sources.postgres.pgoutput import Decoded, Rows, State, Truncation, Wanted, decode
from cdc_platform.sources.postgres.tuples import RelationColumn

T = TableName("public", "t")
OID = 0x4024
WANTED = {OID: Wanted(T, ORIGIN)}
END = Position(2**62)

# `create table t (id int primary key, note varchar(10))`, replica identity full, as Postgres 18 sent it for one
# transaction: insert (1, 'ä'), update its note to null, delete it.
RECORDED = [
    "42 0000000035e94488 000303e56999cda0 000004f5",
    "52 00004024 7075626c696300 7400 66 0002 01 696400 00000017 ffffffff 01 6e6f746500 00000413 0000000e",
    "49 00004024 4e 0002 74 00000001 31 74 00000002 c3a4",
    "55 00004024 4f 0002 74 00000001 31 74 00000002 c3a4 4e 0002 74 00000001 31 6e",
    "44 00004024 4f 0002 74 00000001 31 6e",
    "43 00 0000000035e94488 0000000035e944b8 000303e56999cda0",
]
COMMIT, END_OF_COMMIT = 0x35E94488, 0x35E944B8


def messages(texts: Sequence[str | bytes], first_lsn: int = 100) -> Messages:
    raw = [bytes.fromhex(text) if isinstance(text, str) else text for text in texts]
    offsets = np.cumsum([0, *map(len, raw)]).astype(np.int32)
    lsns = np.arange(first_lsn, first_lsn + len(raw), dtype=np.int64)
    return Messages.of(lsns, offsets, np.frombuffer(b"".join(raw), np.uint8))


def decoded(texts: Sequence[str | bytes], state: State | None = None, first_lsn: int = 100) -> Decoded:
    return decode(messages(texts, first_lsn), state or State(), WANTED, ORIGIN, END)


def values(cells: Sequence[Cells]) -> list[tuple[str | None, ...]]:
    import pyarrow as pa

    return list(zip(*(column(cell, pa.string()).to_list() for cell in cells), strict=True))


def rows_of(decoded: Decoded) -> list[Rows]:
    return [piece for piece in decoded.pieces if isinstance(piece, Rows)]


def summary(rows: Rows) -> list[tuple[str, int, int]]:
    return [(chr(k), int(a), int(o)) for k, a, o in zip(rows.kind, rows.at, rows.ordinal, strict=True)]


def test_a_recorded_transaction() -> None:
    result = decoded(RECORDED)
    (rows,) = rows_of(result)
    assert rows.relation.columns == (RelationColumn("id", 23, -1, True), RelationColumn("note", 1043, 14, True))
    assert summary(rows) == [("I", COMMIT, 0), ("U", COMMIT, 1), ("D", COMMIT, 2)]
    assert rows.lsn.tolist() == [102, 103, 104]
    assert set(rows.xid.tolist()) == {0x4F5}
    assert set(rows.time.tolist()) == {0x000303E56999CDA0 + 946_684_800_000_000}
    assert (rows.before.rows.tolist(), values(rows.before.cells)) == ([1, 2], [("1", "ä"), ("1", None)])
    assert (rows.after.rows.tolist(), values(rows.after.cells)) == ([0, 1], [("1", "ä"), ("1", None)])
    assert result.upto == Position(END_OF_COMMIT)
    assert result.state.transaction is None


@pytest.mark.parametrize("cut", range(1, len(RECORDED)))
def test_a_transaction_cut_anywhere(cut: int) -> None:
    first = decoded(RECORDED[:cut])
    second = decoded(RECORDED[cut:], first.state, 100 + cut)
    pieces = [piece for rows in (*rows_of(first), *rows_of(second)) for piece in summary(rows)]
    assert pieces == summary(rows_of(decoded(RECORDED))[0])
    changes = max(0, min(cut - 2, 3))
    assert first.upto == Position(COMMIT, changes)
    assert second.upto == Position(END_OF_COMMIT)


def test_messages_that_say_nothing_of_rows_are_passed_over() -> None:
    origin, kind, note = "4f 0000000000000001 6f00", "59 00000001 7000 7400", "4d 00 0000000000000001 7000 00000001 78"
    texts = [RECORDED[0], origin, kind, *RECORDED[1:3], note, *RECORDED[3:], note]
    assert summary(rows_of(decoded(texts))[0]) == summary(rows_of(decoded(RECORDED))[0])


def test_a_table_that_is_not_wanted_is_counted_and_not_read() -> None:
    result = decode(messages(RECORDED), State(), {}, ORIGIN, END)
    assert result.pieces == ()
    assert result.upto == Position(END_OF_COMMIT)


def test_a_window_in_the_transaction() -> None:
    at = COMMIT
    for low in range(4):
        for high in range(low, 4):
            result = decode(messages(RECORDED), State(), WANTED, Position(at, low), Position(at, high))
            assert [o for rows in rows_of(result) for _, _, o in summary(rows)] == list(range(low, high))


def test_no_messages() -> None:
    state = decoded(RECORDED[:3]).state
    assert decoded([], state) == Decoded((), {}, state, None)


def test_a_table_is_followed_from_its_own_place() -> None:
    """What comes before is not even looked at: cells that nobody could read do no harm."""
    damaged = "49 00004024 4e 0009 74 00000001 31"
    wanted = {OID: Wanted(T, Position(COMMIT, 2))}
    result = decode(messages([*RECORDED[:2], damaged, *RECORDED[3:]]), State(), wanted, ORIGIN, END)
    assert [summary(rows) for rows in rows_of(result)] == [[("D", COMMIT, 2)]]
    both = ["54 00000001 00 00004024", *RECORDED[3:]]
    result = decode(messages([*RECORDED[:2], *both]), State(), wanted, ORIGIN, END)
    assert [summary(rows) for rows in rows_of(result)] == [[("D", COMMIT, 2)]]
    assert len(result.pieces) == 1


def test_truncation_of_several_tables_between_rows() -> None:
    other = RECORDED[1].replace("00004024 7075626c696300 7400", "00004025 7075626c696300 7500")
    both = ["54 00000002 00 00004025 00004024"]
    result = decoded([RECORDED[0], RECORDED[1], other, RECORDED[2], *both, RECORDED[2], RECORDED[5]])
    before, truncation, after = result.pieces
    assert isinstance(before, Rows)
    assert isinstance(truncation, Truncation)
    assert isinstance(after, Rows)
    assert (summary(before), summary(after)) == ([("I", COMMIT, 0)], [("I", COMMIT, 2)])
    assert (truncation.relation.table, truncation.at, truncation.ordinal, truncation.lsn) == (T, COMMIT, 1, 104)


def test_a_renamed_table_is_still_itself() -> None:
    renamed = RECORDED[1].replace("7075626c696300 7400", "7075626c696300 7500")
    result = decoded([*RECORDED[:3], renamed, *RECORDED[3:]])
    assert [piece for rows in rows_of(result) for piece in summary(rows)] == summary(rows_of(decoded(RECORDED))[0])
    assert result.stops == {}


def test_another_table_of_the_same_name_is_a_gap() -> None:
    other = RECORDED[1].replace("00004024", "00004025")
    its_row = RECORDED[2].replace("00004024", "00004025")
    result = decoded([*RECORDED[:3], other, its_row, *RECORDED[3:]])
    assert isinstance(result.stops[T], Gap)
    assert "00000000/00000068 has changes of another table of this name" in str(result.stops[T])
    later = {OID: Wanted(T, Position(COMMIT, 2))}
    assert decode(messages([*RECORDED[:3], other, its_row, *RECORDED[3:]]), State(), later, ORIGIN, END).stops == {}


def test_cells_that_an_update_leaves_out() -> None:
    """From the whole old row, from the old key if they are of it; else there is a hole."""
    told = RECORDED[1].replace("6e6f746500", "6e6f746500").replace("66 0002 01 696400", "64 0002 01 696400")
    key_only = told.replace("ffffffff 01 6e6f7465", "ffffffff 00 6e6f7465")
    updates = [
        "55 00004024 4e 0002 74 00000001 31 75",
        "55 00004024 4b 0002 74 00000001 31 6e 4e 0002 74 00000001 32 75",
        "55 00004024 4b 0002 74 00000001 31 6e 4e 0002 75 74 00000001 61",
        "55 00004024 4f 0002 74 00000001 31 74 00000001 62 4e 0002 74 00000001 31 75",
    ]
    (rows,) = rows_of(decoded([RECORDED[0], key_only, RECORDED[2], *updates, RECORDED[5]]))
    assert values(rows.after.cells) == [("1", "ä"), ("1", None), ("2", None), ("1", "a"), ("1", "b")]
    assert {place: mask.tolist() for place, mask in rows.holes.items()} == {1: [False, True, True, False, False]}
    assert rows.head(2).holes[1].tolist() == [False, True]
    assert rows.head(1).holes == {}


@pytest.mark.parametrize("change", ["55 00004024 4e 0002 74 00000001 31 6e", "44 00004024 4b 0002 74 00000001 31 6e"])
def test_full_identity_without_a_whole_old_row_is_a_partition_of_another_identity(change: str) -> None:
    result = decoded([*RECORDED[:3], change, *RECORDED[3:]])
    assert [piece for rows in rows_of(result) for piece in summary(rows)] == [("I", COMMIT, 0)]
    assert "00000000/00000067 is of a partition whose replica identity" in str(result.stops[T])


BAD = {
    "unknown kind": ("5a 00", 0),
    "empty": ("", 0),
    "begin too short": ("42 0000000035e94488 000303e56999cda0 0004f5", 20),
    "begin too long": (RECORDED[0] + "00", 21),
    "begin inside": (RECORDED[0], 0),
    "commit too short": ("43 00 0000000035e94488", 10),
    "insert without a tuple": ("49 00004024", 5),
    "insert of an old row": ("49 00004024 4f 0002 6e 6e", 5),
    "delete of a new row": ("44 00004024 4e 0002 6e 6e", 5),
    "update without a new row": ("55 00004024 4f 0002 6e 6e", 10),
    "update with two old rows": ("55 00004024 4f 0002 6e 6e 4f 0002 6e 6e", 10),
    "relation that nobody told of": ("49 00009999 4e 0002 6e 6e", 1),
    "too few columns": ("49 00004024 4e 0001 6e", 6),
    "too many columns": ("49 00004024 4e 0003 6e 6e 6e", 6),
    "unknown cell": ("49 00004024 4e 0002 6e 7a", 9),
    "binary cell": ("49 00004024 4e 0002 6e 62 00000001 00", 9),
    "cell after the end": ("49 00004024 4e 0002 6e 74 00000009 61", 9),
    "length without end": ("49 00004024 4e 0002 74 ffffffff 31 6e", 8),
    "bytes left": ("49 00004024 4e 0002 6e 6e 6e", 10),
    "relation without end": ("52 00004024 7075626c6963", 5),
    "relation of no UTF-8": ("52 00004024 ff00 7400 66 0000", 7),
    "relation too long": (RECORDED[1] + "00", 43),
    "truncation of an unknown table": ("54 00000001 00 00009999", 6),
}


@pytest.mark.parametrize("name", BAD)
def test_damage_is_named_by_place(name: str) -> None:
    text, offset = BAD[name]
    with pytest.raises(MalformedMessage) as caught:
        decoded([*RECORDED[:3], text, RECORDED[5]])
    assert (caught.value.lsn, caught.value.offset) == (103, offset)
    assert "00000000/00000067" in str(caught.value)


def test_a_row_outside_a_transaction() -> None:
    with pytest.raises(MalformedMessage, match="out of its place"):
        decoded(RECORDED[1:])
    with pytest.raises(MalformedMessage, match="out of its place"):
        decoded([*RECORDED, RECORDED[2]])


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_damage_is_a_typed_error_or_harmless(data: st.DataObject) -> None:
    raw = [bytes.fromhex(text) for text in RECORDED]
    number = data.draw(st.integers(0, len(raw) - 1))
    message = bytearray(raw[number])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(message) - 1, 0)))
        what = data.draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        if what == "set" and message:
            message[place] = data.draw(st.integers(0, 255))
        elif what == "cut":
            del message[place:]
        elif what == "drop":
            del message[place : place + 1]
        else:
            message[place:place] = struct.pack(">I", data.draw(st.integers(0, 2**32 - 1)))
    raw[number] = bytes(message)
    try:
        result = decoded(raw)
    except MalformedMessage:
        return
    for rows in rows_of(result):
        for image in (rows.before, rows.after):
            for cells in image.cells:
                assert len(cells) == len(image.rows)
                assert ((cells.starts + cells.lengths) <= len(cells.buffer)).all()
