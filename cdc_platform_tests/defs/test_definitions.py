"""What Dagster shows before anything ran, without servers and without their variables."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap

from cdc_platform.config.load import Pipeline, load_file
from cdc_platform.config.settings import PACKAGE, Settings
from cdc_platform.definitions import defs
from cdc_platform.defs.build import build
from cdc_platform.defs.naming import name_flows, safe_name, tag_value
from cdc_platform.errors import ConfigError
from cdc_platform_tests.defs.conftest import pipeline
from cdc_platform_tests.defs.graph import graph_text

GOLDEN = Path(__file__).parent / "asset_graph.txt"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No server is known."""
    for prefix in ("POSTGRES", "MYSQL"):
        for name in ("HOST", "PORT", "DB", "USER", "PASSWORD"):
            monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    monkeypatch.delenv("CDC_PIPELINES", raising=False)
    monkeypatch.delenv("CDC_SENSORS", raising=False)
    monkeypatch.setenv("CDC_HOME", str(tmp_path / "home"))


def loaded(tmp_path: Path, *documents: str) -> list[Pipeline]:
    file = tmp_path / "pipelines.yaml"
    file.write_text("---\n".join(documents))
    return list(load_file(file, {"CDC_HOME": str(tmp_path)}))


def delta(path: str) -> str:
    return f"{{type: deltalake, path: '{path}'}}"


def test_the_shipped_pipelines_give_the_documented_graph() -> None:
    definitions = defs()
    assert isinstance(definitions, dg.Definitions)
    dg.Definitions.validate_loadable(definitions)
    assert graph_text(definitions) == GOLDEN.read_text(), (
        f"the graph has changed; where that is meant, write it to {GOLDEN}: python -m cdc_platform_tests.defs.graph"
    )


@pytest.mark.parametrize(
    ("value", "status"), [("on", "RUNNING"), ("ON", "RUNNING"), ("off", "STOPPED"), ("", "STOPPED")]
)
def test_sensors_run_from_the_start_where_the_environment_says_so(
    value: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDC_SENSORS", value)
    definitions = defs()
    assert isinstance(definitions, dg.Definitions)
    assert {s.default_status.value for s in definitions.sensors or () if isinstance(s, dg.SensorDefinition)} == {status}


def test_no_pipelines_are_no_error(tmp_path: Path) -> None:
    definitions = build(Settings(tmp_path, tmp_path), [])
    dg.Definitions.validate_loadable(definitions)


def test_pipelines_of_one_table_share_its_source_and_change_log(tmp_path: Path) -> None:
    flows = name_flows(
        loaded(
            tmp_path,
            pipeline("orders", "postgres", delta("/lake/orders")),
            pipeline("orders", "postgres", delta("/lake/orders_again")).replace("_id: orders", "_id: again"),
        )
    )
    assert len({flow.change_log for flow in flows}) == 1
    definitions = build(Settings(tmp_path, tmp_path), [flow.pipeline for flow in flows])
    dg.Definitions.validate_loadable(definitions)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {"postgres/orders", "change_log/postgres/orders", "deltalake/orders", "deltalake/orders_again"}


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("public.orders", "postgres/orders"),
        ("sales.orders", "postgres/sales/orders"),
        ("class", "postgres/class"),
        ("Order Details", f"postgres/{safe_name('Order Details')}"),
        ("größe", f"postgres/{safe_name('größe')}"),
    ],
)
def test_any_table_has_a_key(tmp_path: Path, table: str, key: str) -> None:
    document = pipeline("odd", "postgres", delta("/lake/odd")).replace("name: odd", f"name: '{table}'")
    (flow,) = name_flows(loaded(tmp_path, document))
    assert flow.source.to_user_string() == key
    dg.Definitions.validate_loadable(build(Settings(tmp_path, tmp_path), [flow.pipeline]))


def test_odd_ids_and_paths_load(tmp_path: Path) -> None:
    document = pipeline("t", "mysql", delta("/lake/my table (new)")).replace("_id: t", f"_id: 'a \"b\" / {'c' * 80}'")
    dg.Definitions.validate_loadable(build(Settings(tmp_path, tmp_path), loaded(tmp_path, document)))


def test_names_that_differ_stay_different() -> None:
    odd = ["a b", "a-b", "a.b", "a/b", "a_b", ""]
    assert len({safe_name(name) for name in odd}) == len(odd)
    assert safe_name("a_b") == "a_b"
    long = ["x" * 64, "x" * 65]
    assert len({tag_value(name) for name in long}) == 2
    assert all(len(tag_value(name)) <= 63 for name in long)


def test_two_destinations_of_one_name_are_an_error(tmp_path: Path) -> None:
    documents = (
        pipeline("one", "postgres", delta("/lake/a/orders")),
        pipeline("two", "postgres", delta("/lake/b/orders")),
    )
    with pytest.raises(
        ConfigError, match=r"deltalake/orders would be both .*'one' and .*'two'; give one of them another name"
    ):
        name_flows(loaded(tmp_path, *documents))


def test_a_source_that_is_called_like_a_format_is_an_error_where_it_matters(tmp_path: Path) -> None:
    document = pipeline("orders", "postgres", delta("/lake/orders")).replace(
        "type: postgres", "type: postgres\n  name: deltalake"
    )
    with pytest.raises(ConfigError, match=r"deltalake/orders would be both the table orders of source 'deltalake'"):
        name_flows(loaded(tmp_path, document))


def test_only_enabled_checks_are_there(tmp_path: Path) -> None:
    some = pipeline("some", "postgres", delta("/lake/some")) + (
        "quality_checks: [{type: row_count}, {type: checksum, enabled: false}, {type: lag_monitoring}]\n"
    )
    none = pipeline("none", "postgres", delta("/lake/none")) + "quality_checks: [{type: row_count, enabled: false}]\n"
    definitions = build(Settings(tmp_path, tmp_path), loaded(tmp_path, some, none))
    dg.Definitions.validate_loadable(definitions)
    names = {check.to_user_string() for check in definitions.resolve_asset_graph().asset_check_keys}
    assert names == {
        "change_log/postgres/none:gap",
        "change_log/postgres/some:gap",
        "deltalake/some:row_count",
        "deltalake/some:lag",
        "deltalake/some:verify",
        "deltalake/none:verify",
    }


def test_nothing_of_a_catalog_of_ones_own_is_recorded(tmp_path: Path) -> None:
    catalog = "catalog: {type: rest, uri: 'https://catalog', credential: 'hush-hush'}"
    document = pipeline("t", "mysql", f"{{type: iceberg, path: /lake, table: cdc.t, {catalog}}}")
    definitions = build(Settings(tmp_path, tmp_path), loaded(tmp_path, document))
    recorded = dg.serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))
    assert "iceberg_t" in recorded
    assert "hush-hush" not in recorded


def test_the_workspace_names_the_location() -> None:
    text = (PACKAGE.parent / "workspace.yaml").read_text()
    assert "module_name: cdc_platform.definitions" in text
    assert "location_name: cdc_platform" in text
