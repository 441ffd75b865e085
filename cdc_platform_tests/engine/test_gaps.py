"""Each way in which a source loses changes, on real servers: seen, kept red, and closed by a resync alone.

lost ──> run: exit 4, marked ──> run: the same ──> resync --dry-run: nothing moves ──> resync ──> equal, all checks
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cdc_platform.change_log.log import ChangeLog
from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.errors import Gap, Lost, NeedsPerson
from cdc_platform.model.lifecycle import State
from cdc_platform.servers.embedded import down, up
from cdc_platform_tests.conftest import temporary_home
from cdc_platform_tests.engine import gapped as ways
from cdc_platform_tests.engine.gapped import Gapped, following
from cdc_platform_tests.engine.test_failpoints import Killed, arm
from cdc_platform_tests.world import World

CASES = [
    ("postgres", ways.slot_missing, Lost.SLOT_MISSING, "compare"),
    ("postgres", ways.slot_moved, Lost.SLOT_MOVED, "compare"),
    ("postgres", ways.unpublished, Lost.UNPUBLISHED, "compare"),
    ("postgres", ways.unpublished_for_a_while, Lost.UNPUBLISHED, "compare"),
    ("postgres", ways.publication_made_anew, Lost.UNPUBLISHED, "compare"),
    ("postgres", ways.table_made_again, Lost.TABLE_REPLACED, "compare"),
    ("postgres", ways.table_of_other_columns, Lost.TABLE_REPLACED, "anew"),
    ("mysql", ways.log_purged, Lost.LOG_PURGED, "compare"),
    ("mysql", ways.log_reset, Lost.LOG_ENDS_BEFORE, "anew"),
    ("mysql", ways.table_made_again, Lost.TABLE_REPLACED, "compare"),
]


@pytest.mark.parametrize(("system", "lose", "lost", "way"), CASES, ids=lambda c: getattr(c, "__name__", str(c)))
def test_a_gap_is_seen_kept_and_closed(
    empty_world: World, system: str, lose: Callable[[Gapped], None], lost: Lost, way: str
) -> None:
    with following(empty_world, system) as gapped:
        lose(gapped)
        assert_kept(gapped, lost)
        assert_resynced(gapped, way)


def assert_kept(gapped: Gapped, lost: Lost) -> None:
    """Run after run it is the same gap, in one commit of the log; nothing reads as healthy meanwhile."""
    said = set()
    for _ in range(2):
        errors = gapped.errors()
        assert all(isinstance(error, Gap) and error.lost == lost for error in errors.values()), errors
        said |= {str(error) for error in errors.values()}
        assert gapped.log.state() == State.GAP
        version = gapped.log.version()
    assert len(said) == 1
    gap = gapped.log.gap()
    assert gap is not None
    assert gap.last_sure
    assert "cdc resync" in gap.reason
    assert gapped.errors().keys() == set(gapped.ids)
    assert gapped.log.version() == version


def assert_resynced(gapped: Gapped, way: str) -> None:
    version, slots = gapped.log.version(), slots_of(gapped)
    (planned,) = gapped.resync(dry_run=True)
    assert planned.error is None
    assert planned.plan is not None
    assert planned.plan.way == way
    assert set(planned.plan.pipelines) == set(gapped.ids)
    assert (gapped.log.version(), slots_of(gapped), planned.done) == (version, slots, False)
    (result,) = gapped.resync()
    assert result.error is None
    assert result.done
    assert (gapped.log.state(), gapped.log.gap()) == (State.FOLLOWING, None)
    assert len(result.set_aside) == (0 if way == "compare" else 1 + len(gapped.ids))
    gapped.assert_equal()


def slots_of(gapped: Gapped) -> object:
    if gapped.system == "mysql":
        return None
    return gapped.ask("select slot_name, confirmed_flush_lsn, wal_status from pg_replication_slots"), gapped.ask(
        "select prrelid, oid from pg_publication_rel"
    )


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_another_server_and_an_older_copy_of_it(empty_world: World, system: str, tmp_path: Path) -> None:
    """Other servers where the source was: one whose positions are lower, then its own older self."""
    only = {"MYSQL_HOST": "none"} if system == "postgres" else {"POSTGRES_HOST": "none"}
    with temporary_home() as settings, following(empty_world, system) as gapped:
        before = gapped.world.postgres if system == "postgres" else gapped.world.mysql
        other = up(settings, environ=only)[system]
        ways.run_on(other, f"create database {before.database}")
        if system == "postgres":
            gapped.do("select pg_logical_emit_message(false, 'noise', repeat('x', 90000000))")
        else:
            gapped.do(*["flush binary logs"] * 9)
        gapped.do("update things set name = 'far' where id = 1")
        gapped.world.run()
        gapped.move_to(replace(other, database=before.database))
        gapped.do(*ways.MADE, "insert into things values (1, 'a'), (6, 'other')")
        assert_kept(gapped, Lost.SERVER_REPLACED)
        assert_resynced(gapped, "anew")
        gapped.leave()
        down(settings)
        data = settings.home / "servers" / system / "data"
        ways.copy_of(data, tmp_path / "copy")
        gapped.move_to(replace(up(settings, environ=only)[system], database=before.database))
        gapped.do("insert into things values (7, 'taken back')")
        if system == "postgres":
            gapped.do("select pg_logical_emit_message(false, 'noise', repeat('x', 90000000))")
        gapped.do("update things set name = 'taken back' where id = 1")
        gapped.world.run()
        gapped.leave()
        down(settings)
        ways.put_back(tmp_path / "copy", data)
        gapped.move_to(replace(up(settings, environ=only)[system], database=before.database))
        assert_kept(gapped, Lost.LOG_ENDS_BEFORE)
        assert_resynced(gapped, "anew")


def test_a_slot_that_outgrew_its_limit(empty_world: World) -> None:
    """`max_slot_wal_keep_size`: warned about before it bites, and a gap when it has."""
    with temporary_home() as settings:
        limit = {"postgres": {"max_slot_wal_keep_size": "64MB"}}
        empty_world.postgres = up(settings, environ={"MYSQL_HOST": "none"}, options=limit)["postgres"]
        with following(empty_world, "postgres") as gapped:
            kept = [warning for status in gapped.statuses() for warning in status.warnings]
            assert kept == []
            gapped.do(ways.noise(30_000_000), ways.noise(30_000_000))
            (warning, *_) = [warning for status in gapped.statuses() for warning in status.warnings]
            assert "max_slot_wal_keep_size = 64 MB" in warning
            assert all((status.wal_kept_bytes or 0) > 60_000_000 for status in gapped.statuses())
            gapped.do(*ways.LOST_CHANGES)
            while gapped.ask("select wal_status from pg_replication_slots") != [("lost",)]:
                gapped.do(ways.noise(30_000_000), "checkpoint")
            assert_kept(gapped, Lost.SLOT_INVALIDATED)
            assert_resynced(gapped, "compare")


PLACES = [
    (ChangeLog, "mark_gap", "after", False),
    (ChangeLog, "begin_resync", "after", False),
    (ChangeLog, "append", "before", False),
    (ChangeLog, "append", "after", False),
    (ChangeLog, "append", "before", True),
    (ChangeLog, "set_aside", "before", True),
    (ChangeLog, "set_aside", "after", True),
    (DeltaDestination, "set_aside", "after", True),
    (IcebergDestination, "set_aside", "after", True),
]


@pytest.mark.parametrize(("owner", "method", "when", "anew"), PLACES)
def test_death_in_a_resync_is_made_good_by_another(
    empty_world: World, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, when: str, anew: bool
) -> None:
    with following(empty_world, "postgres") as gapped:
        ways.slot_missing(gapped)
        for call in (1, 2):
            with monkeypatch.context() as armed, contextlib.suppress(Killed):
                arm(armed, owner, method, when, call)
                gapped.resync(anew=anew)
            if gapped.log.state() in (State.GAP, State.RESYNCING):
                assert all(isinstance(error, Gap) for error in gapped.errors().values())
        (result,) = gapped.resync(anew=anew)
        assert result.error is None
        gapped.assert_equal()


def test_the_others_go_on_and_are_told_of(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        gapped.do("create table others (id int primary key)")
        gapped.pipelines.follow("others", keyed=True)
        gapped.pipelines.targets = gapped.pipelines.targets[:2]
        gapped.pipelines.write()
        gapped.world.run()
        ways.unpublished(gapped)
        gapped.do("insert into others values (1)")
        errors = gapped.errors()
        assert isinstance(errors["things_delta_append"], Gap)
        assert errors["others_delta_append"] is None
        gapped.do("insert into others values (2)")
        (result,) = gapped.resync("things_delta_append")
        assert result.error is None
        assert result.plan is not None
        assert result.plan.also_in_gap == ()
        gapped.world.run()
        gapped.assert_equal()
        gapped.do(f"select pg_drop_replication_slot('{gapped.slot}')")
        gapped.errors()
        (planned,) = gapped.resync("things_delta_append", dry_run=True)
        assert planned.plan is not None
        assert planned.plan.also_in_gap == ("public.others",)
        (result,) = gapped.resync("things_delta_append")
        assert result.error is None
        errors = gapped.errors()
        assert errors["things_delta_append"] is None
        assert isinstance(errors["others_delta_append"], Gap)


def test_a_table_that_stopped_is_passed_over(empty_world: World) -> None:
    """A binlog event that cannot be taken: no gap by itself, and a resync goes on behind it."""
    with following(empty_world, "mysql") as gapped:
        gapped.do("rename table things to gone", "create table things like gone")
        gapped.do("insert into things values (1, 'known'), (8, 'h')")
        errors = gapped.errors()
        assert all(isinstance(error, NeedsPerson) for error in errors.values())
        (result,) = gapped.resync()
        assert result.error is None
        gapped.assert_equal()
        assert gapped.log.gap() is None


def test_without_a_gap_the_table_is_compared(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        before = gapped.log.version()
        (result,) = gapped.resync()
        assert result.error is None
        assert result.plan is not None
        assert (result.plan.state, result.plan.way) == (State.FOLLOWING, "compare")
        assert gapped.log.version() > before
        gapped.assert_equal()


def test_the_commands(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        world = gapped.world
        ways.slot_missing(gapped)
        (ran,) = world.cdc("run", "--json", code=4)
        (status,) = world.cdc("status", "--json")
        assert (status["state"], status["last_error"]) == ("gap", ran["error"])
        assert status["gap"]["lost"] == "slot missing"
        assert [v["status"] for v in world.cdc("check", "--json", code=4)] == ["FAIL"] * 4
        said = world.cdc("resync", "things_delta_append", "--dry-run")
        assert "compare" in said
        assert "slot missing" in said
        (done,) = world.cdc("resync", "things_delta_append", "--json")
        assert (done["done"], done["differences"]) == (True, 5)
        (found,) = gapped.statuses()
        assert (found.state, found.gap, found.last_error) == ("current", None, None)


def test_metrics_are_left_in_a_file(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        labels = {"pipeline": "things_delta_append", "source": "postgres"}
        assert measured(gapped, "cdc_events_total", labels | {"operation": "UPDATE"}) == 1
        gapped.do("update things set name = 'more'")
        gapped.world.run()
        assert measured(gapped, "cdc_events_total", labels | {"operation": "UPDATE"}) == 5
        assert measured(gapped, "cdc_gap_open", labels) == 0
        assert measured(gapped, "cdc_pipeline_state", labels | {"state": "current"}) == 1
        kept = measured(gapped, "cdc_wal_kept_bytes", {"source": "postgres"})
        assert kept is not None
        assert kept > 0
        gapped.do(f"select pg_drop_replication_slot('{gapped.slot}')")
        gapped.errors()
        assert measured(gapped, "cdc_gap_open", labels) == 1
        assert measured(gapped, "cdc_pipeline_state", labels | {"state": "current"}) == 0
        assert measured(gapped, "cdc_events_total", labels | {"operation": "UPDATE"}) == 5


def measured(gapped: Gapped, name: str, labels: dict[str, str]) -> float | None:
    """One sample of the file, as Prometheus' own parser reads it."""
    text = (gapped.world.home / "metrics" / "cdc.prom").read_text()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return next((s.value for s in samples if s.name == name and s.labels == labels), None)
