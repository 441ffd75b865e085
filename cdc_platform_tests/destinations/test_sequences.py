"""Any sequence of writes leaves what a plain dict would hold, as others read it."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.destination import Destination
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.model.target import TableLayout
from cdc_platform_tests.destinations.conftest import MAPPED, DeltaLake, IcebergLake, layout
from cdc_platform_tests.destinations.rows import COMPOSITE, NAMES, SCHEMA, TYPES, at, by_key, deleted, frame, row

_REGIONS = ("a", "b/c", "ü")
_TIMES = (
    None,
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(1969, 7, 20, tzinfo=UTC),
)

_keys = st.tuples(st.integers(0, 12), st.sampled_from(_REGIONS))
_change = st.one_of(st.none(), st.tuples(st.sampled_from(_TIMES), st.one_of(st.none(), st.text(max_size=3))))
_batch = st.dictionaries(_keys, _change, max_size=8)
_LAYOUTS = ((), ("day(updated)",), ("region",), ("region", "month(updated)"), ("year(updated)",))


def _destination(kind: str, root: Path, shape: TableLayout) -> tuple[Destination, DeltaLake | IcebergLake]:
    if kind == "iceberg":
        return IcebergDestination(str(root), "cdc.t", None, shape), IcebergLake(root)
    shape = TableLayout(shape.partitions, shape.sort, tuple(MAPPED.items()))
    return DeltaDestination(str(root / "t"), shape), DeltaLake(root, MAPPED)


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=st.lists(_batch, min_size=1, max_size=5), partitions=st.sampled_from(_LAYOUTS), sorted_=st.booleans())
def test_upserts_equal_a_dict(kind: str, batches: list[Any], partitions: tuple[str, ...], sorted_: bool) -> None:
    shape = layout(partitions, ["note desc", "id"] if sorted_ else [])
    state: dict[Any, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        destination, lake = _destination(kind, Path(folder), shape)
        destination.ensure(COMPOSITE)
        for version, batch in enumerate(batches, 1):
            changes = []
            for (number, region), change in batch.items():
                if change is None:
                    state.pop((number, region), None)
                    changes.append(deleted(number, version, region=region))
                else:
                    new = row(number, version, "UPDATE", region=region, updated=change[0], note=change[1])
                    state[number, region] = new
                    changes.append(new)
            destination.upsert(frame(*changes), at(version))
        wanted = by_key(frame(*state.values()))
        for reader, seen in lake.readers(NAMES).items():
            assert by_key(seen.cast(TYPES)).equals(wanted), reader
        assert by_key(pl.concat([TYPES.to_frame(), *destination.scan()])).equals(wanted)
        assert destination.applied("log") == at(len(batches))


@pytest.mark.parametrize("kind", ["delta", "iceberg"])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches=st.lists(_batch, min_size=1, max_size=4), partitions=st.sampled_from(_LAYOUTS), small=st.booleans())
def test_appends_equal_a_list(kind: str, batches: list[Any], partitions: tuple[str, ...], small: bool) -> None:
    history: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr("cdc_platform.destinations.arrange.CHUNK_BYTES", 600)
        destination, lake = _destination(kind, Path(folder), layout(partitions))
        destination.ensure(SCHEMA)
        for version, batch in enumerate(batches, 1):
            rows = [
                row(number, version, "DELETE" if change is None else "INSERT", region=region,
                    updated=change[0] if change else None)
                for (number, region), change in batch.items()
            ]  # fmt: skip
            history += rows
            destination.append(iter([frame(*rows)]), at(version))
        wanted = by_key(frame(*history))
        for reader, seen in lake.readers(NAMES).items():
            assert by_key(seen.cast(TYPES)).equals(wanted), reader
