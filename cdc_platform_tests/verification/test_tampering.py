"""Whatever is changed behind the platform's back is found, key by key, and mended; what is not changed is not found."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cdc_platform.engine.verification.differences import SAMPLE
from cdc_platform_tests.verification.table import ROWS, Verifiable
from cdc_platform_tests.world import World

ALL = [
    (system, form, mode)
    for system in ("postgres", "mysql")
    for form in ("deltalake", "iceberg")
    for mode in ("append", "upsert")
]


def stray(table: Verifiable) -> pa.Table:
    """A row of an id that the source has not."""
    row = table.arrow().slice(0, 1)
    return row.set_column(row.schema.get_field_index("id"), row.schema.field("id"), pa.array([9999], row["id"].type))


def twice(table: Verifiable) -> pa.Table:
    return table.arrow().filter(pc.equal(pc.field("id"), 5))


TAMPERINGS: list[tuple[Callable[[Verifiable], None], str, int]] = [
    (lambda t: t.set(7, "amount", Decimal("0.01")), "different", 7),
    (lambda t: t.set(8, "note", None), "different", 8),
    (lambda t: t.set(9, "_cdc_operation", "UPDATED"), "different", 9),
    (lambda t: t.delete("id", 11), "missing", 11),
    (lambda t: t.add(stray(t)), "unexpected", 9999),
    (lambda t: t.add(twice(t)), "unexpected", 5),
    (lambda t: t.edit_in_place(250, "note", "other"), "different", 250),
]


@pytest.mark.parametrize(("system", "form", "mode"), ALL)
def test_every_tampering_is_found_and_mended(
    empty_world: World, tmp_path: Path, system: str, form: str, mode: str
) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", system, form, mode)
    clean = table.verify()
    assert (clean.rows, clean.equal, clean.keys, clean.repaired) == (ROWS - 1, True, [], False)
    before = sorted(map(repr, table.rows()))
    for tamper, _, _ in TAMPERINGS:
        tamper(table)
    for repair in (False, True):
        found = table.verify(repair)
        assert (found.missing, found.unexpected, found.different, found.repaired) == (1, 2, 4, repair)
        assert {key["id"] for key in found.keys} == {key for _, _, key in TAMPERINGS}
    # Not only the state: every row of the history and every cell, the platform's own columns too.
    assert sorted(map(repr, table.rows())) == before
    assert table.verify(full=True).equal
    table.do("update things set note = 'after' where id = 7", "insert into things values (9999, 'new', 1, null)")
    table.world.run()
    table.assert_equal()
    assert table.verify().equal


@pytest.mark.parametrize("form", ["deltalake", "iceberg"])
def test_what_was_verified_before_hides_nothing(empty_world: World, tmp_path: Path, form: str) -> None:
    """Random sequences of tamperings, changes at the source, repairs and verifications on what is kept."""
    dice = random.Random(4)
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", form, "upsert")
    table.verify()
    for _ in range(8):
        tampered: set[int] = set()
        chosen = dice.sample(range(len(TAMPERINGS)), dice.randrange(3))
        # The edited file last: the other hands' readers fail on its size.
        for tamper, _, key in (TAMPERINGS[i] for i in sorted(chosen)):
            tamper(table)
            tampered.add(key)
        if dice.random() < 0.5:
            table.do(f"update things set note = concat(note, '+') where id in ({dice.randrange(20, 90)}, 150)")
        found = table.verify(repair=True)
        assert {key["id"] for key in found.keys} == tampered
        assert found.repaired is bool(tampered)
        table.assert_equal()


@pytest.mark.parametrize(("form", "mode"), [("deltalake", "append"), ("iceberg", "upsert")])
def test_a_file_that_is_gone_is_missing_rows(empty_world: World, tmp_path: Path, form: str, mode: str) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", form, mode)
    before = sorted(map(repr, table.rows()))
    max(table.files(), key=lambda file: file.stat().st_size).unlink()
    found = table.verify(repair=True)
    assert found.missing > ROWS // 2
    assert found.repaired
    assert len(found.keys) == SAMPLE
    assert sorted(map(repr, table.rows())) == before


@pytest.mark.parametrize(
    ("form", "mode"), [("deltalake", "append"), ("deltalake", "upsert"), ("iceberg", "append"), ("iceberg", "upsert")]
)
def test_columns_dropped_and_added_are_found_and_mended(
    empty_world: World, tmp_path: Path, form: str, mode: str
) -> None:
    table = Verifiable(empty_world, tmp_path / "pipelines", "mysql", form, mode)
    columns, before = list(table.rows()[0]), sorted(map(repr, table.rows()))
    for tamper, column in ((table.drop_column, "note"), (table.add_column, "stray")):
        tamper(column)
        found = table.verify()
        assert (found.columns, found.different, found.repaired) == ([column], ROWS - 1, False)
        assert table.verify(repair=True).repaired
        assert list(table.rows()[0]) == columns
        assert sorted(map(repr, table.rows())) == before
    table.do("update things set note = 'after' where id = 7")
    table.world.run()
    table.assert_equal()
