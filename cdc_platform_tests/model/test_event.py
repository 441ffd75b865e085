from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.event import event_ids, events, log_schema
from cdc_platform.model.schema import TableName
from cdc_platform_tests.model.changes import ORIGIN, SCHEMA, WHEN, batch

PLACES = st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**40)), min_size=1, max_size=50, unique=True)


def ids(places: list[tuple[int, int]], salt: bytes = ORIGIN.salt) -> list[str]:
    at, ordinal = (np.array(part, np.int64) for part in zip(*places, strict=True))
    return event_ids(salt, at, ordinal).to_list()


@given(PLACES)
def test_ids_are_version_4_uuids_unique_and_the_same_in_any_batching(places: list[tuple[int, int]]) -> None:
    together = ids(places)
    assert together == [ids([place])[0] for place in places]
    assert len(set(together)) == len(places)
    for text in together:
        parsed = uuid.UUID(text)
        assert (parsed.version, parsed.variant, str(parsed)) == (4, uuid.RFC_4122, text)


def test_a_million_neighbouring_places_have_a_million_ids() -> None:
    at, ordinal = np.divmod(np.arange(1_000_000, dtype=np.int64), 1000)
    assert event_ids(ORIGIN.salt, at * 8, ordinal).n_unique() == 1_000_000


def test_ids_differ_by_table_server_and_database() -> None:
    others = [
        dataclasses.replace(ORIGIN, table=TableName("public", "others")),
        dataclasses.replace(ORIGIN, identity="system-2"),
        dataclasses.replace(ORIGIN, database="shop2"),
        dataclasses.replace(ORIGIN, system="mysql"),
    ]
    assert len({ids([(1, 1)], origin.salt)[0] for origin in [ORIGIN, *others]}) == 5


def test_an_event_has_the_standard_shape() -> None:
    changes = batch((8, 0, None, {"id": 1, "name": "a"}), (8, 1, {"id": 1, "name": "a"}, None))
    captured = WHEN + timedelta(seconds=1)
    frame = events(changes, ORIGIN, 3, captured, snapshot=False)
    assert frame.to_arrow().cast(log_schema(SCHEMA.row_type)).num_rows == 2
    first, second = frame.rows(named=True)
    assert first["operation"] == "INSERT"
    assert first["source"] == {
        "system": "postgres",
        "database": "shop",
        "schema": "public",
        "table": "things",
        "connector": "native",
    }
    assert first["metadata"] == {
        "transaction_id": "7",
        "lsn": "00000000/00000008",
        "schema_version": "3",
        "primary_key": ["id"],
    }
    assert (first["before"], first["after"]) == (None, {"id": 1, "name": "a"})
    assert (second["before"], second["after"]) == ({"id": 1, "name": "a"}, None)
    times = first["timestamp"]
    assert times["source_ts"] == WHEN
    assert times["capture_ts"] == captured


def test_times_are_in_order_even_when_the_sources_clock_is_ahead() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    changes = batch((8, 0, None, {"id": 1, "name": None}))
    later = dataclasses.replace(changes, frame=changes.frame.with_columns(pl.lit(ahead).alias("source_ts")))
    times = events(later, ORIGIN, 1, datetime.now(UTC), snapshot=False)["timestamp"][0]
    assert times["source_ts"] == ahead
    assert times["source_ts"] <= times["capture_ts"] <= times["process_ts"]
