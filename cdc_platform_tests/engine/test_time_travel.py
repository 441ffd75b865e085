"""`cdc at` against states that were written down at the source as it went, and against DuckDB's reading of the version
that it names."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from deltalake import DeltaTable

from cdc_platform.engine.at import AsOf
from cdc_platform.engine.moment import TableVersionNumber, parse_asked
from cdc_platform.engine.replay import replay, replica_of
from cdc_platform.errors import ConfigError, Unavailable
from cdc_platform.model.position import LSN, Notation, Position, binlog_at
from cdc_platform_tests.engine.time_machine import State, TimeMachine, time_machine
from cdc_platform_tests.scenarios.pipelines import Target
from cdc_platform_tests.world import World

SYSTEMS = pytest.mark.parametrize("system", ["postgres", "mysql"])


def assert_is(machine: TimeMachine, target: Target, state: State, found: AsOf) -> None:
    """What was found is the state, and so is what DuckDB reads in the version that is named."""
    assert state.seen(found.shown) == state.rows
    assert found.rows == state.rows.total()
    if found.version:
        assert state.seen(machine.by_duckdb(target, found)) == state.rows


@SYSTEMS
def test_every_state_is_found_again(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=4) as machine:
        for transactions in (3, 1, 2):
            machine.churn(transactions)
            machine.run()
        held = 0
        for state in machine.states:
            for target in machine.targets:
                found = machine.at(target, state.position)
                assert found.exact
                assert_is(machine, target, state, found)
                assert found.origin == ("table" if found.version else "change log")
                if found.version is None and found.before and found.after:
                    assert found.before.position < found.position < found.after.position
                held += found.version is not None
        # A version holds the state after each run: those after the others are in the log alone.
        assert 4 * len(machine.targets) <= held < len(machine.states) * len(machine.targets)


@SYSTEMS
def test_a_time_is_the_state_after_the_last_commit_by_then(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=5) as machine:
        target = machine.targets[0]
        for _ in range(3):
            # MariaDB's log has whole seconds.
            time.sleep(1.1)
            machine.churn(2)
        machine.run()
        for state in machine.states if system == "postgres" else machine.states[::2]:
            found = machine.at(target, state.time.isoformat())
            assert_is(machine, target, state, found)
        # What was committed at the very time is in.
        newest = machine.events(target)[-1]["timestamp"]["source_ts"]
        assert_is(machine, target, machine.states[-1], machine.at(target, newest))
        # Nothing has happened since: the source says so.
        assert_is(machine, target, machine.states[-1], machine.at(target, "now"))
        with pytest.raises(ConfigError, match="begins with the table's state"):
            machine.at(target, "10 minutes ago")
        with pytest.raises(ConfigError, match="future"):
            machine.at(target, (machine.states[-1].time + timedelta(hours=1)).isoformat())
        machine.churn(1)
        for asked in ("now", machine.states[-1].position):
            with pytest.raises(Unavailable, match="not captured yet"):
                machine.at(target, asked)
        machine.run()
        assert_is(machine, target, machine.states[-1], machine.at(target, "now"))


@SYSTEMS
def test_a_table_that_changes_its_shape(empty_world: World, system: str) -> None:
    with time_machine(empty_world, system, seed=6) as machine:
        widen = "alter column n type bigint" if system == "postgres" else "modify column n bigint"
        machine.churn(2)
        for alter in ("add column extra int", "rename column name to title", "drop column amount"):
            machine.transaction(f"alter table things {alter}", "update things set n = n + 1")
            machine.transaction("delete from things where id = 2")
            machine.run()
        before = machine.states[-1]
        machine.transaction(f"alter table things {widen}", "update things set n = 5000000000 where id = 1")
        machine.transaction("alter table things add column score int not null default 7", "update things set n = 8")
        unsure = machine.states[-1]
        machine.transaction("delete from things where id = 1")
        machine.run()
        machine.transaction("insert into things (id, n) values (77, 77)")
        machine.run()
        for number, state in enumerate(machine.states):
            for target in (machine.targets[number % 4], machine.targets[(number + 1) % 4]):
                found = machine.at(target, state.position)
                if found.exact:
                    assert_is(machine, target, state, found)
        assert machine.at(machine.targets[0], before.position).exact
        # Rows got their default without a word in the log, until they were compared with the source.
        found = machine.at(machine.targets[1], unsure.position)
        assert not found.exact
        assert "without an event" in found.notes[0]
        assert machine.at(machine.targets[2], machine.states[-1].position).exact


def test_a_position_inside_a_transaction_is_told(empty_world: World) -> None:
    with time_machine(empty_world, "mysql", seed=7) as machine:
        target = machine.targets[0]
        machine.transaction(*(f"insert into things values ({key}, 'x', 1, 1)" for key in range(50, 53)))
        machine.run()
        (second,) = [e for e in machine.events(target) if e["after"] and e["after"]["id"] == 51]
        found = machine.at(target, second["metadata"]["lsn"])
        assert not found.exact
        assert f"inside transaction {second['metadata']['transaction_id']}" in found.notes[0]
        assert found.rows == machine.states[0].rows.total() + 1


def test_versions_whose_files_are_gone(empty_world: World) -> None:
    with time_machine(empty_world, "postgres", seed=8) as machine:
        for _ in range(2):
            machine.transaction("update things set n = n + 1")
            machine.run()
        old = machine.states[1]
        named = {target.pipeline: machine.at(target, old.position).version for target in machine.targets}
        for target in machine.targets:
            if target.mode == "upsert":
                forget(machine, target)
                found = machine.at(target, old.position)
                assert found.origin == "change log"
                assert_is_without_table(old, found)
                if target.lake.format == "delta":
                    assert found.version == named[target.pipeline]
                    assert "vacuum" in found.notes[-1]
                else:
                    assert found.version is None
                    assert "expired" in found.notes[-1]


def forget(machine: TimeMachine, target: Target) -> None:
    """What other tools do to a table's past."""
    if target.lake.format == "delta":
        folder = machine.world.home / "lake" / "deltalake" / target.lake.name
        DeltaTable(folder).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        return
    table = machine.world.iceberg_table(target.lake.name)
    current = table.current_snapshot()
    assert current is not None
    expiry = table.maintenance.expire_snapshots()
    for snapshot in table.metadata.snapshots:
        if snapshot.snapshot_id != current.snapshot_id:
            expiry = expiry.by_id(snapshot.snapshot_id)
    expiry.commit()


def assert_is_without_table(state: State, found: AsOf) -> None:
    assert found.exact
    assert state.seen(found.shown) == state.rows


def test_a_version_that_lacks_what_went_to_the_quarantine_is_not_named(empty_world: World) -> None:
    options = {"on_invalid": "quarantine", "columns": {"amount": {"required": True}}}
    with time_machine(empty_world, "postgres", seed=10, destination=options) as machine:
        machine.transaction("update things set amount = 1.5 where id = 2")
        machine.run()
        for target in machine.targets:
            for state in machine.states:
                found = machine.at(target, state.position)
                assert (found.version, found.origin) == (None, "change log")
                assert "quarantine" in found.notes[0]
                assert state.seen(found.shown) == state.rows
            # A replay holds back the same, in a quarantine of its own.
            loaded = machine.pipelines.loaded
            replica = replica_of(loaded[target.pipeline], list(loaded.values()), None)
            done = replay(machine.world.settings, machine.world.variables, loaded[target.pipeline], replica)
            assert done.comparison is not None
            assert done.comparison.equal
            assert done.application.quarantined == 1


def test_the_command(empty_world: World) -> None:
    with time_machine(empty_world, "postgres", seed=9) as machine:
        (target, *_) = [t for t in machine.targets if t.mode == "upsert"]
        state = machine.states[0]
        found = machine.world.cdc("at", target.pipeline, "--position", state.position, "--limit", "2", "--json")
        assert found["exact"]
        assert found["version"] == machine.at(target, state.position).version.number  # type: ignore[union-attr]
        assert (found["rows"], found["rows_from"]) == (3, "table")
        assert found["data"] == [
            {"id": 1, "name": "one", "n": 1, "amount": "1.50"},
            {"id": 2, "name": "two", "n": 2, "amount": None},
        ]
        shown = machine.world.cdc("at", target.pipeline, "--time", "now")
        assert "delta_scan" in shown
        assert "3 rows" in shown
        assert "is not there yet" in machine.world.cdc("at", target.pipeline, "--position", "FFFF/0", code=3)
        with pytest.raises(ConfigError, match="begins at"):
            machine.at(target, "0/1")


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "12"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_asked(text, LSN, datetime(2026, 1, 1, tzinfo=UTC))


BINLOG = Notation("binlog", "binlog")


def test_how_moments_are_written() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert parse_asked("10 minutes ago", BINLOG, noon) == noon - timedelta(minutes=10)
    assert parse_asked("2026-01-01T13:00:00+01:00", BINLOG, noon) == noon
    assert parse_asked("0/1A2B", LSN, noon) == parse_asked("00000000/00001A2B", LSN, noon)
    assert parse_asked("binlog.000002:5#1", BINLOG, noon) == Position(binlog_at(2, 5), 1)
    assert parse_asked("snapshot:12", BINLOG, noon) == TableVersionNumber(12)
