"""Definitions of one's own: what they may say, what becomes of the table when they change, how mistakes are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import polars as pl
import pytest

from cdc_platform.config.load import load_file
from cdc_platform.config.settings import Settings
from cdc_platform.engine.derivation.derive import derive
from cdc_platform.engine.derivation.opened import open_derivation
from cdc_platform.engine.derivation.verified import verified
from cdc_platform.engine.progress import silent
from cdc_platform.errors import CdcError, ConfigError, InvalidRow, SchemaConflict
from cdc_platform_tests import readers
from cdc_platform_tests.derivation.random_shop import FAKE, RandomShop
from cdc_platform_tests.derivation.shop import pipeline

PLAIN = """
import polars as pl
import pyarrow as pa
from cdc_platform.model.derived import Derived, Input
from cdc_platform.model.target import TargetField as Field

def rows(inputs):
    counted = inputs["orders"].group_by("customer_id").agg(pl.len().cast(pl.Int64).alias("orders"))
    return inputs["customers"].join(counted, on="customer_id", how="left").select(
        "customer_id", "registration_date", "customer_tier", "lifetime_value", "orders")

TABLE = Derived(
    key=("customer_id",),
    inputs={"customers": Input(by=("customer_id",),
                               columns=("registration_date", "customer_tier", "lifetime_value")),
            "orders": Input(by=("customer_id",))},
    fields=(Field("customer_id", pa.int64()), Field("registration_date", pa.timestamp("us")),
            Field("customer_tier", pa.string()), Field("lifetime_value", pa.decimal128(12, 2)),
            Field("orders", pa.int64())),
    rows=rows,
)
"""


@pytest.fixture
def one(tmp_path: Path) -> RandomShop:
    made = RandomShop(Settings(tmp_path / "home", tmp_path / "pipelines"), Random(1))
    made.begin()
    return made


def put(one: RandomShop, text: str) -> None:
    one.settings.pipelines.mkdir(parents=True, exist_ok=True)
    (one.settings.pipelines / "mine.py").write_text(text)


def table(one: RandomShop) -> pl.DataFrame:
    path = one.settings.home / "lake" / "deltalake" / "customers_analytics"
    return readers.duckdb_delta(path, "select * exclude (registration_date_year) from it order by customer_id")


def test_a_changed_definition_is_computed_anew(one: RandomShop) -> None:
    put(one, PLAIN)
    derive(one.derivation("mine.py"))
    assert table(one)["orders"].null_count() > 0
    before = derive(one.derivation("mine.py"))
    assert before.rows_written == 0
    put(one, PLAIN.replace('"lifetime_value", "orders")', '"lifetime_value", pl.col("orders").fill_null(0))'))
    done = derive(one.derivation("mine.py"))
    # Only the rows that differ are written.
    assert 0 < done.rows_written < table(one).height
    assert table(one)["orders"].null_count() == 0
    counts = dict(table(one).select("customer_id", "orders").rows())
    wanted = [order["customer_id"] for order in one.rows["orders"].values()]
    assert counts == {number: wanted.count(number) for number in one.rows["customers"]}


def test_columns_come_and_go_with_the_definition(one: RandomShop) -> None:
    one.sort_by = "[lifetime_value DESC]"
    put(one, PLAIN)
    derive(one.derivation("mine.py"))
    more = PLAIN.replace('"customer_tier", "lifetime_value", "orders")', '"lifetime_value", "orders", "email")')
    more = more.replace('"customer_tier", "lifetime_value")', '"lifetime_value", "email")')
    more = more.replace('Field("customer_tier", pa.string())', 'Field("email", pa.string() REQUIRED)')
    one.work()
    put(one, more.replace(" REQUIRED", ", required=True"))
    with pytest.raises(SchemaConflict, match="email"):
        derive(one.derivation("mine.py"))
    put(one, more.replace(" REQUIRED", ""))
    derive(one.derivation("mine.py"))
    assert set(table(one).columns) == {"customer_id", "registration_date", "email", "lifetime_value", "orders"}
    emails = {number: row["email"] for number, row in one.rows["customers"].items()}
    assert dict(table(one).select("customer_id", "email").rows()) == emails
    assert derive(one.derivation("mine.py")).rows_written == 0


MISTAKES = [
    (PLAIN.replace('"lifetime_value", "orders")', '"lifetime_value")'), ConfigError, "come without column orders"),
    (PLAIN.replace(".cast(pl.Int64)", ".cast(pl.Float64)"), ConfigError, r"orders is Float64 and should be int64"),
    (PLAIN.replace('Field("orders", pa.int64())', 'Field("orders", pa.int64(), required=True)'), InvalidRow,
     "column 'orders' is required, and"),
    (PLAIN.replace('by=("customer_id",))}', 'by=("customer_id",), columns=("paid",))}'), SchemaConflict,
     "input 'orders' needs a column 'paid'"),
    (PLAIN.replace('by=("customer_id",))}', 'by=("order_status",))}'), ConfigError,
     "input 'orders': column 'order_status' is string, and the key it names Int64"),
    (PLAIN.replace('inputs["customers"].join', 'inputs["customer"].join'), ConfigError, "cannot be computed: KeyError"),
    (PLAIN.replace('"orders")\n\n', '"nothing")\n\n'), ConfigError, "cannot be computed: ColumnNotFoundError"),
    (PLAIN.replace('return inputs["customers"].join(', 'return pl.concat([inputs["customers"]] * 2).join('),
     ConfigError, r"several rows of one \(customer_id\)"),
    (PLAIN.replace("TABLE =", "TABEL ="), ConfigError, "has no TABLE"),
    (PLAIN.replace("import polars as pl", "import polars as pl, nothing_of_this_name"), ConfigError,
     "cannot be loaded: ModuleNotFoundError"),
    (PLAIN.replace("def rows", "def rows("), ConfigError, "cannot be loaded: SyntaxError"),
    (PLAIN.replace('key=("customer_id",)', 'key=("customer",)'), ConfigError, "it has no column 'customer'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "words"), MISTAKES, ids=[words for *_, words in MISTAKES])
def test_mistakes_are_told_in_one_line(one: RandomShop, text: str, kind: type[CdcError], words: str) -> None:
    assert text != PLAIN
    put(one, text)
    with pytest.raises(kind, match=words) as caught:
        derive(one.derivation("mine.py"))
    assert "\n" not in str(caught.value)
    assert one.derivation().destination.table_version() in (None, 0)


def test_a_row_of_another_key_is_refused(one: RandomShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of more than the rows of its key: found where its row comes out for a key that nobody touched."""
    put(one, PLAIN)
    derive(one.derivation("mine.py"))
    opened = one.derivation("mine.py")
    one.work()
    stranger = pl.LazyFrame({"customer_id": [999_999]}, schema={"customer_id": pl.Int64})
    given = opened.definition.table.rows
    wrong = lambda inputs: pl.concat([given(inputs), stranger], how="diagonal")  # noqa: E731
    object.__setattr__(opened.definition.table, "rows", wrong)
    with pytest.raises(ConfigError, match="a row of another"):
        derive(opened)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("upsert", "append"), "write_mode: a derived table is kept as it is now; write upsert"),
        (("definition: mine.py", "definition: ../mine.py"), "derive.definition: .*no path"),
        (("definition: mine.py", "definition: mine.py\n  input: {}"), "unknown key 'input'; did you mean 'inputs'"),
        (("sort_by:", "columns: {email: {drop: true}}\n  sort_by:"), "destination.columns: .*its definition's"),
        (("definition: mine.py", "definition: mine.py\n  inputs: {clients: customers}"), "has no input 'clients'"),
        (("definition: mine.py", "definition: mine.py\n  inputs: {orders: order}"), "input 'orders' is table 'order'"),
        (("name: orders,", "name: returns,"), "input 'orders' is table 'orders', which is not in source.tables"),
        (("definition: mine.py", "definition: custom_analytics"), "none of those that come with the platform"),
        (("definition: mine.py", "definition: other.py"), "there is no file"),
    ],
)
def test_wrong_pipelines(one: RandomShop, change: tuple[str, str], words: str) -> None:
    put(one, PLAIN)
    text = pipeline("deltalake", "mine.py")
    assert change[0] in text
    file = one.settings.pipelines / "analytics.yaml"
    file.write_text(text.replace(*change))
    environment = {**FAKE, "CDC_HOME": str(one.settings.home)}
    with pytest.raises(ConfigError, match=words) as caught:
        [open_derivation(one.settings, environment, loaded) for loaded in load_file(file, environment)]
    assert str(file.name) in str(caught.value)


def test_what_nobody_looks_at_touches_nothing(one: RandomShop) -> None:
    derive(one.derivation())
    written = one.derivation().destination.table_version()
    phones = [(row, {**row, "phone": "+9"}) for row in one.rows["customers"].values()]
    one._append("customers", list(phones))
    done = derive(one.derivation())
    assert (done.rows_written, done.events["UPDATE"]) == (0, len(phones))
    # Its place in the log moves on, in a commit without a file.
    assert one.derivation().destination.table_version() == (written or 0) + 1
    assert done.files == []
    assert derive(one.derivation()).rows_written == 0


def test_what_somebody_changed_is_found_and_mended(one: RandomShop) -> None:
    derive(one.derivation())
    flow = one.derivation()
    flow.destination.ensure(flow.target)
    applied = flow.destination.applied(flow.log_id)
    assert applied is not None
    first, second, *_ = sorted(one.rows["customers"])
    rows = pl.concat(flow.destination.scan())
    fake = rows.filter(pl.col("customer_id") == first).with_columns(pl.lit("UPDATE").alias("_cdc_operation"))
    wrong = [
        fake.with_columns(pl.lit(77, pl.Int64).alias("total_orders")),
        fake.with_columns(pl.lit(4711, pl.Int64).alias("customer_id")),
        fake.with_columns(pl.lit(second, pl.Int64).alias("customer_id"), pl.lit("DELETE").alias("_cdc_operation")),
    ]
    flow.destination.upsert(pl.concat(wrong), replace(applied, version=applied.version + 1))
    compared = verified(one.derivation(), silent)
    assert compared.found is not None
    found = compared.found
    assert [frame["customer_id"].to_list() for frame in (found.missing, found.unexpected, found.different)] == [
        [second], [4711], [first],
    ]  # fmt: skip
    assert found.expected != found.found
    assert compared.after is None
    mended = verified(one.derivation(), silent, repair=True)
    assert mended.after is not None
    assert mended.after.equal
    assert one.found() == one.expected()
    one.work()
    derive(one.derivation())
    assert one.found() == one.expected()


def test_a_lost_or_broken_cache_costs_time_alone(one: RandomShop) -> None:
    derive(one.derivation())
    folder = one.derivation().folder
    for spoil in ("list", "file", "all"):
        one.work()
        if spoil == "list":
            (folder / "mirrors.json").write_text("{")
        elif spoil == "file":
            next(folder.glob("*.parquet")).unlink()
        else:
            for file in folder.iterdir():
                file.unlink()
        derive(one.derivation())
        assert one.found() == one.expected()
        assert derive(one.derivation()).rows_written == 0
