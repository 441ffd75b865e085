"""What must hold after every run: destinations equal their source tables, and events keep the rules of events."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdc_platform.engine.events import event_lines
from cdc_platform.engine.feeds import open_flow
from cdc_platform_tests.scenarios.lake import ORDER, LakeRows
from cdc_platform_tests.scenarios.origin import Origin, Row
from cdc_platform_tests.scenarios.pipelines import Pipelines, Target

Event = dict[str, Any]
Bag = Counter[Row]
_SHOWN = 5


def events_of(pipelines: Pipelines, target: Target) -> list[Event]:
    """All events of the target's table, as `cdc events` prints them."""
    world = pipelines.world
    flow = open_flow(world.settings, world.variables, pipelines.loaded[target.pipeline])
    return [json.loads(line) for line in event_lines(flow)]


@dataclass(slots=True)
class Sources:
    """What source tables hold. One that is asked for again, pipeline after pipeline, is read once: make new ones when
    the source changed."""

    origin: Origin
    _asked: object = None
    _rows: Bag = field(default_factory=Counter)

    def bag(self, table: str, types: Mapping[str, str]) -> Bag:
        """The rows of a table, of the columns in `types`."""
        asked = (table, tuple(types.items()))
        if self._asked != asked:
            self._rows = _bag(self.origin.rows(table, list(types), types))
            self._asked = asked
        return self._rows


def assert_equal(pipelines: Pipelines, target: Target, lake: LakeRows, sources: Sources, *, whole: bool = True) -> None:
    """The destination's current state is the source's, row by row and cell by cell.

    A `whole` one has all columns of the source; of another one, those that it has count.
    """
    origin, types = pipelines.origin, lake.types
    renamed = {column: pipelines.destination_name(column) for column in origin.columns(target.table)}
    shared = {column: name for column, name in renamed.items() if name is not None and name in types}
    lacking = [column for column, name in renamed.items() if name is not None and name not in types]
    assert not (whole and lacking), f"{lake.name} has no column for {', '.join(lacking)}"
    names = list(shared.values())
    key = [shared[column] for column in origin.key(target.table)]
    if target.mode == "upsert":
        found = lake.current(names)
    elif key:
        found = lake.latest(names, key, ORDER[origin.system])
    else:
        return
    expected = sources.bag(target.table, {column: types[name] for column, name in shared.items()})
    _assert_same(f"{lake.name} ({', '.join(names)})", expected, _bag(found))


def assert_equal_now(pipelines: Pipelines, target: Target) -> None:
    """`assert_equal` of one destination, both sides read for it."""
    assert_equal(pipelines, target, target.lake.read(), Sources(pipelines.origin))


def _assert_same(what: str, wanted: Bag, there: Bag) -> None:
    """As bags of rows; the first differences are shown."""
    if wanted == there:
        return
    lacking, surplus = list((wanted - there).elements()), list((there - wanted).elements())
    shown = [f"  in the source only: {row}" for row in lacking[:_SHOWN]]
    shown += [f"  in the lake only:   {row}" for row in surplus[:_SHOWN]]
    raise AssertionError("\n".join([f"{what}: {len(lacking)} rows lack, {len(surplus)} are too many", *shown]))


def _bag(rows: Sequence[Row]) -> Bag:
    """How often each row is there: floats by their exact value, and NaN equal to itself."""
    if not any(isinstance(cell, float) for row in rows for cell in row):
        return Counter(rows)
    return Counter(tuple(repr(cell) if isinstance(cell, float) else cell for cell in row) for row in rows)


def assert_events_keep_rules(events: Sequence[Event], table: str) -> None:
    """Data model, section 8.2."""
    ids = {event["event_id"] for event in events}
    assert len(ids) == len(events), f"{table}: an event id is there twice"
    for event in events:
        assert uuid.UUID(event["event_id"]).version == 4
        assert event["source"]["system"]
        assert event["source"]["table"] == table.rpartition(".")[2]
        assert event["operation"] in ("INSERT", "UPDATE", "DELETE")
        times = event["timestamp"]
        moments = [datetime.fromisoformat(times[name]) for name in ("source_ts", "capture_ts", "process_ts")]
        assert moments == sorted(moments), f"{table}: the times of an event are out of order: {times}"
        before, after = event["before"], event["after"]
        assert (before is None) == (event["operation"] == "INSERT"), event
        assert (after is None) == (event["operation"] == "DELETE"), event
        if event["operation"] == "UPDATE":
            for key in event["metadata"]["primary_key"]:
                assert before[key] == after[key], f"{table}: an UPDATE changes the key"


def assert_history_is_replay(
    pipelines: Pipelines, target: Target, types: Mapping[str, str], events: Sequence[Event]
) -> None:
    """For a table without a key: its events played one after the other give as many of each row as the source has.

    `types` are those of the destination's columns (`LakeRows.types`).
    """
    bag: Counter[str] = Counter()
    for event in events:
        for image, count in ((event["before"], -1), (event["after"], 1)):
            if image is not None:
                bag[json.dumps(image, sort_keys=True)] += count
                assert bag[json.dumps(image, sort_keys=True)] >= 0, f"{target.table}: a row goes that is not there"
    origin = pipelines.origin
    columns = origin.columns(target.table)
    expected = origin.rows(target.table, columns, types)
    images = [json.loads(text) for text in bag.elements()]
    found: list[Row] = [tuple(_as_lake_text(image[c], types[c]) for c in columns) for image in images]
    _assert_same(f"the events of {target.table}", _bag(expected), _bag(found))


def _as_lake_text(value: Any, kind: str) -> str | float | None:
    """A cell of an event in the form in which `lake.py` and `origin.py` give cells of that type."""
    match kind.split("(")[0], value:
        case _, None:
            return None
        case "FLOAT" | "DOUBLE", _:
            return float(value)
        case "BLOB", _:
            return base64.b64decode(value).hex()
        case "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE", _:
            return str(value).replace("T", " ").removesuffix("Z")
        case "BOOLEAN", _:
            return "t" if value else "f"
    return str(value)
