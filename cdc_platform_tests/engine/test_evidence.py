"""What a destination's commits say of their events, worked out again from `cdc events` and read by other tools."""

from __future__ import annotations

import json
import uuid
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from cdc_platform.model.evidence import Evidence, Tally, id_sum
from cdc_platform_tests.engine.time_machine import TimeMachine, time_machine
from cdc_platform_tests.scenarios.pipelines import Target
from cdc_platform_tests.world import World


def by_others(machine: TimeMachine, target: Target) -> list[dict[str, Any]]:
    """The evidence in each commit, oldest first, as deltalake and pyiceberg show commits."""
    if target.lake.format == "delta":
        history = DeltaTable(machine.world.home / "lake" / "deltalake" / target.lake.name).history()
        texts = [commit.get("cdc.evidence") for commit in reversed(history)]
    else:
        snapshots = machine.world.iceberg_table(target.lake.name).metadata.snapshots
        texts = [s.summary["cdc.evidence"] if s.summary else None for s in snapshots]
    return [json.loads(text) for text in texts if text]


def worked_out(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The same from the events of a commit."""
    ids = [uuid.UUID(event["event_id"]).int for event in events]
    transactions = list(
        dict.fromkeys(e["metadata"]["transaction_id"] for e in events if e["metadata"]["transaction_id"])
    )
    return {
        "digest": f"{sum(ids) % 2**128:032x}",
        "transactions": len(transactions),
        "first_transaction": transactions[0] if transactions else None,
        "last_transaction": transactions[-1] if transactions else None,
        "schema_version": int(events[-1]["metadata"]["schema_version"]),
    }


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_each_commit_holds_the_evidence_of_its_events(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=31) as machine:
        counts = [len(machine.events(machine.targets[0]))]
        documents: dict[str, list[dict[str, Any]]] = {target.pipeline: [] for target in machine.targets}
        for _ in range(2):
            machine.churn(3)
            for result in machine.pipelines.run().values():
                assert result.application.proof is not None
                documents[result.pipeline].append(result.application.proof)
            counts.append(len(machine.events(machine.targets[0])))
        for target in machine.targets:
            events = machine.events(target)
            first, *others = found = by_others(machine, target)
            assert len(found) == 3
            assert (first["start"], first["snapshot_rows"], first["transactions"]) == ("", 3, 0)
            assert first["events"] == {"INSERT": 0, "UPDATE": 0, "DELETE": 0}
            assert [one["end"] for one in found[:-1]] == [one["start"] for one in others]
            for one, since, upto in zip(found, [0, *counts], counts, strict=False):
                assert {name: one[name] for name in worked_out(events)} == worked_out(events[since:upto])
                assert sum(one["events"].values()) + one["snapshot_rows"] == upto - since
            versions = list(machine.flow(target).destination.versions(machine.flow(target).log.id()))
            assert [version.evidence for version in reversed(versions)] == [Evidence(**one) for one in found]
            for document, one in zip(documents[target.pipeline], others, strict=True):
                assert {name: document[name] for name in ("digest", "events", "transactions")} == {
                    name: one[name] for name in ("digest", "events", "transactions")
                }
                assert document["file_count"] == len(document["files"]) > 0


def frame(*events: tuple[str, str, str | None, bool]) -> pl.DataFrame:
    return pl.DataFrame(
        [(i, o, {"transaction_id": t}, s) for i, o, t, s in events],
        {"event_id": pl.String, "operation": pl.String, "metadata": pl.Struct({"transaction_id": pl.String}),
         "_snapshot": pl.Boolean},
        orient="row",
    )  # fmt: skip


def test_parts_are_added_up_to_the_whole() -> None:
    """Whatever frames and commits events come in, their evidence together is the same."""
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(i))) for i in range(6)]
    events = [
        (ids[0], "INSERT", None, True), (ids[1], "INSERT", "7", False), (ids[2], "UPDATE", "7", False),
        (ids[3], "UPDATE", "8", False), (ids[4], "INSERT", None, False), (ids[5], "DELETE", "9", False),
    ]  # fmt: skip
    whole = Tally("a", "c", 2)
    whole.take(frame(*events))
    assert whole.evidence().transactions == 3
    assert whole.evidence().snapshot_rows == 1
    assert Evidence.parse(whole.evidence().text()) == whole.evidence()
    for cut in range(len(events) + 1):
        one, other, streamed = Tally("a", "b", 1), Tally("b", "c", 2), Tally("a", "c", 2)
        for tally in (one, streamed):
            tally.take(frame(*events[:cut]))
        for tally in (other, streamed):
            tally.take(frame(*events[cut:]))
        assert one.evidence().followed_by(other.evidence()) == whole.evidence() == streamed.evidence()


@pytest.mark.parametrize("count", [0, 1, 20_000])
def test_the_sum_of_ids(count: int) -> None:
    ids = [uuid.uuid5(uuid.NAMESPACE_URL, str(i)) for i in range(count)]
    texts = pl.Series([str(i) for i in ids], dtype=pl.String)
    assert id_sum(texts) == sum(i.int for i in ids) % 2**128
    assert id_sum(texts.reverse()) == id_sum(texts)
    assert id_sum(texts.slice(3)) == sum(i.int for i in ids[3:]) % 2**128
    # The highest possible ids, and upper case.
    assert id_sum(pl.Series(["FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"] * 3)) == 3 * (2**128 - 1) % 2**128
