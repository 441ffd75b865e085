"""Names of anything become files in their places, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.config.settings import Settings
from cdc_platform.engine.feeds import log_path, slot_name
from cdc_platform.engine.places import file_name, log_folder
from cdc_platform.errors import ConfigError
from cdc_platform.model.schema import TableName
from cdc_platform.sources.postgres.slot import check_name

SETTINGS = Settings(Path("/nowhere/home"), Path("/nowhere/pipelines"))
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    st.text("./\\~.%2ea ", min_size=1, max_size=6),
    st.sampled_from([".", "..", "../../x", "/etc/passwd", "~", "a/../b", "\U0001f600" * 64, '"' * 63]),
)


@given(NAMES, NAMES)
def test_a_change_log_is_one_folder_below_its_source(schema: str, name: str) -> None:
    path = log_path(SETTINGS, "shop", TableName(schema, name), "public")
    assert path.parent == SETTINGS.change_logs / "shop"
    assert path.resolve() == path
    assert len(path.name.encode()) <= 200


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_two_tables_never_share_a_change_log(one: tuple[str, str], other: tuple[str, str]) -> None:
    folders = [log_folder(TableName(*table), "public") for table in (one, other)]
    assert (folders[0] == folders[1]) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("public", "a.b"), ("a", "b")),
        (("a", "b.c"), ("a.b", "c")),
        (("public", "x" * 300), ("public", "x" * 301)),
    ],
)
def test_dots_and_length_keep_tables_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert log_folder(TableName(*one), "public") != log_folder(TableName(*other), "public")


def test_plain_names_are_themselves() -> None:
    assert log_folder(TableName("public", "order_items 2-b"), "public") == "order_items 2-b"
    assert log_folder(TableName("sales", "orders"), "public") == "sales.orders"
    assert file_name("shop_customers.orders") == "shop_customers.orders"


@given(NAMES)
def test_files_of_a_pipeline_are_one_part_of_a_path(pipeline: str) -> None:
    name = f"pipeline-{file_name(pipeline)}.lock"
    assert Path("/a") / name == Path("/a", name).resolve()
    assert len(name.encode()) < 255


@given(st.text(st.characters(categories=["L", "Nd"], include_characters="_"), min_size=1, max_size=63))
def test_every_source_has_a_slot_name(label: str) -> None:
    check_name(slot_name(SETTINGS, label))


def test_links_do_not_lead_out_of_the_change_logs(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", tmp_path)
    table = TableName("public", "t")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = log_path(settings, "shop", table, "public")
    path.parent.mkdir(parents=True)
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigError, match=r"leads out of .* by a symbolic link"):
        log_path(settings, "shop", table, "public")


def test_the_folder_of_all_change_logs_may_be_a_link(tmp_path: Path) -> None:
    """Another disk, say."""
    settings = Settings(tmp_path / "home", tmp_path)
    settings.home.mkdir()
    (tmp_path / "disk").mkdir()
    settings.change_logs.symlink_to(tmp_path / "disk")
    assert log_path(settings, "shop", TableName("public", "t"), "public").name == "t"
