"""What `cdc verify` says and does beyond single tamperings: under load, in proportion, of odd tables, after a death."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cdc_platform.destinations.delta import DeltaDestination
from cdc_platform.destinations.destination import Applied, Written
from cdc_platform.destinations.iceberg import IcebergDestination
from cdc_platform.engine.verification.verify import Options, verify
from cdc_platform_tests.engine.test_end_to_end import one_pipeline, workload
from cdc_platform_tests.verification.soak import soak
from cdc_platform_tests.verification.table import ROWS, Verifiable
from cdc_platform_tests.world import World


def test_no_false_alarm_under_concurrent_load(world: World) -> None:
    world.run()
    with ThreadPoolExecutor() as threads:
        load = threads.submit(workload, world, seconds=3.0, rate=300)
        alarms, verifications = soak(world, lambda done: load.done() and done >= 10)
        load.result()
    assert alarms == []
    assert verifications >= 10


def test_a_verification_costs_what_changed(empty_world: World, tmp_path: Path) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "postgres", "deltalake", "upsert", part_rows=30)
    first = table.verify().work
    assert (first.parts_compared, first.source_rows) == (first.parts, ROWS - 1)
    assert (first.log_files_read, first.lake_files_read) == (first.log_files, first.lake_files)
    idle = table.verify().work
    assert (idle.parts_compared, idle.source_rows, idle.log_files_read, idle.lake_files_read) == (0, 0, 0, 0)
    table.do("update things set note = 'one' where id = 100")
    one = table.verify().work
    assert one.parts_compared == 1
    assert one.source_rows <= 31
    assert one.lake_files_read < one.lake_files or one.lake_files == 1
    full = table.verify(full=True).work
    assert full.source_rows == ROWS - 1
    # A part that was mended is as good as one that was equal.
    table.delete("id", 50)
    assert table.verify(repair=True).repaired
    assert table.verify().work.source_rows == 0


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_digests_of_the_database(empty_world: World, tmp_path: Path, system: str) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", system, "deltalake", "upsert")
    clean = table.verify(in_database=True)
    assert (clean.equal, clean.rows, clean.work.source_rows_digested) == (True, ROWS - 1, ROWS - 1)
    assert clean.work.source_rows_read == 0
    table.delete("id", 7)
    mended = table.verify(repair=True, in_database=True)
    assert (mended.missing, mended.repaired) == (1, True)
    if system == "mysql":
        table.do("set session sql_log_bin = 0", "update things set note = 'silently' where id = 20")
        mended = table.verify(repair=True, full=True, in_database=True)
        assert (mended.keys, mended.different, mended.repaired) == ([{"id": 20}], 1, True)
        table.assert_equal()


def test_what_is_kept_is_a_cache(empty_world: World, tmp_path: Path) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", "deltalake", "append")
    table.verify()
    (kept,) = (empty_world.home / "state" / "verified").iterdir()
    for damage in (kept.unlink, lambda: kept.write_bytes(b"not Parquet")):
        damage()
        assert table.verify().work.source_rows == ROWS - 1


def test_rows_that_changed_without_a_word_in_the_log(empty_world: World, tmp_path: Path) -> None:
    """The log is made equal to the source by events like any other, and the destination follows."""
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", "deltalake", "append")
    table.do(
        "set session sql_log_bin = 0",
        "update things set note = 'silently' where id = 20",
        "delete from things where id = 21",
        "insert into things values (900, 'silent', 1, null)",
    )
    found = table.verify()
    assert (found.missing, found.unexpected, found.different) == (1, 1, 1)
    assert {key["id"] for key in found.keys} == {20, 21, 900}
    table.delete("id", 30)
    found = table.verify(repair=True)
    assert ({key["id"] for key in found.keys}, found.repaired) == ({20, 21, 30, 900}, True)
    table.assert_equal()
    assert table.verify(full=True).equal


class Died(BaseException):
    """The process, as far as the code under test can tell."""


@pytest.mark.parametrize(("form", "mode"), [("deltalake", "upsert"), ("iceberg", "append")])
@pytest.mark.parametrize("after", [False, True])
def test_death_in_a_repair(
    empty_world: World, tmp_path: Path, form: str, mode: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", form, mode)
    before = sorted(map(repr, table.rows()))
    table.verify()
    table.set(7, "note", "other")
    kind = DeltaDestination if form == "deltalake" else IcebergDestination
    mend: Any = kind.mend

    def dying(self: Any, gone: dict[Path, pl.Series | None], rows: Iterator[pl.DataFrame], applied: Applied) -> Written:
        if after:
            mend(self, gone, rows, applied)
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(kind, "mend", dying)
        with pytest.raises(Died):
            table.verify(repair=True)
    again = table.verify(repair=True)
    assert (again.repaired, again.different) == (not after, 0 if after else 1)
    assert sorted(map(repr, table.rows())) == before


RENAMED = "  columns: {k: {rename: kk}, v: {cast: string}}"


def odd(world: World, folder: Path, system: str, create: str, rows: str, mode: str, extra: str = "") -> None:
    do = world.postgres_do if system == "postgres" else world.mysql_do
    do(create, f"insert into odd values {rows}")
    folder.mkdir()
    (folder / "one.yaml").write_text(one_pipeline(system, "odd", "deltalake", mode, extra))
    world.folder = folder
    world.run()


@pytest.mark.parametrize(
    ("system", "create", "key", "extra"),
    [
        ("postgres", "create table odd (k varchar(20) primary key, v int)", "k", ""),
        ("mysql", "create table odd (a int, k varchar(20), v int, primary key (a, k))", "k", ""),
        ("postgres", "create table odd (k varchar(20) primary key, v int)", "kk", RENAMED),
        ("mysql", "create table odd (k date primary key, v int)", "k", ""),
        ("postgres", "create table odd (k numeric(20, 3) primary key, v int)", "k", "  columns: {k: {cast: string}}"),
    ],
)
def test_odd_keys(empty_world: World, tmp_path: Path, system: str, create: str, key: str, extra: str) -> None:
    dates = "date" in create or "numeric" in create
    cells = [f"'2020-01-{i:02}'" if "date" in create else f"{i}.5" if dates else f"'k{i}'" for i in range(1, 30)]
    first = "7, " if "(a int" in create else ""
    rows = ", ".join(f"({first}{cell}, {i})" for i, cell in enumerate(cells))
    odd(empty_world, tmp_path / "pipelines", system, create, rows, "upsert", extra)
    table = Verifiable.opened(empty_world, system, "deltalake", "upsert", part_rows=5)
    clean = table.verify()
    assert (clean.rows, clean.equal) == (29, True)
    victim = table.arrow().slice(3, 1)
    table.delete_all(key, victim[key][0].as_py())
    found = table.verify(repair=True)
    assert (found.missing, found.unexpected, found.different, found.repaired) == (1, 0, 0, True)
    assert str(victim[key][0].as_py()) in map(str, found.keys[0].values())
    assert table.verify().equal


def test_a_table_without_a_key(empty_world: World, tmp_path: Path) -> None:
    odd(
        empty_world,
        tmp_path / "pipelines",
        "mysql",
        "create table odd (a int, b varchar(9))",
        "(1, 'a'), (1, 'a'), (2, null)",
        "append",
    )
    empty_world.mysql_do("delete from odd where a = 1 limit 1", "update odd set b = 'z' where a = 2")
    table = Verifiable.opened(empty_world, "mysql", "deltalake", "append")
    found = table.verify()
    assert (found.rows, found.equal) == (2, True)
    before = sorted(map(repr, table.rows()))
    table.add(table.arrow().slice(0, 1))
    table.delete_all("_cdc_operation", "UPDATE")
    found = table.verify(repair=True)
    assert (found.missing, found.unexpected, found.repaired, found.keys) == (1, 1, True, [])
    assert sorted(map(repr, table.rows())) == before
    empty_world.mysql_do("set session sql_log_bin = 0", "insert into odd values (1, 'a')")
    # The log says nothing of it, and the log is what a verification goes by that uses what is kept.
    assert table.verify().equal
    found = table.verify(repair=True, full=True)
    assert (found.missing, found.unexpected, found.repaired) == (1, 0, True)


def test_changes_in_quarantine_are_no_difference(empty_world: World, tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    odd(
        empty_world,
        folder,
        "postgres",
        "create table odd (id int primary key, v int)",
        "(1, 1), (2, -1), (3, 3)",
        "upsert",
    )
    text = one_pipeline("postgres", "odd", "deltalake", "upsert", "  on_invalid: quarantine\n")
    rules = "    - name: odd\n      rules: [{name: positive, column: v, more_than: 0}]\n"
    (folder / "one.yaml").write_text(text.replace("    - name: odd\n", rules))
    empty_world.postgres_do("update odd set v = -3 where id = 3", "insert into odd values (4, -4), (5, 5)")
    empty_world.run()
    table = Verifiable.opened(empty_world, "postgres", "deltalake", "upsert")
    found = table.verify()
    assert (found.equal, found.rows, found.work.quarantined_keys) == (True, 3, 2)
    table.delete("id", 3)
    found = table.verify(repair=True)
    assert (found.missing, found.repaired) == (1, True)


def test_the_shape_changed_in_between(empty_world: World, tmp_path: Path) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "postgres", "deltalake", "append")
    assert table.verify().equal
    table.do(
        "alter table things add column more int default 7",
        "update things set more = 8 where id = 4",
        "alter table things rename column note to remark",
        "alter table things drop column name",
    )
    assert table.verify().equal
    assert table.verify(full=True).equal


def test_the_command(world: World) -> None:
    world.run("postgres_customers_cdc")
    (clean,) = world.cdc("verify", "postgres_customers_cdc", "--json")
    assert {"pipeline", "position", "rows", "missing", "unexpected", "different", "keys", "repaired"} <= clean.keys()
    assert (clean["rows"], clean["missing"], clean["keys"], clean["repaired"]) == (300, 0, [], False)
    Verifiable.opened(world, "postgres", "deltalake", "append", "customers_cdc").delete("customer_id", 7)
    (found,) = world.cdc_apart("verify", "postgres_customers_cdc", "--json", code=1)
    assert (found["missing"], found["keys"]) == (1, [{"customer_id": 7}])
    (mended,) = world.cdc("verify", "postgres_customers_cdc", "--repair", "--json")
    assert (mended["missing"], mended["keys"], mended["repaired"]) == (1, [{"customer_id": 7}], True)
    assert "there is no destination table" in world.cdc("verify", "postgres_orders_cdc", code=3)
    kept = pl.read_delta(str(world.settings.validation_results)).filter(pl.col("validation_type") == "verify")
    assert kept["status"].to_list().count("FAIL") == 1
    assert kept["status"].to_list().count("WARNING") == 1


def test_two_pipelines_of_one_table(empty_world: World, tmp_path: Path) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "postgres", "deltalake", "append")
    other = one_pipeline("postgres", "things", "iceberg", "upsert").replace("_id: one", "_id: two")
    (empty_world.folder / "two.yaml").write_text(other)
    empty_world.run()
    table.delete("id", 5)
    everything = empty_world.pipelines()
    found = verify(empty_world.settings, empty_world.variables, everything, everything, Options(repair=True))
    assert {v.pipeline: (v.missing, v.repaired) for v in found} == {"one": (1, True), "two": (0, False)}
