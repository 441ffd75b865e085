"""What an ALTER TABLE does to columns, and when it may have changed rows."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.model.evolution import carried
from cdc_platform.model.schema import Column, TableName, TableSchema
from cdc_platform.sources.mysql.alter import Alteration, applied
from cdc_platform.sources.mysql.binlog import STRICT, Query
from cdc_platform.sources.mysql.statements import effects_of

KINDS = {"id": "int", "a": "int unsigned", "b": "varchar(50)", "c": "decimal(10,2)", "d": "enum('x','y')"}
TABLE = TableName("d", "t")
SHAPE = carried(
    None,
    TableSchema(TABLE, tuple(Column(name, pa.string(), name != "id", kind) for name, kind in KINDS.items()), ("id",)),
)


def altered(specs: str, mode: int = STRICT) -> Alteration:
    effect = effects_of(Query("d", f"alter table t {specs}", mode))[0]
    assert effect.alteration is not None
    return effect.alteration


def after(specs: str, mode: int = STRICT) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """Ids by name after the statement, and its doubts."""
    schema, doubts = applied(altered(specs, mode), SHAPE)
    assert schema.last_id == SHAPE.last_id
    return {column.name: column.source_id for column in schema.columns}, doubts


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        ("rename column a to z", "id z b c d"),
        ("RENAME COLUMN `a` TO `b c`, rename column b to a", "id b_c a c d"),
        ("rename column a to b, rename column b to a", "id b a c d"),
        ("change a z int unsigned", "id z b c d"),
        ("change column if exists A z INTEGER(10) UNSIGNED after c", "id z b c d"),
        ("change a b int unsigned, change b a varchar(50)", "id b a c d"),
        ("drop a", "id b c d"),
        ("drop column if exists `a` cascade, drop nope, drop index i, drop key k, drop primary key", "id b c d"),
        ("drop a, add a int", "id b c d"),
        ("drop a, rename column b to a", "id a c d"),
        ("drop foreign key f, drop constraint g, drop check h", "id a b c d"),
        ("/* rename column a to z */ comment 'drop a', drop /* x */ c # end", "id a b d"),
        ("rename column id to `key`", "key a b c d"),
        ("nowait drop a", "id b c d"),
        ("wait 5 drop a", "id b c d"),
        ("rename column nope to z", "id a b c d"),
    ],
)
def test_names_after_it(specs: str, names: str) -> None:
    found, doubts = after(specs)
    assert [name.replace(" ", "_") for name in found] == names.split()
    assert doubts == ()


def test_ids_go_with_the_columns() -> None:
    assert after("rename column a to b, rename column b to a")[0] == {"id": 1, "b": 2, "a": 3, "c": 4, "d": 5}
    assert after("drop a, change b a varchar(50)")[0] == {"id": 1, "a": 3, "c": 4, "d": 5}
    schema, _ = applied(altered("rename column id to code"), SHAPE)
    assert schema.primary_key == ("code",)


def test_a_column_dropped_and_added_is_another_one() -> None:
    dropped, _ = applied(altered("drop a, add a int"), SHAPE)
    again = carried(dropped, SHAPE_WITHOUT_IDS)
    assert again.column("a").source_id == 6
    assert again.column("b").source_id == 3


SHAPE_WITHOUT_IDS = TableSchema(
    TABLE, tuple(Column(name, pa.string(), name != "id", kind) for name, kind in KINDS.items()), ("id",)
)


@pytest.mark.parametrize(
    "specs",
    [
        "add e int", "add column if not exists e varchar(9) character set latin1 collate latin1_bin null default null"
        " comment 'not null default 5' after a", "add (e int, f text, key (e))", "add e json first",
        "add e double precision",
        "add index (a), add unique key u (b), add constraint k foreign key (a) references x (y)",
        "add primary key (a)", "add fulltext index (b)", "modify a int(11) unsigned not null",
        "modify b varchar(50) first",
        "modify column c numeric(10, 2) default 5.5 comment 'x, y'", "change d e enum('x','y') not null",
        "change b z varchar ( 50 ) collate utf8mb4_bin", "alter a set default 5, alter column b drop default",
        "alter index i invisible", "alter column a set default ('x')", "engine=InnoDB comment='x' row_format dynamic",
        "engine = innodb, auto_increment = 5, algorithm=inplace, lock = none",
        "default character set utf8mb4 collate x",
        "charset=utf8mb4", "force", "order by a", "partition by hash (id) partitions 4", "remove partitioning",
        "add partition (partition p values less than (5))", "reorganize partition p into (partition q values in (1))",
        "enable keys", "rename index a to b, rename key c to e", "add index (a) using btree partition by key (id)",
        "stats_persistent=0", "add e timestamp null", "modify a int unsigned null on update 5",
    ],
)  # fmt: skip
def test_rows_stay_as_they_are(specs: str) -> None:
    assert after(specs)[1] == ()


@pytest.mark.parametrize(
    "specs",
    [
        "add e int not null", "add e int default 5", "add e int default(uuid())", "add e int auto_increment unique",
        "add e int generated always as (a + 1) stored", "add e int as (a)", "add (e int, f int default 1)",
        "add e timestamp", "add e serial", "add e int primary key", "add e somethingnew", "add e int somethingnew",
        "modify a bigint unsigned", "modify a int", "change a z varchar(10)", "modify b varchar(51)",
        "modify d enum('y','x')", "modify b varchar(50) character set binary", "modify id int auto_increment",
        "modify a int unsigned as (id) stored", "modify added_since int", "convert to character set utf8mb4",
        "drop partition p", "truncate partition p", "exchange partition p with table u", "import tablespace",
        "discard tablespace", "discard partition p tablespace", "convert partition p to table u",
        "convert table u to partition p values less than (5)", "engine=blackhole", "engine=MyISAM",
        "add system versioning", "drop system versioning", "add period for system_time (a, b)", "tablespace x",
        "something new", "add index (a), something", "rename column a", "repair partition p", "with system versioning",
    ],
)  # fmt: skip
def test_rows_may_have_changed(specs: str) -> None:
    doubts = after(specs)[1]
    assert doubts
    assert all(doubt.startswith("ALTER TABLE ... ") for doubt in doubts)


def test_ignore_is_a_doubt() -> None:
    effect = effects_of(Query("d", "alter ignore table t add unique (a)", STRICT))[0]
    assert effect.alteration is not None
    assert effect.alteration.doubts == ["ALTER IGNORE TABLE"]


@pytest.mark.parametrize("specs", ["modify a int unsigned not null", "change b z varchar(50)", "add primary key (a)"])
def test_without_strict_mode_values_may_be_made_to_fit(specs: str) -> None:
    assert after(specs, mode=0)[1]


@given(st.text(alphabet="adropename column,to`'\"()/*#-. \n5", max_size=60))
def test_whatever_it_says_it_is_read(specs: str) -> None:
    for effect in effects_of(Query("d", f"alter table t {specs}", STRICT)):
        if effect.alteration:
            applied(effect.alteration, SHAPE)
