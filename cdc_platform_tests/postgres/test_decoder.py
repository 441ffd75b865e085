"""The decoder on bytes: a recorded stream gives these rows, and no damaged one gives anything but a typed error."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.model.position import ORIGIN, Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.cells import Cells, column
from cdc_platform.sources.postgres.messages import MalformedMessage, Messages
from cdc_platform.sources.postgres.pgoutput import Decoded, Rows, State, decode
from cdc_platform.sources.postgres.tuples import RelationColumn

T = TableName("public", "t")
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
    return decode(messages(texts, first_lsn), state or State(), {T}, ORIGIN, END)


def values(cells: Sequence[Cells]) -> list[tuple[str | None, ...]]:
    import pyarrow as pa

    return list(zip(*(column(cell, pa.string()).to_list() for cell in cells), strict=True))


def summary(rows: Rows) -> list[tuple[str, int, int]]:
    return [(chr(k), int(a), int(o)) for k, a, o in zip(rows.kind, rows.at, rows.ordinal, strict=True)]


def test_a_recorded_transaction() -> None:
    result = decoded(RECORDED)
    (rows,) = result.rows
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
    pieces = [piece for rows in (*first.rows, *second.rows) for piece in summary(rows)]
    assert pieces == summary(decoded(RECORDED).rows[0])
    changes = max(0, min(cut - 2, 3))
    assert first.upto == Position(COMMIT, changes)
    assert second.upto == Position(END_OF_COMMIT)


def test_messages_that_say_nothing_of_rows_are_passed_over() -> None:
    origin, kind, note = "4f 0000000000000001 6f00", "59 00000001 7000 7400", "4d 00 0000000000000001 7000 00000001 78"
    texts = [RECORDED[0], origin, kind, *RECORDED[1:3], note, *RECORDED[3:], note]
    assert summary(decoded(texts).rows[0]) == summary(decoded(RECORDED).rows[0])


def test_a_table_that_is_not_wanted_is_counted_and_not_read() -> None:
    result = decode(messages(RECORDED), State(), set(), ORIGIN, END)
    assert result.rows == ()
    assert result.upto == Position(END_OF_COMMIT)


def test_a_window_in_the_transaction() -> None:
    at = COMMIT
    for low in range(4):
        for high in range(low, 4):
            result = decode(messages(RECORDED), State(), {T}, Position(at, low), Position(at, high))
            assert [o for rows in result.rows for _, _, o in summary(rows)] == list(range(low, high))


def test_no_messages() -> None:
    state = decoded(RECORDED[:3]).state
    assert decoded([], state) == Decoded((), {}, state, None)


def test_truncation_of_several_tables() -> None:
    other = RECORDED[1].replace("00004024 7075626c696300 7400", "00004025 7075626c696300 7500")
    both = ["54 00000002 00 00004025 00004024"]
    result = decoded([RECORDED[0], RECORDED[1], other, RECORDED[2], *both, RECORDED[2], RECORDED[5]])
    assert [piece for rows in result.rows for piece in summary(rows)] == [("I", COMMIT, 0)]
    assert list(result.stops) == [T]


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
    for rows in result.rows:
        for image in (rows.before, rows.after):
            for cells in image.cells:
                assert len(cells) == len(image.rows)
                assert ((cells.starts + cells.lengths) <= len(cells.buffer)).all()
