"""Snapshots in chunks: exact whatever is written meanwhile, and gone on with after a death."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cdc_platform.change_log import log as change_log
from cdc_platform.change_log.log import ChangeLog
from cdc_platform.engine.status import status
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform_tests.engine.chunked import ROWS, SOURCES, Shop, around_snapshots, chunked_pipeline, replayed
from cdc_platform_tests.engine.test_failpoints import Killed, deadly
from cdc_platform_tests.world import World

MOST_DEATHS = 40


@pytest.fixture(params=["postgres", "mysql"])
def shop(request: pytest.FixtureRequest, empty_world: World) -> Shop:
    return Shop(empty_world, request.param)


@pytest.mark.parametrize("parallel", [1, 2])
def test_rows_that_change_while_the_snapshot_is_taken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    shop.prepare(shop.pipelines(parallel=parallel))
    with around_snapshots(monkeypatch, shop, lambda: shop.change(20), lambda: shop.change(10)) as taken:
        shop.world.run()
    if shop.system == "postgres" and parallel == 2:
        assert 3 <= taken[0] < 5, "chunks were not read two at a time"
    else:
        assert taken[0] >= 5
    assert shop.chunks() == taken[0]
    shop.world.run()
    shop.assert_exact()
    assert all(v.status == "PASS" for v in shop.world.check())


PLACES: list[tuple[Any, str, str]] = [
    (ChangeLog, "append", "before"),
    (ChangeLog, "append", "after"),
    ("source", "acknowledge", "before"),
]


@pytest.mark.parametrize(("owner", "method", "when"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_death_between_two_steps(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, owner: Any, method: str, when: str
) -> None:
    """It dies again and again, at the first time that it comes to the place, then at the next.

    Rows change in every fourth run: where each began with the commit of a change, it would never come to a chunk.
    """
    shop.prepare(rows=120)
    owner = SOURCES[shop.system] if owner == "source" else owner
    chunks, deaths = [0], 0

    def change() -> None:
        if deaths % 4 == 1:
            shop.change(5)

    with around_snapshots(monkeypatch, shop, change, change):
        for deaths in range(MOST_DEATHS):
            with monkeypatch.context() as armed, contextlib.suppress(Killed):
                armed.setattr(owner, method, deadly(getattr(owner, method), when, [deaths if when == "before" else 0]))
                shop.world.run()
                break
            chunks.append(shop.chunks())
    assert deaths > 0, "nothing comes to this place"
    # What was in is not taken again: each chunk stands in the log once.
    assert chunks == sorted(chunks)
    assert 3 <= shop.chunks() <= 5
    shop.world.run()
    shop.assert_exact()


def test_every_second_reply_is_lost(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change log's commit is made, and nobody hears of it."""
    real, calls = vars(change_log)["put"], [0]

    def lossy(*arguments: Any, **named: Any) -> None:
        real(*arguments, **named)
        calls[0] += 1
        if calls[0] % 2:
            raise OSError("the reply was lost")

    shop.prepare(rows=90)
    with around_snapshots(monkeypatch, shop, lambda: shop.change(2), lambda: shop.change(2)):
        with monkeypatch.context() as patched:
            patched.setattr(change_log, "put", lossy)
            for _ in range(MOST_DEATHS):
                if not any(result.error for result in shop.world.run_all()):
                    break
        assert calls[0] > 3
        shop.world.run()
    shop.world.run()
    shop.assert_exact()


def test_killed_while_somebody_writes(shop: Shop) -> None:
    """SIGKILL, then another process goes on with what is there."""
    shop.prepare(shop.pipelines(rows=20))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            shop.change(1)
            time.sleep(0.05)

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        try:
            process = shop.world.start("run")
            while process.poll() is None and rows_in(shop) < ROWS // 3:
                time.sleep(0.02)
            process.kill()
            process.communicate()
            assert shop.log.position() is None, "the snapshot was whole before the kill"
            rows, chunks = rows_in(shop), shop.chunks()
            world, pipelines = shop.world, shop.world.pipelines()
            for found in status(world.settings, world.variables, pipelines, pipelines):
                assert (found.state, found.captured, found.snapshot and found.snapshot.rows) == (
                    "snapshotting",
                    None,
                    rows,
                )
                assert found.told.startswith(f"snapshotting ({rows} of about ")
            world.run()
        finally:
            stop.set()
        writing.result()
    assert rows >= ROWS // 3
    assert shop.chunks() > chunks
    shop.world.run()
    shop.assert_exact()


def rows_in(shop: Shop) -> int:
    held = shop.log.unfinished()
    return held.rows if held else 0


def test_a_new_table_joins_while_another_is_written_to(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other table's changes reach its log between the chunks, and the source hears that it may forget them."""
    followed = chunked_pipeline(shop.system, "others", "append")
    shop.do("create table others (id bigint primary key, k int)", "insert into others values (1, 0)")
    shop.configure(followed)
    shop.world.run()
    shop.prepare(f"{followed}\n---\n{shop.pipelines()}")
    others = ChangeLog(shop.world.home / "change_log" / shop.system / "others")
    seen: list[tuple[int, int]] = []

    def write() -> None:
        seen.append((len(replayed(others)), acknowledged(shop)))
        shop.do(f"insert into others values ({len(seen) + 1}, 0)")
        shop.change(1)

    with around_snapshots(monkeypatch, shop, write, lambda: None) as taken:
        shop.world.run()
    rows, places = zip(*seen, strict=True)
    assert taken[0] >= 5
    assert list(rows) == list(range(1, len(seen) + 1))
    if shop.system == "postgres":
        assert list(places) == sorted(set(places)), "the slot stood still while the snapshot was taken"
    shop.world.run()
    shop.assert_exact()
    assert len(replayed(others)) == len(seen) + 1


def acknowledged(shop: Shop) -> int:
    if shop.system == "mysql":
        return 0
    rows = shop.world.postgres_rows(
        "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots"
        " where database = current_database() and not temporary"
    )
    return int(rows[0][0])


def test_a_table_is_emptied_in_the_middle(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.prepare()
    rows = ", ".join(f"({key}, 1, 'after')" for key in range(-500, 500, 9))
    changed_at_the_third(shop, monkeypatch, "truncate table things", f"insert into things values {rows}")
    assert shop.chunks() >= 4
    shop.world.run()
    shop.assert_exact()


ADDED = "alter table things add column late int not null default 7"
WIDER = {"postgres": "alter column k type bigint", "mysql": "modify column k bigint"}
OTHER_KEY = {"postgres": "alter column id type int", "mysql": "modify column id int"}
ALTERS = {
    "added": (
        ADDED,
        "insert into things (id, k, name) values (5000, 1, 'new'), (-5000, 1, 'new')",
        "id, k, name, late",
    ),
    "added, then nothing": (ADDED, "select 1", "id, k, name, late"),
    "dropped": ("alter table things drop column k", "update things set name = 'less' where id < 0", "id, name"),
    "renamed": (
        "alter table things rename column name to title",
        "update things set title = 'other' where k % 3 = 0",
        "id, k, title",
    ),
    "widened": ("alter table things {wider}", "update things set k = 5000000000 where k % 3 = 0", "id, k, name"),
}


def changed_at_the_third(shop: Shop, patch: pytest.MonkeyPatch, *statements: str) -> None:
    """A run that finds rows changed before each snapshot until the third, and there these statements."""
    times = itertools.count(1)

    def change() -> None:
        if (time := next(times)) < 3:
            shop.change(3)
        elif time == 3:
            shop.do(*statements)

    with around_snapshots(patch, shop, change, lambda: None):
        shop.world.run()


@pytest.mark.parametrize("alter", ALTERS)
def test_a_table_is_altered_in_the_middle(shop: Shop, monkeypatch: pytest.MonkeyPatch, alter: str) -> None:
    """Recorded in its place; what the statement did to rows without a word in the log is found by a comparison."""
    statement, change, columns = ALTERS[alter]
    shop.prepare()
    changed_at_the_third(shop, monkeypatch, statement.format(wider=WIDER[shop.system]), change)
    assert len(shop.log.shapes()) == 2
    assert shop.chunks() >= 4
    shop.assert_exact(columns)


def test_a_key_of_another_type_begins_the_snapshot_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.prepare()
    changed_at_the_third(
        shop, monkeypatch, f"alter table things {OTHER_KEY[shop.system]}", "delete from things where k < 0"
    )
    assert len(shop.log.shapes()) == 1
    assert shop.chunks() == 0, "it was not taken as a whole"
    shop.assert_exact()


def test_a_table_made_again_begins_the_snapshot_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.prepare()
    create = "create table things (id bigint primary key, k int, name varchar(40))"
    with contextlib.suppress(CdcError):
        changed_at_the_third(shop, monkeypatch, "drop table things", create, "insert into things values (1, 1, 'anew')")
    shop.world.run()
    shop.assert_exact()


def test_a_row_that_comes_over_the_bound_without_all_its_cells(
    empty_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its long value is in a part that the log has not: the snapshot is taken again, in one."""
    shop = Shop(empty_world, "postgres")
    shop.prepare()
    shop.do(
        "alter table things add column body text",
        "alter table things alter column body set storage external",
        "update things set body = repeat('long', 3000) || id",
    )
    changed_at_the_third(
        shop,
        monkeypatch,
        "update things set id = -2000 where id = (select max(id) from things)",
        "update things set name = 'moved' where id = -2000",
    )
    assert shop.chunks() == 0, "it was not taken as a whole"
    shop.assert_exact("id, k, name, body")


def test_one_snapshot_serves_as_many_chunks_as_its_time_allows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks at one place of the source's log: their events have ids of their own."""
    shop.prepare(shop.pipelines(hold=60))
    with around_snapshots(monkeypatch, shop, lambda: None, lambda: shop.change(10)) as taken:
        shop.world.run()
    assert (taken[0], shop.chunks()) == (1, 5)
    shop.world.run()
    shop.assert_exact()


@pytest.mark.parametrize("key", ["primary_key: [k]", "primary_key: [id]"])
def test_a_key_of_the_pipelines_own_is_checked_on_all_rows(empty_world: World, key: str) -> None:
    """Rows that share it are told wherever they are: such a table is one chunk."""
    shop = Shop(empty_world, "postgres")
    shop.prepare(chunked_pipeline("postgres", "things", "upsert").replace("name: things", f"name: things\n      {key}"))
    if key == "primary_key: [id]":
        shop.world.run()
        assert shop.chunks() == 5
        return
    shop.do("update things set k = 1 where id in (select min(id) from things union select max(id) from things)")
    with pytest.raises(ConfigError, match="1 rows share the key"):
        shop.world.run()


def test_a_check_of_other_tables_leaves_an_unfinished_snapshot_its_log(
    empty_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is told to forget no more than the unfinished log has."""
    shop = Shop(empty_world, "postgres")
    followed = chunked_pipeline("postgres", "others", "append")
    shop.do("create table others (id bigint primary key, k int)", "insert into others values (1, 0)")
    shop.configure(followed)
    shop.world.run()
    shop.prepare(f"{followed}\n---\n{shop.pipelines()}")
    with monkeypatch.context() as armed:
        armed.setattr(ChangeLog, "append", deadly(ChangeLog.append, "after", [0]))
        with pytest.raises(Killed):
            shop.world.run()
    first = shop.log.id()
    shop.change(20)
    shop.do("insert into others values (2, 0)")
    assert all(verdict.status == "PASS" for verdict in shop.world.check("others_append"))
    shop.world.run()
    assert shop.log.id() == first, "what was in had to be discarded"
    assert shop.chunks() >= 4
    shop.world.run()
    shop.assert_exact()
