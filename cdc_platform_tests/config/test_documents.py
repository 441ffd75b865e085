"""YAML that means harm: one line each, in no time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cdc_platform.config.documents import MOST_BYTES, read_documents
from cdc_platform.config.load import load_file
from cdc_platform.errors import ConfigError
from cdc_platform_tests.config.test_load import ENVIRONMENT, VALID

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10))


def refused(tmp_path: Path, text: str | bytes) -> str:
    file = tmp_path / "one.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    began = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        list(load_file(file, ENVIRONMENT))
    assert time.monotonic() - began < 10
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(str(file))
    return line


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch {mark}']",
        "!!python/object/new:subprocess.Popen [['touch', '{mark}']]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!local thing",
    ],
)
def test_tags_are_refused_and_nothing_is_run(tmp_path: Path, tag: str) -> None:
    mark = tmp_path / "mark"
    line = refused(tmp_path, "\n\npipeline_id: " + tag.format(mark=mark))
    assert "line 3: not valid YAML: could not determine a constructor for the tag" in line
    assert not mark.exists()


@pytest.mark.parametrize("bomb", [LAUGHS, MERGES])
def test_aliases_that_stand_for_billions_are_refused(tmp_path: Path, bomb: str) -> None:
    assert len(bomb) < 1000
    assert "more than 100,000 values, aliases spelt out" in refused(tmp_path, bomb)


def test_an_alias_of_what_holds_it(tmp_path: Path) -> None:
    assert "an alias of what holds it" in refused(tmp_path, "a: &a\n  b: [*a]")


def test_aliases_as_people_use_them(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("base: &base {host: h, port: 1}\nfirst: {<<: *base, port: 2}\nsecond: *base\n")
    assert read_documents(file)[0] == {
        "base": {"host": "h", "port": 1},
        "first": {"host": "h", "port": 2},
        "second": {"host": "h", "port": 1},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: " + "[" * 1500, "nested too deep"),
        ("#" * (MOST_BYTES + 1), "larger than 1 MiB; split it"),
        (b"pipeline_id: \xff", "cannot be read"),
        ("pipeline_id: \x07", "special characters are not allowed"),
        (VALID.replace("one", '"on\\0e"'), "pipeline_id: holds a zero byte"),
        ("pipeline_id: 2020-13-45", "put text between quotes"),
        (f"pipeline_id: {'9' * 5000}", "put text between quotes"),
        ("- pipeline_id: one", "a pipeline is a mapping"),
        ("? [a, b]\n: c", "unhashable key"),
        ("*nowhere", "undefined alias"),
    ],
)
def test_what_is_no_pipeline_file(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in refused(tmp_path, text)


def test_what_is_no_file(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ConfigError, match=r"pipe\.yaml: is no file"):
        read_documents(tmp_path / "pipe.yaml")
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="is no file"):
        read_documents(tmp_path / "endless.yaml")


@pytest.mark.parametrize(
    "table", ["cdc.../../x", "cdc/../../x.t", "cdc.a/b", "cdc.a\\b", "cdc.", ".t", "a..b", "cdc. t", '"cdc.a\\nb"']
)
def test_iceberg_names_stay_in_their_warehouse(tmp_path: Path, table: str) -> None:
    text = VALID.replace("type: deltalake", f"type: iceberg\n  table: {table}")
    assert "'table' is namespace.name" in refused(tmp_path, text)


def test_a_table_name_is_one_part_of_a_path(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    text = VALID.replace("    - name: customers", "    - name: ../../up\n    - name: a/b\n    - name: c\\d")
    file.write_text(text.replace("lake/customers", "lake/{table}"))
    found = [pipeline.config.destination.path for pipeline in load_file(file, ENVIRONMENT)]
    assert found == [f"/home/cdc/lake/{name}" for name in ("______up", "a_b", "c_d")]


def test_a_source_name_is_short_and_plain(tmp_path: Path) -> None:
    for name, words in (("../x", "letters, digits and _ only"), ("n" * 64, "at most 63 bytes")):
        assert words in refused(tmp_path, VALID.replace("type: postgres", f"type: postgres\n  name: {name}"))
