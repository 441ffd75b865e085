"""One row, every way it can be told: snapshot, insert, update and delete must hold the same Arrow values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import polars as pl

from cdc_platform.model.change import Followed
from cdc_platform.model.position import Position
from cdc_platform.model.schema import TableName
from cdc_platform.sources.mysql.source import MySQLSource
from cdc_platform_tests.mysql.conftest import Database, events


def images(
    database: Database, name: str, start: Position, as_text: Mapping[TableName, Collection[str]] | None = None
) -> pl.DataFrame:
    """The rows of a table that were inserted since `start`, without its column `n`, by which it is changed here.

    What the snapshot says is what is returned; that the log says the same of each row is made sure of. The table is
    empty afterwards.
    """
    table = database.table(name)
    with opened(database, as_text) as source:
        schema = source.schemas([table])[table]
        with source.snapshot([]) as snapshot:
            taken = pl.concat([batch.frame for batch in snapshot.read(table)])["after"].struct.unnest()
        database.run(f"update {name} set n = n + 1", f"delete from {name}")
        captured = list(source.changes({table: Followed(schema, start)}, start, source.head()))
    assert not [str(failure) for one in captured for failure in one.failures.values()]
    changes = events(captured, table)
    told = {operation: changes.filter(pl.col("operation") == operation) for operation in ("INSERT", "UPDATE", "DELETE")}
    changed = taken.with_columns(pl.col("n") + 1)
    assert same(taken, told["INSERT"]["after"])
    assert same(taken, told["UPDATE"]["before"])
    assert same(changed, told["UPDATE"]["after"])
    assert same(changed, told["DELETE"]["before"])
    return taken.drop("n")


def same(taken: pl.DataFrame, images: pl.Series) -> bool:
    """Equal to the last bit: a minus nought is another value than nought."""
    exact = pl.col(pl.Float32, pl.Float64).cast(pl.String)
    frame = images.struct.unnest()
    return frame.schema == taken.schema and taken.with_columns(exact).equals(frame.with_columns(exact))


@contextmanager
def opened(database: Database, as_text: Mapping[TableName, Collection[str]] | None = None) -> Iterator[MySQLSource]:
    source = MySQLSource(database.target, as_text=as_text or {})
    try:
        yield source
    finally:
        source.close()
