"""Each rule of the data model, section 8.1, green on the demo's data and red for its own reason, on both servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform.config.load import load_file
from cdc_platform.engine.check import check_source_rules
from cdc_platform.engine.source_rules import rules_of
from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.quality.checks import Checked, Verdict
from cdc_platform_tests.engine.test_end_to_end import one_pipeline
from cdc_platform_tests.world import World


def looked_at(world: World, *names: str) -> list[Checked]:
    everything = world.pipelines()
    return check_source_rules(world.settings, world.variables, everything, world.pipelines(*names))


def verdicts(world: World, *names: str) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    for checked in looked_at(world, *names):
        if checked.error:
            raise checked.error
        found |= {v.type.removeprefix("rule:"): v for v in checked.verdicts}
    return found


POSTGRES = ("postgres_customers_cdc", "postgres_orders_cdc")
OFFENCES = {
    "email_form": "update customers set email = 'müller@example.com' where customer_id = 3",
    "phone_e164": "update customers set phone = '+1-555-0123' where customer_id = 3",
    "known_tier": "update customers set customer_tier = 'Wood' where customer_id = 3",
    "lifetime_value_not_negative": "update customers set lifetime_value = -0.01 where customer_id = 3",
    "registered_by_now": "update customers set registration_date = now() at time zone 'utc' + interval '1 minute'"
    " where customer_id = (select min(c.customer_id) from customers c left join orders o using (customer_id)"
    " where o.order_id is null)",
    "total_amount_positive": "update orders set total_amount = 0 where order_id = 3",
    "known_status": "update orders set order_status = 'lost' where order_id = 3",
    "customer_exists": "alter table orders drop constraint orders_customer_id_fkey;"
    " update orders set customer_id = 0 where order_id = 3",
    "ordered_after_registration": "update orders set order_date = '1999-01-01' where order_id = 5",
}
MYSQL_OFFENCES = {
    "price_positive": "update products set price = 0, cost = null where product_id = 3",
    "cost_positive_up_to_price": "update products set cost = price + 0.01 where product_id = 3",
    "stock_not_negative": "update products set quantity_in_stock = -1 where product_id = 3",
    "sku_unique": "update products set sku = 'twice' where product_id in (3, 4)",
}


def test_each_rule_of_postgres_is_green_and_red(world: World) -> None:
    world.run(*POSTGRES)
    found = verdicts(world, *POSTGRES)
    assert found.keys() == OFFENCES.keys()
    assert {v.status for v in found.values()} == {"PASS"}
    assert {v.details["rows"] for v in found.values()} == {300, 500}
    for number, (rule, offence) in enumerate(OFFENCES.items(), 1):
        world.postgres_do(offence)
        found = verdicts(world, *POSTGRES)
        assert {name for name, v in found.items() if v.status == "FAIL"} == set(list(OFFENCES)[:number])
        assert found[rule].actual.startswith("1 of ")
        assert [list(key.values()) for key in found[rule].details["keys"]] != []
    assert found["email_form"].details["keys"] == [{"customer_id": 3}]
    assert found["customer_exists"].details["keys"] == [{"order_id": 3}]
    assert "müller" not in str(found)
    assert "Wood" not in str(found)


def test_each_rule_of_mysql_is_green_and_red(world: World) -> None:
    world.run("mysql_products_cdc")
    found = verdicts(world, "mysql_products_cdc")
    assert found.keys() == MYSQL_OFFENCES.keys()
    assert {v.status for v in found.values()} == {"PASS"}
    names = [n for (n,) in world.mysql_rows(
        "select index_name from information_schema.statistics where table_schema = database()"
        " and table_name = 'products' and column_name = 'sku'"
    )]  # fmt: skip
    world.mysql_do(*(f"alter table products drop index `{name}`" for name in names))
    for number, (rule, offence) in enumerate(MYSQL_OFFENCES.items(), 1):
        world.mysql_do(offence)
        found = verdicts(world, "mysql_products_cdc")
        assert {name for name, v in found.items() if v.status == "FAIL"} == set(list(MYSQL_OFFENCES)[:number])
        count = 2 if rule == "sku_unique" else 1
        assert found[rule].details["broken"] == count
        assert found[rule].details["keys"] == [{"product_id": i} for i in (3, 4)[:count]]


def own(world: World, tmp_path: Path, *rules: str, primary_key: str = "primary key") -> World:
    world.postgres_do(
        "create table parents (a bigint, b text, at date, primary key (a, b))",
        f"create table things (id int {primary_key}, a int, b text, n numeric(6, 2), at timestamptz,"
        " d date, flag boolean)",
        "alter table things replica identity full",
        "insert into parents values (1, 'x', '2024-01-01'), (1, 'y', '2024-02-01')",
        "insert into things select i, 1, 'x', i, '2024-06-01', '2024-06-01', true from generate_series(1, 20) i",
    )
    world.folder = tmp_path / "pipelines"
    world.folder.mkdir()
    state(world, *rules)
    return world


def state(world: World, *rules: str) -> None:
    listed = "".join(f"        - {rule}\n" for rule in rules)
    text = one_pipeline("postgres", "things", "deltalake", "append")
    named = text.replace("    - name: things\n", f"    - name: things\n      rules:\n{listed}")
    (world.folder / "one.yaml").write_text(named)


KINDS = {
    "{name: r, column: a, not_null: true}": "update things set a = null where id = 7",
    "{name: r, column: n, at_least: 0.01, less_than: 21}": "update things set n = 21 where id = 7",
    "{name: r, column: n, more_than: 0.005}": "update things set n = 0 where id = 7",
    "{name: r, column: at, at_least: 2024-01-01}": "update things set at = '2023-12-31 23:59+00' where id = 7",
    "{name: r, column: d, at_most: now}": "update things set d = current_date + 2 where id = 7",
    "{name: r, column: flag, one_of: [true]}": "update things set flag = false where id = 7",
    f"{{name: r, column: id, one_of: {list(range(1, 21))}}}": "update things set id = 70 where id = 7",
    '{name: r, sql: "n >= a and b <> \'z\'"}': "update things set b = 'z' where id = 7",
    "{name: r, unique: [a, n]}": "update things set n = 8 where id = 7",
    "{name: r, references: {table: parents, match: {a: a, b: b}}}": "update things set b = 'z' where id = 7",
    "{name: r, references: {table: public.parents, match: {a: a}}}": "update things set a = 2 where id = 7",
    "{name: r, column: d, more_than: {table: parents, match: {a: a, b: b}, column: at}}":
        "update things set d = '2024-01-15', b = 'y' where id = 7",
}  # fmt: skip


def test_every_kind_of_rule(empty_world: World, tmp_path: Path) -> None:
    world = own(empty_world, tmp_path, "{name: r, column: id, at_least: 1}")
    world.run()
    for rule, offence in KINDS.items():
        state(world, rule)
        world.postgres_do("update things set id = 7 where id = 70")
        world.postgres_do(
            "update things set a = 1, b = 'x', n = id, at = '2024-06-01', d = '2024-06-01', flag = true",
            "update things set a = null, b = null, n = null, at = null, d = null, flag = null where id = 9",
        )
        if "not_null" in rule:
            world.postgres_do("update things set a = 1 where id = 9")
        before = verdicts(world, "one")["r"]
        assert (before.status, before.details["rows"]) == ("PASS", 20), rule
        world.postgres_do(offence)
        after = verdicts(world, "one")["r"]
        assert after.status == "FAIL", rule
        expected = [7, 8] if "unique" in rule else [70] if "one_of: [1," in rule else [7]
        assert sorted(key["id"] for key in after.details["keys"]) == expected, rule
        assert after.details["broken"] == len(expected)


def test_at_most_ten_keys_are_told_and_none_without_a_key(empty_world: World, tmp_path: Path) -> None:
    world = own(empty_world, tmp_path, "{name: r, column: id, at_least: 21, on_event: check}", primary_key="")
    world.run()
    found = verdicts(world, "one")["r"]
    assert (found.details["broken"], found.details["keys"]) == (20, [])
    world.postgres_do("alter table things add primary key (id)")
    found = verdicts(world, "one")["r"]
    assert found.details["broken"] == 20
    assert len(found.details["keys"]) == 10


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{name: r, column: nmae, not_null: true}", "public.things has no column 'nmae'"),
        ("{name: r, column: n, matches: x}", "'matches' is for text"),
        ("{name: r, column: b, at_most: now}", "'now' is for dates and times"),
        ("{name: r, column: n, at_least: a}", "cannot be compared with"),
        ("{name: r, column: b, at_least: {column: n}}", "cannot be compared"),
        ("{name: r, sql: 'n + 1'}", "cannot be asked of public.things"),
        ("{name: r, references: {table: parents, match: {a: z}}}", "public.parents has no column 'z'"),
        ("{name: r, references: {table: nowhere, match: {a: z}}}", "nowhere"),
        ("{name: r, column: d, at_least: {table: parents, match: {a: a}, column: at}}", "tell its rows apart"),
    ],
)
def test_a_rule_that_cannot_be_asked_is_an_error(empty_world: World, tmp_path: Path, rule: str, words: str) -> None:
    world = own(empty_world, tmp_path, "{name: ok, column: id, at_least: 1, on_event: check}")
    world.run()
    state(world, rule)
    with pytest.raises(CdcError, match=words):
        verdicts(world, "one")


def test_before_the_first_run_a_rule_is_red(empty_world: World, tmp_path: Path) -> None:
    world = own(empty_world, tmp_path, "{name: r, column: id, at_least: 1}")
    found = verdicts(world, "one")["r"]
    assert (found.status, found.details["reason"]) == ("FAIL", "nothing captured yet; run: cdc run one")


def test_rules_of_one_table_are_shared_and_one_name_is_one_rule(tmp_path: Path) -> None:
    text = one_pipeline("postgres", "things", "deltalake", "append").replace(
        "\ndestination", "\n      rules: [RULE]\ndestination"
    )
    first = text.replace("RULE", "{name: r, column: a, at_least: 1}")
    second = first.replace("_id: one", "_id: two").replace("/target", "/other")
    (tmp_path / "p.yaml").write_text(f"{first}---\n{second}")
    pipelines = list(load_file(tmp_path / "p.yaml", {"CDC_HOME": "/x"}))
    (shared,) = rules_of(pipelines)
    assert shared.pipelines == ("one", "two")
    (tmp_path / "p.yaml").write_text(f"{first}---\n{second.replace('at_least: 1', 'at_least: 2')}")
    with pytest.raises(ConfigError, match=r"p.yaml: two: rules.r: pipeline 'one' has another rule of that name"):
        rules_of(list(load_file(tmp_path / "p.yaml", {"CDC_HOME": "/x"})))
