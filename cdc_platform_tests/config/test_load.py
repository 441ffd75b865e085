"""Configuration: what a valid file gives, and the one line that each mistake gives."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdc_platform.config.load import connection_of, load_file, load_pipelines, select
from cdc_platform.config.settings import Settings
from cdc_platform.errors import ConfigError

VALID = """
pipeline_id: one
source:
  type: postgres
  connection: {host: "${HOST:-localhost}", port: 5432, database: shop, user: me, password: "${SECRET}"}
  tables:
    - name: customers
      primary_key: [customer_id]
cdc_method: native
destination:
  type: deltalake
  path: ${CDC_HOME}/lake/customers
  write_mode: append
  partition_by: DATE(last_updated)
quality_checks:
  - type: row_count
"""
ENVIRONMENT = {"CDC_HOME": "/home/cdc", "SECRET": "hush"}


def write(folder: Path, text: str, name: str = "one.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_valid_file(tmp_path: Path) -> None:
    (pipeline,) = load_file(write(tmp_path, VALID), ENVIRONMENT)
    assert pipeline.config.destination.path == "/home/cdc/lake/customers"
    assert pipeline.config.destination.layout().partitions[0].name == "last_updated_day"
    assert connection_of(pipeline, ENVIRONMENT)["password"] == "hush"
    assert connection_of(pipeline, ENVIRONMENT)["host"] == "localhost"


def test_secrets_are_not_in_repr(tmp_path: Path) -> None:
    (pipeline,) = load_file(write(tmp_path, VALID.replace('"${SECRET}"', "plain-secret")), ENVIRONMENT)
    assert "plain-secret" not in repr(pipeline)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tables:", "tabels:", r"source\.tabels: unknown key 'tabels'; did you mean 'tables'\?"),
        ("write_mode", "write_mod", r"destination\.write_mod: .*did you mean 'write_mode'"),
        ("- type: row_count", "- typ: row_count", r"quality_checks\[0\]\.typ: .*did you mean 'type'"),
        ("name: customers", "nam: customers", r"source\.tables\[0\]\.nam: .*did you mean 'name'"),
        ("pipeline_id: one\n", "", "pipeline_id: this key is required"),
        ("write_mode: append", "write_mode: merge", r"destination\.write_mode: .*'append' or 'upsert'"),
        ("DATE(last_updated)", "WEEK(last_updated)", "unknown unit 'WEEK'"),
        ("${CDC_HOME}", "${NOPE}", r"destination\.path: environment variable NOPE is not set"),
        ("pipeline_id: one", "pipeline_id: one\npipeline_id: two", "line .*key 'pipeline_id' is there twice"),
        ("pipeline_id:", "\tpipeline_id:", "line 2: not valid YAML"),
        ("type: deltalake", "type: deltalake\n  table: a.b", "belong to iceberg"),
        (
            "  tables:",
            "  snapshot: {chunk_row: 5}\n  tables:",
            "unknown key 'chunk_row'; did you mean 'chunk_rows'",
        ),
        (
            "  tables:",
            "  snapshot: {parallel: 0}\n  tables:",
            r"source\.snapshot\.parallel: .*or equal to 1",
        ),
    ],
)
def test_a_mistake_gives_one_line_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = write(tmp_path, VALID.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        list(load_file(file, ENVIRONMENT))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_variable_of_the_connection_is_found_when_it_is_needed(tmp_path: Path) -> None:
    (pipeline,) = load_file(write(tmp_path, VALID), {"CDC_HOME": "/x"})
    with pytest.raises(ConfigError, match=r"one.yaml: source\.connection\.password: .*SECRET is not set"):
        connection_of(pipeline, {"CDC_HOME": "/x"})


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    file = write(tmp_path, "pipeline_id: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="not valid YAML"):
        list(load_file(file, ENVIRONMENT))


def test_unknown_pipeline_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, VALID)
    pipelines = load_pipelines(tmp_path, ENVIRONMENT)
    with pytest.raises(ConfigError, match="no pipeline 'ones'; did you mean 'one'"):
        select(pipelines, ["ones"])


def test_several_tables_become_pipelines_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, VALID.replace("    - name: customers", "    - name: a.b\n    - name: customers"))
    pipelines = load_pipelines(tmp_path, ENVIRONMENT)
    assert [p.id for p in pipelines] == ["one.a.b", "one.customers"]
    assert [p.config.destination.path for p in pipelines] == [
        "/home/cdc/lake/customers/a_b",
        "/home/cdc/lake/customers/customers",
    ]
    assert select(pipelines, ["one"]) == pipelines
    assert select(pipelines, ["one.customers"]) == pipelines[1:]


def test_collisions_are_refused(tmp_path: Path) -> None:
    write(tmp_path, VALID)
    write(tmp_path, VALID, "two.yaml")
    with pytest.raises(ConfigError, match="already used"):
        load_pipelines(tmp_path, ENVIRONMENT)
    write(tmp_path, VALID.replace("pipeline_id: one", "pipeline_id: two"), "two.yaml")
    with pytest.raises(ConfigError, match="destination of 'two' is that of 'one' too"):
        load_pipelines(tmp_path, ENVIRONMENT)
    other = VALID.replace("pipeline_id: one", "pipeline_id: two").replace("lake/customers", "lake/other")
    write(tmp_path, other.replace("database: shop", "database: elsewhere"), "two.yaml")
    with pytest.raises(ConfigError, match=r"give one a source\.name"):
        load_pipelines(tmp_path, ENVIRONMENT)
    write(tmp_path, other.replace("database: shop", "database: elsewhere") + "\n", "two.yaml")
    named = other.replace("database: shop", "database: elsewhere").replace(
        "type: postgres", "type: postgres\n  name: b"
    )
    write(tmp_path, named, "two.yaml")
    assert [p.config.label for p in load_pipelines(tmp_path, ENVIRONMENT)] == ["postgres", "b"]


def test_the_shipped_pipelines_load_without_servers() -> None:
    settings = Settings.load({})
    pipelines = load_pipelines(settings.pipelines, {"CDC_HOME": "/x"})
    assert {p.id for p in pipelines} == {
        "postgres_customers_cdc",
        "postgres_orders_cdc",
        "postgres_schema_evolution_cdc",
        "mysql_products_cdc",
        "mysql_inventory_transactions_cdc",
        "customers_analytics",
    }


def test_embedded_values_fill_only_what_is_unset(tmp_path: Path) -> None:
    settings = Settings.load({"CDC_HOME": str(tmp_path)})
    file = settings.server_file("postgres")
    file.parent.mkdir(parents=True)
    file.write_text('{"host": "127.0.0.1", "port": 1, "database": "d", "user": "u", "password": "p"}')
    assert settings.environment({})["POSTGRES_PASSWORD"] == "p"
    mixed = settings.environment({"POSTGRES_PORT": "7", "POSTGRES_DB": "other"})
    assert (mixed["POSTGRES_HOST"], mixed["POSTGRES_PORT"], mixed["POSTGRES_DB"]) == ("127.0.0.1", "7", "other")


def test_a_column_of_times_is_followed_as_it_is_described(tmp_path: Path) -> None:
    timed = VALID.replace("cdc_method: native", "cdc_method: timestamp-based")
    write(tmp_path, timed.replace("- name: customers", "- name: customers\n      cdc_column: changed"))
    (pipeline,) = load_pipelines(tmp_path, ENVIRONMENT)
    assert (pipeline.config.label, pipeline.config.order) == ("postgres_timestamp", "lsn")
    write(tmp_path, timed)
    with pytest.raises(ConfigError, match="customers: write its column that tells when a row changed as cdc_column"):
        load_pipelines(tmp_path, ENVIRONMENT)
    polled = "type: postgres\n  polling: {window_seconds: 60}"
    write(tmp_path, VALID.replace("type: postgres", polled, 1))
    with pytest.raises(ConfigError, match=r"source\.polling belongs to cdc_method: timestamp-based"):
        load_pipelines(tmp_path, ENVIRONMENT)
    for wrong, words in (
        ("window: 60", "unknown key 'window'; did you mean 'window_seconds'?"),
        ("window_seconds: -1", "source.polling.window_seconds"),
        ("time_zone: Mars/Olympus", "source.polling.time_zone: no time zone of this name"),
    ):
        write(tmp_path, VALID.replace("type: postgres", f"type: postgres\n  polling: {{{wrong}}}", 1))
        with pytest.raises(ConfigError, match=re.escape(words)):
            load_pipelines(tmp_path, ENVIRONMENT)
