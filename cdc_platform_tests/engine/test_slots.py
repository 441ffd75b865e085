"""Slots do no harm: idle ones move on, removed ones go, and what is kept back is warned about."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.engine import follow
from cdc_platform.engine.orphans import forget
from cdc_platform.engine.run import run
from cdc_platform.errors import ConfigError, Gap, NeedsPerson
from cdc_platform_tests.conftest import new_postgres_database
from cdc_platform_tests.engine.gapped import Gapped, following, noise, run_on
from cdc_platform_tests.engine.test_end_to_end import one_pipeline
from cdc_platform_tests.engine.test_odd_tables import pipelines
from cdc_platform_tests.world import World


def restart(gapped: Gapped) -> int:
    ((at,),) = gapped.ask(
        f"select (restart_lsn - '0/0')::bigint from pg_replication_slots where slot_name = '{gapped.slot}'"
    )
    return int(at)


def test_an_idle_source_lets_go_of_what_other_databases_write(empty_world: World) -> None:
    with (
        following(empty_world, "postgres", "delta_append") as gapped,
        new_postgres_database(empty_world.postgres) as other,
    ):
        before = restart(gapped)
        run_on(other, noise(follow.QUIET_BYTES + 1_000_000))
        run_on(other, "select pg_log_standby_snapshot()")  # which the server does by itself every 15 s
        (kept,) = [status.wal_kept_bytes for status in gapped.statuses()]
        assert kept is not None
        assert kept > follow.QUIET_BYTES
        gapped.world.run()
        assert restart(gapped) - before > follow.QUIET_BYTES
        (kept,) = [status.wal_kept_bytes for status in gapped.statuses()]
        assert kept is not None
        assert kept < 1_000_000
        gapped.assert_equal()


def test_what_is_kept_is_warned_about(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        assert gapped.statuses()[0].warnings == ()
        file = gapped.world.folder / "things_delta_append.yaml"
        file.write_text(file.read_text() + "observability:\n  wal_kept_warning_mb: 1\n")
        gapped.do(noise(2_000_000))
        (warning,) = gapped.statuses()[0].warnings
        assert "the source keeps 2 MB of its log" in warning


def test_a_binlog_that_will_be_purged_is_warned_about(empty_world: World) -> None:
    with following(empty_world, "mysql", "delta_append") as gapped:
        assert gapped.statuses()[0].warnings == ()
        gapped.do("flush binary logs")
        ((kept,),) = gapped.ask("select @@global.binlog_expire_logs_seconds")
        try:
            gapped.do("set global binlog_expire_logs_seconds = 7200")
            (warning,) = gapped.statuses()[0].warnings
            assert "may be purged in 2.0 hours" in warning
        finally:
            gapped.do(f"set global binlog_expire_logs_seconds = {kept}")
        gapped.world.run()
        assert gapped.statuses()[0].warnings == ()


@pytest.fixture
def two_sources(empty_world: World, tmp_path: Path) -> World:
    texts = []
    for label in ("stays", "goes"):
        text = one_pipeline("postgres", label, "deltalake", "append").replace("target", label)
        text = text.replace("_id: one", f"_id: {label}")
        texts.append(text.replace("  type: postgres\n", f"  type: postgres\n  name: {label}\n"))
    world = pipelines(empty_world, tmp_path, *texts)
    for label in ("stays", "goes"):
        world.postgres_do(f"create table {label} (id int primary key)", f"insert into {label} values (1)")
    world.run()
    assert slots(world) == ["goes", "stays"]
    return world


def slots(world: World) -> list[str]:
    """The sources that have a slot; the same have a publication."""
    made = "select slot_name from pg_replication_slots where database = current_database() order by 1"
    names = world.postgres_rows(made)
    assert names == world.postgres_rows("select pubname::text from pg_publication order by 1")
    return [name.split("_")[1] for (name,) in names]


def told(world: World) -> list[str]:
    lines: list[str] = []
    everything = world.pipelines()
    for result in run(world.settings, world.variables, everything, everything, tell=lines.append):
        assert result.error is None
    return lines


def without(world: World, label: str) -> None:
    file = world.folder / "all.yaml"
    file.write_text("\n---\n".join(t for t in file.read_text().split("\n---\n") if f"name: {label}\n" not in t))


def test_a_removed_source_loses_its_slot_and_keeps_its_log(two_sources: World) -> None:
    world = two_sources
    without(world, "goes")
    (line,) = told(world)
    assert "of the removed source 'goes' is dropped" in line
    assert slots(world) == ["stays"]
    assert (world.home / "change_log" / "goes" / "goes" / "_delta_log").exists()
    assert (world.home / "lake" / "deltalake" / "goes").exists()
    assert told(world) == []


def test_another_folder_of_pipelines_drops_nothing_by_itself(two_sources: World, tmp_path: Path) -> None:
    world = two_sources
    world.folder = (tmp_path / "pipelines").rename(tmp_path / "moved")
    without(world, "goes")
    for _ in range(2):
        (line,) = told(world)
        assert "run: cdc forget goes" in line
        assert slots(world) == ["goes", "stays"]
    everything = world.pipelines()
    with pytest.raises(ConfigError, match="remove them first"):
        forget(world.settings, world.variables, everything, "stays")
    with pytest.raises(ConfigError, match="no change log of a source 'never'"):
        forget(world.settings, world.variables, everything, "never")
    assert world.cdc("forget", "goes", "--json")["source"] == "goes"
    assert slots(world) == ["stays"]
    with pytest.raises(NeedsPerson, match="pg_drop_replication_slot"):
        forget(world.settings, world.variables, everything, "goes")
    assert told(world) == []


def test_a_removed_table_is_no_longer_published(empty_world: World) -> None:
    with following(empty_world, "postgres", "delta_append") as gapped:
        gapped.do("create table others (id int primary key)")
        gapped.pipelines.follow("others", keyed=True)
        gapped.pipelines.targets = gapped.pipelines.targets[:2]
        gapped.pipelines.write()
        gapped.world.run()
        published = "select tablename from pg_publication_tables order by 1"
        assert gapped.ask(published) == [("others",), ("things",)]
        removed = gapped.world.folder / "others_delta_append.yaml"
        text = removed.read_text()
        removed.unlink()
        (line,) = told(gapped.world)
        assert line == "public.others is no longer published for 'postgres'"
        assert gapped.ask(published) == [("things",)]
        gapped.do("insert into others values (1)")
        removed.write_text(text)
        assert isinstance(gapped.errors()["others_delta_append"], Gap)
        (result,) = gapped.resync("others_delta_append")
        assert (result.error, result.differences) == (None, 1)
