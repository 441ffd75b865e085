"""What the decoder makes of messages that Debezium made: values, images, positions, and what it will not take."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableName
from cdc_platform.sources.debezium.connect import Field
from cdc_platform.sources.debezium.decoder import Cut, Decoded, Decoder
from cdc_platform.sources.debezium.envelope import Rows
from cdc_platform.sources.debezium.json_form import JsonForm
from cdc_platform.sources.debezium.messages import Messages, Unreadable
from cdc_platform_tests.debezium.samples import Record, messages, of_table

EVERY = {
    "id": 1, "b": True, "s": 1, "i": 2, "l": 9007199254740993, "o": 4000000000, "r": 1.5, "d": 0.1,
    "n": Decimal("123.45"), "nn": "12345678901234567890.123456789",
    "n38": Decimal("1234567890123456789012345678.0123456789"), "t": 'tä"\\ \n x', "vc": "v", "c": "ab   ",
    "ba": b"\x00\xff", "da": date(2024, 2, 29), "ts": datetime(2024, 2, 29, 12, 34, 56, 123456),
    "ts3": datetime(2024, 2, 29, 12, 34, 56, 123000), "tz": datetime(2024, 2, 29, 10, 34, 56, 123456, tzinfo=UTC),
    "ti": "12:34:56.123456", "tiz": "10:34:56.5Z", "iv": 37091106789000, "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "j": '{"a": 1.50}', "jb": '{"a": 1.50}', "arr": "{1,NULL,3}", "tarr": '{a,NULL,"b c"}', "en": "en",
    "ine": "10.0.0.1/8", "mac": "08:00:2b:01:02:03", "bt": b"\x05", "b1": True, "vb": b"\x15", "m": "12.34",
    "rg": "[1,5)", "x": "<a/>", "pt": '{"x":1.5,"y":2.5,"wkb":"AQEAAAAAAAAAAAD4PwAAAAAAAARA","srid":null}', "ci": "x",
}  # fmt: skip


def no_schema() -> Field:
    raise Unreadable("it has no schema")


def decoder(table: str, *, whole: bool = False) -> Decoder:
    return Decoder(TableName("public", table), "postgres", JsonForm(no_schema), whole)


def decode(found: list[Record] | Messages, table: str, *, whole: bool = False) -> Decoded:
    taken = found if isinstance(found, Messages) else messages(found)
    return decoder(table, whole=whole).decode(taken)


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    return [row for piece in decoded.pieces if isinstance(piece, Rows) for row in piece.frame.to_dicts()]


def altered(record: Record, **changed: Any) -> Record:
    """The record with other cells in `after`."""
    topic, key, value = record
    document = json.loads(value or "")
    document["payload"]["after"] |= changed
    return topic, key, json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def first(operation: str, table: str = "customers2") -> Record:
    return next(r for r in of_table("postgres_json", table) if r[2] and f'"op":"{operation}"' in r[2])


def test_every_kind_of_cell() -> None:
    decoded = decode(of_table("postgres_json", "every")[:1], "every")
    (read,) = rows(decoded)
    assert read["after"] == EVERY
    assert (read["operation"], read["snapshot"], read["before"]) == ("INSERT", True, None)
    (piece,) = decoded.pieces
    assert isinstance(piece, Rows)
    assert piece.schema.primary_key == ("id",)


def test_an_infinite_date_is_no_date() -> None:
    """As it is to the native reader."""
    decoded = decode(of_table("postgres_json", "every")[1:2], "every")
    assert not decoded.pieces
    assert [p.reason for p in decoded.poison] == ["column 'da' is no finite date"]


def test_floats_that_json_has_no_number_for() -> None:
    """And the poison of one message is no other's."""
    insert = first("c", "every")
    odd = altered(insert, r="NaN", d="-Infinity", t='"r":"NaN"')
    after = [row["after"] for row in rows(decode([insert, odd, insert], "every"))]
    assert [a["t"] for a in after] == ["new", '"r":"NaN"', "new"]
    assert str(after[1]["r"]) == "nan"
    assert after[1]["d"] == float("-inf")


def test_a_key_changes_as_a_delete_and_an_insert() -> None:
    found = of_table("postgres_json", "customers2")[4:7]
    changed = rows(decode(found, "customers2"))
    assert [c["operation"] for c in changed] == ["DELETE", "INSERT"]
    assert len({c["lsn"] for c in changed}) == 1
    before = changed[0]["before"]
    assert before.pop("customer_id") == 2
    assert set(before.values()) == {None}  # the rest is made up: empty texts, 1970


def test_old_images() -> None:
    """An update that keeps its key has none by default: the key's columns are its."""
    every, whole = of_table("postgres_json", "customers2"), None
    (update,) = rows(decode(every[3:4], "customers2"))
    assert update["operation"] == "UPDATE"
    assert {k: v for k, v in update["before"].items() if v is not None} == {"customer_id": 1}
    whole = [r for r in every if r[2] and '"op":"u"' in r[2] and '"before":{' in r[2]]
    (update,) = rows(decode(whole, "customers2", whole=True))
    assert update["before"]["phone"] == "1"
    assert update["after"]["phone"] == "2"
    with pytest.raises(ConfigError, match="replica_identity: full"):
        decode(whole, "customers2")


def test_an_unchanged_value_is_a_hole() -> None:
    update = altered(first("u"), big="__debezium_unavailable_value", phone="9")
    decoded = decode([update], "customers2")
    (piece,) = decoded.pieces
    assert isinstance(piece, Rows)
    assert {name: series.to_list() for name, series in piece.holes.items()} == {"big": [True]}
    assert piece.frame["after"].struct.field("big").to_list() == [None]


def test_an_unchanged_value_of_a_key_that_changed_is_not_known() -> None:
    """Debezium makes a DELETE and an INSERT of it."""
    good = first("c")
    decoded = decode([good, altered(good, big="__debezium_unavailable_value")], "customers2")
    assert [row["message"] for row in rows(decoded)] == [0]
    assert [(p.message, "replica identity full" in p.reason) for p in decoded.poison] == [(1, True)]


def test_shapes_and_a_truncate_in_their_order() -> None:
    found = of_table("postgres_json", "customers2")
    pieces = decode([r for r in found if not (r[2] and '"op":"u"' in r[2])], "customers2").pieces
    kinds = [len(p.schema.names) if isinstance(p, Rows) else "cut" for p in pieces]
    assert kinds == [16, 17, "cut"]
    cut = pieces[-1]
    assert isinstance(cut, Cut)
    assert cut.lsn > "00000000/0"


@pytest.mark.parametrize(
    "value",
    [b"null", b"", b"[1]", b'"x"', b"{", b"{}", b"\xff\xfe", b'{"schema":1}',
     b'{"schema":{"type":"int32"},"payload":1}', b'{"schema":{"type":"struct","fields":[]},"payload":{}}'],
)  # fmt: skip
def test_what_is_no_event_is_named_and_the_others_are_taken(value: bytes) -> None:
    good = first("c")
    key, whole = good[1].encode() if good[1] else None, (good[2] or "").encode()
    decoded = decode(Messages.of([key] * 3, [whole, value, whole]), "customers2")
    assert [row["message"] for row in rows(decoded)] == [0, 2]
    assert [p.message for p in decoded.poison] == [1]


def test_cells_that_are_not_of_their_schema() -> None:
    good = first("c")
    bad = [altered(good, customer_id="x"), altered(good, customer_id=2**40), altered(good, customer_id=1.5),
           altered(good, email=5), altered(good, lifetime_value="AAAAAAAAAAAAAAAAAAAAAAAA"), altered(good, email=None),
           altered(good, lifetime_value="*"), altered(good, registration_date=2**63 - 1)]  # fmt: skip
    decoded = decode([good, *bad, good], "customers2")
    assert [row["message"] for row in rows(decoded)] == [0, len(bad) + 1]
    assert [p.message for p in decoded.poison] == list(range(1, len(bad) + 1))
    assert not any("AAAA" in p.reason or "1099511627776" in p.reason for p in decoded.poison)
